//! Who is connected, for `stats conns`: a line per open socket of a client or a listener.

use crate::store::Now;
use crate::watch::{Peer, Transport};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bits that the state takes beside the time.
const STATE_BITS: u32 = 4;

/// Everybody who is connected, and every listener, by descriptor.
#[derive(Debug, Default)]
pub struct Roster(Mutex<BTreeMap<RawFd, Arc<Entry>>>);

/// Where a listener listens, or where a client came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address, of TCP or UDP.
    Address(SocketAddr),
    /// A Unix socket.
    Path(PathBuf),
    /// The system would not say.
    Unknown,
}

/// Who or what stands behind a descriptor.
#[derive(Clone, Debug)]
pub enum Who {
    /// A client, and where it connected to.
    Client(Peer, Place),
    /// A listener, or a socket of UDP.
    Listener(Transport, Place),
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It accepts.
    Listening,
    /// It waits for a command.
    Reading,
    /// It waits for the rest of a command.
    ReadingOn,
    /// It throws away what a refused command brings.
    Swallowing,
    /// It waits for the client to take replies.
    Writing,
    /// It shows what happens.
    Watching,
}

impl State {
    /// In the order of the enum.
    const NAMES: [&'static str; 6] =
        ["conn_listening", "conn_read", "conn_nread", "conn_swallow", "conn_mwrite", "conn_watch"];
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) who: Who,
    /// When it last had a command, in milliseconds as [`Now`], and below that its state.
    noted: AtomicU64,
}

impl Entry {
    pub(super) fn state(&self) -> &'static str {
        let state = self.noted.load(Ordering::Relaxed) & ((1 << STATE_BITS) - 1);
        State::NAMES[(state as usize).min(State::NAMES.len() - 1)]
    }

    /// Whole seconds since the last command.
    pub(super) fn quiet(&self, now: Now) -> u64 {
        let commanded = Now(self.noted.load(Ordering::Relaxed) >> STATE_BITS);
        u64::from(now.seconds().saturating_sub(commanded.seconds()))
    }
}

/// A place on the roster, given up when it is dropped, unless the descriptor is another's by then.
#[derive(Debug)]
pub struct Seat {
    roster: Arc<Roster>,
    fd: RawFd,
    entry: Arc<Entry>,
}

impl Roster {
    /// Enters a socket.
    pub fn enter(self: &Arc<Roster>, fd: RawFd, who: Who, now: Now) -> Seat {
        let state = match who {
            Who::Client(..) => State::Reading,
            Who::Listener(Transport::Udp, _) => State::Reading,
            Who::Listener(..) => State::Listening,
        };
        let entry = Arc::new(Entry { who, noted: AtomicU64::new(word(state, now)) });
        self.lock().insert(fd, Arc::clone(&entry));
        Seat { roster: Arc::clone(self), fd, entry }
    }

    /// The next entries from descriptor `from` on, up to `limit` of them.
    pub(super) fn page(&self, from: RawFd, limit: usize) -> Vec<(RawFd, Arc<Entry>)> {
        let entries = self.lock();
        entries.range(from..).take(limit).map(|(fd, entry)| (*fd, Arc::clone(entry))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RawFd, Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Notes what the connection is about; `now` is when it last had a command.
    pub fn note(&self, state: State, now: Now) {
        self.entry.noted.store(word(state, now), Ordering::Relaxed);
    }

    /// The client, if it is one.
    pub fn peer(&self) -> Option<Peer> {
        match self.entry.who {
            Who::Client(peer, _) => Some(peer),
            Who::Listener(..) => None,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut entries = self.roster.lock();
        if entries.get(&self.fd).is_some_and(|entry| Arc::ptr_eq(entry, &self.entry)) {
            entries.remove(&self.fd);
        }
    }
}

fn word(state: State, now: Now) -> u64 {
    now.0 << STATE_BITS | state as u64
}
