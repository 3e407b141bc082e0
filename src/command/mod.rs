//! What each command means: one request in, one reply out.

mod admin;
mod arithmetic;
mod binary;
mod counters;
mod crawler;
mod dump;
mod login;
mod meta;
mod observe;
mod operation;
mod passwords;
mod prefixes;
mod remote;
mod reply;
pub mod roster;
mod settings;
mod stats;
mod text;
mod tuning;
mod unconfirmed;
mod watch;

pub use binary::execute_frame;
pub use counters::{ConnectionCounters, Counter, WorkerCounters, WorkerTotals};
pub use dump::Dump;
pub use login::Login;
pub use passwords::{PasswordFormat, Passwords};
pub use remote::execute_raw;
pub use settings::Settings;
pub use text::{Outcome, execute, execute_get, execute_simple, refuse};
use unconfirmed::Refusal;
pub use unconfirmed::Unconfirmed;

use crate::clock::Clock;
use crate::replication::{Durability, Errands, Status};
use crate::sparing::Sparing;
use crate::store::{Item, Store};
use crate::tls::Tls;
use crate::watch::Log;
use prefixes::Prefixes;
use roster::Roster;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The version of memcached whose behaviour this is.
pub const MEMCACHED_VERSION: &str = "1.6.45";

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
    /// Who may use it; without this everybody.
    pub passwords: Option<RwLock<Passwords>>,
    /// How the pair is doing; without it there is no peer.
    pub replication: Option<Arc<Status>>,
    /// What handshakes need; without it there is no TLS.
    pub tls: Option<Arc<Tls>>,
    /// Who is connected.
    pub roster: Arc<Roster>,
    /// Those who watch.
    pub watch: Arc<Log>,
    prefixes: Prefixes,
    /// What writes wait for; without it they are acknowledged at once.
    pub durability: Option<Arc<Durability>>,
    /// How often the log tells what clients cause.
    pub mentions: Mentions,
    /// What had been counted when `stats reset` was last asked for.
    reset: Mutex<WorkerTotals>,
}

/// The kinds of line in the log that clients can cause as often as they like.
pub struct Mentions {
    /// A client could not be accepted.
    pub accept: Sparing,
    /// A client that was accepted could not be served.
    pub register: Sparing,
    /// A datagram could not be received.
    pub receive: Sparing,
    /// `cache_memlimit` was obeyed.
    memory_limit: Sparing,
}

impl Default for Mentions {
    fn default() -> Mentions {
        Mentions {
            accept: Sparing::new(1),
            register: Sparing::new(1),
            receive: Sparing::new(1),
            // An administrator who tries several values is to find them all.
            memory_limit: Sparing::new(10),
        }
    }
}

impl Cache {
    /// A cache for `settings.threads` workers.
    pub fn new(
        store: Arc<Store>,
        settings: Settings,
        passwords: Option<Passwords>,
        replication: Option<Arc<Status>>,
        tls: Option<Arc<Tls>>,
    ) -> Cache {
        let log = Log::new(settings.threads, settings.worker_buffer, settings.watcher_buffer);
        log.count_prefixes(settings.detail_enabled);
        let watch = Arc::new(log);
        observe::evictions(&store, &watch);
        Cache {
            store,
            clock: if settings.movable_clock { Clock::start_movable() } else { Clock::start() },
            verbosity: AtomicU8::new(settings.verbosity),
            workers: (0..settings.threads)
                .map(|number| WorkerCounters { number, ..WorkerCounters::default() })
                .collect(),
            connections: ConnectionCounters::default(),
            passwords: passwords.map(RwLock::new),
            durability: replication.as_ref().and_then(|status| status.durability().cloned()),
            replication,
            tls,
            roster: Arc::default(),
            watch,
            prefixes: Prefixes::new(settings.prefix_delimiter),
            mentions: Mentions::default(),
            reset: Mutex::new(WorkerTotals::default()),
            settings,
        }
    }

    /// What connections want of the peer, if any may want something.
    pub fn errands(&self) -> Option<&Errands> {
        let errands = self.replication.as_ref()?.errands();
        errands.any().then_some(errands)
    }

    /// Whether a write that the peer does not have is an error.
    pub fn is_strict(&self) -> bool {
        self.durability.as_ref().is_some_and(|durability| durability.is_strict())
    }

    /// Whether requests that may write are refused.
    pub fn refuses_writes(&self) -> bool {
        self.write_refusal().is_some()
    }

    /// Why a request that may write is refused before it is done, if it is.
    fn write_refusal(&self) -> Option<Refusal> {
        let status = self.replication.as_deref()?;
        if status.hands_over() {
            return Some(Refusal::Handover);
        }
        self.durability.as_deref().filter(|durability| durability.refuses())?;
        Some(Refusal::Away)
    }

    /// Counts a write that was refused.
    fn count_refused(&self) {
        if let Some(durability) = &self.durability {
            durability.count_refused();
        }
    }

    /// The CAS of an item as clients see it.
    fn cas_of(&self, item: Item<'_>) -> u64 {
        if self.settings.cas { item.cas() } else { 0 }
    }

    /// Size of an item as memcached counts it, in bytes.
    fn item_size(&self, item: &Item<'_>) -> u64 {
        self.store.item_size(item.key().len(), item.flags(), item.value().len())
    }

    /// The virtual slab class of an item.
    fn class_of(&self, item: &Item<'_>) -> u8 {
        self.store.classes().class_of(self.item_size(item))
    }

    /// What all workers counted since the start or the last `stats reset`.
    pub fn totals(&self) -> WorkerTotals {
        let reset = *self.reset.lock().unwrap_or_else(PoisonError::into_inner);
        WorkerTotals::sum(self.workers.iter()).less(reset)
    }

    fn reset_totals(&self) {
        let mut reset = self.reset.lock().unwrap_or_else(PoisonError::into_inner);
        *reset = WorkerTotals::sum(self.workers.iter());
        self.connections.reset();
        self.watch.reset_stats();
        self.prefixes.clear();
        self.store.reset_stats();
    }
}
