//! What each command means: one request in, one reply out.

mod counters;
mod operation;
mod settings;
mod stats;
mod text;

pub use counters::{ConnectionCounters, Counter, WorkerCounters};
pub use settings::Settings;
pub use text::{Outcome, execute, refuse, resume_get};

use crate::replication::Status;
use crate::store::{Now, Store};
use counters::WorkerTotals;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The version of memcached whose behaviour this is.
pub const MEMCACHED_VERSION: &str = "1.6.45";

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

/// Everything that commands work on, shared by all workers.
pub struct Cache {
    /// The items.
    pub store: Arc<Store>,
    /// The time.
    pub clock: Clock,
    /// What the daemon was told.
    pub settings: Settings,
    /// `-v` and `verbosity`.
    pub verbosity: AtomicU8,
    /// A set of counters per worker.
    pub workers: Box<[WorkerCounters]>,
    /// Connections.
    pub connections: ConnectionCounters,
    /// How the pair is doing; without it there is no peer.
    pub replication: Option<Arc<Status>>,
    /// What had been counted when `stats reset` was last asked for.
    reset: Mutex<WorkerTotals>,
}

impl Cache {
    /// A cache for `settings.threads` workers.
    pub fn new(store: Arc<Store>, settings: Settings, replication: Option<Arc<Status>>) -> Cache {
        Cache {
            store,
            clock: Clock::start(),
            verbosity: AtomicU8::new(settings.verbosity),
            workers: (0..settings.threads).map(|_| WorkerCounters::default()).collect(),
            connections: ConnectionCounters::default(),
            replication,
            reset: Mutex::new(WorkerTotals::default()),
            settings,
        }
    }

    fn totals(&self) -> WorkerTotals {
        let reset = *self.reset.lock().unwrap_or_else(PoisonError::into_inner);
        WorkerTotals::sum(self.workers.iter()).less(reset)
    }

    fn reset_totals(&self) {
        let mut reset = self.reset.lock().unwrap_or_else(PoisonError::into_inner);
        *reset = WorkerTotals::sum(self.workers.iter());
        self.store.reset_stats();
    }
}
