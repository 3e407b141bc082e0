mod keeping;
mod live;
mod merging;
mod model;

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const START: Now = Now(1_800_000_000_000);

fn settings(memory: u64) -> Settings {
    Settings { memory, ..Settings::default() }
}

fn set(
    store: &Store,
    key: &[u8],
    value: &[u8],
    exptime: u32,
    now: Now,
) -> Result<Version, OutOfMemory> {
    Ok(store.entry_with_room(key, value.len(), now)?.put(0, exptime, &[value]))
}

fn get(store: &Store, key: &[u8], now: Now) -> Option<Vec<u8>> {
    match store.get(key, now, |item| item.value().to_vec()) {
        Found::Hit(value) => Some(value),
        _ => None,
    }
}

fn crawl_everything(store: &Store, now: Now) {
    store.crawl_soon();
    (0..10).for_each(|_| store.crawl(now));
}

#[derive(Clone, Debug)]
enum Step {
    Set { key: u8, size: usize, ttl: u32 },
    Delete { key: u8 },
    Touch { key: u8, ttl: u32 },
    Flush,
    FlushIn { seconds: u64 },
    Wait { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![0usize..40, (SHARED_FROM - 3)..(SHARED_FROM + 3)];
    let step = prop_oneof![
        6 => (0u8..20, size, 0u32..4).prop_map(|(key, size, ttl)| Step::Set { key, size, ttl }),
        2 => (0u8..20).prop_map(|key| Step::Delete { key }),
        2 => (0u8..20, 0u32..4).prop_map(|(key, ttl)| Step::Touch { key, ttl }),
        1 => Just(Step::Flush),
        1 => (1u64..4).prop_map(|seconds| Step::FlushIn { seconds }),
        3 => (0u64..1500).prop_map(|ms| Step::Wait { ms }),
    ];
    proptest::collection::vec(step, 1..200)
}

/// The same rules as a map without limits.
#[derive(Default)]
struct Model {
    items: HashMap<u8, (Vec<u8>, u32, u64)>,
    flush_at: Option<u64>,
}

impl Model {
    fn advance(&mut self, now: Now) {
        self.items.retain(|_, (_, exptime, _)| *exptime == 0 || *exptime > now.seconds());
        if let Some(at) = self.flush_at.filter(|&at| now.0 >= at) {
            self.items.retain(|_, (_, _, stored)| *stored >= at);
            self.flush_at = None;
        }
    }
}

proptest! {
    #[test]
    fn the_store_is_a_map_with_expiry_and_flushes(steps in steps()) {
        let store = Store::new(&settings(64 << 20));
        let empty = store.memory_used();
        let mut model = Model::default();
        let mut now = START;
        let exptime = |ttl: u32, now: Now| if ttl == 0 { 0 } else { now.seconds() + ttl };
        for step in steps {
            match step {
                Step::Set { key, size, ttl } => {
                    let value = vec![key; size];
                    set(&store, &[key], &value, exptime(ttl, now), now).unwrap();
                    model.items.insert(key, (value, exptime(ttl, now), now.0));
                }
                Step::Delete { key } => {
                    store.entry(&[key], now).delete();
                    model.items.remove(&key);
                }
                Step::Touch { key, ttl } => {
                    store.entry(&[key], now).touch(exptime(ttl, now));
                    if let Some(item) = model.items.get_mut(&key) {
                        item.1 = exptime(ttl, now);
                    }
                }
                Step::Flush => {
                    store.flush(now);
                    model = Model::default();
                }
                Step::FlushIn { seconds } => {
                    let at = u64::from(now.seconds()) * 1000 + seconds * 1000;
                    store.flush_at(at, now);
                    model.flush_at = Some(at);
                }
                Step::Wait { ms } => now.0 += ms,
            }
            store.tick(now);
            model.advance(now);
            for key in 0..20 {
                let expected = model.items.get(&key).map(|item| item.0.clone());
                prop_assert_eq!(get(&store, &[key], now), expected, "key {}", key);
            }
        }
        store.check();
        store.flush(now);
        crawl_everything(&store, now);
        store.check();
        prop_assert_eq!((store.memory_used(), store.stats(now).total().number), (empty, 0));
        prop_assert_eq!(store.stats(now).total().mem_requested, 0);
    }

    #[test]
    fn memory_never_passes_its_limit_and_there_is_always_room(
        memory in 300_000u64..3_000_000,
        sizes in proptest::collection::vec((any::<u8>(), 0usize..30_000), 1..600),
    ) {
        let store = Store::new(&settings(memory));
        for (key, size) in sizes {
            prop_assert!(set(&store, &[key], &vec![key; size], 0, START).is_ok(), "{} bytes", size);
            prop_assert!(store.memory_used() <= memory);
            prop_assert_eq!(get(&store, &[key], START), Some(vec![key; size]));
        }
        store.check();
    }
}

#[test]
fn an_observer_sees_every_live_item_that_makes_room_and_no_expired_one() {
    use std::sync::atomic::AtomicU64;
    let store = Store::new(&settings(300_000));
    let seen = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&seen);
    store.observe_evictions(Box::new(move |item, now| {
        assert!(item.exptime() == 0 || item.exptime() > now.seconds());
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    let later = Now(START.0 + 10_000);
    for number in 0..10_000u32 {
        let (expiry, now) = if number < 50 { (START.seconds() + 5, START) } else { (0, later) };
        set(&store, format!("key{number}").as_bytes(), b"value", expiry, now).unwrap();
    }
    let total = store.stats(later).total();
    assert!(total.evicted > 500 && total.reclaimed > 0);
    assert_eq!(seen.load(Ordering::Relaxed), total.evicted);
}

#[test]
fn without_evictions_a_full_store_refuses_and_keeps_what_it_has() {
    let store = Store::new(&Settings { evictions: false, ..settings(300_000) });
    let is_stored = |key: &u32| set(&store, &key.to_be_bytes(), &[0; 100], 0, START).is_ok();
    let stored = (0..10_000).take_while(is_stored).count() as u32;
    assert!((1_000..2_500).contains(&stored), "{stored}");
    assert!((0..stored).all(|key| get(&store, &key.to_be_bytes(), START).is_some()));
    (0..stored / 2).for_each(|key| {
        store.entry(&key.to_be_bytes(), START).delete();
    });
    let again = (0..stored / 2).filter(|key| is_stored(&(key + 20_000))).count() as u32;
    assert!(again > stored * 2 / 5, "{again} of {stored}: deleted items make room");
    assert!((stored / 2..stored).all(|key| get(&store, &key.to_be_bytes(), START).is_some()));
    store.check();
}

#[test]
fn what_is_read_survives_what_is_not() {
    let store = Store::new(&settings(1_000_000));
    set(&store, b"wanted", &[0; 100], 0, START).unwrap();
    for number in 0..10_000u32 {
        set(&store, &number.to_be_bytes(), &[0; 100], 0, START).unwrap();
        assert!(get(&store, b"wanted", START).is_some(), "gone after {number} others");
    }
    assert!(store.stats(START).total().evicted > 2_000);
}

#[test]
fn sixty_four_items_of_a_megabyte_fit_nearly_all_into_64_megabytes() {
    let store = Store::new(&settings(64 << 20));
    for key in 0..64u8 {
        set(&store, &[key], &vec![key; 1_000_000], 0, START).unwrap();
    }
    assert_eq!(store.stats(START).total().number, 64);
}

#[test]
fn a_lowered_limit_is_reached_by_and_by() {
    let store = Store::new(&settings(1 << 20));
    for number in 0..10_000u32 {
        set(&store, &number.to_be_bytes(), &[0; 100], 0, START).unwrap();
    }
    store.set_memory_limit(300_000);
    (0..2).for_each(|_| store.tick(START));
    assert!(store.memory_used() <= 300_000);
    store.check();
}

#[test]
fn threads_that_write_at_once_leave_exact_books() {
    let store = Store::new(&settings(1 << 20));
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..20_000u32 {
                    let key = (number * 7 + thread) % 3_000;
                    set(store, &key.to_be_bytes(), &vec![0; (key % 700) as usize], 0, START)
                        .unwrap();
                    if number % 3 == 0 {
                        store.entry(&key.to_be_bytes(), START).delete();
                    }
                }
            });
        }
    });
    assert!(store.memory_used() <= 1 << 20);
    store.check();
    store.flush(START);
    crawl_everything(&store, START);
    store.check();
    assert_eq!(store.stats(START).total().number, 0);
}

