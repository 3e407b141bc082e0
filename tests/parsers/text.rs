//! The text protocol, meta commands among it, against anything that can come over a wire, in any
//! pieces.

use crate::dialogue::{Answer, bytewise, converse, whole};
use paircached::protocol::Protocol::Ascii;
use proptest::collection::vec;
use proptest::prelude::*;

/// Lines that look like commands, more or less.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        "get|gets|gat|gats|set|add|replace|append|prepend|cas|delete|incr|decr|touch",
        "flush_all|version|verbosity|stats|shutdown|quit|noreply|HTTP/1.1|graceful",
        "cache_memlimit|slabs|lru|lru_crawler|crawl|metadump|mgdump|all|reassign|automove|tune",
        "mg|ms|md|ma|mn|me|b|v|O1|T5|MA|C9|YQ==",
        "[a-z]{1,3}",
        "-?[0-9]{1,3}",
        "[0-9]{18,22}",
        "[a-z]{248,253}",
        "[ -~]{0,6}",
    ];
    let end = prop_oneof![Just("\r\n"), Just("\n"), Just("\r"), Just("")];
    (vec(word, 0..7), end).prop_map(|(words, end)| format!("{}{end}", words.join(" ")).into_bytes())
}

/// Commands as clients send them, on few keys, so that they meet what others left.
fn command() -> impl Strategy<Value = Vec<u8>> {
    let key = || prop_oneof![8 => "[a-c]", 1 => "[a-c]{250,251}"];
    let value = || prop_oneof![4 => "[0-9]{1,3}", 4 => "[ -~\r\n]{0,20}", 1 => "x{950,1030}"];
    let silence = || prop_oneof![3 => "", 1 => " noreply"];
    let number = || prop_oneof!["[0-9]{1,3}", "-1", "4294967296", "18446744073709551615"];
    let verbs = "set|add|replace|append|prepend|cas";
    prop_oneof![
        ("get|gets", vec(key(), 1..4))
            .prop_map(|(verb, keys)| format!("{verb} {}\r\n", keys.join(" "))),
        ("gat|gats", number(), key())
            .prop_map(|(verb, time, key)| format!("{verb} {time} {key}\r\n")),
        (verbs, key(), number(), number(), silence(), value()).prop_map(
            |(verb, key, flags, time, silence, value)| {
                let cas = if verb == "cas" { " 1" } else { "" };
                let length = value.len();
                format!("{verb} {key} {flags} {time} {length}{cas}{silence}\r\n{value}\r\n")
            }
        ),
        ("incr|decr|touch", key(), number(), silence())
            .prop_map(|(verb, key, by, silence)| format!("{verb} {key} {by}{silence}\r\n")),
        ("delete", key(), silence())
            .prop_map(|(verb, key, silence)| format!("{verb} {key}{silence}\r\n")),
        Just(String::from("flush_all\r\n")),
    ]
    .prop_map(String::into_bytes)
}

/// Meta commands with any flags.
fn meta() -> impl Strategy<Value = Vec<u8>> {
    let key = || prop_oneof![6 => "[a-c]", 2 => "YQ==", 1 => "[a-c]{250,251}"];
    let flag = prop_oneof![
        8 => "[bcfhklqstuvxI]",
        4 => "[TNRCEFJD][0-9]{1,3}",
        2 => "M[AEPRSDIad+-]",
        1 => "O[a-z]{1,33}",
        1 => "[!-~]{1,3}",
    ];
    let value = prop_oneof![6 => "[0-9]{1,3}", 3 => "[ -~\r\n]{0,20}", 1 => "x{950,1030}"];
    let flags = || vec(flag.clone(), 0..6).prop_map(|flags| flags.join(" "));
    prop_oneof![
        4 => ("m[gdae]", key(), flags()).prop_map(|(verb, key, flags)| format!("{verb} {key} {flags}\r\n")),
        3 => (key(), value, flags()).prop_map(|(key, value, flags)| {
            format!("ms {key} {} {flags}\r\n{value}\r\n", value.len())
        }),
        1 => Just(String::from("mn\r\n")),
    ]
    .prop_map(String::into_bytes)
}

/// A stream of requests, some of them damaged, cut at its end.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let request = prop_oneof![
        4 => command(),
        4 => meta(),
        2 => any_line(),
        1 => vec(any::<u8>(), 0..20),
    ];
    let wounds = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (vec(request, 1..12), wounds, 0usize..40).prop_map(|(requests, wounds, cut)| {
        let mut bytes = requests.concat();
        for (place, byte) in wounds {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(20)));
        bytes
    })
}

proptest! {
    #[test]
    fn the_same_is_answered_however_the_bytes_arrive(
        bytes in conversation(),
        pieces in vec(1usize..40, 1..20),
    ) {
        let answer = converse(Ascii, &bytes, pieces.into_iter().cycle());
        prop_assert_eq!(answer, converse(Ascii, &bytes, whole()));
    }

    #[test]
    fn no_bytes_make_the_server_panic(bytes in vec(any::<u8>(), 0..3_000)) {
        converse(Ascii, &bytes, whole());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_same_is_answered_wherever_the_bytes_are_cut(bytes in conversation()) {
        let answer = converse(Ascii, &bytes, whole());
        for cut in 1..bytes.len() {
            prop_assert_eq!(&converse(Ascii, &bytes, [cut, usize::MAX].into_iter()), &answer);
        }
        prop_assert_eq!(converse(Ascii, &bytes, bytewise()), answer);
    }
}

#[test]
fn a_line_without_end_is_hung_up_on_at_2049_bytes_or_a_megabyte_of_keys() {
    let closed = |start: &str, length: usize| {
        let mut line = start.as_bytes().to_vec();
        line.resize(length, b'x');
        let Answer { replies, requests, closed } =
            converse(Ascii, &line, std::iter::repeat(1 << 14));
        assert_eq!((replies.len(), requests), (0, 0));
        closed
    };
    assert!(!closed("set ", 2_048));
    assert!(closed("set ", 2_049));
    assert!(!closed("get ", 1 << 20));
    assert!(closed("get ", (1 << 20) + 1));
}
