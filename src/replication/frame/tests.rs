use super::*;
use proptest::prelude::*;

fn versions() -> impl Strategy<Value = Version> {
    (0u64..1 << 63).prop_map(Version::from_raw)
}

proptest! {
    #[test]
    fn a_change_is_read_as_it_was_written(
        key in proptest::collection::vec(any::<u8>(), 1..=KEY_MAX),
        value in proptest::collection::vec(any::<u8>(), 0..300),
        numbers in any::<(u32, u32, u64)>(), version in versions(), touched in versions(),
        kind in 0..4, marks in any::<(Option<u64>, bool, bool, bool)>(), hits in 0u8..16,
    ) {
        let (cas, stale, won, binary) = marks;
        let mark = Mark { cas, stale, won, binary };
        let (flags, exptime, at) = numbers;
        let change = match kind {
            0 => Change::Set {
                key: &key,
                value: &value,
                flags,
                exptime,
                version,
                touched,
                mark,
                hits,
            },
            1 => Change::Delete { key: &key, version },
            2 => Change::Touch { key: &key, version, touched, exptime },
            _ => Change::Flush(Flush { horizon: version, issued: touched, at }),
        };
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Batch, |out| write_change(out, &change, MARKS));
        let (kind, mut payload, length) = read(&bytes, 1000).unwrap().unwrap();
        prop_assert_eq!((kind, length), (Kind::Batch, bytes.len()));
        prop_assert_eq!(read_change(&mut payload, MARKS).unwrap(), change);
        prop_assert!(payload.is_empty());
        for cut in 0..bytes.len() {
            prop_assert_eq!(read(&bytes[..cut], 1000), Ok(None));
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes, 1 << 20);
        let mut input = &bytes[..];
        while read_change(&mut input, MARKS).is_ok() {}
    }
}

#[test]
fn little_more_than_key_and_value_travels_of_a_plain_set_and_an_older_peer_gets_all_numbers() {
    let (key, value, version) = (&b"key"[..], vec![b'v'; 70_000], Version::from_raw(8));
    for (value, overhead) in [(&value[..100], 13), (&value[..65_535], 13), (&value[..], 15)] {
        let (touched, mark) = (Version::NONE, Mark::default());
        let set = Change::Set { key, value, flags: 0, exptime: 0, version, touched, mark, hits: 0 };
        for (protocol, overhead) in [(SHORT, overhead), (SHORT - 1, 30)] {
            let mut bytes = Vec::new();
            write_change(&mut bytes, &set, protocol);
            assert_eq!(bytes.len(), overhead + key.len() + value.len());
            assert_eq!(read_change(&mut &bytes[..], protocol), Ok(set.clone()));
        }
        let mut bytes = Vec::new();
        write_change(&mut bytes, &set, SHORT);
        let older = read_change(&mut &bytes[..], SHORT - 1);
        assert_eq!(older, Err(FrameError::UnknownKind(SET_SHORT)));
    }
}

#[test]
fn an_older_peer_gets_a_miss_in_place_of_an_item_whose_mark_it_does_not_know() {
    let (key, version) = (&b"k"[..], Version::from_raw(8));
    let mark = Mark { stale: true, ..Mark::default() };
    let (flags, exptime, touched) = (0, 0, Version::NONE);
    let change = Change::Set { key, value: b"v", flags, exptime, version, touched, mark, hits: 0 };
    let mut bytes = Vec::new();
    write_change(&mut bytes, &change, MARKS - 1);
    assert_eq!(read_change(&mut &bytes[..], MARKS - 1), Ok(Change::Delete { key, version }));
    bytes.clear();
    write_change(&mut bytes, &change, MARKS);
    let older = read_change(&mut &bytes[..], MARKS - 1);
    assert_eq!(older, Err(FrameError::UnknownKind(SET_MARKED)));
}

#[test]
fn a_frame_longer_than_allowed_is_refused_before_it_has_arrived() {
    let mut header = Vec::new();
    header.put_u32_le(u32::MAX);
    header.put_u8(Kind::Batch as u8);
    assert_eq!(read(&header, 1000), Err(FrameError::TooLong(u32::MAX as usize, 1000)));
}
