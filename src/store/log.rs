//! The log that records are appended to: segments of one size, in memory taken as it is needed.
//!
//! A few lanes append at once, so that writers seldom wait for each other; each fills a segment of
//! its own. Locks are taken in the order cleaner, shard, lane, pool.

use super::area::{Area, HUGE_PAGE, PAGE_SIZE};
use super::block::Blocks;
use super::budget::Budget;
use super::guard;
use super::record::{INLINE_MAX, NewRecord, Record, RecordMut};
use super::segment::{Kind, NONE, Queue, Segment};
use super::table::Table;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

/// Where a record stands: segment and offset. At most [`POSITION_BITS`] long, and never 0.
pub(super) type Position = u64;
pub(super) const POSITION_BITS: u32 = 44;

/// Segments that a memory is divided into, about.
const SEGMENTS: u64 = 256;
const SEGMENT_MIN: u64 = 16 * 1024;
const SEGMENT_MAX: u64 = 512 * 1024;
/// Lanes for new items, where there are segments enough.
const LANES: usize = 4;
/// Address space for this many times the memory: segments may be short, and limits may rise.
const ADDRESSES: u64 = 16;
const ADDRESSES_MIN: u64 = 64 << 30;
const ADDRESSES_MAX: u64 = 1 << 43;
/// Free segments whose pages are kept.
const RESIDENT: usize = 1;

/// What a segment is opened for, which says how many others must stay to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new item.
    Write,
    /// An item that gets a field more, and can't be refused it.
    Touch,
    /// What moves when segments are emptied.
    Clean,
}

impl Purpose {
    /// Segments to leave.
    fn spare(self) -> u64 {
        match self {
            Purpose::Write => 2,
            Purpose::Touch => 1,
            Purpose::Clean => 0,
        }
    }
}

/// Where one lane stands.
#[derive(Debug)]
pub(super) struct Lane {
    kind: Kind,
    segment: u32,
    tail: usize,
    /// Bytes in blocks of the records it appended.
    blocks: u64,
}

impl Lane {
    fn new(kind: Kind) -> Mutex<Lane> {
        Mutex::new(Lane { kind, segment: NONE, tail: 0, blocks: 0 })
    }

    /// Its segment and where that ends by now.
    pub(super) fn reached(&self) -> (u32, usize) {
        (self.segment, self.tail)
    }
}

/// Which segments are full, free and unused.
#[derive(Debug)]
pub(super) struct Pool {
    area: Area,
    /// Free, with their pages.
    resident: Vec<u32>,
    /// Free, without.
    vacant: Vec<u32>,
    /// Numbers from here on were never used.
    fresh: u32,
    pub(super) small: Queue,
    pub(super) main: Queue,
}

/// All segments.
#[derive(Debug)]
pub(super) struct Log {
    base: NonNull<u8>,
    /// A segment has two to the power of this bytes.
    bits: u32,
    pub(super) segments: Table<Segment>,
    pool: Mutex<Pool>,
    lanes: Box<[Mutex<Lane>]>,
    main: Mutex<Lane>,
    evictions: bool,
    pub(super) budget: Arc<Budget>,
    pub(super) blocks: Arc<Blocks>,
}

// SAFETY: what is behind `base` is read and written by the contracts of `Record` and `RecordMut`.
unsafe impl Send for Log {}
// SAFETY: as above; everything else is atomic or behind a mutex.
unsafe impl Sync for Log {}

impl Log {
    /// An empty log for `memory` bytes, from which items may be evicted or not.
    pub(super) fn new(memory: u64, evictions: bool, huge_pages: bool) -> Log {
        let segment = (memory / SEGMENTS).clamp(SEGMENT_MIN, SEGMENT_MAX);
        let bits = segment.ilog2();
        let addresses =
            memory.saturating_mul(ADDRESSES).clamp(ADDRESSES_MIN, ADDRESSES_MAX) as usize;
        let area = Area::reserve(addresses, HUGE_PAGE, huge_pages);
        let budget = Arc::new(Budget::new(memory));
        let lanes = ((memory >> bits) as usize / 64).clamp(1, LANES);
        Log {
            base: area.base(),
            bits,
            segments: Table::new(),
            pool: Mutex::new(Pool {
                area,
                resident: Vec::new(),
                vacant: Vec::new(),
                fresh: NONE + 1,
                small: Queue::default(),
                main: Queue::default(),
            }),
            lanes: (0..lanes).map(|_| Lane::new(Kind::Small)).collect(),
            main: Lane::new(Kind::Main),
            blocks: Arc::new(Blocks::new(
                addresses,
                Purpose::Write.spare() << bits,
                Arc::clone(&budget),
            )),
            evictions,
            budget,
        }
    }

