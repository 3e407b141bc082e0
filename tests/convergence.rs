//! Two real cores over a simulated connection: whatever is written, cut, lost and restarted, in the
//! end both nodes hold the same, and nothing that was deleted or overwritten comes back.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bytes::BytesMut;
use paircached::memory_file::format;
use paircached::memory_file::{Loaded, Profile};
use paircached::replication::frame::{self, Kind};
use paircached::replication::hello::Hello;
use paircached::replication::session::{Clients, Resync, Session};
use paircached::replication::{Memory, Restored};
use paircached::store::{Change, Mark, Node, Now, SHARDS, Settings, Store, Version, Walk};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const START: u64 = 1_800_000_000_000;
const WINDOW: u64 = 1 << 20;

struct Simulated {
    store: Arc<Store>,
    settings: Settings,
    node: Node,
    incarnation: u64,
    /// Oldest and newest version of the protocol that its program speaks.
    protocol: (u8, u8),
    memory: Memory,
    session: Option<Session>,
    /// Bytes on their way to this node.
    input: BytesMut,
}

impl Simulated {
    fn new(node: Node, settings: &Settings) -> Simulated {
        let store = Arc::new(Store::new(settings));
        store.set_node(node);
        Simulated {
            store,
            settings: settings.clone(),
            node,
            incarnation: if node == Node::A { 10 } else { 20 },
            protocol: Hello::protocol(),
            memory: Memory::default(),
            session: None,
            input: BytesMut::new(),
        }
    }

    fn hello(&self, now: Now) -> Hello {
        Hello {
            protocol: self.protocol,
            node: self.node,
            node_fixed: true,
            incarnation: self.incarnation,
            clock: now.0,
            seen_incarnation: self.memory.peer_incarnation,
            seen_batch: self.memory.applied_batch,
            window: WINDOW,
            item_size_max: self.settings.item_size_max,
            cluster: String::new(),
            seen_before: (self.protocol.1 > 1).then_some(self.memory.peer_before),
            restored_from: self.memory.restored.map_or(0, |restored| restored.lineage.incarnation),
        }
    }

    fn start(&mut self, peer: &Hello, now: Now) {
        let ours = self.hello(now);
        let memory = std::mem::take(&mut self.memory);
        let store = Arc::clone(&self.store);
        self.session = Some(Session::start(store, Clients::default(), memory, &ours, peer, now));
    }

    fn cut(&mut self) {
        self.input.clear();
        if let Some(session) = self.session.take() {
            self.memory = session.end();
        }
    }

    fn restart(&mut self) {
        let (incarnation, protocol) = (self.incarnation + 1, self.protocol);
        *self = Simulated { incarnation, protocol, ..Simulated::new(self.node, &self.settings) };
    }

    /// Stops gracefully and starts again with what it held; its last words are lost.
    fn reload(&mut self, now: Now) {
        let acknowledged = self.session.as_mut().is_some_and(|session| {
            session.produce(&mut Vec::new(), now, false).unwrap();
            session.is_drained()
        });
        self.cut();
        let file = self.save(acknowledged, now);
        self.restart();
        self.load(&file, now);
    }

    fn profile(&self) -> Profile {
        Profile { item_size_max: self.settings.item_size_max, cluster: Some(String::new()) }
    }

    fn save(&self, acknowledged: bool, now: Now) -> Vec<u8> {
        let mut file = Vec::new();
        let lineage = self.memory.lineage(self.incarnation, acknowledged);
        format::write(&mut file, &self.store, &self.profile(), lineage, now, |_| {}).unwrap();
        file
    }

    fn load(&mut self, file: &[u8], now: Now) {
        let loaded = format::read(file, &self.store, &self.profile(), now, |_| {}).unwrap();
        assert_eq!(loaded.node, self.node);
        let Loaded { lineage, newest, .. } = loaded;
        self.memory = Memory::restored(Restored { lineage, newest, stale: false });
    }

