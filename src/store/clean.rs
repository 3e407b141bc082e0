//! How segments are emptied, a few records at a time: what is worth it moves to the end of the log,
//! the rest goes, and the segment is free. One thread at a time does this, under the cleaner's lock.

use super::density::{Cutoff, Densities, Rule};
use super::evict::{Reason, Sources};
use super::log::{Position, Purpose};
use super::record::{GAP, PAD};
use super::segment::{Kind, NONE};
use super::version::Now;
use super::{Item, Store, guard};
use std::sync::TryLockError;

/// Records that a write looks at on its way when little is free.
const STEP_OF_WRITE: usize = 16;
/// Records that one who waits for room looks at between two looks at what is free.
const STEP_OF_WAITER: usize = 256;
/// Steps after which one who waits gives up: others took whatever came free.
const WAITS: usize = 1 << 16;

/// What the cleaner is at.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    job: Job,
    pub(super) cutoff: Cutoff,
    /// Where the next look for sparse segments begins.
    pub(super) sampled: u32,
    pub(super) crawl: super::expiry::Crawl,
}

/// A place in a segment, and where its records end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    pub segment: u32,
    pub offset: usize,
    pub tail: usize,
}

#[derive(Debug, Default)]
enum Job {
    #[default]
    None,
    /// Finding out how dense the items of these segments are.
    Weigh { sources: Sources, scan: Scan, densities: Box<Densities> },
    /// Emptying them.
    Empty { sources: Sources, scan: Scan, rule: Rule },
}