    /// Bytes of a segment.
    pub(super) fn segment_size(&self) -> usize {
        1 << self.bits
    }

    /// Values from this length on stand in blocks.
    pub(super) fn block_from(&self) -> usize {
        INLINE_MAX.min(self.segment_size() / 8)
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        guard(&self.pool)
    }

    /// The lane for new items of a shard.
    pub(super) fn lane(&self, shard: usize) -> MutexGuard<'_, Lane> {
        guard(&self.lanes[shard % self.lanes.len()])
    }

    /// The lane for items that have proved their worth.
    pub(super) fn main_lane(&self) -> MutexGuard<'_, Lane> {
        guard(&self.main)
    }

    /// All lanes, one after another.
    pub(super) fn lanes(&self) -> impl Iterator<Item = MutexGuard<'_, Lane>> {
        self.lanes.iter().chain([&self.main]).map(guard)
    }

    pub(super) fn number_of(&self, at: Position) -> u32 {
        (at >> self.bits) as u32
    }

    pub(super) fn position(&self, number: u32, offset: usize) -> Position {
        u64::from(number) << self.bits | offset as u64
    }

    /// The books of the segment of a record.
    pub(super) fn segment_of(&self, at: Position) -> &Segment {
        self.segments.get(self.number_of(at))
    }

    pub(super) fn pointer(&self, at: Position) -> NonNull<u8> {
        // SAFETY: positions are inside of segments, and those inside of the area.
        unsafe { self.base.add(at as usize) }
    }

    /// Segments with numbers from 1 to below this have been used.
    pub(super) fn numbers(&self) -> u32 {
        self.pool().fresh
    }

    /// Whether so little is free that it is time to empty a segment.
    pub(super) fn is_short(&self) -> bool {
        !self.budget.fits((Purpose::Write.spare() + 2) << self.bits)
    }

    /// Bytes that writes leave free.
    pub(super) fn spare(&self) -> u64 {
        Purpose::Write.spare() << self.bits
    }

    /// Sees to it that the lane has `size` bytes for the next record; false if there is no segment
    /// to be had.
    pub(super) fn room(&self, lane: &mut Lane, size: usize, purpose: Purpose) -> bool {
        if lane.segment != NONE && lane.tail + size <= self.segment_size() {
            return true;
        }
        self.seal(lane);
        match self.open(purpose) {
            None => false,
            Some(number) => {
                (lane.segment, lane.tail, lane.blocks) = (number, 0, 0);
                true
            }
        }
    }

    /// Appends a record for which there is [`Log::room`]; `blocks` is what its block costs.
    pub(super) fn append(&self, lane: &mut Lane, new: &NewRecord<'_>, blocks: u64) -> Position {
        let at = self.position(lane.segment, lane.tail);
        // SAFETY: the rest of a lane's segment is nobody else's.
        unsafe { RecordMut::at(self.pointer(at)) }.write(new);
        self.appended(lane, new.size(), new.exptime, blocks);
        at
    }

    /// Appends a copy of a record for which there is [`Log::room`].
    pub(super) fn append_copy(&self, lane: &mut Lane, record: Record<'_>, blocks: u64) -> Position {
        let at = self.position(lane.segment, lane.tail);
        // SAFETY: the rest of a lane's segment is nobody else's.
        unsafe { RecordMut::at(self.pointer(at)) }.copy(record);
        self.appended(lane, record.size(), record.exptime(), blocks);
        at
    }

    fn appended(&self, lane: &mut Lane, size: usize, exptime: u32, blocks: u64) {
        debug_assert!(lane.segment != NONE && lane.tail + size <= self.segment_size());
        let segment = self.segments.get(lane.segment);
        segment.live.fetch_add(size as u32, Ordering::Relaxed);
        segment.expires(exptime);
        lane.tail += size;
        lane.blocks += blocks;
        // Large values must not all hang on one segment: they are evicted with it. Where nothing is,
        // a new segment would want more room than was freed.
        if self.evictions
            && blocks > 0
            && lane.tail as u64 + lane.blocks >= self.segment_size() as u64
        {
            self.seal(lane);
        }
    }

    fn open(&self, purpose: Purpose) -> Option<u32> {
        let mut pool = self.pool();
        let size = self.segment_size();
        let relabels = self.budget.fits(8 << self.bits);
        if !self.budget.reserve(size as u64, purpose.spare() << self.bits) {
            return None;
        }
        if relabels {
            pool.fill_main(&self.segments, self.small_share());
        }
        let resident = pool.resident.pop();
        if resident.is_some() {
            self.budget.end_keeping(size as u64);
        }
        let number = match resident.or_else(|| pool.vacant.pop()) {
            Some(number) => number,
            None => {
                let number = pool.fresh;
                if !pool.area.grow((number as usize + 1) << self.bits) {
                    self.budget.release(size as u64);
                    return None;
                }
                pool.fresh += 1;
                number
            }
        };
        let segment = self.segments.get(number);
        debug_assert_eq!((segment.kind(), segment.live()), (Kind::Vacant, 0));
        segment.tail.store(0, Ordering::Relaxed);
        segment.charged.store(size as u32, Ordering::Relaxed);
        segment.earliest.store(u32::MAX, Ordering::Relaxed);
        segment.weight.store(0, Ordering::Relaxed);
        segment.set_kind(Kind::Open);
        Some(number)
    }

    /// Bytes that new items may have before the oldest of them must go on or go.
    pub(super) fn small_share(&self) -> u64 {
        self.budget.limit() / 10
    }

    /// Ends the segment that a lane appends to: it joins its queue, and what is left of it is free.
    pub(super) fn seal(&self, lane: &mut Lane) {
        let number = std::mem::replace(&mut lane.segment, NONE);
        if number == NONE {
            return;
        }
        let segment = self.segments.get(number);
        let charged = lane.tail.next_multiple_of(PAGE_SIZE);
        let rest = self.segment_size() - charged;
        segment.tail.store(lane.tail as u32, Ordering::Relaxed);
        segment.charged.store(charged as u32, Ordering::Relaxed);
        segment.weight.store(lane.tail as u64 + lane.blocks, Ordering::Relaxed);
        let mut pool = self.pool();
        if rest > 0 {
            let at = self.position(number, charged) as usize;
            // SAFETY: behind its tail nothing of a segment is in use.
            unsafe { pool.area.discard(at, at + rest) };
        }
        pool.enqueue(&self.segments, number, lane.kind);
        drop(pool);
        self.budget.release(rest as u64);
    }

    /// Takes a full segment out of its queue to be emptied.
    pub(super) fn take(&self, pool: &mut Pool, number: u32) {
        let segment = self.segments.get(number);
        match segment.kind() {
            Kind::Small => pool.small.remove(&self.segments, number),
            Kind::Main => pool.main.remove(&self.segments, number),
            _ => return,
        }
        segment.set_kind(Kind::Taken);
    }

    /// Puts back one that could not be emptied.
    pub(super) fn put_back(&self, number: u32) {
        self.pool().enqueue(&self.segments, number, Kind::Main);
    }

    /// Frees a taken segment that no index knows any more.
    pub(super) fn free(&self, number: u32) {
        let segment = self.segments.get(number);
        debug_assert_eq!((segment.kind(), segment.live()), (Kind::Taken, 0));
        let charged = u64::from(segment.charged.swap(0, Ordering::Relaxed));
        let size = self.segment_size();
        let mut pool = self.pool();
        segment.set_kind(Kind::Vacant);
        self.budget.release(charged);
        // Kept pages are not charged: they are part of what writes leave free.
        if charged == size as u64
            && pool.resident.len() < RESIDENT
            && self.budget.keep(charged, self.spare())
        {
            pool.resident.push(number);
            return;
        }
        let at = self.position(number, 0) as usize;
        // SAFETY: nothing of the segment is in use.
        unsafe { pool.area.discard(at, at + size) };
        pool.vacant.push(number);
    }
}

impl Pool {
    fn enqueue(&mut self, segments: &Table<Segment>, number: u32, kind: Kind) {
        segments.get(number).set_kind(kind);
        match kind {
            Kind::Main => self.main.push(segments, number),
            _ => self.small.push(segments, number),
        }
    }

    /// As long as nothing has to go, new items that are no longer new belong to the main part as
    /// they stand.
    fn fill_main(&mut self, segments: &Table<Segment>, share: u64) {
        while self.small.weight() > share && self.small.len() > 1 {
            let oldest = self.small.oldest();
            self.small.remove(segments, oldest);
            self.enqueue(segments, oldest, Kind::Main);
        }
    }
}
