//! What a memory file keeps, and that no bytes in one do any harm.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use paircached::memory_file::format::{self, Loaded, Profile, Refusal};
use paircached::memory_file::{self, Found};
use paircached::replication::Lineage;
use paircached::store::{
    Change, Cursor, Mark, Node, Now, OutOfMemory, SHARDS, Settings, Store, Version, Walk,
};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const NOW: Now = Now(1_800_000_000_000);

fn settings(replicated: bool) -> Settings {
    Settings { tombstone_memory: replicated.then_some(1 << 20), ..Settings::default() }
}

fn profile() -> Profile {
    Profile { item_size_max: 1 << 20, cluster: None }
}

fn later(seconds: u64) -> Now {
    Now(NOW.0 + seconds * 1000)
}

fn put(store: &Store, key: &[u8], value: &[u8], exptime: u32) -> Result<Version, OutOfMemory> {
    Ok(store.entry_with_room(key, value.len(), NOW)?.put(0, exptime, &[value]))
}

fn saved(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    format::write(&mut bytes, store, &profile(), Lineage::default(), NOW, |_| {}).unwrap();
    bytes
}

fn load(bytes: &[u8], replicated: bool, now: Now) -> Result<(Store, Loaded), Refusal> {
    let store = Store::new(&settings(replicated));
    let loaded = format::read(bytes, &store, &profile(), now, |_| {})?;
    Ok((store, loaded))
}

fn reason(bytes: &[u8]) -> String {
    load(bytes, false, NOW).map(|(_, loaded)| loaded).unwrap_err().to_string()
}

/// Every change that a new peer would be sent, in order of their keys.
fn changes(store: &Store) -> Vec<String> {
    let mut found = Vec::new();
    for shard in 0..SHARDS {
        let mut walk = Walk::since(Version::NONE);
        while !store.walk(shard, &mut walk, 1 << 20, |change| found.push(format!("{change:?}"))) {}
    }
    found.sort();
    found
}

/// The keys that clients see.
fn keys(store: &Store, now: Now) -> Vec<Vec<u8>> {
    let (mut found, mut cursor) = (Vec::new(), Cursor::default());
    while !store.inspect(&mut cursor, 64, now, |item| found.push(item.key().to_vec())) {}
    found.sort();
    found
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..=250),
        proptest::collection::vec(b'a'..b'e', 1)
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Set { key: Vec<u8>, value: Vec<u8>, flags: u32, ttl: u32, marks: (Option<u64>, bool, bool) },
    Touch { key: Vec<u8>, ttl: u32 },
    Delete { key: Vec<u8> },
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..200),
        1 => (0usize..400_000).prop_map(|length| vec![b'x'; length])
    ];
    // Less than 1000 seconds are over when it is loaded.
    let ttl = prop_oneof![Just(0u32), 1u32..10, 2000u32..3000];
    let set = (key(), value, any::<u32>(), ttl.clone(), any::<(Option<u64>, bool, bool)>());
    let step = prop_oneof![
        10 => set.prop_map(|(key, value, flags, ttl, marks)| Step::Set { key, value, flags, ttl, marks }),
        2 => (key(), ttl).prop_map(|(key, ttl)| Step::Touch { key, ttl }),
        2 => key().prop_map(|key| Step::Delete { key }),
        1 => Just(Step::Flush),
    ];
    proptest::collection::vec(step, 0..60)
}

fn perform(store: &Store, step: &Step) {
    let absolute = |ttl: u32| if ttl == 0 { 0 } else { NOW.seconds() + ttl };
    match step {
        Step::Set { key, value, flags, ttl, marks: (cas, stale, won) } => {
            let mark = Mark { cas: *cas, stale: *stale, won: *won, binary: *stale };
            let mut entry = store.entry_with_room(key, value.len() + 8, NOW).unwrap();
            entry.put_marked(*flags, absolute(*ttl), &[value], mark);
        }
        Step::Touch { key, ttl } => store.entry(key, NOW).touch(absolute(*ttl)),
        Step::Delete { key } => drop(store.entry(key, NOW).delete()),
        Step::Flush => store.flush(NOW),
    }
}