impl Store {
    /// What a write does for those after it, when little is free.
    pub(super) fn clean_on_the_way(&self, now: Now) {
        let mut cleaner = match self.cleaner.try_lock() {
            Ok(cleaner) => cleaner,
            Err(TryLockError::Poisoned(cleaner)) => cleaner.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.clean(&mut cleaner, STEP_OF_WRITE, || !self.log.is_short(), now);
    }

    /// Frees so many bytes for a write that waits, beside those that writes leave free; false if they
    /// can't be had.
    pub(super) fn free_up(&self, wanted: u64, now: Now) -> bool {
        let needed = self.log.spare() + wanted;
        if needed > self.log.budget.limit() {
            return false;
        }
        let enough = || self.log.budget.fits(needed);
        if enough() {
            return true;
        }
        for _ in 0..WAITS {
            let more = self.clean(&mut guard(&self.cleaner), STEP_OF_WAITER, enough, now);
            if enough() || !more {
                break;
            }
        }
        enough()
    }

    /// Looks at so many records to make room, until it is `enough`; false if there is nothing to empty.
    pub(super) fn clean(
        &self,
        cleaner: &mut Cleaner,
        records: usize,
        enough: impl Fn() -> bool,
        now: Now,
    ) -> bool {
        let mut left = records;
        while left > 0 && !enough() {
            if matches!(cleaner.job, Job::None) {
                let Some(job) = self.next_job(cleaner, now) else { return false };
                cleaner.job = job;
            }
            left -= self.work(cleaner, left, now).clamp(1, left);
        }
        true
    }

    /// Looks at so many records of sparse segments, and evicts nothing; false if there are none.
    pub(super) fn gather(&self, cleaner: &mut Cleaner, records: usize, now: Now) -> bool {
        let mut left = records;
        while left > 0 {
            match cleaner.job {
                Job::Empty { rule: Rule::All, .. } => {}
                Job::None => {
                    let Some(sparse) = self.sparse_segment(cleaner, false, now) else {
                        return false;
                    };
                    cleaner.job = self.emptying(sparse);
                }
                // Who wants the room will go on with it.
                _ => return false,
            }
            left -= self.work(cleaner, left, now).clamp(1, left);
        }
        true
    }

    /// Goes on with the job for so many records or to the end of a segment, and says how many records
    /// it were.
    fn work(&self, cleaner: &mut Cleaner, records: usize, now: Now) -> usize {
        match std::mem::take(&mut cleaner.job) {
            Job::None => 0,
            Job::Weigh { sources, scan, densities } => {
                self.weigh(cleaner, sources, scan, densities, records, now)
            }
            Job::Empty { sources, scan, rule } => {
                self.empty(cleaner, sources, scan, rule, records, now)
            }
        }
    }

    fn next_job(&self, cleaner: &mut Cleaner, now: Now) -> Option<Job> {
        if let Some(sparse) = self.sparse_segment(cleaner, !self.evictions, now) {
            return Some(self.emptying(sparse));
        }
        if !self.evictions {
            return None;
        }
        let (sources, is_main) = self.victims()?;
        self.take(&sources);
        let scan = self.scan(sources.first());
        Some(if is_main {
            Job::Weigh { sources, scan, densities: Box::default() }
        } else {
            Job::Empty { sources, scan, rule: Rule::Dense(cleaner.cutoff) }
        })
    }

    /// Takes segments out of their queues: they are the cleaner's until they are free.
    fn take(&self, sources: &Sources) {
        let mut pool = self.log.pool();
        sources.each(|segment| self.log.take(&mut pool, segment));
    }

    fn emptying(&self, sparse: u32) -> Job {
        let sources = Sources::one(sparse);
        self.take(&sources);
        Job::Empty { sources, scan: self.scan(sparse), rule: Rule::All }
    }

    pub(super) fn scan(&self, segment: u32) -> Scan {
        Scan { segment, offset: 0, tail: self.log.segments.get(segment).tail() }
    }

    /// The next record of a scan, by position and hash; nothing at the end.
    pub(super) fn scan_next(&self, scan: &mut Scan) -> Option<(Position, u64)> {
        while scan.offset < scan.tail {
            let at = self.log.position(scan.segment, scan.offset);
            let start = self.log.pointer(at);
            // SAFETY: before the tail the segment is a sequence of records, pads and gaps. Records were
            // written before the tail was known, pads and gaps before the length of the record in front
            // of them was, and neither a key nor its length changes.
            let (first, key) = unsafe {
                match start.read() {
                    PAD => (PAD, &[][..]),
                    GAP => (GAP, std::slice::from_raw_parts(start.add(1).as_ptr(), 4)),
                    len => (len, super::record::key_at(start, len)),
                }
            };
            match first {
                PAD => scan.offset += 1,
                GAP => scan.offset += key.iter().rev().fold(0, |len, &b| len << 8 | usize::from(b)),
                _ => return Some((at, self.hash(key))),
            }
        }
        None
    }

    /// Goes over the items that may be evicted, to learn how dense those are that may stay.
    fn weigh(
        &self,
        cleaner: &mut Cleaner,
        sources: Sources,
        mut scan: Scan,
        mut densities: Box<Densities>,
        records: usize,
        now: Now,
    ) -> usize {
        for done in 0..records {
            let Some((at, hash)) = self.scan_next(&mut scan) else {
                if let Some(next) = sources.after(scan.segment) {
                    scan = self.scan(next);
                    continue;
                }
                let rule = self.cut(cleaner, &sources, &densities);
                let scan = self.scan(sources.first());
                cleaner.job = Job::Empty { sources, scan, rule };
                return done;
            };
            let shard = self.lock(Store::shard_of(hash));
            let record = shard.record(at);
            scan.offset += record.size();
            if !record.is_dead() && !shard.is_dead(record, now) {
                densities.add(record.hits(), shard.weight(record));
            }
        }
        cleaner.job = Job::Weigh { sources, scan, densities };
        records
    }

    fn empty(
        &self,
        cleaner: &mut Cleaner,
        sources: Sources,
        mut scan: Scan,
        mut rule: Rule,
        records: usize,
        now: Now,
    ) -> usize {
        for done in 0..records {
            let Some((at, hash)) = self.scan_next(&mut scan) else {
                cleaner.crawl.forget(scan.segment);
                self.log.free(scan.segment);
                if let Some(next) = sources.after(scan.segment) {
                    cleaner.job = Job::Empty { sources, scan: self.scan(next), rule };
                }
                return done;
            };
            match self.settle(at, hash, &mut rule, now) {
                Some(size) => scan.offset += size,
                None => {
                    // Nothing may be evicted, and there is no room to move anything to.
                    sources.each(|segment| {
                        if self.log.segments.get(segment).kind() == Kind::Taken {
                            self.log.put_back(segment);
                        }
                    });
                    return records;
                }
            }
        }
        cleaner.job = Job::Empty { sources, scan, rule };
        records
    }

    /// Decides on one record; says its size, or nothing if it must stay and can't move.
    fn settle(&self, at: Position, hash: u64, rule: &mut Rule, now: Now) -> Option<usize> {
        let mut shard = self.lock(Store::shard_of(hash));
        let record = shard.record(at);
        let size = record.size();
        if record.is_dead() {
            return Some(size);
        }
        if shard.is_dead(record, now) {
            shard.retire(hash, at, Reason::Reclaimed, now);
            return Some(size);
        }
        let hits = record.hits();
        let keeps = rule.keeps(hits, shard.weight(record));
        if keeps {
            let mut lane = self.log.main_lane();
            if self.log.room(&mut lane, size, Purpose::Clean) {
                let to = self.log.append_copy(&mut lane, record, shard.block_weight(record));
                drop(lane);
                if !matches!(rule, Rule::All) {
                    shard.record_mut(to).set_hits(hits / 2);
                }
                shard.moved(hash, at, to);
                return Some(size);
            }
        }
        if !self.evictions {
            return None;
        }
        if let Some(observer) = self.evicted.get() {
            observer(Item::new(&shard, record, now), now);
        }
        shard.retire(hash, at, Reason::Evicted, now);
        if !keeps {
            let items = shard.index.len();
            shard.ghosts.fit(items);
            shard.ghosts.insert(hash);
        }
        Some(size)
    }

    /// Where a lane that has not filled its segment has come to; nothing for a segment that is not
    /// open.
    pub(super) fn reached(&self, segment: u32) -> Option<usize> {
        self.log
            .lanes()
            .map(|lane| lane.reached())
            .find(|&(open, _)| open == segment)
            .map(|at| at.1)
    }

    /// Frees a segment that no index knows any more, be it full or open.
    pub(super) fn free_if_empty(&self, cleaner: &mut Cleaner, segment: u32) {
        let books = self.log.segments.get(segment);
        if books.kind() == Kind::Open {
            for mut lane in self.log.lanes() {
                if lane.reached().0 == segment && books.live() == 0 {
                    self.log.seal(&mut lane);
                }
            }
        }
        if books.live() == 0 && matches!(books.kind(), Kind::Small | Kind::Main) {
            self.log.take(&mut self.log.pool(), segment);
            cleaner.crawl.forget(segment);
            self.log.free(segment);
        }
    }
}

impl Sources {
    pub(super) fn one(segment: u32) -> Sources {
        Sources([segment, NONE, NONE, NONE])
    }
}
