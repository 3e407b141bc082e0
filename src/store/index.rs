//! Where each key's record stands: a hash table that grows and shrinks by one bucket at a time.
//!
//! Linear hashing (Litwin, 1980): a bucket is a cache line of eight slots, its number the low bits of
//! the hash; the table grows by splitting the buckets one after another, so that no step takes longer
//! than another. A slot is a position and a tag of further bits of the hash, enough of them to split a
//! bucket without looking at a record. The last slot of a full bucket leads to an overflow bucket, which
//! is half as large.

mod buckets;
#[cfg(test)]
mod tests;

use super::log::{POSITION_BITS, Position};
pub(super) use buckets::Peek;
use buckets::{BUCKET, Bucket, Buckets, LINK, OVERFLOW_SLOTS, POSITION, SLOTS, TAG_BITS};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// More items than so many halves per bucket split one, fewer than a third of that join two.
const HALVES_PER_BUCKET: usize = 14;

/// How far a walk has come: everything whose hash, its bits reversed, is below was seen. In this order
/// the items of a bucket stay together whether it is split or joined.
pub(super) type Reached = u64;

#[derive(Debug)]
pub(super) struct Index {
    table: Arc<Buckets>,
    overflow: Vec<Bucket<OVERFLOW_SLOTS>>,
    /// First of the free overflow buckets, one more than its number; 0 if there is none.
    free: u64,
    items: usize,
    scratch: Vec<u64>,
}

// A bucket is addressed by its number alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Table(usize),
    Overflow(usize),
}

impl Index {
    /// An empty index that begins with two to the power of `level` buckets.
    pub(super) fn new(level: u32, huge_pages: bool) -> Index {
        let first_level = level.clamp(1, 24);
        Index {
            table: Arc::new(Buckets::new(first_level, huge_pages)),
            overflow: Vec::new(),
            free: 0,
            items: 0,
            scratch: Vec::new(),
        }
    }

    /// For looks without the shard's lock.
    pub(super) fn peek(&self) -> Peek {
        Peek::new(Arc::clone(&self.table))
    }

    /// How many items it knows.
    pub(super) fn len(&self) -> usize {
        self.items
    }

    fn buckets(&self) -> usize {
        self.table.count()
    }

    /// Bytes it takes.
    pub(super) fn cost(&self) -> u64 {
        let overflow = self.overflow.capacity() * size_of::<Bucket<OVERFLOW_SLOTS>>();
        (self.buckets() * BUCKET + overflow) as u64
    }

    fn slots(&self, at: At) -> &[AtomicU64] {
        match at {
            At::Overflow(number) => self.overflow[number].slots(),
            At::Table(number) => {
                debug_assert!(number < self.buckets());
                self.table.bucket(number).slots()
            }
        }
    }

    fn set(&self, at: At, slot: usize, entry: u64) {
        self.slots(at)[slot].store(entry, Ordering::Relaxed);
    }

    /// The level of the buckets that are not split yet.
    fn level(&self) -> u32 {
        self.buckets().ilog2()
    }

    fn home(&self, hash: u64) -> At {
        At::Table(self.table.home(hash))
    }

    /// The bucket after this one in its chain.
    fn after(&self, at: At) -> Option<At> {
        let last = self.slots(at).last()?.load(Ordering::Relaxed);
        Index::next(last).map(At::Overflow)
    }

    /// What stands in a bucket.
    fn entries(&self, at: At) -> impl Iterator<Item = u64> {
        let entries = self.slots(at).iter().map(|slot| slot.load(Ordering::Relaxed));
        entries.filter(|&entry| entry != 0 && entry & LINK == 0)
    }

    fn tag(&self, hash: u64) -> u64 {
        self.table.tag(hash)
    }

    /// The overflow bucket to which a last slot leads, if it does.
    fn next(last: u64) -> Option<usize> {
        (last & LINK != 0).then_some((last & !LINK) as usize)
    }

    /// Where the position that has this hash and is the `same` stands, and the position.
    #[inline]
    fn find_slot(
        &self,
        hash: u64,
        mut same: impl FnMut(Position) -> bool,
    ) -> Option<(At, usize, Position)> {
        let tag = self.tag(hash);
        let home = self.table.home(hash);
        let bucket = self.table.bucket(home);
        if let Some((slot, position)) = bucket.find(tag, &mut same) {
            return Some((At::Table(home), slot, position));
        }
        let mut next = Index::next(bucket.last());
        while let Some(number) = next {
            let bucket = &self.overflow[number];
            if let Some((slot, position)) = bucket.find(tag, &mut same) {
                return Some((At::Overflow(number), slot, position));
            }
            next = Index::next(bucket.last());
        }
        None
    }

    /// The position that has this hash and is the `same`.
    #[inline]
    pub(super) fn find(&self, hash: u64, same: impl FnMut(Position) -> bool) -> Option<Position> {
        self.find_slot(hash, same).map(|(_, _, position)| position)
    }

    /// Whether it knows this position by this hash.
    #[cfg(test)]
    pub(super) fn holds(&self, hash: u64, position: Position) -> bool {
        self.find_slot(hash, |other| other == position).is_some()
    }

    /// A record moved.
    pub(super) fn replace(&mut self, hash: u64, old: Position, new: Position) {
        let tag = self.tag(hash);
        if let Some((at, slot, _)) = self.find_slot(hash, |other| other == old) {
            self.set(at, slot, tag << POSITION_BITS | new);
        }
    }

