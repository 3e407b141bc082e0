//! One shard: a part of the keys with their index, ghosts, tombstones and live stream. Everything here
//! happens under the shard's lock and takes the time of a few memory accesses.

use super::change::{Change, Mark};
use super::classes::Classes;
use super::ghost::Ghosts;
use super::index::Index;
use super::log::{Log, Position};
use super::record::{Record, RecordMut, Stored, key_at};
use super::ring::{Ring, Written};
use super::stats::ClassStats;
use super::tombstone::{Remains, Tombstones};
use super::version::{Node, Now, Version, VersionClock};
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
    pub(super) log: Arc<Log>,
    pub(super) index: Index,
    pub(super) ghosts: Ghosts,
    pub(super) tombstones: Tombstones,
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
    pub(super) conflicts: u64,
    pub(super) crawler_checked: u64,
    /// What index, ghosts and tombstones cost when the budget last heard of it.
    pub(super) charged: u64,
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
    pub hits: u8,
}

impl Shard {
    pub(super) fn new(
        number: usize,
        index: Index,
        log: Arc<Log>,
        classes: Arc<Classes>,
        replicated: Option<Replicated>,
    ) -> Shard {
        Shard {
            log,
            index,
            ghosts: Ghosts::default(),
            tombstones: Tombstones::new(),
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
            conflicts: 0,
            crawler_checked: 0,
            charged: 0,
        }
    }

    /// Bytes that are taken besides records.
    pub(super) fn cost(&self) -> u64 {
        self.index.cost() + self.ghosts.cost() + self.tombstones.cost()
    }

    pub(super) fn node(&self) -> Node {
        self.replicated.map_or(Node::A, |replicated| replicated.node)
    }

    pub(super) fn next_version(&mut self, now: Now) -> Version {
        let node = self.node();
        self.clock.next(now, node)
    }