proptest! {
    #[test]
    fn everything_comes_back_as_it_was(steps in steps(), replicated in any::<bool>()) {
        let store = Store::new(&settings(replicated));
        store.set_node(Node::B);
        steps.iter().for_each(|step| perform(&store, step));
        let (restored, loaded) = load(&saved(&store), replicated, NOW).unwrap();
        prop_assert_eq!(changes(&restored), changes(&store));
        prop_assert_eq!(restored.progress(), store.progress());
        prop_assert_eq!((loaded.node, loaded.dropped), (Node::B, 0));
        // What was flushed costs nothing any more.
        let size = |store: &Store| store.stats(NOW).total().mem_requested;
        prop_assert!(size(&restored) <= size(&store));
    }

    #[test]
    fn what_has_expired_meanwhile_does_not_come_back(steps in steps()) {
        let store = Store::new(&settings(false));
        steps.iter().for_each(|step| perform(&store, step));
        let (restored, _) = load(&saved(&store), false, later(1000)).unwrap();
        prop_assert_eq!(keys(&restored, later(1000)), keys(&store, later(1000)));
        prop_assert_eq!(restored.stats(NOW).total().number as usize, keys(&restored, NOW).len());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused(steps in steps(), cut in any::<prop::sample::Index>()) {
        let store = Store::new(&settings(true));
        steps.iter().for_each(|step| perform(&store, step));
        let bytes = saved(&store);
        prop_assert!(load(&bytes[..cut.index(bytes.len())], true, NOW).is_err());
    }

    #[test]
    fn a_file_with_a_changed_byte_is_refused(
        steps in steps(), at in any::<prop::sample::Index>(), by in 1u8..=255,
    ) {
        let store = Store::new(&settings(true));
        steps.iter().for_each(|step| perform(&store, step));
        let mut bytes = saved(&store);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        prop_assert!(load(&bytes, true, NOW).is_err());
    }

    /// With right checksums, so that it is the records that are looked at.
    #[test]
    fn no_bytes_make_the_reader_panic(
        head in proptest::collection::vec(any::<u8>(), 0..80), real in any::<bool>(),
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4),
    ) {
        let real_head = saved(&Store::new(&settings(true)));
        let mut bytes = if real { real_head[..12 + 4 + HEAD + 4].to_vec() } else { real_head[..12].to_vec() };
        if !real {
            frame(&mut bytes, &head);
        }
        for mut payload in payloads {
            if let Some(kind) = payload.first_mut() {
                *kind %= 4;
            }
            frame(&mut bytes, &payload);
        }
        let _ = load(&bytes, true, NOW);
    }

    #[test]
    fn nor_does_a_real_file_with_anything_in_its_records(
        steps in steps(), places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let store = Store::new(&settings(true));
        steps.iter().for_each(|step| perform(&store, step));
        let mut bytes = saved(&store);
        for (at, byte) in places {
            let at = 12 + at.index(bytes.len() - 12);
            bytes[at] = byte;
        }
        let _ = load(&with_right_checksums(&bytes), true, NOW);
    }
}

/// Length of the head's payload of a store without a cluster.
const HEAD: usize = 1 + 8 + 8 + 1 + 4 * 8 + 8 + 1 + 1;

fn frame(bytes: &mut Vec<u8>, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
}

/// The frames as their lengths tell them, as far as they go.
fn with_right_checksums(bytes: &[u8]) -> Vec<u8> {
    let (start, mut rest) = bytes.split_at(12);
    let mut made = start.to_vec();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some(payload) = after.get(..length) else { break };
        frame(&mut made, payload);
        rest = after.get(length + 4..).unwrap_or_default();
    }
    made
}

#[test]
fn a_delete_that_the_peer_has_not_heard_of_comes_back_as_one() {
    let store = Store::new(&settings(true));
    let old = put(&store, b"gone", b"old", 0).unwrap();
    store.entry(b"gone", NOW).delete().unwrap();
    let (restored, _) = load(&saved(&store), true, NOW).unwrap();
    let peers = Change::Set {
        key: b"gone",
        value: b"old",
        flags: 0,
        exptime: 0,
        version: old,
        touched: Version::NONE,
        mark: Mark::default(),
        hits: 0,
    };
    restored.merge(&peers, NOW);
    assert_eq!(keys(&restored, NOW), Vec::<Vec<u8>>::new());
    // Without a peer there is nobody to tell.
    let (alone, _) = load(&saved(&store), false, NOW).unwrap();
    assert_eq!(alone.memory_used(), Store::new(&settings(false)).memory_used());
}

#[test]
fn an_item_that_expired_before_the_peer_had_it_ends_the_one_from_before_there() {
    let store = Store::new(&settings(true));
    put(&store, b"k", b"new", NOW.seconds() + 5).unwrap();
    for (file, now) in [
        // It was there when it was saved, or had ended by then.
        (saved(&store), later(10)),
        (
            {
                store.get(b"k", later(10), |_| ());
                saved(&store)
            },
            later(10),
        ),
    ] {
        let (restored, _) = load(&file, true, now).unwrap();
        assert_eq!(keys(&restored, now), Vec::<Vec<u8>>::new());
        let sent = changes(&restored);
        assert!(sent.len() == 1 && sent[0].contains("Delete"), "{sent:?}");
        assert_eq!(restored.forgotten_deletes(), 0);
    }
}

#[test]
fn new_versions_are_newer_than_all_that_were_saved_whatever_the_clock_says() {
    let store = Store::new(&settings(false));
    let last =
        (0..500).map(|number| put(&store, format!("{number}").as_bytes(), b"", 0).unwrap()).max();
    let (restored, _) = load(&saved(&store), false, Now(NOW.0 - 30_000)).unwrap();
    for number in 0..500 {
        let key = format!("new-{number}");
        let mut entry = restored.entry_with_room(key.as_bytes(), 0, Now(NOW.0 - 30_000)).unwrap();
        assert!(Some(entry.put(0, 0, &[])) > last);
    }
}

