//! The text parser against anything that can come over a wire, in any pieces.

use paircached::protocol::text::{Parsed, parse};
use proptest::prelude::*;

const VALUE_MAX: usize = 300;

/// What a connection would do: everything the parser says, in order, with the bytes arriving in
/// pieces of these sizes.
fn converse(bytes: &[u8], pieces: &[usize]) -> Vec<String> {
    let mut said = Vec::new();
    let (mut buffer, mut skip, mut arrived) = (Vec::new(), 0usize, 0);
    for piece in pieces.iter().cycle() {
        let next = (arrived + piece).min(bytes.len());
        buffer.extend_from_slice(&bytes[arrived..next]);
        arrived = next;
        loop {
            let skipped = skip.min(buffer.len());
            buffer.drain(..skipped);
            skip -= skipped;
            if buffer.is_empty() {
                break;
            }
            let fits = |_, _, length| length <= VALUE_MAX;
            let (text, taken, to_skip) = match parse(&buffer, fits) {
                Parsed::Incomplete(needed) => {
                    assert!(needed > buffer.len());
                    break;
                }
                Parsed::Hangup => {
                    said.push("hangup".to_owned());
                    return said;
                }
                Parsed::Request { request, noreply, length, skip } => {
                    (format!("{request:?} {noreply}"), length, skip)
                }
                Parsed::Refused { reply, noreply, length, skip } => {
                    (format!("{reply} {noreply}"), length, skip)
                }
            };
            assert!(taken > 0 && taken <= buffer.len());
            said.push(text);
            buffer.drain(..taken);
            skip = to_skip;
        }
        if arrived == bytes.len() {
            return said;
        }
    }
    said
}

/// Lines that look like commands, more or less, and data that looks like lines.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        "get|gets|gat|gats|set|add|replace|append|prepend|cas|delete|incr|decr|touch",
        "flush_all|version|verbosity|stats|shutdown|quit|noreply|HTTP/1.1|graceful",
        "mg|ms|md|ma|mn|me|b|v|O1|T5|MA|C9|YQ==",
        "[a-z]{1,3}",
        "-?[0-9]{1,3}",
        "[0-9]{18,22}",
        "[a-z]{248,253}",
        "[ -~]{0,6}",
    ];
    let end = prop_oneof![Just("\r\n"), Just("\n"), Just("\r"), Just("")];
    let line = (proptest::collection::vec(word, 0..7), end);
    let line = line.prop_map(|(words, end)| format!("{}{end}", words.join(" ")).into_bytes());
    let data = proptest::collection::vec(any::<u8>(), 0..20);
    let piece = prop_oneof![8 => line, 1 => data];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_same_is_said_however_the_bytes_arrive(
        bytes in conversation(),
        pieces in proptest::collection::vec(1usize..40, 1..20),
    ) {
        prop_assert_eq!(converse(&bytes, &pieces), converse(&bytes, &[usize::MAX >> 1]));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3_000)) {
        converse(&bytes, &[1_000]);
    }
}

#[test]
fn a_line_without_end_is_hung_up_on_at_2049_bytes_or_a_megabyte_of_keys() {
    let long = |start: &str, length: usize| {
        let mut line = start.as_bytes().to_vec();
        line.resize(length, b'x');
        converse(&line, &[1 << 14])
    };
    assert_eq!(long("set ", 2_048), Vec::<String>::new());
    assert_eq!(long("set ", 2_049), ["hangup"]);
    assert_eq!(long("get ", 1 << 20), Vec::<String>::new());
    assert_eq!(long("get ", (1 << 20) + 1), ["hangup"]);
}
