//! How many refer to a large value: its item, and the replies on their way out.
//!
//! Beside the locks this count alone orders anything: who drops the last reference may reuse the
//! memory, and who finds to hold the only one may write over it. tests/loom runs this file through
//! all orders of its steps.

use super::atomic::{AtomicU32, Ordering};

/// A count of references.
#[derive(Debug, Default)]
pub(super) struct References(AtomicU32);

impl References {
    /// The first reference.
    pub(super) fn begin(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// One more, made by who holds one.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less; whether it was the last, whose holder has the memory for itself now.
    pub(super) fn end_one(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Whether there is only the one of who asks, and nobody can make another meanwhile: then what
    /// others read before is behind them.
    pub(super) fn is_only(&self) -> bool {
        self.0.load(Ordering::Acquire) == 1
    }
}