    /// Everything it holds.
    fn contents(&self) -> BTreeMap<Vec<u8>, (Vec<u8>, Version, u32)> {
        let mut contents = BTreeMap::new();
        for shard in 0..SHARDS {
            let mut walk = Walk::since(Version::NONE);
            while !self.store.walk(shard, &mut walk, usize::MAX, |change| {
                if let Change::Set { key, value, version, exptime, .. } = change {
                    contents.insert(key.to_vec(), (value.to_vec(), version, exptime));
                }
            }) {}
        }
        contents
    }
}

struct Pair {
    nodes: [Simulated; 2],
    now: Now,
    connected: bool,
    /// The newest write of each key anywhere: its value, or that it was deleted.
    newest: BTreeMap<Vec<u8>, (Version, Option<Vec<u8>>)>,
    /// Everything before was flushed.
    flushed: Version,
    writes: u64,
}

impl Pair {
    fn new(settings: &Settings) -> Pair {
        Pair {
            nodes: [Simulated::new(Node::A, settings), Simulated::new(Node::B, settings)],
            now: Now(START),
            connected: false,
            newest: BTreeMap::new(),
            flushed: Version::NONE,
            writes: 0,
        }
    }

    fn connect(&mut self) {
        if self.connected {
            return;
        }
        self.connected = true;
        let hellos = [self.nodes[0].hello(self.now), self.nodes[1].hello(self.now)];
        self.nodes[0].start(&hellos[1], self.now);
        self.nodes[1].start(&hellos[0], self.now);
    }

    fn cut(&mut self) {
        self.connected = false;
        self.nodes.iter_mut().for_each(Simulated::cut);
    }

    /// Lets one node say something, of which `share` percent arrive at the other before a cut could
    /// come; the rest is on its way.
    fn talk(&mut self, from: usize, share: usize) {
        if !self.connected {
            return;
        }
        let (now, mut out) = (self.now, Vec::new());
        let [a, b] = &mut self.nodes;
        let (speaker, listener) = if from == 0 { (a, b) } else { (b, a) };
        speaker.session.as_mut().unwrap().produce(&mut out, now, false).unwrap();
        let before = listener.input.len();
        listener.input.extend_from_slice(&out);
        let mut rest = listener.input.split_off(before + out.len() * share / 100);
        listener.session.as_mut().unwrap().receive(&mut listener.input, now).unwrap();
        std::mem::swap(&mut rest, &mut listener.input);
        // What had not arrived as a whole frame stays in front of what comes.
        rest.extend_from_slice(&listener.input);
        listener.input = rest;
    }

    fn settle(&mut self) {
        self.connect();
        let settled = |node: &Simulated| {
            node.session
                .as_ref()
                .is_some_and(|session| session.is_in_sync() && session.is_drained())
        };
        for _ in 0..10_000 {
            self.now.0 += 1;
            self.talk(0, 100);
            self.talk(1, 100);
            if self.nodes.iter().all(settled) && self.nodes.iter().all(|node| node.input.is_empty())
            {
                return;
            }
        }
        panic!("they never settle");
    }

    /// Lets both compare all they hold, as they do in the background; how many keys each compared, and
    /// how many of them differed.
    fn compare(&mut self) -> [(u64, u64); 2] {
        for _ in 0..2 {
            self.now.0 += 1_100;
            for _ in 0..2 {
                self.talk(0, 100);
                self.talk(1, 100);
            }
        }
        [0, 1].map(|node| {
            let (checked, differing) = self.nodes[node].session.as_ref().unwrap().compared();
            (checked, differing.unwrap_or(0))
        })
    }

    fn write(&mut self, node: usize, key: u8, deleted: bool, size: usize) {
        self.writes += 1;
        let store = Arc::clone(&self.nodes[node].store);
        let key = vec![b'k', key];
        if deleted {
            let version = store.entry(&key, self.now).delete();
            if let Some(version) = version {
                self.note(key, version, None);
            }
            return;
        }
        let value = format!("{}-{}", self.writes, "x".repeat(size)).into_bytes();
        let Ok(mut entry) = store.entry_with_room(&key, value.len(), self.now) else { return };
        let version = entry.put(0, 0, &[&value]);
        drop(entry);
        self.note(key, version, Some(value));
    }

