//! The memory of the index: the buckets as the shard has them, and as whoever peeks sees them.

use super::super::area::{Area, PAGE_SIZE};
use super::super::caches::prefetch;
use super::super::log::{POSITION_BITS, Position};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub(super) const SLOTS: usize = 8;
pub(super) const BUCKET: usize = size_of::<Bucket>();
/// Most overflow buckets have two or three entries.
pub(super) const OVERFLOW_SLOTS: usize = 4;
/// In the last slot: the number of an overflow bucket.
pub(super) const LINK: u64 = 1 << 63;
pub(super) const TAG_BITS: u32 = 63 - POSITION_BITS;
const TAG: u64 = (1 << TAG_BITS) - 1;
pub(super) const POSITION: u64 = (1 << POSITION_BITS) - 1;
/// There can be so many times (a power of two) as many buckets as there are in the beginning.
const GROWTH_BITS: u32 = 14;

/// So many slots; a bucket of the table is a cache line of them, an overflow bucket half of one. They
/// are atomic for [`Peek`] alone: all else is behind the shard's lock.
#[repr(align(32))]
#[derive(Debug)]
pub(super) struct Bucket<const N: usize = SLOTS>([AtomicU64; N]);

impl<const N: usize> Default for Bucket<N> {
    fn default() -> Bucket<N> {
        Bucket([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Bucket<N> {
    pub(super) fn slots(&self) -> &[AtomicU64] {
        &self.0
    }

    /// What stands in the last slot: a position, or what leads on.
    pub(super) fn last(&self) -> u64 {
        self.0[N - 1].load(Ordering::Relaxed)
    }

    /// The slot with this tag whose position is the `same`, and the position.
    #[inline]
    pub(super) fn find(
        &self,
        tag: u64,
        mut same: impl FnMut(Position) -> bool,
    ) -> Option<(usize, Position)> {
        (0..N).find_map(|slot| {
            let position = position_of(self.0[slot].load(Ordering::Relaxed), tag)?;
            same(position).then_some((slot, position))
        })
    }

    pub(super) fn fill(&self, entries: [u64; N]) {
        self.0.iter().zip(entries).for_each(|(slot, entry)| slot.store(entry, Ordering::Relaxed));
    }
}

/// The buckets of one shard.
#[derive(Debug)]
pub(super) struct Buckets {
    area: Area,
    count: AtomicUsize,
    /// Buckets in the beginning, as a power of two.
    first_level: u32,
}

impl Buckets {
    pub(super) fn new(first_level: u32, huge_pages: bool) -> Buckets {
        let bytes = BUCKET << first_level;
        let area = Area::reserve(bytes << GROWTH_BITS, 16 * PAGE_SIZE, huge_pages);
        // Without this much address space nothing works at all, and nothing has begun yet.
        assert!(area.grow(bytes), "no address space for an index of {bytes} bytes");
        Buckets { area, count: AtomicUsize::new(1 << first_level), first_level }
    }

    pub(super) fn first_level(&self) -> u32 {
        self.first_level
    }

    /// How many there are; the memory of each is usable.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// For so many there is memory.
    pub(super) fn set_count(&self, count: usize) {
        self.count.store(count, Ordering::Release);
    }

    /// Sees to memory for so many, if that can be had.
    pub(super) fn grow(&self, count: usize) -> bool {
        self.area.grow(count * BUCKET)
    }

    /// Gives back the page that begins with this bucket, if one does; nobody uses it any more.
    pub(super) fn discard_from(&self, bucket: usize) {
        let start = bucket * BUCKET;
        if start.is_multiple_of(PAGE_SIZE) {
            // SAFETY: behind the last bucket nothing is in use; whoever peeks there sees zeros or what
            // was there, and either will do.
            unsafe { self.area.discard(start, start + PAGE_SIZE) };
        }
    }

    /// Number of the bucket in which what has this hash begins.
    pub(super) fn home(&self, hash: u64) -> usize {
        let count = self.count();
        let level = count.ilog2();
        let low = hash as usize & ((1 << level) - 1);
        let split = low < count - (1 << level);
        if split { hash as usize & ((2 << level) - 1) } else { low }
    }

    pub(super) fn tag(&self, hash: u64) -> u64 {
        (hash >> self.first_level) & TAG
    }

    pub(super) fn bucket(&self, number: usize) -> &Bucket {
        // SAFETY: a bucket that there was once stays usable, begins as zeros, and any bits are a
        // bucket.
        unsafe { self.area.base().cast::<Bucket>().add(number).as_ref() }
    }
}

/// A look into the index of a shard that is not locked: what it shows may be of another moment, so it
/// says which memory to have ready, and nothing else.
#[derive(Debug)]
pub(in super::super) struct Peek(Arc<Buckets>);

impl Peek {
    pub(super) fn new(buckets: Arc<Buckets>) -> Peek {
        Peek(buckets)
    }

    /// Has the bucket of this hash come closer.
    pub(in super::super) fn prefetch(&self, hash: u64) {
        prefetch::<1>(NonNull::from(self.0.bucket(self.0.home(hash))).cast());
    }

    /// Where a key of this hash may stand.
    pub(in super::super) fn position(&self, hash: u64) -> Option<Position> {
        let tag = self.0.tag(hash);
        self.0.bucket(self.0.home(hash)).find(tag, |_| true).map(|(_, position)| position)
    }
}

/// The position in a slot, if the slot has one with that tag.
#[inline]
pub(super) fn position_of(entry: u64, tag: u64) -> Option<Position> {
    let position = entry ^ tag << POSITION_BITS;
    // No position is 0, and no slot that leads on has a tag's form.
    (position.wrapping_sub(1) < POSITION).then_some(position)
}