#[test]
fn what_meta_commands_leave_on_an_item_reaches_the_peer_and_ends_with_the_next_write() {
    let settings = Settings { tombstone_memory: Some(1 << 20), ..settings(64 << 20) };
    let (here, there) = (Store::new(&settings), Store::new(&settings));
    let now = START;
    for length in [3, SHARED_FROM] {
        let value = vec![b'x'; length];
        let mark = Mark { cas: Some(7), stale: true, won: true, binary: true };
        let mut entry = here.entry_with_room(b"key", length + 8, now).unwrap();
        entry.put_marked(5, 0, &[&value], mark);
        drop(entry);
        for shard in 0..SHARDS {
            let mut walk = Walk::since(Version::NONE);
            while !here.walk(shard, &mut walk, usize::MAX, |change| {
                assert_eq!(there.merge(&change, now), Applied::Accepted);
            }) {}
        }
        for store in [&here, &there] {
            let seen = store.get(b"key", now, |item| {
                (item.mark(), item.cas(), item.value() == value, item.fetched())
            });
            assert_eq!(seen, Found::Hit((mark, 7, true, true)));
        }
        let version = set(&here, b"key", b"new", 0, now).unwrap();
        let seen = here.get(b"key", now, |item| (item.mark(), item.cas()));
        assert_eq!(seen, Found::Hit((Mark::default(), version.raw())));
    }
}

#[test]
fn a_touch_finds_room_for_what_it_moves_just_after_the_limit_was_lowered() {
    let store = Store::new(&settings(80 << 14));
    for number in 0..40_000u32 {
        set(&store, &number.to_be_bytes(), b"v", 0, START).unwrap();
    }
    store.set_memory_limit(20 << 14);
    let has_room = || store.log.budget.fits(store.log.spare());
    assert!(!has_room());
    store.prepare_touch(START);
    assert!(has_room());
}

#[test]
fn what_a_megabyte_stood_in_is_kept_for_the_next_where_the_memory_is_not_small() {
    for (memory, kept) in [(1 << 30, 245 * 4096), (64 << 20, 0)] {
        let store = Store::new(&settings(memory));
        set(&store, b"k", &[7; 1_000_000], 0, START).unwrap();
        assert_eq!(store.log.budget.kept(), 0);
        store.entry(b"k", START).delete();
        assert_eq!(store.log.budget.kept(), kept);
        set(&store, b"k", &[8; 1_000_000], 0, START).unwrap();
        assert_eq!(store.log.budget.kept(), 0);
    }
}