    /// The record at `at`, where one of a key of this shard stands.
    #[inline]
    pub(super) fn record(&self, at: Position) -> Record<'_> {
        // SAFETY: a record stands there, and it is written with `&mut` of its shard only.
        unsafe { Record::at(self.log.pointer(at)) }
    }

    /// The record at `at`, of which all but the key may be written.
    pub(super) fn record_mut(&mut self, at: Position) -> RecordMut<'_> {
        // SAFETY: as above; scans without the lock read the key and its length only.
        unsafe { RecordMut::at(self.log.pointer(at)) }
    }

    /// Where the item of a key stands, be it live or not.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Position> {
        self.index.find(hash, |at| {
            let start = self.log.pointer(at);
            // SAFETY: a record stands there, which begins with the length of its key.
            unsafe { key_at(start, start.read()) == key }
        })
    }

    pub(super) fn is_dead(&self, record: Record<'_>, now: Now) -> bool {
        let exptime = record.exptime();
        record.version() < self.horizon || (exptime != 0 && exptime <= now.seconds())
    }

    /// The value of a record of this shard.
    pub(super) fn value<'a>(&'a self, record: Record<'a>) -> &'a [u8] {
        match record.stored() {
            Stored::Inline(value) => value,
            // SAFETY: the record refers to the block, and is not overwritten while it is borrowed.
            Stored::Block { number, len } => unsafe { self.log.blocks.bytes(number, len) },
        }
    }

    /// What a record costs, with its block.
    pub(super) fn weight(&self, record: Record<'_>) -> u64 {
        record.size() as u64 + self.block_weight(record)
    }

    /// What the block of a record costs, if it has one.
    pub(super) fn block_weight(&self, record: Record<'_>) -> u64 {
        match record.stored() {
            Stored::Inline(_) => 0,
            Stored::Block { number, .. } => self.log.blocks.cost(number),
        }
    }

    /// The counters of an item's class.
    pub(super) fn class_of(&mut self, at: Position) -> &mut ClassStats {
        let class = self.size_of(self.record(at)).0;
        &mut self.stats[class]
    }

    /// The counters of the class of an item of that size.
    pub(super) fn class_of_size(&mut self, size: u64) -> &mut ClassStats {
        let class = usize::from(self.classes.class_of(size)) - 1;
        &mut self.stats[class]
    }

    /// Index of the class, and size as memcached counts it.
    pub(super) fn size_of(&self, record: Record<'_>) -> (usize, u64) {
        let size = self.classes.item_size(record.key().len(), record.flags(), record.value_len());
        (usize::from(self.classes.class_of(size)) - 1, size)
    }

    /// Counts that a client read a live item.
    #[inline]
    pub(super) fn note_hit(&mut self, at: Position, now: Now) {
        self.record_mut(at).mark_read(now.seconds());
        self.class_of(at).get_hits += 1;
    }

    /// A client's delete of a live item; returns its version.
    pub(super) fn delete(&mut self, hash: u64, at: Position, now: Now) -> Version {
        let version = self.next_version(now);
        if self.replicated.is_some() {
            let key = self.record(at).key().into();
            self.bury(hash, key, version, Remains::Tombstone, 1);
            self.record_write(hash, version, None);
        }
        self.forget(hash, at);
        version
    }

    /// Takes an item away. Where the peer has not seen it or its last touch yet, the memory of it
    /// stays: the peer would go on to serve the value from before it.
    pub(super) fn end(&mut self, hash: u64, at: Position, remains: Remains) {
        let record = self.record(at);
        let newest = record.version().max(record.touched());
        if newest.node() == self.node() && newest > self.acked {
            let key = record.key().into();
            self.bury(hash, key, newest, remains, 1);
        }
        self.forget(hash, at);
    }

    /// Remembers that a key's item has ended, within so many shares of the memory for that.
    pub(super) fn bury(
        &mut self,
        hash: u64,
        key: Box<[u8]>,
        version: Version,
        remains: Remains,
        shares: u64,
    ) {
        let Some(replicated) = self.replicated else { return };
        self.tombstones.insert(hash, key, version, remains);
        while self.tombstones.cost() > replicated.tombstone_limit.saturating_mul(shares) {
            let Some(oldest) = self.tombstones.take_oldest() else { break };
            if oldest.remains == Remains::Tombstone {
                self.floor = self.floor.max(oldest.version);
                self.forgotten += 1;
                // It may not have been sent yet, and can't be any more.
                self.ring.give_up();
            } else {
                // Nor is it known any more what the peer may do to the key before it is sent.
                self.ring.forget_copies();
            }
        }
    }

    /// Records a local write for the peer; `at` is where the item that it made stands, if it made one.
    #[inline]
    pub(super) fn record_write(&mut self, hash: u64, version: Version, at: Option<Position>) {
        if self.replicated.is_some() {
            // SAFETY: a record stands there, and nobody writes it while the shard is locked.
            let record = at.map(|at| unsafe { Record::at(self.log.pointer(at)) });
            self.ring.push(Written { hash, version }, record);
        }
    }

    /// What the peer may be sent of an item: as the change that made it what it is.
    pub(super) fn change<'a>(&'a self, record: Record<'a>) -> Change<'a> {
        record.change(self.value(record))
    }

    /// Whether the peer has acknowledged all that this node did to the item.
    pub(super) fn is_acknowledged(&self, record: Record<'_>) -> bool {
        let is_known = |stamp: Version| stamp.node() != self.node() || stamp <= self.acked;
        is_known(record.version()) && is_known(record.touched())
    }

    /// Whether the peer has been sent all that this node did to the item, if it is sent anything and
    /// nothing of the shard's past is still to be sent.
    pub(super) fn is_sent(&self, record: Record<'_>) -> bool {
        self.is_acknowledged(record) || self.ring.is_empty()
    }

    /// The peer holds everything of ours up to `version`.
    pub(super) fn acknowledge(&mut self, version: Version) {
        self.acked = self.acked.max(version);
        self.ring.acknowledge(version);
        while self.tombstones.oldest().is_some_and(|oldest| oldest.version <= self.acked) {
            self.tombstones.take_oldest();
        }
    }
}
