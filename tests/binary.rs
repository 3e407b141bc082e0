//! The binary parser against anything that can come over a wire, in any pieces.

use paircached::protocol::binary::{HEADER, Parsed, parse};
use proptest::prelude::*;

const VALUE_MAX: usize = 300;
/// What the parser may want to have before it speaks.
const FRAME_MAX: usize = HEADER + 20 + 250 + VALUE_MAX;

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
            let taken = match parse(&buffer, |_, _, length| length <= VALUE_MAX) {
                Parsed::Incomplete(needed) => {
                    assert!(needed > buffer.len() && needed <= FRAME_MAX);
                    break;
                }
                Parsed::Hangup => {
                    said.push("hangup".to_owned());
                    return said;
                }
                Parsed::Frame { frame, length, skip: to_skip } => {
                    assert!(length >= HEADER && length <= buffer.len());
                    said.push(format!("{frame:?}"));
                    skip = to_skip;
                    length
                }
            };
            buffer.drain(..taken);
        }
        if arrived == bytes.len() {
            return said;
        }
    }
    said
}

/// Frames of lengths that are mostly right, and bytes that are no frames.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let extras = prop_oneof![
        4 => Just(8usize),
        2 => Just(0usize),
        1 => Just(4usize),
        1 => Just(20usize),
        1 => 0usize..30,
    ];
    let key = prop_oneof![8 => 0usize..6, 1 => 248usize..253];
    let value = prop_oneof![4 => Just(0usize), 4 => 0usize..20, 1 => 295usize..305];
    let announced = prop_oneof![15 => Just(0i64), 1 => -5i64..5, 1 => Just(0x4000_0000)];
    let frame = (0u8..0x40, extras, key, value, announced, any::<u8>());
    let frame = frame.prop_map(|(opcode, extras, key, value, wrong, fill)| {
        let body = extras + key + value;
        let announced = (body as i64 + wrong).max(0) as u32;
        let mut bytes = vec![0x80, opcode];
        bytes.extend_from_slice(&(key as u16).to_be_bytes());
        bytes.extend_from_slice(&[extras as u8, 0, 0, 0]);
        bytes.extend_from_slice(&announced.to_be_bytes());
        bytes.resize(HEADER + body, fill);
        bytes
    });
    let junk = proptest::collection::vec(any::<u8>(), 0..20);
    let piece = prop_oneof![20 => frame, 1 => junk];
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
    fn no_bytes_make_the_parser_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..3_000)) {
        bytes[0] = 0x80;
        converse(&bytes, &[1_000]);
    }
}