    fn note(&mut self, key: Vec<u8>, version: Version, value: Option<Vec<u8>>) {
        if self.newest.get(&key).is_none_or(|newest| version > newest.0) {
            self.newest.insert(key, (version, value));
        }
    }

    fn step(&mut self, step: &Step) {
        self.now.0 += step.pause;
        let node = step.node;
        match step.action {
            Action::Set { key, size } => self.write(node, key, false, size),
            Action::Delete { key } => self.write(node, key, true, 0),
            Action::Touch { key, seconds } => {
                let exptime = self.now.seconds() + seconds;
                self.nodes[node].store.entry(&[b'k', key], self.now).touch(exptime);
            }
            Action::Flush => {
                let store = &self.nodes[node].store;
                store.flush(self.now);
                self.flushed = self.flushed.max(store.flush_state().horizon);
            }
            Action::Talk { share } => self.talk(node, share),
            Action::Connect => self.connect(),
            Action::Cut => self.cut(),
            Action::Restart => {
                self.cut();
                self.nodes[node].restart();
            }
            Action::Reload => {
                self.nodes[node].reload(self.now);
                self.cut();
            }
        }
    }

    /// Nothing that a node holds is older than the newest write of that key.
    fn nobody_lies(&self) {
        for node in &self.nodes {
            for (key, (value, version, _)) in node.contents() {
                let (newest, expected) = &self.newest[&key];
                assert!(version >= self.flushed, "{key:?} was flushed");
                let same = (&version, Some(&value)) == (newest, expected.as_ref());
                assert!(same, "{key:?} of {version:?} is older than {newest:?}");
            }
        }
    }

    fn both_hold_the_same(&mut self) {
        assert_eq!(self.nodes[0].contents(), self.nodes[1].contents());
        self.nothing_is_said_to_differ();
    }

    fn nothing_is_said_to_differ(&mut self) {
        assert_eq!(self.compare().map(|(_, differing)| differing), [0, 0]);
    }
}

#[derive(Clone, Debug)]
enum Action {
    Set { key: u8, size: usize },
    Delete { key: u8 },
    Touch { key: u8, seconds: u32 },
    Flush,
    Talk { share: usize },
    Connect,
    Cut,
    Restart,
    Reload,
}

#[derive(Clone, Debug)]
struct Step {
    node: usize,
    pause: u64,
    action: Action,
}

fn steps(keys: u8, size: usize, restarts: u32) -> impl Strategy<Value = Vec<Step>> {
    let action = prop_oneof![
        12 => (0..keys, 0..size).prop_map(|(key, size)| Action::Set { key, size }),
        6 => (0..keys).prop_map(|key| Action::Delete { key }),
        2 => (0..keys, 10_000u32..20_000).prop_map(|(key, seconds)| Action::Touch { key, seconds }),
        1 => Just(Action::Flush),
        12 => (0usize..=100).prop_map(|share| Action::Talk { share }),
        3 => Just(Action::Connect),
        2 => Just(Action::Cut),
        1 => Just(Action::Reload),
        restarts => Just(Action::Restart),
    ];
    let step = (0usize..2, 0u64..3, action);
    let step = step.prop_map(|(node, pause, action)| Step { node, pause, action });
    proptest::collection::vec(step, 1..150)
}

fn settings(memory: u64, tombstones: u64) -> Settings {
    Settings { memory, tombstone_memory: Some(tombstones), ..Settings::default() }
}

