//! Logging in, with anything that can come over a wire, in any pieces.

use crate::dialogue::{bytewise, log_in, whole};
use paircached::protocol::Protocol;
use proptest::prelude::*;

/// Lines and data blocks that are nearly what logs in, and requests around them.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof!["set|setx|add|get|mn|version", "[a-z]{1,3}", "[0-9]{1,2}", "163(84|85)"];
    let end = prop_oneof![4 => Just("\r\n"), 1 => Just("\n"), 1 => Just("")];
    let line = (proptest::collection::vec(word, 1..7), end.clone());
    let line = line.prop_map(|(words, end)| format!("{}{end}", words.join(" ")));
    let token = (0usize..6, "u p|u q|u|up|u  p", end).prop_map(|(wrong, token, end)| {
        let length = if wrong == 0 { 2 } else { token.len() };
        format!("set k 0 0 {length}\r\n{token}{end}")
    });
    let piece = prop_oneof![line, token];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn the_same_is_said_however_the_bytes_arrive(
        bytes in conversation(),
        pieces in proptest::collection::vec(1usize..40, 1..20),
    ) {
        let answer = log_in(Protocol::Ascii, &bytes, whole());
        prop_assert_eq!(&log_in(Protocol::Ascii, &bytes, pieces.into_iter().cycle()), &answer);
        prop_assert_eq!(log_in(Protocol::Ascii, &bytes, bytewise()), answer);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3_000)) {
        log_in(Protocol::Ascii, &bytes, whole());
        log_in(Protocol::Binary, &bytes, whole());
    }
}

#[test]
fn nobody_gets_in_without_the_password() {
    let after = b"get k\r\n";
    for (token, replies) in [
        (&b"set k 0 0 3\r\nu p\r\n"[..], &b"STORED\r\nEND\r\n"[..]),
        (
            b"set k 0 0 3\r\nu q\r\n",
            b"CLIENT_ERROR authentication failure\r\nCLIENT_ERROR unauthenticated\r\n",
        ),
    ] {
        let answer = log_in(Protocol::Ascii, &[token, after].concat(), bytewise());
        assert_eq!(answer.replies, replies);
    }
}