    /// Adds a position.
    pub(super) fn insert(&mut self, hash: u64, position: Position) {
        let entry = self.tag(hash) << POSITION_BITS | position;
        self.items += 1;
        self.push(self.home(hash), entry);
        if self.items * 2 > self.buckets() * HALVES_PER_BUCKET {
            self.split();
        }
    }

    /// The last bucket of the chain that begins at `at`, and the one before it.
    fn end_of(&self, at: At) -> (At, At) {
        let (mut before, mut last) = (at, at);
        while let Some(next) = self.after(last) {
            (before, last) = (last, next);
        }
        (before, last)
    }

    /// Appends to the chain that begins at `at`.
    fn push(&mut self, at: At, entry: u64) {
        let (_, at) = self.end_of(at);
        let slots = self.slots(at);
        let free = slots.iter().find(|slot| slot.load(Ordering::Relaxed) == 0);
        if let Some(slot) = free {
            slot.store(entry, Ordering::Relaxed);
            return;
        }
        let end = slots.len() - 1;
        let number = self.take([slots[end].load(Ordering::Relaxed), entry, 0, 0]);
        self.set(at, end, LINK | number as u64);
    }

    /// An overflow bucket with these entries; its number.
    fn take(&mut self, entries: [u64; OVERFLOW_SLOTS]) -> usize {
        let number = match self.free {
            0 => {
                if self.overflow.len() == self.overflow.capacity() {
                    self.overflow.reserve_exact(self.overflow.len() / 16 + 4);
                }
                self.overflow.push(Bucket::default());
                self.overflow.len() - 1
            }
            free => {
                let number = free as usize - 1;
                self.free = self.overflow[number].slots()[0].load(Ordering::Relaxed);
                number
            }
        };
        self.overflow[number].fill(entries);
        number
    }

    fn give(&mut self, number: usize) {
        self.overflow[number].fill([self.free, 0, 0, 0]);
        self.free = number as u64 + 1;
    }

    /// Takes a position out.
    pub(super) fn remove(&mut self, hash: u64, position: Position) {
        let found = self.find_slot(hash, |other| other == position);
        let Some((at, slot, _)) = found else { return };
        self.items -= 1;
        // The last of the chain fills the hole, so that chains have none.
        let (before, last) = self.end_of(self.home(hash));
        let (end, filler) = self.entries(last).enumerate().last().unwrap_or_default();
        self.set(last, end, 0);
        if (at, slot) != (last, end) {
            self.set(at, slot, filler);
        }
        if let (At::Overflow(number), 0) = (last, end) {
            self.set(before, self.slots(before).len() - 1, 0);
            self.give(number);
        }
        let smallest = 1 << self.table.first_level();
        if self.items * 6 < self.buckets() * HALVES_PER_BUCKET && self.buckets() > smallest {
            self.join();
        }
    }

    /// Empties a chain into the scratch list.
    fn drain(&mut self, number: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut at = At::Table(number);
        loop {
            scratch.extend(self.entries(at));
            let next = self.after(at);
            match at {
                At::Table(number) => self.table.bucket(number).fill([0; SLOTS]),
                At::Overflow(number) => self.give(number),
            }
            let Some(next) = next else { break };
            at = next;
        }
        self.scratch = scratch;
    }

    fn split(&mut self) {
        let (level, new) = (self.level(), self.buckets());
        let first_level = self.table.first_level();
        if level >= first_level + TAG_BITS || !self.table.grow(new + 1) {
            return;
        }
        let old = new - (1 << level);
        self.drain(old);
        self.table.set_count(new + 1);
        // Pages that were in use before the table shrank hold what they held then.
        self.table.bucket(new).fill([0; SLOTS]);
        let bit = 1 << (level - first_level + POSITION_BITS);
        let entries = std::mem::take(&mut self.scratch);
        for &entry in &entries {
            self.push(At::Table(if entry & bit == 0 { old } else { new }), entry);
        }
        self.scratch = entries;
        self.scratch.clear();
    }

    fn join(&mut self) {
        let last = self.buckets() - 1;
        let into = last - (1 << last.ilog2());
        self.drain(last);
        self.drain(into);
        self.table.set_count(last);
        let entries = std::mem::take(&mut self.scratch);
        entries.iter().for_each(|&entry| self.push(At::Table(into), entry));
        self.scratch = entries;
        self.scratch.clear();
        self.table.discard_from(last);
    }

    /// Shows the positions of the next bucket of a walk and moves on; false at the end. Where the
    /// table has shrunk meanwhile, some are from before `reached`.
    pub(super) fn visit(&self, reached: &mut Reached, mut show: impl FnMut(Position)) -> bool {
        let level = self.level();
        let hash = reached.reverse_bits();
        let low = hash as usize & ((1 << level) - 1);
        let bits = if low < self.buckets() - (1 << level) { level + 1 } else { level };
        let mut at = self.home(hash);
        loop {
            self.entries(at).for_each(|entry| show(entry & POSITION));
            let Some(next) = self.after(at) else { break };
            at = next;
        }
        let step = 1 << (64 - bits);
        match (*reached & !(step - 1)).checked_add(step) {
            Some(next) => {
                *reached = next;
                true
            }
            None => false,
        }
    }
}