proptest! {
    #[test]
    fn after_any_cuts_both_hold_every_newest_value(steps in steps(12, 20, 0)) {
        let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
        steps.iter().for_each(|step| pair.step(step));
        pair.settle();
        pair.both_hold_the_same();
        pair.nobody_lies();
        pair.nothing_is_said_to_differ();
        let held = pair.nodes[0].contents();
        for (key, (version, value)) in &pair.newest {
            if value.is_some() && *version > pair.flushed {
                prop_assert!(held.contains_key(key), "{key:?} is missing");
            }
        }
    }

    #[test]
    fn without_room_for_tombstones_keys_are_forgotten_but_never_come_back(steps in steps(200, 20, 0)) {
        let mut pair = Pair::new(&settings(64 << 20, 0));
        steps.iter().for_each(|step| pair.step(step));
        pair.settle();
        pair.nobody_lies();
        pair.nothing_is_said_to_differ();
    }

    #[test]
    fn with_little_memory_values_are_evicted_but_never_stale(steps in steps(12, 90_000, 0)) {
        let mut pair = Pair::new(&settings(400_000, 100_000));
        steps.iter().for_each(|step| pair.step(step));
        pair.settle();
        pair.nobody_lies();
        pair.nothing_is_said_to_differ();
    }

    #[test]
    fn a_node_that_lost_everything_is_filled(steps in steps(12, 20, 2)) {
        let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
        steps.iter().for_each(|step| pair.step(step));
        pair.settle();
        pair.both_hold_the_same();
    }
}

#[test]
fn a_node_of_the_older_protocol_gets_along_and_has_a_miss_where_a_mark_would_be_lost() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    pair.nodes[1].protocol = (1, 1);
    let store = Arc::clone(&pair.nodes[0].store);
    for (key, stale) in [(b"k1", true), (b"k2", false)] {
        let mark = Mark { stale, ..Mark::default() };
        let mut entry = store.entry_with_room(key, 5, pair.now).unwrap();
        entry.put_marked(0, 0, &[b"value"], mark);
    }
    pair.settle();
    assert_eq!(pair.nodes[1].contents().keys().collect::<Vec<_>>(), [b"k2"]);
    // What it had before the mark is gone too.
    let mark = Mark { stale: true, ..Mark::default() };
    store.entry_with_room(b"k2", 5, pair.now).unwrap().put_marked(0, 0, &[b"value"], mark);
    pair.settle();
    assert_eq!(pair.nodes[1].contents().len(), 0);
    assert_eq!(pair.nodes[0].contents().len(), 2);
    // Once it is upgraded, that is restarted, it is given everything.
    pair.cut();
    pair.nodes[1].protocol = Hello::protocol();
    pair.nodes[1].restart();
    pair.settle();
    pair.both_hold_the_same();
}

#[test]
fn more_writes_than_a_ring_holds_are_all_replicated() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    pair.settle();
    for number in 0..400_000u32 {
        let key = (number % 100_000).to_string();
        let mut entry = pair.nodes[0].store.entry_with_room(key.as_bytes(), 10, pair.now).unwrap();
        entry.put(0, 0, &[number.to_string().as_bytes()]);
    }
    let why = |pair: &Pair| pair.nodes[0].session.as_ref().unwrap().why_behind();
    assert_eq!(why(&pair), "");
    pair.talk(0, 100);
    assert!(why(&pair).starts_with("more was written at once"), "{}", why(&pair));
    for _ in 0..1_000 {
        pair.talk(0, 100);
        pair.talk(1, 100);
    }
    pair.settle();
    assert_eq!(why(&pair), "");
    assert_eq!(pair.nodes[1].contents().len(), 100_000);
    pair.both_hold_the_same();
}

#[test]
fn a_key_that_both_have_and_not_alike_is_found_and_one_that_only_one_has_is_not() {
    let mut pair = Pair::new(&settings(16 << 20, 1 << 20));
    for key in 0..20 {
        pair.write(usize::from(key % 2), key, false, 10);
    }
    pair.settle();
    let held = pair.nodes[0].contents();
    assert_eq!(pair.compare().map(|(_, differing)| differing), [0, 0]);
    let mut items = held.iter();
    let (only_one, (_, gone, _)) = items.next().unwrap();
    let store = Arc::clone(&pair.nodes[0].store);
    let later = |version: &Version| Version::from_raw(version.raw() + (1 << 22));
    store.merge(&Change::Delete { key: only_one, version: later(gone) }, pair.now);
    let (key, (_, version, _)) = items.next().unwrap();
    // As if it had been written by the node itself, and lost on its way.
    let version = later(version);
    let (flags, exptime, touched, mark) = (0, 0, Version::NONE, Mark::default());
    let (value, hits) = (&b"other"[..], 0);
    let change = Change::Set { key, value, flags, exptime, version, touched, mark, hits };
    store.merge(&change, pair.now);
    let [one, other] = pair.compare();
    assert_eq!((one.1, other.1), (1, 1));
    assert!(one.0 >= 19 && other.0 >= 19, "{one:?} {other:?}");
}

