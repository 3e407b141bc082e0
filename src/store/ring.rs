//! The live stream of one shard: references to what was written and the peer has not been sent yet.

use super::version::Version;
use std::collections::VecDeque;

/// Entries that one shard's ring holds before it gives up and the shard is walked instead.
const CAPACITY: usize = 4096;

/// A write: its key's hash, and its version. If the key has another version by the time the entry is
/// read, the write was superseded and a later entry tells what became of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub hash: u64,
    pub version: Version,
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    entries: VecDeque<Written>,
    open: bool,
    overrun: bool,
    /// Something was pushed since the flag was last cleared.
    pub pushed: bool,
}

impl Ring {
    /// Starts to record, from nothing.
    pub(super) fn open(&mut self) {
        *self = Ring { open: true, ..Ring::default() };
    }

    /// Stops to record and forgets.
    pub(super) fn close(&mut self) {
        *self = Ring::default();
    }

    pub(super) fn push(&mut self, written: Written) {
        if !self.open || self.overrun {
            return;
        }
        self.pushed = true;
        if self.entries.len() == CAPACITY {
            self.give_up();
            return;
        }
        self.entries.push_back(written);
    }

    /// Forgets what was recorded: the stream is incomplete, the shard must be walked.
    pub(super) fn give_up(&mut self) {
        if self.open {
            self.entries = VecDeque::new();
            self.overrun = true;
            self.pushed = true;
        }
    }

    pub(super) fn pop(&mut self) -> Option<Written> {
        self.entries.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.overrun
    }
}
