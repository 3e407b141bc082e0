//! The time that everything else is told.

use crate::store::Now;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The daemon's clock: the time of day at the start, carried on by the monotonic clock, so that a
/// step of the system's clock expires nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// A clock set by the system's.
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: Instant::now(), started_ms: unix.as_millis() as u64 }
    }

    /// Now.
    pub fn now(&self) -> Now {
        Now(self.started_ms + self.started.elapsed().as_millis() as u64)
    }

    /// Whole seconds since the start.
    pub fn uptime(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}
