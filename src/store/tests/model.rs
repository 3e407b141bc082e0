//! The store against a map with the same rules, in memory of a few segments.

use super::*;
use std::collections::BTreeMap;

const KEYS: u8 = 60;

#[derive(Clone, Copy, Debug)]
enum Step {
    Set { key: u8, size: usize, flags: u32, ttl: u32, cas: Option<u64> },
    Land { key: u8, size: usize },
    Arrive { size: usize },
    Join { key: u8, size: usize },
    Delete { key: u8 },
    Touch { key: u8, ttl: u32 },
    Read { key: u8 },
    Number { key: u8 },
    Flush,
    Limit { segments: u64 },
    Wait { ms: u64 },
    Tick,
    Hold { key: u8 },
}

/// Sizes around all that matters: nothing, gaps of every kind, blocks, pages.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0usize..40,
        4 => 0usize..2_100,
        1 => 2_040usize..2_060,
        1 => 4_090usize..4_100,
        1 => 16_380usize..16_390,
        1 => 0usize..60_000,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    let set = (key.clone(), size(), 0u32..3, 0u32..4, proptest::option::weighted(0.2, 1u64..9));
    prop_oneof![
        20 => set.prop_map(|(key, size, flags, ttl, cas)| Step::Set { key, size, flags, ttl, cas }),
        5 => (key.clone(), size()).prop_map(|(key, size)| Step::Land { key, size }),
        2 => size().prop_map(|size| Step::Arrive { size }),
        3 => (key.clone(), 0usize..5_000).prop_map(|(key, size)| Step::Join { key, size }),
        4 => key.clone().prop_map(|key| Step::Delete { key }),
        3 => (key.clone(), 0u32..4).prop_map(|(key, ttl)| Step::Touch { key, ttl }),
        5 => key.clone().prop_map(|key| Step::Read { key }),
        2 => key.clone().prop_map(|key| Step::Number { key }),
        1 => Just(Step::Flush),
        1 => (14u64..60).prop_map(|segments| Step::Limit { segments }),
        3 => (0u64..900).prop_map(|ms| Step::Wait { ms }),
        2 => Just(Step::Tick),
        1 => key.prop_map(|key| Step::Hold { key }),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    value: Vec<u8>,
    flags: u32,
    exptime: u32,
    cas: Option<u64>,
}

/// One store and what it should hold.
struct Tested {
    store: Store,
    model: BTreeMap<u8, Held>,
    now: Now,
    /// Replies on their way out, with what they must say.
    replies: Vec<(bytes::Bytes, Vec<u8>)>,
    /// Values that will never come.
    arriving: Vec<Landing>,
    writes: u8,
}

impl Tested {
    fn exptime(&self, ttl: u32) -> u32 {
        if ttl == 0 { 0 } else { self.now.seconds() + ttl }
    }

    fn key(number: u8) -> Vec<u8> {
        vec![b'k'; 1 + usize::from(number) * 4].into_iter().chain([number]).collect()
    }

    /// Writes, and says whether there was room.
    fn put(&mut self, key: u8, held: Held, may_refuse: bool) {
        let name = Tested::key(key);
        match self.store.entry_with_room(&name, held.value.len(), self.now) {
            Ok(mut entry) => {
                let mark = Mark { cas: held.cas, ..Mark::default() };
                let (first, second) = held.value.split_at(held.value.len() / 3);
                entry.put_marked(held.flags, held.exptime, &[first, second], mark);
                assert!(entry.item().is_some(), "written without the room for it");
                drop(entry);
                self.model.insert(key, held);
            }
            Err(OutOfMemory) => assert!(may_refuse, "no room for {} bytes", held.value.len()),
        }
    }

    /// Writes a value that was read to its place, if there was one.
    fn land(&mut self, key: u8, value: Vec<u8>) {
        let Some(mut landing) = self.store.landing(value.len(), self.now) else { return };
        landing.spare().copy_from_slice(&value);
        landing.fill(value.len());
        let name = Tested::key(key);
        let written = landing.hand_over(|value| {
            let key = self.store.hashed(&name);
            let mut entry = self.store.entry_for(key, value.len(), (0, 0), self.now)?;
            entry.put(0, 0, &[value]);
            assert!(entry.item().is_some_and(|item| item.value().as_ptr() == value.as_ptr()));
            Ok::<_, OutOfMemory>(())
        });
        if written.is_ok() {
            self.model.insert(key, Held { value, flags: 0, exptime: 0, cas: None });
        }
    }

