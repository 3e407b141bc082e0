//! Which items go when there is no room.
//!
//! New items enter a queue of segments with a tenth of the memory. From its end an item goes on to the
//! main part if it was hit often for its size, and else goes; it is remembered as a ghost, and if its
//! key comes back soon it enters the main part at once. There the four oldest segments are merged, and
//! the items with the most hits per byte stay, up to nine sixteenths of the space; the density at which
//! that cut fell is what new items are measured by. Whatever is kept keeps half of its hits. This is S3-FIFO (Yang et al., SOSP 2023) on segments that are merged as in
//! Segcache (Yang et al., NSDI 2021).
//!
//! Returning keys are not measured: they see to it that the main part is merged again and again, and
//! what new items are measured by follows what clients ask for now.

use super::Store;
use super::clean::Cleaner;
use super::density::{Densities, Rule};
use super::log::Position;
use super::segment::{Kind, NONE};
use super::shard::Shard;
use super::tombstone::Remains;
use super::version::Now;

/// Segments of the main part that are merged at once.
const MERGED: usize = 4;
/// How many sixteenths of their bytes stay.
const KEPT_SIXTEENTHS: u64 = 9;
/// Segments that one look for sparse ones takes in at most.
const SAMPLE: u32 = 128;

/// Why an item goes without having been deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Evicted,
    Reclaimed,
    Crawled,
}

/// Segments to be emptied, oldest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources(pub(super) [u32; MERGED]);

impl Sources {
    pub(super) fn first(&self) -> u32 {
        self.0[0]
    }

    pub(super) fn each(&self, mut what: impl FnMut(u32)) {
        self.0.iter().filter(|&&segment| segment != NONE).for_each(|&segment| what(segment));
    }

    pub(super) fn after(&self, segment: u32) -> Option<u32> {
        let place = self.0.iter().position(|&other| other == segment)?;
        self.0.get(place + 1).copied().filter(|&next| next != NONE)
    }
}

impl Store {
    /// A full segment of which half or less is alive, the emptiest of those that a look takes in. Where
    /// nothing may be evicted (`any`) all are looked at, and one of which anything is dead will do, if
    /// together they are worth a segment.
    pub(super) fn sparse_segment(&self, cleaner: &mut Cleaner, any: bool, now: Now) -> Option<u32> {
        let numbers = self.log.numbers();
        let (mut best, mut dead) = (None, 0);
        for _ in 0..if any { numbers } else { numbers.min(SAMPLE) } {
            cleaner.sampled = if cleaner.sampled + 1 < numbers { cleaner.sampled + 1 } else { 1 };
            let segment = self.log.segments.get(cleaner.sampled);
            if !matches!(segment.kind(), Kind::Small | Kind::Main) {
                continue;
            }
            let (live, tail) = (segment.live() as usize, segment.tail());
            let expired = any && segment.is_due(now.seconds());
            dead += if expired { self.log.segment_size() } else { tail - live };
            let is_sparse = if any { live < tail || expired } else { live * 2 <= tail };
            if is_sparse && best.is_none_or(|(least, _)| live < least) {
                best = Some((live, cleaner.sampled));
            }
        }
        let (_, segment) = best.filter(|_| !any || dead >= self.log.segment_size())?;
        Some(segment)
    }

    /// The segments that eviction takes next, and whether they are of the main part.
    pub(super) fn victims(&self) -> Option<(Sources, bool)> {
        for _ in 0..2 {
            let pool = self.log.pool();
            let is_over = pool.small.weight() > self.log.small_share();
            if pool.small.len() > 0 && (is_over || pool.main.len() == 0) {
                return Some((Sources::one(pool.small.oldest()), false));
            }
            if pool.main.len() > 0 {
                let mut sources = Sources([NONE; MERGED]);
                let mut oldest = pool.main.oldest();
                for place in &mut sources.0 {
                    *place = oldest;
                    oldest =
                        if oldest == NONE { NONE } else { self.log.segments.get(oldest).newer() };
                }
                return Some((sources, true));
            }
            drop(pool);
            // Everything is in the segments that are being filled.
            self.log.lanes().for_each(|mut lane| self.log.seal(&mut lane));
        }
        None
    }

    /// Decides what stays of the main part's oldest segments.
    pub(super) fn cut(
        &self,
        cleaner: &mut Cleaner,
        sources: &Sources,
        densities: &Densities,
    ) -> Rule {
        let mut space = 0;
        sources.each(|segment| space += self.log.segments.get(segment).weight());
        let (cut, rule) = densities.cut(space * KEPT_SIXTEENTHS / 16);
        if let Some(cut) = cut {
            cleaner.cutoff.approach(cut);
        }
        rule
    }
}

impl Shard {
    /// Ends an item that nobody deleted; expiry and eviction are this node's own business.
    pub(super) fn retire(&mut self, hash: u64, at: Position, reason: Reason, now: Now) {
        let record = self.record(at);
        let class = self.size_of(record).0;
        let (fetched, exptime, hits) = (record.fetched(), record.exptime(), record.hits());
        let accessed = record.accessed(now.seconds());
        let stats = &mut self.stats[class];
        if reason == Reason::Evicted {
            stats.evicted += 1;
            stats.evicted_nonzero += u64::from(exptime != 0);
            stats.evicted_unfetched += u64::from(!fetched);
            stats.evicted_active += u64::from(hits > 0);
            stats.evicted_time = u64::from(now.seconds().saturating_sub(accessed));
        } else {
            stats.reclaimed += 1;
            stats.expired_unfetched += u64::from(!fetched);
            stats.crawler_reclaimed += u64::from(reason == Reason::Crawled);
        }
        self.end(hash, at, Remains::Trace);
    }
}
