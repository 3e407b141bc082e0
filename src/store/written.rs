//! What a thread has written, for whoever must know when the peer has it too.

use super::SHARDS;
use super::version::Version;
use std::cell::{Cell, RefCell};

thread_local! {
    /// Whether anything is noted: nearly nobody asks for it, and every write looks.
    static NOTING: Cell<bool> = const { Cell::new(false) };
    static NOTES: RefCell<Option<Written>> = const { RefCell::new(None) };
}

/// Writes of one thread: how many, and the newest of each shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many.
    pub count: u64,
    /// The newest version of each shard that was written to.
    pub newest: Vec<Version>,
    /// When a flush was asked for; [`Version::NONE`] if none was.
    pub flush: Version,
}

impl Written {
    /// From now on notes what this thread writes, until it is taken by [`Written::take`].
    pub fn note_from_now() {
        NOTES.set(Some(Written::default()));
        NOTING.set(true);
    }

    /// What this thread has written since this was last asked; nothing if it is not noted.
    pub fn take() -> Written {
        NOTES.with_borrow_mut(|notes| notes.as_mut().map(std::mem::take).unwrap_or_default())
    }

    /// How many writes are noted now.
    pub fn noted() -> u64 {
        NOTES.with_borrow(|notes| notes.as_ref().map_or(0, |written| written.count))
    }

    /// Notes a write of one key.
    #[inline]
    pub(super) fn note(version: Version) {
        if NOTING.get() {
            Written::add(version);
        }
    }

    fn add(version: Version) {
        NOTES.with_borrow_mut(|notes| {
            let Some(written) = notes else { return };
            written.count += 1;
            let same = |other: &&mut Version| other.shard() == version.shard();
            match written.newest.iter_mut().find(same) {
                Some(newest) => *newest = version.max(*newest),
                None => written.newest.push(version),
            }
            debug_assert!(written.newest.len() <= SHARDS);
        });
    }

    /// Notes a flush.
    pub(super) fn note_flush(issued: Version) {
        NOTES.with_borrow_mut(|notes| {
            if let Some(written) = notes {
                written.count += 1;
                written.flush = issued;
            }
        });
    }
}
