//! The one memory budget of all shards.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that items, tombstones and their index entries may cost together, and do.
#[derive(Debug)]
pub(super) struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
    /// Up to here writes go on while what is above a lowered limit is evicted by and by: a write
    /// makes room for itself, and does not wait for all of the rest.
    ceiling: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Budget {
        Budget { limit: AtomicU64::new(limit), used: AtomicU64::new(0), ceiling: AtomicU64::new(0) }
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

    /// How far the use is above the limit: more than nothing only after the limit was lowered.
    pub(super) fn excess(&self) -> u64 {
        self.used().saturating_sub(self.limit())
    }

    /// Takes `bytes` if they fit.
    pub(super) fn reserve(&self, bytes: u64) -> bool {
        let limit = self.limit().max(self.ceiling.load(Ordering::Relaxed));
        let fits = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Books the difference between what was reserved and what was really taken or given back.
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
        assert!(budget.reserve(1000));
        budget.set_limit(100);
        assert!(!budget.reserve(10));
        budget.settle(-10);
        assert!(budget.reserve(10));
        budget.settle(-500);
        budget.lower_ceiling();
        assert!(!budget.reserve(1), "what came down stays down");
        budget.settle(-450);
        budget.lower_ceiling();
        assert!(budget.reserve(50));
        assert!(!budget.reserve(1), "the limit holds again");
    }
}
