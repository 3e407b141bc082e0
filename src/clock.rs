//! The time that everything else is told.

use crate::store::Now;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The daemon's clock: the time of day at the start, carried on by the monotonic clock, so that a
/// step of the system's clock expires nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    /// Microseconds since the Unix epoch: cut to milliseconds here, two nodes would differ by one.
    started_us: u64,
}

impl Clock {
    /// A clock set by the system's.
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: Instant::now(), started_us: unix.as_micros() as u64 }
    }

    /// What the system's clock says now: for telling whether two nodes agree on the time.
    pub fn time_of_day() -> Now {
        Clock::start().now()
    }

    /// Now.
    pub fn now(&self) -> Now {
        Now((self.started_us + self.started.elapsed().as_micros() as u64) / 1000)
    }

    /// Whole seconds since the start.
    pub fn uptime(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}
