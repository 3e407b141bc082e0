//! How closely batches follow each other. A batch costs the node that writes some microseconds, be it
//! for one change or for a thousand: so where changes come thick, a batch that follows another waits a
//! little for company. Where they come thin each goes at once, for that is little work still.

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// Time between two batches. The runtime's own timers know whole milliseconds only.
const SPACING: Duration = Duration::from_micros(300);
/// So many changes in a millisecond are thick. Below, one batch for each takes up to a quarter of a
/// processor, for which the peer has them sooner.
const THICK: u128 = 15;
/// Time over which they are counted, at least.
const WINDOW: Duration = Duration::from_millis(1);

pub(super) struct Pace {
    timer: AsyncFd<Timer>,
    waits: bool,
    rate: Rate,
}

/// How thick changes come.
struct Rate {
    /// Changes since `since`.
    counted: u64,
    since: Instant,
    is_thick: bool,
}

impl Rate {
    fn new(now: Instant) -> Rate {
        Rate { counted: 0, since: now, is_thick: false }
    }

    /// Counts so many changes; whether they come thick, as far as the last window tells.
    fn is_thick_with(&mut self, changes: u64, now: Instant) -> bool {
        self.counted += changes;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let thick = u128::from(self.counted) * WINDOW.as_nanos() > THICK * elapsed.as_nanos();
            *self = Rate { is_thick: thick, ..Rate::new(now) };
        }
        self.is_thick
    }
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
        Ok(Pace { timer, waits: false, rate: Rate::new(Instant::now()) })
    }

    /// A batch of so many changes has been made: the next one comes later, if they come thick.
    pub(super) fn begin(&mut self, changes: u64) {
        if !self.rate.is_thick_with(changes, Instant::now()) {
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_changes_come_thick_does_one_batch_wait_for_another() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let mut batches = |changes, from: u32, to: u32, apart: Duration| {
            (from..to).map(|n| rate.is_thick_with(changes, start + apart * n)).collect::<Vec<_>>()
        };
        // 10,000 a second, one by one.
        assert!(batches(1, 0, 100, Duration::from_micros(100)).iter().all(|thick| !thick));
        // 30,000 a second: seen after a window.
        let dense = batches(3, 101, 200, Duration::from_micros(100));
        assert!(dense.iter().skip(20).all(|thick| *thick) && !dense[0], "{dense:?}");
        // One after a silence, and it is over.
        assert_eq!(batches(1, 2, 3, Duration::from_secs(1)), [false]);
    }
}
