//! The live stream of one shard: what was written and the peer has not acknowledged. It goes on while
//! there is no link, so that after a short one nothing has to be looked for.
//!
//! Small writes are copied as they are made, when every byte of them is at hand: whoever sends them
//! runs on another processor, and would have to look each one up. Of others a reference is kept.

use super::change::Change;
use super::record::{Record, Stored};
use super::version::Version;
use std::collections::VecDeque;

/// Entries that one shard's ring holds, sent or not, before it gives up and the shard is walked instead.
const CAPACITY: usize = 4096;
/// Bytes of copies that one shard's ring holds: as much as is written while a batch waits for company.
/// A link that is further behind is better off with references: of what is overwritten meanwhile it
/// sends the last only.
const COPIES: usize = 4 * 1024;
/// A longer record is referred to: to copy it takes longer than to look it up.
const COPY_MAX: usize = 1024;

/// A write: its key's hash, and its version. If it was not copied and the key has another version by
/// the time the entry is read, the write was superseded and a later entry tells what became of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub hash: u64,
    pub version: Version,
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    /// What is to be sent, with the length of the copy, 0 if there is none.
    entries: VecDeque<(Written, u32)>,
    /// What was sent and not acknowledged yet.
    sent: VecDeque<Written>,
    /// Everything that this node wrote behind this and the peer has not acknowledged is in the two.
    since: Version,
    /// Whole records, in the order of their entries.
    copies: Vec<u8>,
    /// Up to where the copies were taken.
    taken: usize,
    open: bool,
    overrun: bool,
    /// Something was pushed since the flag was last cleared.
    pub pushed: bool,
}

impl Ring {
    /// Starts to record what is newer than `since`.
    pub(super) fn open(&mut self, since: Version) {
        *self = Ring { open: true, since, ..Ring::default() };
    }

    /// There is no link any more: what was not acknowledged is to be sent again.
    pub(super) fn rewind(&mut self) {
        self.forget_copies();
        while let Some(written) = self.sent.pop_back() {
            self.entries.push_front((written, 0));
        }
    }

    /// Goes on behind `acked`; false if not all of that is here.
    pub(super) fn resume(&mut self, acked: Version) -> bool {
        if !self.open || self.overrun || acked < self.since {
            return false;
        }
        self.rewind();
        while self.entries.front().is_some_and(|(written, _)| written.version <= acked) {
            self.entries.pop_front();
        }
        true
    }

    /// The peer holds everything up to `version`.
    pub(super) fn acknowledge(&mut self, version: Version) {
        while self.sent.front().is_some_and(|written| written.version <= version) {
            self.sent.pop_front();
        }
    }

    /// Records a write; `record` is what it made, if that is an item.
    #[inline]
    pub(super) fn push(&mut self, written: Written, record: Option<Record<'_>>) {
        if !self.open || self.overrun {
            return;
        }
        self.pushed = true;
        if self.entries.len() + self.sent.len() >= CAPACITY {
            // What was sent is missed only if the link is lost now.
            match self.sent.pop_front() {
                Some(oldest) => self.since = oldest.version,
                None => return self.give_up(),
            }
        }
        let copied = record.filter(|record| self.has_room(*record)).map_or(0, |record| {
            self.copies.extend_from_slice(record.bytes());
            record.size()
        });
        self.entries.push_back((written, copied as u32));
    }

    /// Whether a copy of the record is kept.
    fn has_room(&self, record: Record<'_>) -> bool {
        let size = record.size();
        record.is_inline() && size <= COPY_MAX && self.copies.len() + size <= COPIES
    }

    /// Forgets what was recorded: the stream is incomplete, the shard must be walked.
    pub(super) fn give_up(&mut self) {
        if self.open {
            *self = Ring { open: true, overrun: true, pushed: true, ..Ring::default() };
        }
    }

    /// Forgets the copies, and refers to what they are of. A copy is as good as the item only as long as
    /// that, or a later write of this node's to its key, is what the shard knows of the key.
    pub(super) fn forget_copies(&mut self) {
        if self.copies.is_empty() {
            return;
        }
        self.entries.iter_mut().for_each(|(_, copied)| *copied = 0);
        (self.copies, self.taken) = (Vec::new(), 0);
    }

    /// Takes the oldest entry, with the change that it was if it was copied.
    pub(super) fn pop(&mut self) -> Option<(Written, Option<Change<'_>>)> {
        let Some((written, copied)) = self.entries.pop_front() else {
            self.copies.clear();
            self.taken = 0;
            return None;
        };
        self.sent.push_back(written);
        let from = self.taken;
        self.taken += copied as usize;
        Some((written, change(&self.copies[from..self.taken])))
    }

    /// Whether there is nothing to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && !self.overrun
    }

    /// How many writes are to be sent, at least.
    pub(super) fn len(&self) -> usize {
        if self.overrun { CAPACITY } else { self.entries.len() }
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.overrun
    }
}

/// The change that a copy was made of; `None` if there is no copy.
fn change(copy: &[u8]) -> Option<Change<'_>> {
    if copy.is_empty() {
        return None;
    }
    let record = Record::copied(copy);
    match record.stored() {
        Stored::Inline(value) => Some(record.change(value).of_a_write()),
        Stored::Block { .. } => None,
    }
}
