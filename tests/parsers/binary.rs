//! The binary protocol against anything that can come over a wire, in any pieces.

use crate::dialogue::{bytewise, converse, whole};
use paircached::protocol::Protocol::Binary;
use paircached::protocol::binary::{HEADER, REQUEST};
use proptest::collection::vec;
use proptest::prelude::*;

fn frame(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], wrong: i64) -> Vec<u8> {
    let announced = (extras.len() + key.len() + value.len()) as i64 + wrong;
    let mut bytes = vec![REQUEST, opcode];
    bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[extras.len() as u8, 0, 0, 0]);
    bytes.extend_from_slice(&(announced.max(0) as u32).to_be_bytes());
    bytes.resize(HEADER, 0);
    [&bytes, extras, key, value].concat()
}

/// Requests as clients send them, on few keys, so that they meet what others left.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let key = || prop_oneof![8 => vec(b'a'..=b'c', 1), 1 => vec(b'a'..=b'c', 250..252)];
    let value = prop_oneof![
        4 => vec(b'0'..=b'9', 1..4),
        4 => vec(any::<u8>(), 0..20),
        1 => vec(Just(b'x'), 950..1030),
    ];
    let one_of = |opcodes: &[u8]| prop::sample::select(opcodes.to_vec());
    prop_oneof![
        (one_of(&[0x00, 0x04, 0x09, 0x0c, 0x0d, 0x14, 0x10]), key())
            .prop_map(|(opcode, key)| frame(opcode, &[], &key, &[], 0)),
        (one_of(&[0x01, 0x02, 0x03, 0x11, 0x12, 0x13]), vec(any::<u8>(), 8), key(), value.clone())
            .prop_map(|(opcode, extras, key, value)| frame(opcode, &extras, &key, &value, 0)),
        (one_of(&[0x0e, 0x0f, 0x19, 0x1a]), key(), value).prop_map(|(opcode, key, value)| frame(
            opcode,
            &[],
            &key,
            &value,
            0
        )),
        (one_of(&[0x05, 0x06, 0x15, 0x16]), vec(0u8..4, 20), key())
            .prop_map(|(opcode, extras, key)| frame(opcode, &extras, &key, &[], 0)),
        (one_of(&[0x1c, 0x1d, 0x1e, 0x23, 0x24]), vec(any::<u8>(), 4), key())
            .prop_map(|(opcode, extras, key)| frame(opcode, &extras, &key, &[], 0)),
        one_of(&[0x08, 0x0a, 0x0b, 0x10, 0x18]).prop_map(|opcode| frame(opcode, &[], &[], &[], 0)),
    ]
}

/// Frames of lengths that contradict each other, or that the command does not have.
fn wrong_frame() -> impl Strategy<Value = Vec<u8>> {
    let extras =
        prop_oneof![4 => Just(8usize), 2 => Just(0), 1 => Just(4), 1 => Just(20), 1 => 0usize..30];
    let key = prop_oneof![8 => 0usize..6, 1 => 248usize..253];
    let value = prop_oneof![4 => Just(0usize), 4 => 0usize..20, 1 => 940usize..1000];
    let wrong = prop_oneof![15 => Just(0i64), 1 => -5i64..5, 1 => Just(0x4000_0000)];
    (0u8..0x40, extras, key, value, wrong, any::<u8>()).prop_map(
        |(opcode, extras, key, value, wrong, fill)| {
            frame(opcode, &vec![fill; extras], &vec![fill; key], &vec![fill; value], wrong)
        },
    )
}

/// A stream of requests, some of them damaged, cut at its end.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![20 => request(), 10 => wrong_frame(), 1 => vec(any::<u8>(), 0..20)];
    let wound = (any::<prop::sample::Index>(), any::<u8>());
    (vec(piece, 1..12), prop::option::weighted(0.2, wound), 0usize..60).prop_map(
        |(pieces, wound, cut)| {
            let mut bytes = pieces.concat();
            if let Some((place, byte)) = wound.filter(|_| !bytes.is_empty()) {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(30)));
            bytes
        },
    )
}

proptest! {
    #[test]
    fn the_same_is_answered_however_the_bytes_arrive(
        bytes in conversation(),
        pieces in vec(1usize..40, 1..20),
    ) {
        let answer = converse(Binary, &bytes, pieces.into_iter().cycle());
        prop_assert_eq!(answer, converse(Binary, &bytes, whole()));
    }

    #[test]
    fn no_bytes_make_the_server_panic(mut bytes in vec(any::<u8>(), 1..3_000)) {
        bytes[0] = REQUEST;
        converse(Binary, &bytes, whole());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_same_is_answered_wherever_the_bytes_are_cut(bytes in conversation()) {
        let answer = converse(Binary, &bytes, whole());
        for cut in 1..bytes.len() {
            prop_assert_eq!(&converse(Binary, &bytes, [cut, usize::MAX].into_iter()), &answer);
        }
        prop_assert_eq!(converse(Binary, &bytes, bytewise()), answer);
    }
}
