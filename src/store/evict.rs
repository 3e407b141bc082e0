//! How items end that nobody deleted: eviction, and the search for those that are dead.

use super::entry::Item;
use super::shard::Shard;
use super::slots::{FETCHED, List, NIL, State};
use super::version::Now;

/// Items that one call evicts at most, so that the lock is held for a bounded time.
const EVICT_STEP: usize = 32;

/// Why an item goes without having been deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Evicted,
    Reclaimed,
    Crawled,
}

impl Shard {
    /// Ends an item that nobody deleted; expiry and eviction are this node's own business.
    fn retire(&mut self, at: u32, reason: Reason, now: Now) {
        let (class, _) = self.size_of(self.slots.get(at));
        let slot = self.slots.get(at);
        let stats = &mut self.stats[class];
        if reason == Reason::Evicted {
            stats.evicted += 1;
            stats.evicted_nonzero += u64::from(slot.exptime != 0);
            stats.evicted_unfetched += u64::from(slot.marks & FETCHED == 0);
            stats.evicted_active += u64::from(slot.visited);
            stats.evicted_time = u64::from(now.seconds().saturating_sub(slot.accessed));
        } else {
            stats.reclaimed += 1;
            stats.expired_unfetched += u64::from(slot.marks & FETCHED == 0);
            stats.crawler_reclaimed += u64::from(reason == Reason::Crawled);
        }
        self.end(at, State::Trace);
    }

    /// Takes back the room of an expired or flushed item that a request came across.
    pub(super) fn reclaim(&mut self, at: u32, now: Now) {
        self.retire(at, Reason::Reclaimed, now);
    }

    /// Evicts until `wanted` bytes came free or [`EVICT_STEP`] items went; false if none was left.
    ///
    /// SIEVE (Zhang et al., NSDI 2024): a hand goes from old to new and takes the first item that
    /// was not read since it last passed. `observe` sees those that were alive.
    pub(super) fn evict(&mut self, wanted: u64, now: Now, observe: impl Fn(Item<'_>)) -> bool {
        let before = self.balance;
        for step in 0..EVICT_STEP {
            let Some(victim) = self.next_victim(now) else {
                return step > 0;
            };
            if self.is_live(victim, now) {
                observe(Item::new(self.slots.get(victim)));
                self.retire(victim, Reason::Evicted, now);
            } else {
                self.retire(victim, Reason::Reclaimed, now);
            }
            if before - self.balance >= wanted as i64 {
                break;
            }
        }
        true
    }

    fn next_victim(&mut self, now: Now) -> Option<u32> {
        loop {
            if self.hand == NIL {
                self.hand = self.order.oldest();
            }
            let at = self.hand;
            if at == NIL {
                return None;
            }
            if !self.slots.get(at).visited || !self.is_live(at, now) {
                return Some(at);
            }
            self.slots.get_mut(at).visited = false;
            self.hand = List::newer(&self.slots, at);
        }
    }

    /// Looks at the next `steps` slots for expired items; true when the end was reached.
    pub(super) fn crawl(&mut self, steps: u32, now: Now) -> bool {
        let end = self.slots.len().min(self.crawler.saturating_add(steps));
        for at in self.crawler..end {
            self.crawler_checked += 1;
            let slot = self.slots.get(at);
            if slot.state == State::Item && self.is_dead(slot, now) {
                self.retire(at, Reason::Crawled, now);
            }
        }
        let finished = end == self.slots.len();
        self.crawler = if finished { 0 } else { end };
        finished
    }

    /// Seconds since use of the oldest item of each class, among the `limit` oldest of all.
    pub(super) fn ages(&self, limit: usize, now: Now, ages: &mut [u64]) {
        let mut at = self.order.oldest();
        for _ in 0..limit {
            if at == NIL {
                return;
            }
            let slot = self.slots.get(at);
            let age = u64::from(now.seconds().saturating_sub(slot.accessed));
            let class = self.size_of(slot).0;
            ages[class] = ages[class].max(age);
            at = List::newer(&self.slots, at);
        }
    }
}