    fn step(&mut self, step: Step, may_refuse: bool) {
        let now = self.now;
        self.writes = self.writes.wrapping_add(1);
        match step {
            Step::Set { key, size, flags, ttl, cas } => {
                let value = vec![self.writes; size];
                let exptime = self.exptime(ttl);
                self.put(key, Held { value, flags, exptime, cas }, may_refuse);
            }
            Step::Land { key, size } => self.land(key, vec![self.writes; size]),
            Step::Arrive { size } => {
                self.arriving.extend(self.store.landing(size, now));
                if self.arriving.len() > 2 {
                    self.arriving.remove(0);
                }
            }
            Step::Join { key, size } => {
                let name = Tested::key(key);
                let addition = vec![self.writes; size];
                let Ok(mut entry) = self.store.entry_to_join(&name, size, now) else {
                    return assert!(may_refuse);
                };
                let Some(item) = entry.item() else { return };
                let old = item.value().to_vec();
                let (flags, exptime) = (item.flags(), item.exptime());
                entry.put(flags, exptime, &[&old, &addition]);
                assert!(entry.item().is_some(), "joined without the room for it");
                let value = [old, addition].concat();
                self.model.insert(key, Held { value, flags, exptime, cas: None });
            }
            Step::Delete { key } => {
                self.store.entry(&Tested::key(key), now).delete();
                self.model.remove(&key);
            }
            Step::Touch { key, ttl } => {
                let exptime = self.exptime(ttl);
                let name = Tested::key(key);
                self.store.prepare_touch(now);
                let Found::Hit(mut entry) = self.store.seek(&name, now) else { return };
                entry.touch(exptime);
                assert!(entry.item().is_some(), "touched without the room for it");
                self.model.entry(key).and_modify(|held| held.exptime = exptime);
            }
            Step::Read { key } => {
                get(&self.store, &Tested::key(key), now);
            }
            Step::Number { key } => {
                // As incr does it: the same width is written in place, without asking for room.
                let name = Tested::key(key);
                let mut entry = self.store.entry(&name, now);
                let Some(item) = entry.item() else { return };
                let value = vec![self.writes; item.value().len()];
                if value.len() < 20 {
                    let (flags, exptime) = (item.flags(), item.exptime());
                    entry.put(flags, exptime, &[&value]);
                    self.model.insert(key, Held { value, flags, exptime, cas: None });
                }
            }
            Step::Flush => {
                self.store.flush(now);
                self.model.clear();
            }
            Step::Limit { segments } => self.store.set_memory_limit(segments * 16 * 1024),
            Step::Wait { ms } => self.now.0 += ms,
            Step::Tick => self.store.tick(now),
            Step::Hold { key } => {
                let reply = |item: Item<'_>| match item.payload() {
                    Payload::Small(_) => None,
                    Payload::Shared(bytes) => Some((bytes, item.value().to_vec())),
                };
                if let Found::Hit(reply) = self.store.get(&Tested::key(key), now, reply) {
                    self.replies.extend(reply);
                }
                if self.replies.len() > 2 {
                    self.replies.remove(0);
                }
            }
        }
    }

    /// Everything found is what was written last; unless something had to go, all of it is found.
    fn compare(&mut self) {
        let now = self.now;
        self.model.retain(|_, held| held.exptime == 0 || held.exptime > now.seconds());
        let may_miss = self.store.stats(now).total().evicted > 0;
        for key in 0..KEYS {
            let name = Tested::key(key);
            let entry = self.store.entry(&name, now);
            let found = entry.item().map(|item| Held {
                value: item.value().to_vec(),
                flags: item.flags(),
                exptime: item.exptime(),
                cas: item.mark().cas,
            });
            let expected = self.model.get(&key);
            assert!(found.as_ref() == expected || found.is_none() && may_miss, "key {key}");
            if found.is_none() {
                self.model.remove(&key);
            }
        }
        assert!(self.replies.iter().all(|(reply, value)| reply == value), "a reply has changed");
    }
}

fn run(settings: &Settings, steps: Vec<Step>) {
    let mut tested = Tested {
        store: Store::new(settings),
        model: BTreeMap::new(),
        now: START,
        replies: Vec::new(),
        arriving: Vec::new(),
        writes: 0,
    };
    for (number, step) in steps.into_iter().enumerate() {
        // Below what is held no limit helps where nothing may go.
        if settings.evictions || !matches!(step, Step::Limit { .. }) {
            tested.step(step, !settings.evictions);
        }
        if number % 16 == 0 {
            tested.compare();
            tested.replies.clear();
            tested.store.check();
        }
    }
    tested.compare();
    tested.replies.clear();
    tested.store.check();
}

proptest! {
    #[test]
    fn what_is_found_is_what_was_written_last_however_little_memory_there_is(
        steps in proptest::collection::vec(step(), 1..400), segments in 16u64..80,
    ) {
        run(&settings(segments * 16 * 1024), steps);
    }

    #[test]
    fn without_evictions_nothing_is_ever_lost(
        steps in proptest::collection::vec(step(), 1..400), segments in 20u64..80,
    ) {
        run(&Settings { evictions: false, ..settings(segments * 16 * 1024) }, steps);
    }

    #[test]
    fn the_same_holds_with_a_peer_that_must_hear_of_everything(
        steps in proptest::collection::vec(step(), 1..300), segments in 24u64..80,
    ) {
        run(&Settings { tombstone_memory: Some(1 << 20), ..settings(segments * 16 * 1024) }, steps);
    }
}
