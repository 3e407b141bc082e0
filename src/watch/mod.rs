//! `watch`: what happens in the daemon, told in lines to the clients that asked for it.
//!
//! A thread that has something to tell appends a line to a bounded queue of its own; one thread
//! more, which lives as long as there are watchers, moves the lines into a bounded buffer per
//! watcher. What finds no room is dropped and counted: nobody who serves waits for one who watches.

mod event;
mod log;
mod queue;
mod watcher;

pub use event::{Event, Finding, Peer, Reason, Transport};
pub use log::{Log, LogStats, Refusal};
pub use watcher::Subscription;

/// A set of streams, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams(u16);

impl Streams {
    /// Look-ups of keys.
    pub const FETCHERS: Streams = Streams(1);
    /// Writes.
    pub const MUTATIONS: Streams = Streams(1 << 1);
    /// Items that had to make room.
    pub const EVICTIONS: Streams = Streams(1 << 2);
    /// Connections that come and go.
    pub const CONNECTIONS: Streams = Streams(1 << 3);
    /// What the daemon does by itself.
    pub const SYSTEM: Streams = Streams(1 << 4);
    /// Deletes.
    pub const DELETIONS: Streams = Streams(1 << 5);
    /// A stream that exists by name only: memcached tells nothing in `rawcmds`, nor in those of its
    /// proxy as long as that is off.
    pub const SILENT: Streams = Streams(1 << 6);

    /// No stream of lines: the counts of `stats detail` look at the same requests.
    pub const PREFIXES: Streams = Streams(1 << 7);

    const NAMES: [(&[u8], Streams); 10] = [
        (b"rawcmds", Streams::SILENT),
        (b"evictions", Streams::EVICTIONS),
        (b"fetchers", Streams::FETCHERS),
        (b"mutations", Streams::MUTATIONS),
        (b"sysevents", Streams::SYSTEM),
        (b"connevents", Streams::CONNECTIONS),
        (b"proxyreqs", Streams::SILENT),
        (b"proxyevents", Streams::SILENT),
        (b"proxyuser", Streams::SILENT),
        (b"deletions", Streams::DELETIONS),
    ];

    /// The stream whose name begins with `word`; as in memcached the first one that does.
    pub fn named(word: &[u8]) -> Option<Streams> {
        let found = Streams::NAMES.iter().find(|(name, _)| name.starts_with(word));
        found.map(|(_, stream)| *stream)
    }

    /// These and those.
    pub const fn and(self, others: Streams) -> Streams {
        Streams(self.0 | others.0)
    }

    /// Whether one of `others` is among these.
    pub fn has(self, others: Streams) -> bool {
        self.0 & others.0 != 0
    }
}

/// A lock whose holder panicked is used on: release builds abort on panic.
fn guard<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