#[test]
fn a_flush_that_was_to_come_comes_while_nobody_serves() {
    let store = Store::new(&settings(false));
    put(&store, b"k", b"v", 0).unwrap();
    store.flush_at(later(60).0, NOW);
    let file = saved(&store);
    assert_eq!(keys(&load(&file, false, later(59)).unwrap().0, later(59)).len(), 1);
    assert_eq!(keys(&load(&file, false, later(61)).unwrap().0, later(61)).len(), 0);
}

#[test]
fn a_smaller_memory_takes_what_it_can() {
    let store = Store::new(&settings(false));
    for number in 0..100 {
        put(&store, format!("{number}").as_bytes(), &[b'x'; 100_000], 0).unwrap();
    }
    for (evictions, least) in [(true, 5), (false, 5)] {
        let small = Store::new(&Settings { memory: 1 << 20, evictions, ..settings(false) });
        let file = saved(&store);
        let loaded = format::read(&file[..], &small, &profile(), NOW, |_| {}).unwrap();
        assert!(small.memory_used() <= 1 << 20);
        assert!(keys(&small, NOW).len() > least);
        assert_eq!(loaded.dropped > 0, !evictions);
    }
}

#[test]
fn each_refusal_tells_its_reason() {
    let store = Store::new(&settings(false));
    put(&store, b"k", b"v", 0).unwrap();
    let file = saved(&store);
    assert_eq!(reason(b""), "it is no memory file of paircached");
    assert_eq!(reason(b"pairsa"), "it is no memory file of paircached");
    assert_eq!(reason(&[0; 10_000]), "it is no memory file of paircached");
    let mut newer = file.clone();
    newer[8] = 2;
    assert_eq!(reason(&newer), "its format is version 2, and this program reads 1");
    assert_eq!(reason(&file[..file.len() - 1]), "it is damaged: it ends too early");
    assert_eq!(reason(&[&file[..], b"x"].concat()), "it is damaged: something follows its end");
    let mut changed = file.clone();
    changed[40] ^= 1;
    assert_eq!(reason(&changed), "it is damaged: a checksum is wrong");
    let refuse = |profile: &Profile, now| {
        let store = Store::new(&settings(false));
        format::read(&file[..], &store, profile, now, |_| {}).unwrap_err().to_string()
    };
    let smaller = Profile { item_size_max: 1 << 19, ..profile() };
    assert_eq!(
        refuse(&smaller, NOW),
        "it may hold items of 1048576 bytes, more than the 524288 that -I allows"
    );
    assert_eq!(
        refuse(&profile(), Now(NOW.0 - 90_000)),
        "it was saved 90 s after what the clock says now; is the clock right?"
    );
}

#[test]
fn a_pair_takes_what_a_single_node_saved_but_not_what_another_pair_did() {
    let store = Store::new(&settings(true));
    let mut file = Vec::new();
    let named = |name: &str| Profile { cluster: Some(name.to_owned()), ..profile() };
    format::write(&mut file, &store, &named("blue"), Lineage::default(), NOW, |_| {}).unwrap();
    let read = |file: &[u8], profile: &Profile| {
        format::read(file, &Store::new(&settings(true)), profile, NOW, |_| {})
    };
    assert!(read(&file, &named("blue")).is_ok() && read(&file, &profile()).is_ok());
    assert!(read(&saved(&store), &named("blue")).is_ok());
    let refusal = read(&file, &named("green")).unwrap_err().to_string();
    assert_eq!(refusal, "it is of cluster \"blue\", this node belongs to \"green\"");
}

#[test]
fn the_file_is_its_owners_only_and_takes_the_place_of_the_old_one_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let there = || {
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let store = Store::new(&settings(false));
    put(&store, b"k", b"v", 0).unwrap();
    fs::write(&path, "old").unwrap();
    fs::write(dir.path().join("memory.new"), "left behind by a crash").unwrap();
    memory_file::probe(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(
        memory_file::save(&path, &store, &profile(), Lineage::default(), NOW, |_| {}).unwrap(),
        1
    );
    assert_eq!(there(), ["memory"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let fresh = Store::new(&settings(false));
    let found = memory_file::load(&path, &fresh, &profile(), NOW, |_, _| {});
    assert!(matches!(found, Found::Loaded(loaded) if loaded.records == 1));
    memory_file::consume(&path).unwrap();
    assert!(there().is_empty());
    let found = memory_file::load(&path, &fresh, &profile(), NOW, |_, _| {});
    assert!(matches!(found, Found::Nothing));
}

#[test]
fn a_disk_that_is_full_leaves_the_old_file_as_it_was() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let store = Store::new(&settings(false));
    for number in 0..10_000 {
        put(&store, format!("{number}").as_bytes(), &[b'x'; 100], 0).unwrap();
    }
    let written = format::write(Full(1 << 20), &store, &profile(), Lineage::default(), NOW, |_| {});
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    // A directory in the place of the file: the last step fails.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    fs::create_dir(&path).unwrap();
    assert!(memory_file::probe(&path).is_err());
    memory_file::save(&path, &store, &profile(), Lineage::default(), NOW, |_| {}).unwrap_err();
    assert!(path.is_dir() && !dir.path().join("memory.new").exists());
}
