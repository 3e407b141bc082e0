//! Which changes of the link's state the log tells: each, unless they come in a crowd.
//!
//! Where nothing seals the link, whoever reaches the port may take the peer's place and leave again,
//! as often as it likes; that must not fill the journal.

use crate::sparing::Sparing;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// A restart of the peer takes about six lines. So many restarts in a row that this is not enough
/// are no news any more.
const AT_ONCE: u32 = 100;

/// What was told of the changes so far.
pub(super) struct Told {
    lines: Sparing,
    /// Nothing was said of the state that the link has now.
    owes: AtomicBool,
}

impl Told {
    pub(super) const fn new() -> Told {
        Told { lines: Sparing::new(AT_ONCE), owes: AtomicBool::new(false) }
    }

    /// Whether to log a change of state, and what to say of those that were not.
    pub(super) fn change(&self) -> Option<Unmentioned> {
        let due = self.lines.due();
        self.owes.store(due.is_none(), Ordering::Relaxed);
        due.map(Unmentioned)
    }

    /// Whether to log now what the state has been since a change that was not logged: the last
    /// line must not be of what has passed long ago.
    pub(super) fn late(&self) -> Option<Unmentioned> {
        if !self.owes.load(Ordering::Relaxed) || !self.lines.is_due() {
            return None;
        }
        // The one that is told now was counted among those that are not.
        self.change().map(|Unmentioned(before)| Unmentioned(before.saturating_sub(1)))
    }
}

/// How many changes were not logged; nothing if there were none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unmentioned(u64);

impl fmt::Display for Unmentioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            before => write!(f, " unmentioned_before={before}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_until_there_are_too_many_and_the_last_of_those_is_owed() {
        let told = Told::new();
        for _ in 0..AT_ONCE {
            assert_eq!(told.late(), None);
            assert_eq!(told.change(), Some(Unmentioned(0)));
        }
        for _ in 0..3 {
            assert_eq!(told.change(), None);
            assert_eq!(told.late(), None, "not before another line is earned");
        }
        assert!(told.owes.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_owed_is_told_once_when_it_is_due() {
        let told = Told { lines: Sparing::new(2), owes: AtomicBool::new(false) };
        assert_eq!(told.change(), Some(Unmentioned(0)));
        told.owes.store(true, Ordering::Relaxed);
        assert_eq!(told.late(), Some(Unmentioned(0)));
        assert_eq!(told.late(), None);
    }

    #[test]
    fn only_what_was_left_out_is_spoken_of() {
        assert_eq!(Unmentioned(0).to_string(), "");
        assert_eq!(Unmentioned(7).to_string(), " unmentioned_before=7");
    }
}
