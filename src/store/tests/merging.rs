//! The peer's changes: the newest wins, in whatever order they come and however often.

use super::*;

/// Of a peer whose clock is ahead of this node's.
const AHEAD: u64 = 30_000;

/// What the peer has of one of a few keys at one of a few moments: it is the same each time it is sent.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Item { key: u8, written: u64, touched: Option<u64> },
    Touch { key: u8, written: u64, touched: u64 },
    Flush { written: u64 },
}

fn sent() -> impl Strategy<Value = Sent> {
    let moment = || 1u64..9;
    prop_oneof![
        6 => (0u8..3, moment(), proptest::option::of(moment()))
            .prop_map(|(key, written, touched)| Sent::Item { key, written, touched }),
        2 => (0u8..3, moment(), moment())
            .prop_map(|(key, written, touched)| Sent::Touch { key, written, touched }),
        1 => moment().prop_map(|written| Sent::Flush { written }),
    ]
}

/// Moments of node B, two milliseconds apart: between them this node writes.
fn version(moment: u64) -> Version {
    Version::from_raw(Version::at(START.0 + 2 * moment).raw() | 1)
}

/// Later than all writes, and than each other.
fn touch(moment: u64) -> (Version, u32) {
    (version(100 + moment), START.seconds() + 1_000 + moment as u32)
}

fn merge(store: &Store, sent: Sent) {
    let name = |key: u8| [b'k', key];
    match sent {
        Sent::Item { key, written, touched } => {
            let (touched, exptime) = touched.map_or((Version::NONE, 0), touch);
            let (key, value) = (name(key), written.to_string());
            let (key, value, version) = (&key[..], value.as_bytes(), version(written));
            let (flags, mark, hits) = (0, Mark::default(), 0);
            let change = Change::Set { key, value, flags, exptime, version, touched, mark, hits };
            store.merge(&change, START);
        }
        // It goes behind the item that it is of.
        Sent::Touch { key, written, touched } => {
            merge(store, Sent::Item { key, written, touched: None });
            let (key, version, (touched, exptime)) = (name(key), version(written), touch(touched));
            store.merge(&Change::Touch { key: &key, version, touched, exptime }, START);
        }
        Sent::Flush { written } => {
            let horizon = version(written);
            store.merge(&Change::Flush(Flush { horizon, issued: horizon, at: 0 }), START);
        }
    }
}

type Held = (Vec<u8>, Version, Version, u32);

/// What becomes of this node's own writes, each a key, a moment and whether it is a delete, when that
/// comes from the peer.
fn held(own: &[(u8, u64, bool)], sent: &[Sent]) -> [Option<Held>; 3] {
    let settings = Settings { tombstone_memory: Some(1 << 20), ..settings(64 << 20) };
    // One hash for all: keys of one shard get their versions from one clock.
    let store = Store::seeded(&settings, 0);
    for &(key, moment, deleted) in own {
        let (key, now) = ([b'k', key], Now(START.0 + 2 * moment + 1));
        set(&store, &key, b"own", 0, now).unwrap();
        if deleted {
            store.entry(&key, now).delete();
        }
    }
    sent.iter().for_each(|&sent| merge(&store, sent));
    [0, 1, 2].map(|key| {
        let taken = store.get(&[b'k', key], START, |item| {
            (item.value().to_vec(), item.version(), item.touched(), item.exptime())
        });
        match taken {
            Found::Hit(held) => Some(held),
            _ => None,
        }
    })
}

proptest! {
    #[test]
    fn the_order_in_which_changes_come_and_how_often_makes_no_difference(
        own in proptest::collection::vec((0u8..3, 1u64..9, any::<bool>()), 0..4),
        sent in proptest::collection::vec(sent(), 1..10)
            .prop_flat_map(|sent| {
                let twice = [sent.clone(), sent.clone()].concat();
                (Just(sent), Just(twice).prop_shuffle())
            }),
    ) {
        let (once, shuffled) = sent;
        prop_assert_eq!(held(&own, &once), held(&own, &shuffled));
    }
}

#[test]
fn a_flush_that_comes_late_takes_what_a_faster_clock_had_written_before_it_was_asked_for() {
    let store = with_an_item_from_ahead();
    store.flush_at(START.0 + 1_000, START);
    let late = Now(START.0 + AHEAD + 1);
    store.tick(late);
    assert!(get(&store, b"theirs", late).is_none());
}

/// A store that holds `theirs`, written by a peer whose clock is ahead.
fn with_an_item_from_ahead() -> Store {
    let settings = Settings { tombstone_memory: Some(1 << 20), ..settings(64 << 20) };
    let store = Store::new(&settings);
    let version = Version::from_raw(Version::at(START.0 + AHEAD).raw() | 1);
    let (flags, exptime, touched, mark) = (0, 0, Version::NONE, Mark::default());
    let (key, value, hits) = (&b"theirs"[..], &b"v"[..], 0);
    let change = Change::Set { key, value, flags, exptime, version, touched, mark, hits };
    assert_eq!(store.merge(&change, START), Applied::Accepted);
    store
}

#[test]
fn a_flush_that_was_to_come_takes_what_a_faster_clock_had_written_before_it() {
    let store = with_an_item_from_ahead();
    store.flush_at(START.0 + 1_000, START);
    store.tick(Now(START.0 + 999));
    assert!(get(&store, b"theirs", Now(START.0 + 999)).is_some());
    let later = Now(START.0 + 1_000);
    store.tick(later);
    assert!(get(&store, b"theirs", later).is_none());
    // What is stored from then on stays.
    set(&store, b"theirs", b"new", 0, later).unwrap();
    set(&store, b"ours", b"new", 0, later).unwrap();
    store.tick(Now(later.0 + AHEAD));
    for key in [&b"theirs"[..], b"ours"] {
        assert!(get(&store, key, Now(later.0 + AHEAD)).is_some());
    }
}
