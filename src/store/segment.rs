//! The books of the segments, and the queues they stand in.

use super::table::Table;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// No segment: numbers begin at 1, so that no position is 0.
pub(super) const NONE: u32 = 0;

/// What a segment is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Not in use.
    Vacant,
    /// Being appended to.
    Open,
    /// Full, in the queue of new items.
    Small,
    /// Full, in the queue of those that have proved their worth.
    Main,
    /// Taken out of its queue to be emptied.
    Taken,
}

/// What is known of a segment besides its records. Records are counted under their shard's lock,
/// queues change under the pool's.
#[derive(Debug, Default)]
pub(super) struct Segment {
    kind: AtomicU8,
    /// Bytes of records that the index knows.
    pub live: AtomicU32,
    /// Where its records end; 0 while it is open.
    pub tail: AtomicU32,
    /// Bytes that the budget was charged for it.
    pub charged: AtomicU32,
    /// No record of it expires before (Unix seconds).
    pub earliest: AtomicU32,
    /// Bytes of records, and of blocks that they brought, when it was full.
    pub weight: AtomicU64,
    older: AtomicU32,
    newer: AtomicU32,
}

impl Segment {
    pub(super) fn kind(&self) -> Kind {
        match self.kind.load(Ordering::Relaxed) {
            1 => Kind::Open,
            2 => Kind::Small,
            3 => Kind::Main,
            4 => Kind::Taken,
            _ => Kind::Vacant,
        }
    }

    pub(super) fn set_kind(&self, kind: Kind) {
        self.kind.store(kind as u8, Ordering::Relaxed);
    }

    pub(super) fn live(&self) -> u32 {
        self.live.load(Ordering::Relaxed)
    }

    pub(super) fn tail(&self) -> usize {
        self.tail.load(Ordering::Relaxed) as usize
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Notes that a record of it expires at `exptime`, if ever.
    pub(super) fn expires(&self, exptime: u32) {
        if exptime != 0 && exptime < self.earliest.load(Ordering::Relaxed) {
            self.earliest.fetch_min(exptime, Ordering::Relaxed);
        }
    }

    /// The next in its queue.
    pub(super) fn newer(&self) -> u32 {
        self.newer.load(Ordering::Relaxed)
    }

    pub(super) fn is_due(&self, seconds: u32) -> bool {
        self.earliest.load(Ordering::Relaxed) <= seconds
    }
}

/// Full segments in the order in which they were filled.
#[derive(Debug, Default)]
pub(super) struct Queue {
    oldest: u32,
    newest: u32,
    length: u32,
    weight: u64,
}

impl Queue {
    pub(super) fn oldest(&self) -> u32 {
        self.oldest
    }

    pub(super) fn len(&self) -> u32 {
        self.length
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) fn push(&mut self, segments: &Table<Segment>, number: u32) {
        let segment = segments.get(number);
        segment.older.store(self.newest, Ordering::Relaxed);
        segment.newer.store(NONE, Ordering::Relaxed);
        match self.newest {
            NONE => self.oldest = number,
            newest => segments.get(newest).newer.store(number, Ordering::Relaxed),
        }
        self.newest = number;
        self.length += 1;
        self.weight += segment.weight();
    }

    pub(super) fn remove(&mut self, segments: &Table<Segment>, number: u32) {
        let segment = segments.get(number);
        let older = segment.older.load(Ordering::Relaxed);
        let newer = segment.newer.load(Ordering::Relaxed);
        match older {
            NONE => self.oldest = newer,
            older => segments.get(older).newer.store(newer, Ordering::Relaxed),
        }
        match newer {
            NONE => self.newest = older,
            newer => segments.get(newer).older.store(older, Ordering::Relaxed),
        }
        self.length -= 1;
        self.weight -= segment.weight();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gives_the_oldest_first_whatever_left_its_middle() {
        let segments = Table::new();
        let mut queue = Queue::default();
        (1..=4).for_each(|number| queue.push(&segments, number));
        queue.remove(&segments, 2);
        let mut seen = Vec::new();
        while queue.oldest() != NONE {
            seen.push(queue.oldest());
            queue.remove(&segments, queue.oldest());
        }
        assert_eq!((seen, queue.len(), queue.newest), (vec![1, 3, 4], 0, NONE));
    }
}
