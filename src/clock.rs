//! The time that everything else is told.

use crate::store::Now;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The daemon's clock: the time of day at the start, carried on by the monotonic clock, so that a
/// step of the system's clock expires nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Microseconds of the monotonic clock.
    started: i64,
    /// Microseconds since the Unix epoch: cut to milliseconds here, two nodes would differ by one.
    started_us: u64,
    hands: Option<&'static Hands>,
}

/// What moves a clock by hand.
#[derive(Debug, Default)]
struct Hands {
    /// Microseconds that the clock is ahead.
    ahead: AtomicI64,
    /// What the clock ran for when it was stopped, in microseconds; less than 0 if it runs.
    stopped: AtomicI64,
    /// One hand at a time.
    moving: Mutex<()>,
}

/// How a clock is moved by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// By so many seconds, or back.
    By(i64),
    /// Not at all any more.
    Stop,
    /// On, with the time that passed meanwhile.
    Run,
}

impl Clock {
    /// A clock set by the system's.
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: monotonic(), started_us: unix.as_micros() as u64, hands: None }
    }

    /// As [`Clock::start`], but [`Clock::turn`] moves it, and all copies of it.
    pub fn start_movable() -> Clock {
        let hands = Hands { stopped: AtomicI64::new(-1), ..Hands::default() };
        // The daemon has one such clock, as long as it lives.
        Clock { hands: Some(Box::leak(Box::new(hands))), ..Clock::start() }
    }

    /// What the system's clock says now: for telling whether two nodes agree on the time.
    pub fn time_of_day() -> Now {
        Clock::start().now()
    }

    /// Now.
    pub fn now(&self) -> Now {
        Now((self.started_us.saturating_add_signed(self.passed())) / 1000)
    }

    /// Whole seconds since the start.
    pub fn uptime(&self) -> u64 {
        u64::try_from(self.passed() / 1_000_000).unwrap_or(0)
    }

    /// Moves the clock; false if it can't be moved.
    pub fn turn(&self, by: Move) -> bool {
        let Some(hands) = self.hands else { return false };
        let _one = hands.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = hands.stopped.load(Ordering::Relaxed);
        match by {
            Move::By(seconds) => {
                let ahead = hands.ahead.load(Ordering::Relaxed);
                let ahead = ahead.saturating_add(seconds.saturating_mul(1_000_000));
                hands.ahead.store(ahead, Ordering::Relaxed);
            }
            Move::Stop if stopped < 0 => hands.stopped.store(self.ran(), Ordering::Relaxed),
            Move::Run => hands.stopped.store(-1, Ordering::Relaxed),
            Move::Stop => {}
        }
        true
    }

    /// Microseconds since the start, as the clock shows them.
    fn passed(&self) -> i64 {
        let Some(hands) = self.hands else { return self.ran() };
        let stopped = hands.stopped.load(Ordering::Relaxed);
        let ran = if stopped < 0 { self.ran() } else { stopped };
        ran.saturating_add(hands.ahead.load(Ordering::Relaxed))
    }

    /// Microseconds since the start.
    fn ran(&self) -> i64 {
        monotonic() - self.started
    }
}

/// What the monotonic clock says, in microseconds. Every turn of every connection asks for it:
/// `Instant` is more careful, and costs more.
fn monotonic() -> i64 {
    // The call fails for clocks that do not exist only.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(TimeSpec::new(0, 0));
    time.tv_sec() * 1_000_000 + time.tv_nsec() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_clock_that_can_be_moved_is_moved_with_all_its_copies() {
        let clock = Clock::start_movable();
        let (copy, before) = (clock, clock.now());
        assert!(clock.turn(Move::By(1000)));
        assert!(copy.now().0 >= before.0 + 1_000_000 && copy.uptime() >= 1000);
        assert!(clock.turn(Move::By(-1000)));
        assert!(copy.now().0 < before.0 + 500_000);
        assert!(!Clock::start().turn(Move::By(1)));
    }

    #[test]
    fn a_stopped_clock_stands_and_then_makes_up_for_it() {
        let clock = Clock::start_movable();
        clock.turn(Move::Stop);
        let stood = clock.passed();
        let real = Instant::now();
        while real.elapsed().as_millis() < 2 {
            assert_eq!(clock.passed(), stood);
        }
        clock.turn(Move::Stop);
        clock.turn(Move::By(7));
        assert_eq!(clock.passed(), stood + 7_000_000);
        clock.turn(Move::Run);
        assert!(clock.passed() >= stood + 7_002_000);
    }

    #[test]
    fn no_number_of_seconds_breaks_it() {
        let clock = Clock::start_movable();
        for by in [i64::MAX, i64::MAX, i64::MIN, i64::MIN, i64::MIN] {
            clock.turn(Move::By(by));
            assert!(clock.now().seconds() > 0 || clock.uptime() == 0);
        }
    }
}
