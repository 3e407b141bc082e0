//! One shard: a part of the keys with their index, ghosts, tombstones and live stream. Everything here
//! happens under the shard's lock and takes the time of a few memory accesses.

use super::block::block_cost;
use super::change::{Change, Mark};
use super::classes::Classes;
use super::entry::Room;
use super::ghost::Ghosts;
use super::index::Index;
use super::log::{Log, Position, Purpose};
use super::record::{NewRecord, Record, RecordMut, Stored, Value, key_at};
use super::ring::{Ring, Written};
use super::stats::ClassStats;
use super::tombstone::{Remains, Tombstones};
use super::version::{Node, Now, Version, VersionClock};
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

    fn book(&mut self, at: Position, sign: i64) {
        let (class, size) = self.size_of(self.record(at));
        let chunks = self.classes.chunks_of(size);
        let stats = &mut self.stats[class];
        stats.number = stats.number.wrapping_add_signed(sign);
        stats.mem_requested = stats.mem_requested.wrapping_add_signed(sign * size as i64);
        stats.chunks = stats.chunks.wrapping_add_signed(sign * chunks as i64);
    }

    /// Writes an item over whatever its key had, and says where. Without the room that it takes the
    /// key is left without item: a cache may forget.
    pub(super) fn put(
        &mut self,
        hash: u64,
        found: Option<Position>,
        new: &NewItem<'_>,
        room: &mut Room<'_>,
        now: Now,
    ) -> Option<Position> {
        let mut hits = 0;
        let mut held = None;
        if let Some(at) = found {
            let record = self.record(at);
            // An item that is written again is as one that was read.
            hits = record.hits() + 1;
            if let Stored::Block { number, .. } = record.stored() {
                held = Some(number);
            }
        }
        let Some((value, new_block)) = self.place_value(new.value, held, room) else {
            return self.lose(hash, found);
        };
        let record = NewRecord {
            key: new.key,
            value,
            flags: new.flags,
            exptime: new.exptime,
            version: new.version,
            touched: new.touched,
            mark: new.mark,
            hits,
            fetched: false,
            accessed: now.seconds(),
        };
        let keeps_block = matches!(value, Value::Block { .. }) && !new_block;
        let size = record.size();
        let at = match found.filter(|&at| self.fits_over(at, size, room)) {
            Some(at) => {
                self.overwrite(at, &record, size, held.filter(|_| !keeps_block));
                at
            }
            None => {
                let Some(at) = self.append(&record, room) else {
                    if let (Value::Block { number, .. }, true) = (value, new_block) {
                        self.log.blocks.release(number);
                    }
                    return self.lose(hash, found);
                };
                match found {
                    None => self.index.insert(hash, at),
                    Some(old) => {
                        self.index.replace(hash, old, at);
                        self.kill(old, !keeps_block);
                    }
                }
                self.book(at, 1);
                at
            }
        };
        self.total_items += 1;
        if self.tombstones.len() > 0 {
            self.tombstones.remove(hash, new.key);
        }
        Some(at)
    }

    /// There is no room: what the key had is not what the client wants there now.
    fn lose(&mut self, hash: u64, found: Option<Position>) -> Option<Position> {
        if let Some(at) = found {
            self.end(hash, at, Remains::Trace);
        }
        None
    }

    /// Puts a large value into a block: the one `held` already if that will do. Says whether it is
    /// another.
    fn place_value<'v>(
        &mut self,
        value: &'v [&'v [u8]],
        held: Option<u32>,
        room: &mut Room<'_>,
    ) -> Option<(Value<'v>, bool)> {
        let len: usize = value.iter().map(|piece| piece.len()).sum();
        if len < self.log.block_from() {
            return Some((Value::Inline { pieces: value, len }, false));
        }
        let blocks = &self.log.blocks;
        let held = held.filter(|&number| blocks.can_overwrite(number, len));
        let number = match held {
            Some(number) => number,
            None => room.take_block(len)?,
        };
        // SAFETY: nobody else refers to the block, and it was chosen for this length.
        unsafe { blocks.write(number, value) };
        Some((Value::Block { number, len: len as u32 }, held.is_none()))
    }

    /// Whether a record may be written over the one at `at`. One that would leave much unused is
    /// rather appended, if that can be.
    fn fits_over(&self, at: Position, new: usize, room: &Room<'_>) -> bool {
        let old = self.record(at).size();
        new <= old && (new >= old / 2 || !room.has_lane())
    }

    /// Whether a record of that size with an inline value will be written over the one at `at`, even
    /// where another place can be had.
    pub(super) fn will_overwrite(&self, at: Position, new: usize) -> bool {
        let record = self.record(at);
        let old = record.size();
        new <= old && new >= old / 2 && matches!(record.stored(), Stored::Inline(_))
    }

    fn overwrite(&mut self, at: Position, new: &NewRecord<'_>, size: usize, released: Option<u32>) {
        // Most have the size of what was there.
        let old = self.record(at);
        let old_size = old.size();
        let same = (old.value_len(), old.flags() == 0) == (new.value_len(), new.flags == 0);
        if !same {
            self.book(at, -1);
        }
        if let Some(number) = released {
            self.log.blocks.release(number);
        }
        let mut record = self.record_mut(at);
        record.rewrite(new);
        if size < old_size {
            record.write_gap(size, old_size - size);
            let segment = self.log.segment_of(at);
            segment.live.fetch_sub((old_size - size) as u32, Ordering::Relaxed);
        }
        if new.exptime != 0 {
            self.log.segment_of(at).expires(new.exptime);
        }
        if !same {
            self.book(at, 1);
        }
    }

    fn append(&self, new: &NewRecord<'_>, room: &mut Room<'_>) -> Option<Position> {
        let lane = room.lane();
        if !self.log.room(lane, new.size(), Purpose::Touch) {
            return None;
        }
        let blocks = match new.value {
            Value::Inline { .. } => 0,
            Value::Block { len, .. } => block_cost(len as usize),
        };
        Some(self.log.append(lane, new, blocks))
    }

    /// The index knows the record no more, or another in its place.
    fn kill(&mut self, at: Position, release_block: bool) {
        self.book(at, -1);
        if let (Stored::Block { number, .. }, true) = (self.record(at).stored(), release_block) {
            self.log.blocks.release(number);
        }
        let size = self.record(at).size() as u32;
        self.record_mut(at).mark_dead();
        self.log.segment_of(at).live.fetch_sub(size, Ordering::Relaxed);
    }

    /// A copy of the record stands at `to` now.
    pub(super) fn moved(&mut self, hash: u64, from: Position, to: Position) {
        self.index.replace(hash, from, to);
        let size = self.record(from).size() as u32;
        self.record_mut(from).mark_dead();
        self.log.segment_of(from).live.fetch_sub(size, Ordering::Relaxed);
    }

    /// Takes an item away, without a trace.
    pub(super) fn forget(&mut self, hash: u64, at: Position) {
        self.index.remove(hash, at);
        self.kill(at, true);
    }

    /// Sets the expiry of an item without writing it; where its record has no field for that it is
    /// appended anew. Says where it stands now, if there was room.
    pub(super) fn touch(
        &mut self,
        hash: u64,
        at: Position,
        exptime: u32,
        touched: Version,
        room: &mut Room<'_>,
    ) -> Option<Position> {
        if self.record_mut(at).touch(exptime, touched) {
            self.log.segment_of(at).expires(exptime);
            return Some(at);
        }
        let record = self.record(at);
        let inline;
        let value = match record.stored() {
            Stored::Inline(value) => {
                inline = [value];
                Value::Inline { pieces: &inline, len: value.len() }
            }
            Stored::Block { number, len } => Value::Block { number, len },
        };
        let new = NewRecord {
            key: record.key(),
            value,
            flags: record.flags(),
            exptime,
            version: record.version(),
            touched,
            mark: record.mark(),
            hits: record.hits(),
            fetched: record.fetched(),
            accessed: record.accessed_low(),
        };
        match self.append(&new, room) {
            Some(to) => {
                self.moved(hash, at, to);
                Some(to)
            }
            None => self.lose(hash, Some(at)),
        }
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