#[test]
fn what_a_slow_clock_writes_is_taken_by_a_peer_that_forgot_what_it_had_deleted() {
    const AHEAD: u64 = 30_000;
    let mut pair = Pair::new(&settings(64 << 20, 0));
    (0..20).for_each(|key| pair.write(0, key, false, 10));
    pair.settle();
    pair.cut();
    pair.now.0 += AHEAD;
    (0..20).for_each(|key| pair.write(0, key, true, 0));
    pair.now.0 -= AHEAD;
    pair.settle();
    assert!(pair.nodes[0].store.tombstone_floor().milliseconds() >= pair.now.0 + AHEAD / 2);
    (0..20).for_each(|key| pair.write(1, key, false, 10));
    pair.settle();
    pair.both_hold_the_same();
    pair.nobody_lies();
    assert_eq!(pair.nodes[0].contents().len(), 20);
}

#[test]
fn what_was_written_before_a_doubt_was_heard_of_is_not_lost_to_what_is_older() {
    const AHEAD: u64 = 30_000;
    let mut pair = Pair::new(&settings(64 << 20, 0));
    pair.nodes[1] = Simulated::new(Node::B, &settings(64 << 20, 1 << 20));
    (0..20).for_each(|key| pair.write(0, key, false, 10));
    pair.settle();
    pair.cut();
    pair.now.0 += AHEAD;
    (1..20).for_each(|key| pair.write(0, key, true, 0));
    pair.now.0 -= AHEAD;
    pair.connect();
    (0..2).for_each(|from| pair.talk(from, 100));
    // On its way: that all is in doubt up to a time that has not come for the other.
    pair.talk(0, 0);
    pair.write(1, 0, false, 10);
    pair.talk(1, 100);
    pair.settle();
    pair.both_hold_the_same();
    pair.nobody_lies();
    assert_eq!(pair.nodes[0].contents().len(), 1);
}

#[test]
fn a_cut_costs_what_changed() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    for key in 0..200 {
        pair.write(0, key, false, 1_000);
        pair.write(1, key, false, 1_000);
    }
    pair.settle();
    pair.cut();
    pair.write(0, 7, false, 1_000);
    pair.connect();
    pair.talk(1, 100);
    let mut out = Vec::new();
    pair.nodes[0].session.as_mut().unwrap().produce(&mut out, pair.now, false).unwrap();
    assert!((1_000..3_000).contains(&out.len()), "{} bytes", out.len());
}

#[test]
fn a_node_that_is_filled_gets_what_is_used_most_first_and_learns_how_often_it_was_used() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    for key in 0..200 {
        pair.write(0, key, false, 1_000);
    }
    let hot = [3u8, 77, 150].map(|key| vec![b'k', key]);
    let store = Arc::clone(&pair.nodes[0].store);
    for key in &hot {
        (0..3).for_each(|_| store.entry(key, pair.now).mark_read());
    }
    pair.now.0 += 5_000;
    pair.connect();
    pair.talk(1, 100);
    let mut out = Vec::new();
    pair.nodes[0].session.as_mut().unwrap().produce(&mut out, pair.now, false).unwrap();
    let (mut first, mut rest) = (Vec::new(), &out[..]);
    while let Some((kind, mut payload, length)) = frame::read(rest, 1 << 20).unwrap() {
        rest = &rest[length..];
        if kind == Kind::Batch {
            payload = &payload[8..];
            while let Ok(Change::Set { key, hits, .. }) = frame::read_change(&mut payload, 2) {
                first.push((key.to_vec(), hits));
            }
        }
    }
    let (mut begin, others) = (first[..3].to_vec(), &first[3..]);
    begin.sort();
    let hot_keys = hot.clone();
    assert_eq!(begin, hot.map(|key| (key, 3)));
    assert!(!others.is_empty() && others.iter().all(|(_, hits)| *hits == 0), "{others:?}");
    // What becomes hot while it lasts is not passed over, though the round of hot ones is over.
    assert!(first.len() < 150, "{} of 200 were sent at once", first.len());
    for key in 0..200 {
        (0..3).for_each(|_| store.entry(&[b'k', key], pair.now).mark_read());
    }
    pair.nodes[1].input.extend_from_slice(&out);
    pair.settle();
    pair.both_hold_the_same();
    let mut hits = BTreeMap::new();
    for shard in 0..SHARDS {
        let mut walk = Walk::since(Version::NONE);
        while !pair.nodes[1].store.walk(shard, &mut walk, usize::MAX, |change| {
            if let Change::Set { key, hits: used, .. } = change {
                hits.insert(key.to_vec(), used);
            }
        }) {}
    }
    assert_eq!(hits.len(), 200);
    assert!(hot_keys.iter().all(|key| hits[key] == 3), "{hits:?}");
}

