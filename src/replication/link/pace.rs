//! How closely batches follow each other. A batch costs the node that writes some microseconds, be it
//! for one change or for a thousand: so one that follows another waits a little for company, and one
//! that comes after a silence goes at once.

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Time between two batches. The runtime's own timers know whole milliseconds only.
const SPACING: Duration = Duration::from_micros(150);

pub(super) struct Pace {
    timer: AsyncFd<Timer>,
    waits: bool,
}

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Pace {
    pub(super) fn new() -> io::Result<Pace> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Timer(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?);
        // SAFETY: the descriptor is the timer's own, the same as long as it lives.
        let timer = unsafe { AsyncFd::register(timer) }.map_err(io::Error::from)?;
        Ok(Pace { timer, waits: false })
    }

    /// A batch has been made: the next one comes later.
    pub(super) fn begin(&mut self) {
        let after = Expiration::OneShot(TimeSpec::nanoseconds(SPACING.as_nanos() as i64));
        self.waits = self.timer.get_ref().0.set(after, TimerSetTimeFlags::empty()).is_ok();
    }

    /// Whether the next batch is still to wait.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Waits until the next batch may go. Nothing is lost if it is not waited for.
    pub(super) async fn over(&mut self) {
        if let Ok(mut ready) = self.timer.readable().await {
            ready.clear_ready();
        }
        self.waits = false;
    }
}
