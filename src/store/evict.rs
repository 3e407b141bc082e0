//! Which items go when there is no room.
//!
//! New items enter a queue of segments with a tenth of the memory. From its end an item goes on to the
//! main part if it was hit often for its size, and else goes; it is remembered as a ghost, and if its
//! key comes back soon it enters the main part at once. There the four oldest segments are merged, and
//! the items with the most hits per byte stay, up to half of the space; the density at which that cut
//! fell is what new items are measured by. This is S3-FIFO (Yang et al., SOSP 2023) on segments that
//! are merged as in Segcache (Yang et al., NSDI 2021).

use super::Store;
use super::clean::{Cleaner, Rule};
use super::log::Position;
use super::segment::{Kind, NONE};
use super::shard::Shard;
use super::tombstone::Remains;
use super::version::Now;

/// Segments of the main part that are merged at once.
const MERGED: usize = 4;
/// Bytes that an item costs in the index, about.
const INDEX_COST: u64 = 12;
/// Segments that one look for sparse ones takes in at most.
const SAMPLE: u32 = 128;
/// How much of the last cut there is in the density that new items are measured by.
const NEWEST_CUT: f32 = 0.2;

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

/// Hits per byte of an item. One that was never hit is worth something, too.
fn density(hits: u8, weight: u64) -> f32 {
    (f32::from(hits) + 0.5) / (weight + INDEX_COST) as f32
}

/// How many bytes there are of each density, in steps of a sixteenth of an octave.
#[derive(Debug)]
pub(super) struct Densities {
    bytes: [u64; Densities::STEPS],
}

impl Default for Densities {
    fn default() -> Densities {
        Densities { bytes: [0; Densities::STEPS] }
    }
}

impl Densities {
    const STEPS: usize = 512;
    /// What is cut off of the bits of a number to get its step.
    const SHIFT: u32 = 19;
    /// The step of 2 to the power of -32, below that of any density.
    const LOWEST: usize = ((127 - 32) << 23 >> Densities::SHIFT) as usize;

    fn step(density: f32) -> usize {
        let step = (density.to_bits() >> Densities::SHIFT) as usize;
        step.saturating_sub(Densities::LOWEST).min(Densities::STEPS - 1)
    }

    fn value(step: usize) -> f32 {
        f32::from_bits(((step + Densities::LOWEST) as u32) << Densities::SHIFT)
    }

    pub(super) fn add(&mut self, hits: u8, weight: u64) {
        self.bytes[Densities::step(density(hits, weight))] += weight;
    }

    /// The density at which the cut falls so that `bytes` stay, and how many may stay of those at it.
    fn cut(&self, bytes: u64) -> (usize, u64) {
        let mut left = bytes;
        for step in (0..Densities::STEPS).rev() {
            if self.bytes[step] > left {
                return (step, left);
            }
            left -= self.bytes[step];
        }
        (0, left)
    }
}

impl Rule {
    pub(super) fn keeps(&mut self, hits: u8, weight: u64) -> bool {
        match self {
            Rule::All => true,
            Rule::AtLeast(cutoff) => density(hits, weight) >= *cutoff,
            Rule::Densest { density: cut, bytes } => {
                let step = Densities::step(density(hits, weight));
                let keeps = step > *cut || step == *cut && weight <= *bytes;
                if keeps && step == *cut {
                    *bytes -= weight;
                }
                keeps
            }
        }
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
        let (step, bytes) = densities.cut(space / 2);
        if step > 0 {
            let cut = Densities::value(step);
            cleaner.cutoff = if cleaner.cutoff == 0.0 {
                cut
            } else {
                cleaner.cutoff * (1.0 - NEWEST_CUT) + cut * NEWEST_CUT
            };
        }
        Rule::Densest { density: step, bytes }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_leaves_as_many_bytes_as_were_asked_for_and_the_densest() {
        let mut densities = Densities::default();
        let items = [(15, 100), (0, 100), (3, 1_000), (0, 1_000_000), (2, 50), (2, 50), (2, 50)];
        items.iter().for_each(|&(hits, weight)| densities.add(hits, weight));
        let (density, bytes) = densities.cut(220);
        let mut rule = Rule::Densest { density, bytes };
        let kept = items.map(|(hits, weight)| rule.keeps(hits, weight));
        assert_eq!(kept, [true, false, false, false, true, true, false]);
        let (density, bytes) = densities.cut(u64::MAX);
        let mut rule = Rule::Densest { density, bytes };
        assert!(items.iter().all(|&(hits, weight)| rule.keeps(hits, weight)));
    }
}
