//! One shard: a part of the keys with their index, order of eviction, tombstones and live stream.
//! Everything here happens under the shard's lock and takes the time of a few memory accesses.

use super::change::{Change, Mark};
use super::classes::Classes;
use super::ring::{Ring, Written};
use super::slots::{Data, List, NIL, Slot, Slots, State};
use super::stats::ClassStats;
use super::version::{Node, Now, Version, VersionClock};
use hashbrown::HashTable;
use std::sync::Arc;

/// What a write leaves behind for the peer; nothing of it exists when replication is off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replicated {
    pub node: Node,
    /// Bytes that this shard's tombstones may cost.
    pub tombstone_limit: u64,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) index: HashTable<u32>,
    pub(super) slots: Slots,
    pub(super) order: List,
    pub(super) hand: u32,
    pub(super) graves: List,
    pub(super) grave_cost: u64,
    pub(super) clock: VersionClock,
    /// Items older than this were flushed.
    pub(super) horizon: Version,
    /// The peer holds everything of ours up to here.
    pub(super) acked: Version,
    /// Tombstones up to here may have been forgotten before the peer acknowledged them.
    pub(super) floor: Version,
    /// How many were.
    pub(super) forgotten: u64,
    pub(super) ring: Ring,
    pub(super) replicated: Option<Replicated>,
    pub(super) classes: Arc<Classes>,
    pub(super) stats: Vec<ClassStats>,
    pub(super) total_items: u64,
    pub(super) tombstones: u64,
    pub(super) conflicts: u64,
    /// Bytes taken less bytes given back since the budget was last settled.
    pub(super) balance: i64,
    /// Position of the background search for expired items.
    pub(super) crawler: u32,
    pub(super) crawler_checked: u64,
}

impl Shard {
    pub(super) fn new(
        number: usize,
        classes: Arc<Classes>,
        replicated: Option<Replicated>,
    ) -> Shard {
        Shard {
            index: HashTable::new(),
            slots: Slots::new(),
            order: List::new(),
            hand: NIL,
            graves: List::new(),
            grave_cost: 0,
            clock: VersionClock::new(number),
            horizon: Version::NONE,
            acked: Version::NONE,
            floor: Version::NONE,
            forgotten: 0,
            ring: Ring::default(),
            replicated,
            stats: vec![ClassStats::default(); classes.count()],
            classes,
            total_items: 0,
            tombstones: 0,
            conflicts: 0,
            balance: 0,
            crawler: 0,
            crawler_checked: 0,
        }
    }

    pub(super) fn node(&self) -> Node {
        self.replicated.map_or(Node::A, |replicated| replicated.node)
    }

    pub(super) fn next_version(&mut self, now: Now) -> Version {
        let node = self.node();
        self.clock.next(now, node)
    }

