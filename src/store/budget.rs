//! The one memory budget of everything that items cost.

use std::sync::atomic::{AtomicU64, Ordering};

/// What part of the memory values may take together that are on their way to their places, since
/// nothing of them can be evicted, and what part each of them.
const ARRIVING: u64 = 32;
const ARRIVING_ONE: u64 = 128;

/// Bytes that items, tombstones, index and ghosts may cost together, and do.
#[derive(Debug)]
pub(super) struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
    /// Up to here writes go on while what is above a lowered limit is evicted by and by: a write
    /// makes room for itself, and does not wait for all of the rest.
    ceiling: AtomicU64,
    /// What is used by values on their way.
    arriving: AtomicU64,
    /// Pages that are free and were not given back to the system. They are not used: they are part of
    /// what writes leave free.
    kept: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Budget {
        Budget {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            ceiling: AtomicU64::new(0),
            arriving: AtomicU64::new(0),
            kept: AtomicU64::new(0),
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, limit: u64) {
        self.ceiling.store(self.used(), Ordering::Relaxed);
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Keeps what has been reached on the way down to a lowered limit.
    pub(super) fn lower_ceiling(&self) {
        self.ceiling.fetch_min(self.used(), Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What may be used in the end. What is on its way from before the limit was lowered does not take
    /// the place of others.
    fn target(&self) -> u64 {
        let limit = self.limit();
        limit + self.arriving().saturating_sub(limit / ARRIVING)
    }

    /// What may be used at the moment.
    pub(super) fn bound(&self) -> u64 {
        self.target().max(self.ceiling.load(Ordering::Relaxed))
    }

    /// What is used by values on their way.
    pub(super) fn arriving(&self) -> u64 {
        self.arriving.load(Ordering::Relaxed)
    }

    /// Counts `bytes`, which are still to be reserved, as a value on its way, if there may be another.
    pub(super) fn begin_arrival(&self, bytes: u64) -> bool {
        let limit = self.limit();
        let sum = |arriving| (arriving + bytes <= limit / ARRIVING).then_some(arriving + bytes);
        bytes <= limit / ARRIVING_ONE
            && self.arriving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    /// It is on its way no more.
    pub(super) fn end_arrival(&self, bytes: u64) {
        self.arriving.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether `bytes` more would fit.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.bound()
    }

    /// Whether nothing is left of what was above a limit before it was lowered.
    pub(super) fn is_met(&self) -> bool {
        self.used() <= self.target()
    }

    /// Counts `bytes` of free pages as kept, if all that are come to `most` at most and fit.
    pub(super) fn keep(&self, bytes: u64, most: u64) -> bool {
        let most = most.min(self.target().saturating_sub(self.used()));
        let sum = |kept| (kept + bytes <= most).then_some(kept + bytes);
        self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    /// They are in use again, or the system's.
    pub(super) fn end_keeping(&self, bytes: u64) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of free pages that are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if they fit with `spare` left over.
    pub(super) fn reserve(&self, bytes: u64, spare: u64) -> bool {
        let bound = self.bound();
        let taken = |used: u64| {
            let sum = used.checked_add(bytes)?;
            (sum.checked_add(spare)? <= bound).then_some(sum)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// Gives `bytes` back.
    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Books what was taken or given back without asking: small things that can't wait.
    pub(super) fn settle(&self, difference: i64) {
        if difference != 0 {
            self.used.fetch_add(difference as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_limit_was_lowered_a_write_needs_room_for_itself_only() {
        let budget = Budget::new(1000);
        assert!(budget.reserve(1000, 0));
        budget.set_limit(100);
        assert!(!budget.reserve(10, 0));
        budget.release(10);
        assert!(budget.reserve(10, 0));
        budget.release(500);
        budget.lower_ceiling();
        assert!(!budget.reserve(1, 0), "what came down stays down");
        budget.release(450);
        budget.lower_ceiling();
        assert!(budget.reserve(40, 10));
        assert!(!budget.reserve(1, 10), "the limit holds again");
    }

    #[test]
    fn what_is_on_its_way_leaves_the_rest_to_others_however_far_the_limit_is_lowered() {
        let budget = Budget::new(3200);
        assert!(!budget.begin_arrival(26), "more than one may have");
        for _ in 0..4 {
            assert!(budget.begin_arrival(25) && budget.reserve(25, 0));
        }
        assert!(!budget.begin_arrival(1), "more than all may have");
        assert_eq!(budget.bound(), 3200);
        budget.set_limit(64);
        budget.lower_ceiling();
        assert_eq!(budget.bound(), 64 + 100 - 2);
        assert!(budget.is_met(), "others need not go");
        assert!(budget.reserve(62, 0) && budget.is_met());
        budget.settle(1);
        assert!(!budget.is_met());
        budget.release(63);
        budget.release(100);
        (0..4).for_each(|_| budget.end_arrival(25));
        budget.lower_ceiling();
        assert_eq!(budget.bound(), 64);
    }

    #[test]
    fn free_pages_are_kept_as_far_as_they_fit_and_no_more_than_what_is_said() {
        let budget = Budget::new(100);
        assert!(budget.keep(20, 30) && !budget.keep(11, 30) && budget.keep(10, 30));
        budget.end_keeping(20);
        assert!(budget.reserve(80, 0));
        assert!(!budget.keep(11, 30) && budget.keep(10, 30));
        assert_eq!(budget.kept(), 20);
    }
}