#[test]
fn after_a_cut_with_few_changes_nothing_is_looked_for_and_after_one_with_many_it_is() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    for key in 0..200 {
        pair.write(0, key, false, 10);
    }
    pair.settle();
    // The first half arrives, and its acknowledgement is lost with the link: the greeting tells.
    for key in 0..50 {
        pair.write(0, key, key % 2 == 0, 10);
        if key == 25 {
            pair.talk(0, 100);
        }
    }
    pair.cut();
    pair.write(1, 60, false, 10);
    pair.connect();
    let walked = |pair: &Pair| {
        pair.nodes.each_ref().map(|node| node.session.as_ref().unwrap().shards_to_walk())
    };
    assert_eq!(walked(&pair), [0, 0]);
    let in_sync =
        |pair: &Pair| pair.nodes.each_ref().map(|node| node.session.as_ref().unwrap().is_in_sync());
    assert_eq!(in_sync(&pair), [false, false]);
    pair.settle();
    pair.both_hold_the_same();
    let sent = pair.nodes.each_mut().map(|node| node.session.as_mut().unwrap().take_counts().0);
    assert_eq!(sent, [24, 1]);
    // More than the streams hold.
    pair.cut();
    for number in 0..600_000u32 {
        let key = (number % 1_000).to_be_bytes();
        let mut entry = pair.nodes[0].store.entry_with_room(&key, 4, pair.now).unwrap();
        entry.put(0, 0, &[&number.to_be_bytes()]);
    }
    pair.connect();
    assert!(walked(&pair)[0] > 0 && walked(&pair)[1] == 0, "{:?}", walked(&pair));
    pair.settle();
    pair.both_hold_the_same();
}

#[test]
fn a_node_that_comes_back_with_what_it_had_costs_what_changed() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    for key in 0..200 {
        pair.write(usize::from(key % 2), key, false, 10);
    }
    pair.settle();
    pair.step(&Step { node: 0, pause: 1, action: Action::Reload });
    // What both do while they are apart.
    pair.write(1, 7, false, 10);
    pair.write(1, 8, true, 0);
    pair.write(0, 9, false, 10);
    pair.settle();
    pair.both_hold_the_same();
    for (node, sent) in pair.nodes.iter_mut().zip([1, 2]) {
        let session = node.session.as_mut().unwrap();
        assert_eq!((session.resync(), session.take_counts().0), (Resync::Delta, sent));
    }
    let resyncs = |pair: &mut Pair| {
        pair.settle();
        pair.both_hold_the_same();
        pair.nodes.each_ref().map(|node| node.session.as_ref().unwrap().resync())
    };
    // Which of its writes arrived is not known of one whose last words were lost.
    pair.write(0, 10, false, 10);
    pair.step(&Step { node: 0, pause: 1, action: Action::Reload });
    assert_eq!(resyncs(&mut pair), [Resync::Full, Resync::Delta]);
    for node in [0, 1] {
        pair.step(&Step { node, pause: 1, action: Action::Reload });
    }
    // The second was alone when it stopped.
    assert_eq!(resyncs(&mut pair), [Resync::Delta, Resync::Full]);
    // One that is killed has nothing.
    pair.step(&Step { node: 1, pause: 1, action: Action::Restart });
    assert_eq!(resyncs(&mut pair), [Resync::Full; 2]);
}

