//! Timers of tasks on workers. A runtime that has timers looks after them at every turn, which costs
//! a tenth of a request; so the workers' runtimes have none, and theirs are the control thread's.

use std::cell::OnceCell;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Interval, Sleep, Timeout};

thread_local! {
    static KEEPER: OnceCell<Handle> = const { OnceCell::new() };
}

/// From now on the timers of this thread are kept by that runtime, which must have some and must
/// outlive them.
pub(super) fn keep_by(runtime: Handle) {
    KEEPER.with(|keeper| {
        let _ = keeper.set(runtime);
    });
}

/// Makes a timer.
fn make<T>(timer: impl FnOnce() -> T) -> T {
    KEEPER.with(|keeper| {
        let _inside = keeper.get().map(Handle::enter);
        timer()
    })
}

/// As [`tokio::time::sleep`].
pub(super) fn sleep(duration: Duration) -> Sleep {
    make(|| tokio::time::sleep(duration))
}

/// As [`tokio::time::interval`].
pub(super) fn interval(period: Duration) -> Interval {
    make(|| tokio::time::interval(period))
}

/// As [`tokio::time::timeout`].
pub(super) fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    make(|| tokio::time::timeout(duration, future))
}
