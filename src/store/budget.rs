//! The one memory budget of all shards.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that items, tombstones and their index entries may cost together, and do.
#[derive(Debug)]
pub(super) struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Budget {
        Budget { limit: AtomicU64::new(limit), used: AtomicU64::new(0) }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
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
        let limit = self.limit();
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