    /// The slot of a key, whatever it holds.
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |&at: &u32| {
            let slot = self.slots.get(at);
            slot.hash == hash && slot.key() == key
        };
        self.index.find(hash, same).copied()
    }

    /// Whether clients may see what the slot holds.
    pub(super) fn is_live(&self, at: u32, now: Now) -> bool {
        let slot = self.slots.get(at);
        slot.state == State::Item && !self.is_dead(slot, now)
    }

    pub(super) fn is_dead(&self, slot: &Slot, now: Now) -> bool {
        slot.version < self.horizon || (slot.exptime != 0 && slot.exptime <= now.seconds())
    }

    /// The counters of an item's class.
    pub(super) fn class_of(&mut self, at: u32) -> &mut ClassStats {
        let class = self.size_of(self.slots.get(at)).0;
        &mut self.stats[class]
    }

    /// The counters of the class of an item of that size.
    pub(super) fn class_of_size(&mut self, size: u64) -> &mut ClassStats {
        let class = usize::from(self.classes.class_of(size)) - 1;
        &mut self.stats[class]
    }

    /// Index of the class, and size as memcached counts it.
    pub(super) fn size_of(&self, slot: &Slot) -> (usize, u64) {
        let size = self.classes.item_size(slot.key().len(), slot.flags, slot.value().len());
        (usize::from(self.classes.class_of(size)) - 1, size)
    }

    pub(super) fn book(&mut self, at: u32, sign: i64) {
        let slot = self.slots.get(at);
        let (class, size) = self.size_of(slot);
        let chunks = self.classes.chunks_of(size);
        self.balance += sign * slot.cost() as i64;
        let stats = &mut self.stats[class];
        stats.number = stats.number.wrapping_add_signed(sign);
        stats.mem_requested = stats.mem_requested.wrapping_add_signed(sign * size as i64);
        stats.chunks = stats.chunks.wrapping_add_signed(sign * chunks as i64);
    }

    /// Writes an item over whatever its key had. An item that is written again keeps its place in
    /// the order of eviction, as one that was read.
    pub(super) fn put(
        &mut self,
        hash: u64,
        found: Option<u32>,
        new: &NewItem<'_>,
        now: Now,
    ) -> u32 {
        let at = found.unwrap_or_else(|| self.take_slot(hash));
        let over_item = self.slots.get(at).state == State::Item;
        if over_item {
            self.book(at, -1);
        } else {
            self.detach(at);
        }
        let slot = self.slots.get_mut(at);
        slot.write(new.key, new.mark, new.value);
        slot.hash = hash;
        slot.version = new.version;
        slot.touched = new.touched;
        slot.exptime = new.exptime;
        slot.flags = new.flags;
        slot.accessed = now.seconds();
        slot.visited = over_item;
        slot.state = State::Item;
        if !over_item {
            self.order.push(&mut self.slots, at);
        }
        self.book(at, 1);
        self.total_items += 1;
        at
    }

    /// A free slot that the index knows by `hash`.
    fn take_slot(&mut self, hash: u64) -> u32 {
        let at = self.slots.take();
        let slots = &self.slots;
        self.index.insert_unique(hash, at, |&at| slots.get(at).hash);
        at
    }

    /// Takes what a slot holds out of its list and out of the books; the index keeps the slot.
    fn detach(&mut self, at: u32) {
        match self.slots.get(at).state {
            State::Free => {}
            State::Item => {
                if self.hand == at {
                    self.hand = List::newer(&self.slots, at);
                }
                self.order.remove(&mut self.slots, at);
                self.book(at, -1);
            }
            State::Tombstone | State::Trace => {
                self.graves.remove(&mut self.slots, at);
                let cost = self.slots.get(at).cost();
                self.balance -= cost as i64;
                self.grave_cost -= cost;
                self.tombstones -= 1;
            }
        }
    }

    /// Forgets a slot and its key.
    pub(super) fn forget(&mut self, at: u32) {
        self.detach(at);
        let hash = self.slots.get(at).hash;
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == at) {
            entry.remove();
        }
        self.slots.give(at);
    }

    /// Turns an item into the memory of its end at `version`.
    pub(super) fn bury(&mut self, at: u32, version: Version, remains: State, limit: u64) {
        self.detach(at);
        let key: Vec<u8> = self.slots.get(at).key().to_vec();
        let slot = self.slots.get_mut(at);
        slot.data = Data::new(&key, &[]);
        slot.marks = 0;
        slot.version = version;
        slot.touched = Version::NONE;
        slot.flags = 0;
        slot.exptime = 0;
        slot.state = remains;
        let cost = slot.cost();
        self.balance += cost as i64;
        self.grave_cost += cost;
        self.tombstones += 1;
        self.graves.push(&mut self.slots, at);
        while self.grave_cost > limit {
            let oldest = self.graves.oldest();
            let slot = self.slots.get(oldest);
            if slot.state == State::Tombstone {
                self.floor = self.floor.max(slot.version);
                self.forgotten += 1;
                // It may not have been sent yet, and can't be any more.
                self.ring.give_up();
            }
            self.forget(oldest);
        }
    }

    /// A client's delete of a live item; returns its version.
    pub(super) fn delete(&mut self, at: u32, now: Now) -> Version {
        let version = self.next_version(now);
        match self.replicated {
            None => self.forget(at),
            Some(replicated) => {
                self.bury(at, version, State::Tombstone, replicated.tombstone_limit);
                self.ring.push(Written { slot: at, version });
            }
        }
        version
    }

    /// Takes an item away. Where the peer has not seen it or its last touch yet, the memory of it
    /// stays, as a tombstone or a trace: the peer would go on to serve the value from before it.
    pub(super) fn end(&mut self, at: u32, remains: State) {
        let slot = self.slots.get(at);
        let (node, acked) = (self.node(), self.acked);
        let unseen = |version: Version| version.node() == node && version > acked;
        let newest = slot.version.max(slot.touched);
        match self.replicated {
            Some(replicated) if unseen(newest) => {
                self.bury(at, newest, remains, replicated.tombstone_limit);
            }
            _ => self.forget(at),
        }
    }

    /// Records a local write of this slot for the peer.
    pub(super) fn record(&mut self, at: u32, version: Version) {
        if self.replicated.is_some() {
            self.ring.push(Written { slot: at, version });
        }
    }

    /// The peer holds everything of ours up to `version`.
    pub(super) fn acknowledge(&mut self, version: Version) {
        self.acked = self.acked.max(version);
        while self.graves.oldest() != NIL
            && self.slots.get(self.graves.oldest()).version <= self.acked
        {
            self.forget(self.graves.oldest());
        }
    }

    /// What the peer may be sent of a slot: as the change that made it what it is.
    pub(super) fn change(&self, at: u32) -> Option<Change<'_>> {
        let slot = self.slots.get(at);
        match slot.state {
            State::Free => None,
            State::Item => Some(Change::Set {
                key: slot.key(),
                value: slot.value(),
                flags: slot.flags,
                exptime: slot.exptime,
                version: slot.version,
                touched: slot.touched,
                mark: slot.mark(),
            }),
            State::Tombstone | State::Trace => {
                Some(Change::Delete { key: slot.key(), version: slot.version })
            }
        }
    }

    /// The touch that a slot last had.
    pub(super) fn touch_change(&self, at: u32) -> Change<'_> {
        let slot = self.slots.get(at);
        Change::Touch {
            key: slot.key(),
            version: slot.version,
            touched: slot.touched,
            exptime: slot.exptime,
        }
    }
}

/// An item about to be written.
pub(super) struct NewItem<'a> {
    pub key: &'a [u8],
    /// The value, in pieces.
    pub value: &'a [&'a [u8]],
    pub flags: u32,
    pub exptime: u32,
    pub version: Version,
    pub touched: Version,
    pub mark: Mark,
}
