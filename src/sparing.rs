//! How often the log speaks of what others can cause at will.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Once as many lines as a `Sparing` allows at once are out, one more comes with each of these.
const QUIET: Duration = Duration::from_secs(60);

/// Counts the lines of one kind, and says which of them are written.
#[derive(Debug)]
pub struct Sparing {
    at_once: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Lines that may be written now.
    left: u32,
    /// From when on the next one is earned.
    since: Option<Instant>,
    unmentioned: u64,
}

impl Sparing {
    /// Lets so many lines through at once, and one a minute after that.
    pub const fn new(at_once: u32) -> Sparing {
        Sparing { at_once, state: Mutex::new(State { left: at_once, since: None, unmentioned: 0 }) }
    }

    /// Whether to write the line at hand: if so, how many were left out before it.
    pub fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    /// Whether a line would be written now. Asking counts nothing.
    pub fn is_due(&self) -> bool {
        self.earn(Instant::now()).left > 0
    }

    /// Adds what was earned up to now.
    fn earn(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *state.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        let earned = u32::try_from(passed.as_secs() / QUIET.as_secs()).unwrap_or(u32::MAX);
        state.left = state.left.saturating_add(earned).min(self.at_once);
        if state.left == self.at_once {
            state.since = Some(now);
        } else {
            state.since = since.checked_add(QUIET.saturating_mul(earned));
        }
        state
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.earn(now);
        if state.left == 0 {
            state.unmentioned += 1;
            return None;
        }
        state.left -= 1;
        Some(std::mem::take(&mut state.unmentioned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_allowed_come_at_once_and_then_one_a_minute() {
        let sparing = Sparing::new(3);
        let start = Instant::now();
        let at = |seconds| sparing.due_at(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(0), at(1), at(1), at(59)], [Some(0), Some(0), Some(0), None, None]);
        assert_eq!([at(60), at(61), at(119)], [Some(2), None, None]);
        assert_eq!([at(120), at(120)], [Some(2), None]);
    }

    #[test]
    fn what_was_not_used_is_not_saved_up_beyond_that() {
        let sparing = Sparing::new(2);
        let start = Instant::now();
        let at = |seconds| sparing.due_at(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(0));
        assert_eq!([at(6000), at(6000), at(6000)], [Some(0), Some(0), None]);
        assert_eq!([at(6059), at(6060)], [None, Some(2)]);
    }

    #[test]
    fn asking_whether_a_line_is_due_counts_nothing() {
        let sparing = Sparing::new(1);
        assert!(sparing.is_due() && sparing.is_due());
        assert_eq!(sparing.due(), Some(0));
        assert!(!sparing.is_due() && !sparing.is_due());
        assert_eq!(sparing.due_at(Instant::now() + QUIET), Some(0));
    }

    #[test]
    fn a_clock_that_seems_to_go_back_earns_nothing() {
        let sparing = Sparing::new(1);
        let start = Instant::now();
        assert_eq!(sparing.due_at(start + Duration::from_secs(90)), Some(0));
        assert_eq!(sparing.due_at(start), None);
    }
}