#[test]
fn what_a_node_wrote_before_it_was_killed_is_not_sent_back_after_the_next_cut() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    for key in 0..200 {
        pair.write(usize::from(key % 2), key, false, 10);
    }
    pair.settle();
    pair.step(&Step { node: 0, pause: 1, action: Action::Restart });
    pair.cut();
    pair.settle();
    pair.cut();
    pair.write(0, 7, false, 10);
    pair.write(1, 8, false, 10);
    pair.settle();
    pair.both_hold_the_same();
    let sent = pair.nodes.each_mut().map(|node| node.session.as_mut().unwrap().take_counts().0);
    assert_eq!(sent, [1, 1]);
}

#[test]
fn a_file_that_was_overtaken_stays_so_through_another_stop() {
    for connects in [false, true] {
        let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
        for key in 0..20 {
            pair.write(0, key, false, 10);
        }
        pair.settle();
        let old = pair.nodes[0].save(true, pair.now);
        pair.cut();
        pair.nodes[0].restart();
        pair.settle();
        for key in 0..10 {
            pair.write(0, key, true, 0);
        }
        pair.settle();
        // It is killed, the old file is put back, and it is stopped before that came to light.
        pair.cut();
        pair.nodes[0].restart();
        pair.nodes[0].load(&old, pair.now);
        if connects {
            pair.connect();
        }
        pair.step(&Step { node: 0, pause: 1, action: Action::Reload });
        pair.settle();
        pair.nobody_lies();
        pair.both_hold_the_same();
        assert_eq!(pair.nodes[0].contents().len(), 10);
    }
}

#[test]
fn what_another_node_acknowledged_is_not_taken_for_ours() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    pair.settle();
    pair.write(0, 1, false, 10);
    pair.talk(0, 0);
    pair.cut();
    // Between the two links the peer was linked to somebody who had sent it much more.
    pair.nodes[1].memory.peer_incarnation = 999;
    pair.nodes[1].memory.applied_batch = u64::MAX;
    pair.settle();
    pair.both_hold_the_same();
    assert_eq!(pair.nodes[1].contents().len(), 1);
}

#[test]
fn a_node_that_only_received_sends_nothing_back_after_a_cut() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    pair.connect();
    (0..200).for_each(|key| pair.write(0, key, false, 1_000));
    pair.settle();
    pair.cut();
    pair.connect();
    pair.talk(0, 100);
    let mut out = Vec::new();
    pair.nodes[1].session.as_mut().unwrap().produce(&mut out, pair.now, false).unwrap();
    assert!(out.len() < 1_000, "{} bytes", out.len());
}

#[test]
fn a_value_too_large_for_the_peer_ends_what_the_peer_had_and_not_the_link() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    pair.nodes[1] =
        Simulated::new(Node::B, &Settings { item_size_max: 10_000, ..settings(64 << 20, 0) });
    pair.write(0, 1, false, 10);
    pair.settle();
    assert_eq!(pair.nodes[1].contents().len(), 1);
    pair.write(0, 1, false, 1_000_000);
    pair.write(0, 2, false, 10);
    pair.settle();
    assert_eq!(pair.nodes[1].contents().keys().collect::<Vec<_>>(), [&vec![b'k', 2]]);
}

#[test]
fn a_value_of_every_size_arrives() {
    let mut pair = Pair::new(&settings(64 << 20, 1 << 20));
    pair.connect();
    for (key, size) in [0, 1, 16_383, 16_384, 32_768, 131_072, 1_000_000].into_iter().enumerate() {
        pair.write(key % 2, key as u8, false, size);
    }
    pair.settle();
    assert_eq!(pair.nodes[0].contents().len(), 7);
    pair.both_hold_the_same();
}
