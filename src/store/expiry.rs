//! The search for dead items: memory comes back without being asked for.

use super::clean::{Cleaner, Scan};
use super::evict::Reason;
use super::segment::{Kind, NONE};
use super::version::Now;
use super::{Store, guard};
use std::sync::atomic::Ordering;

/// Records that one look under the cleaner's lock takes in.
const STEP: usize = 128;
/// Looks of one tick, after a flush and otherwise.
const STEPS: (usize, usize) = (512, 32);
/// Segments whose books one look may pass over.
const PASSED: u32 = 1024;

/// How far the search has come.
#[derive(Debug, Default)]
pub(super) struct Crawl {
    /// The segment that is searched; nothing between two.
    scan: Option<Scan>,
    /// The segment that was last looked at.
    last: u32,
    /// Segments to search whether anything of them is known to have expired or not.
    all: u32,
}

impl Crawl {
    /// The segment is being freed: nothing of it is left to search.
    pub(super) fn forget(&mut self, segment: u32) {
        self.scan = self.scan.filter(|scan| scan.segment != segment);
    }
}

impl Store {
    /// Has everything searched for dead items at once.
    pub fn crawl_soon(&self) {
        let numbers = self.log.numbers();
        guard(&self.cleaner).crawl.all = numbers;
    }

    /// Goes on with the search for dead items, in bounded steps: leisurely, but after a flush at once.
    pub(super) fn crawl(&self, now: Now) {
        let mut steps = STEPS.1;
        let mut step = 0;
        while step < steps {
            step += 1;
            let mut cleaner = guard(&self.cleaner);
            if cleaner.crawl.all > 0 {
                steps = STEPS.0;
            }
            if cleaner.crawl.scan.is_none() {
                match self.next_due(&mut cleaner.crawl, now) {
                    Some(scan) => cleaner.crawl.scan = Some(scan),
                    None => return,
                }
            }
            self.search(&mut cleaner, now);
        }
    }

    /// The next segment in which something is dead, or may be.
    fn next_due(&self, crawl: &mut Crawl, now: Now) -> Option<Scan> {
        let numbers = self.log.numbers();
        for _ in 0..PASSED.min(numbers) {
            crawl.last = if crawl.last + 1 < numbers { crawl.last + 1 } else { 1 };
            let all = crawl.all > 0;
            crawl.all = crawl.all.saturating_sub(1);
            let number = crawl.last;
            if number >= numbers {
                return None;
            }
            let segment = self.log.segments.get(number);
            let due = all || segment.is_due(now.seconds());
            let tail = match segment.kind() {
                Kind::Small | Kind::Main if due => segment.tail(),
                Kind::Open if due => self.reached(number).unwrap_or(0),
                _ => 0,
            };
            if tail > 0 {
                segment.earliest.store(u32::MAX, Ordering::Relaxed);
                return Some(Scan { segment: number, offset: 0, tail });
            }
        }
        None
    }

    fn search(&self, cleaner: &mut Cleaner, now: Now) {
        let Some(mut scan) = cleaner.crawl.scan.take() else { return };
        for _ in 0..STEP {
            let Some((at, hash)) = self.scan_next(&mut scan) else {
                self.free_if_empty(cleaner, scan.segment);
                return;
            };
            let mut shard = self.lock(Store::shard_of(hash));
            shard.crawler_checked += 1;
            let record = shard.record(at);
            scan.offset += record.size();
            if record.is_dead() {
                continue;
            }
            if shard.is_dead(record, now) {
                shard.retire(hash, at, Reason::Crawled, now);
            } else {
                let exptime = record.exptime();
                self.log.segments.get(scan.segment).expires(exptime);
            }
        }
        cleaner.crawl.scan = Some(scan);
    }

    /// Seconds since use of the oldest item of each class, as far as a look at the oldest shows.
    pub(super) fn ages(&self, now: Now, ages: &mut [u64]) {
        /// Items at the front of each queue that are looked at.
        const SAMPLE: usize = 2048;
        let _cleaner = guard(&self.cleaner);
        let (small, main) = {
            let pool = self.log.pool();
            (pool.small.oldest(), pool.main.oldest())
        };
        let full = [small, main].into_iter().filter(|&number| number != NONE);
        let full: Vec<Scan> = full.map(|number| self.scan(number)).collect();
        let open = self.log.lanes().map(|lane| lane.reached()).filter(|at| at.0 != NONE);
        let open = open.map(|(segment, tail)| Scan { segment, offset: 0, tail });
        for mut scan in full.into_iter().chain(open.collect::<Vec<_>>()) {
            for _ in 0..SAMPLE {
                let Some((at, hash)) = self.scan_next(&mut scan) else { break };
                let shard = self.lock(Store::shard_of(hash));
                let record = shard.record(at);
                scan.offset += record.size();
                if !record.is_dead() {
                    let (class, _) = shard.size_of(record);
                    let age = now.seconds().saturating_sub(record.accessed(now.seconds()));
                    ages[class] = ages[class].max(u64::from(age));
                }
            }
        }
    }
}
