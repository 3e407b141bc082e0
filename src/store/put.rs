//! How items are written, moved and taken away. Here, as in `shard`, everything happens under the
//! shard's lock.

use super::block::block_cost;
use super::landing;
use super::log::{Position, Purpose};
use super::record::{NewRecord, Stored, Value};
use super::room::Room;
use super::shard::{NewItem, Shard};
use super::tombstone::Remains;
use super::version::{Now, Version};
use std::sync::atomic::Ordering;

impl Shard {
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
        let mut hits = new.hits;
        let mut held = None;
        if let Some(at) = found {
            let record = self.record(at);
            // An item that is written again is as one that was read.
            hits = hits.max(record.hits() + 1);
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

    /// Puts a large value into a block, unless it stands in one: the one `held` already if that will
    /// do. Says whether it is another.
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
        if let Some(number) = landing::take_offered(value) {
            blocks.refer(number);
            return Some((Value::Block { number, len: len as u32 }, true));
        }
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

    /// Counts an item in, or out.
    fn book(&mut self, at: Position, sign: i64) {
        let (class, size) = self.size_of(self.record(at));
        let chunks = self.classes.chunks_of(size);
        let stats = &mut self.stats[class];
        stats.number = stats.number.wrapping_add_signed(sign);
        stats.mem_requested = stats.mem_requested.wrapping_add_signed(sign * size as i64);
        stats.chunks = stats.chunks.wrapping_add_signed(sign * chunks as i64);
    }
}
