//! The state machine of an established link: what it is told, what it says. No I/O; time is a
//! parameter; bytes in, bytes out.
//!
//! Both sides run the same machine. Everything travels in one ordered stream in each direction, so
//! when a batch is acknowledged, all that the other side had sent before it applied the batch has
//! been received: only that makes it right to forget a delete once it is acknowledged.

mod check;
mod dropping;
mod errand;
mod incoming;
mod outgoing;

use super::durability::Durability;
use super::errands::Errands;
use super::frame::{FrameError, Kind};
use super::hello::Hello;
use super::memory::Memory;
use crate::store::{Flush, Now, SHARDS, Store, Version, Walk};
use check::Checking;
use dropping::Dropping;
use errand::Owed;
use std::sync::Arc;
use thiserror::Error;

/// Bytes of one batch, about; a batch with one larger value is as large as that.
const BATCH: usize = 32 * 1024;
/// Milliseconds of silence after which the link is given up.
const SILENCE_MAX: u64 = 5_000;
/// No item is larger, whatever a peer says.
const ITEM_SIZE_MAX: u64 = 1 << 30;
/// The version of the protocol from which on nobody sends what the other has no place for.
const VALUES_FIT: u8 = 2;
/// What a batch may hold beside one value of the largest size.
const BATCH_OVERHEAD: u64 = 64 * 1024;

/// Why a link ends.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// The peer sent something that is no frame of this protocol.
    #[error("the peer sent garbage: {0}")]
    Frame(#[from] FrameError),
    /// A frame that has no place in an established link.
    #[error("the peer sent a {0:?} frame in the middle of a session")]
    Unexpected(Kind),
    /// It asks on and on, and does not take the answers.
    #[error("the peer has this node decide requests and does not take the replies")]
    Deaf,
    /// Nothing was heard for too long.
    #[error("nothing heard from the peer for {0} ms")]
    Silence(u64),
}

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    /// The peer may hold nothing: everything is sent.
    Full,
    /// The peer gets what changed.
    Delta,
}

struct Sending {
    /// What was written while there was no link is in the live stream, and not all sent yet.
    resumes: bool,
    /// Up to where the live stream of the shard was sent.
    sent: Version,
    /// Where it began.
    opened: Version,
    /// What of the shard's past the peer is still to be sent.
    walk: Option<Walk>,
}

impl Sending {
    /// Goes on where the last link ended.
    fn resumed(sent: Version) -> Sending {
        Sending { resumes: true, sent, opened: sent, walk: None }
    }

    /// Begins the live stream, and looks for what is older and not acknowledged.
    fn walking(opened: Version, acknowledged: Version, now: Now) -> Sending {
        let walk = Some(match acknowledged {
            Version::NONE => Walk::to_fill(now),
            since => Walk::since(since),
        });
        Sending { resumes: false, sent: opened, opened, walk }
    }

    /// Whether the peer misses something old.
    fn is_behind(&self) -> bool {
        self.resumes || self.walk.is_some()
    }
}

/// The clients of this node, as far as they wait for the peer.
#[derive(Clone, Default)]
pub struct Clients {
    /// Those who wait until the peer has what they wrote, if any do.
    pub durability: Option<Arc<Durability>>,
    /// Those who want something of the peer.
    pub errands: Arc<Errands>,
}

/// An established link.
pub struct Session {
    store: Arc<Store>,
    durability: Option<Arc<Durability>>,
    errands: Arc<Errands>,
    owed: Owed,
    checking: Checking,
    memory: Memory,
    resync: Resync,
    /// The version of the protocol that both speak.
    protocol: u8,
    /// Bytes that may be in flight.
    window: u64,
    /// Longer values have no place at the peer, in bytes.
    value_max: u64,
    /// Longest payload that the peer may send, in bytes.
    frame_max: usize,
    shards: Vec<Sending>,
    /// Shards whose live stream has something, a bit each.
    dirty: u64,
    next_walk: usize,
    flush_sent: Option<Flush>,
    /// What is still to be said of deletes that were forgotten, and how many it speaks of.
    doubt: Option<Version>,
    forgotten: u64,
    /// The batch behind the last doubt: what the peer sent before it acknowledged that, it has dropped
    /// since.
    doubt_batch: u64,
    said_caught_up: bool,
    /// Why that had to be taken back, if it had.
    taken_back: Option<&'static str>,
    peer_caught_up: bool,
    /// What the peer gave back of what this node once wrote is still to be counted as known to it.
    given_back: bool,
    ack_due: bool,
    /// The clock in the last ping that was not answered yet.
    pong_due: Option<u64>,
    /// The peer's first ping was answered: by what it knows of the clocks it can read expiry times,
    /// so changes are sent from then on.
    answered: bool,
    /// What has to go before anything else is heard or said.
    dropping: Option<Dropping>,
    /// Bytes of input that are no whole frame yet.
    unread: usize,
    last_heard: Now,
    last_ping: Now,
    clock_offset: i64,
    /// The log has been told that the clocks are apart.
    clock_mentioned: bool,
    best_round_trip: u64,
    sent: u64,
    received: u64,
}

impl Session {
    /// A link between nodes that introduced themselves by `ours` and `peer` and may pair. Its
    /// streams run from now on.
    pub fn start(
        store: Arc<Store>,
        clients: Clients,
        mut memory: Memory,
        ours: &Hello,
        peer: &Hello,
        now: Now,
    ) -> Session {
        let Clients { durability, errands } = clients;
        let same_peer = memory.peer_incarnation == peer.incarnation;
        if same_peer && peer.seen_incarnation == ours.incarnation {
            // Acknowledgements may have been lost with the last connection.
            memory.acknowledge(&store, durability.as_deref(), peer.seen_batch);
        } else if !same_peer {
            // One that comes back with what it had has what it acknowledged.
            let came_back =
                peer.restored_from != 0 && peer.restored_from == memory.peer_incarnation;
            if !came_back {
                store.forget_acknowledgements();
            }
            memory = Memory {
                peer_incarnation: peer.incarnation,
                peer_before: memory.peer_incarnation,
                restored: memory.restored,
                filled: memory.filled,
                ..Memory::default()
            };
        }
        memory.forget_flight();
        memory.restored = memory.restored.filter(|restored| restored.is_stale(ours, peer));
        let dropping = memory.restored.as_mut().map(|restored| {
            restored.stale = true;
            store.forget_doubt();
            store.forget_acknowledgements();
            Dropping::stale(restored.newest)
        });
        // Before the look at what was forgotten: what is forgotten later overruns an open stream.
        let stream = |shard| match store.resume_stream(shard) {
            Some(acknowledged) => (acknowledged, true),
            None => (store.open_stream(shard), false),
        };
        let streams: Vec<(Version, bool)> = (0..SHARDS).map(stream).collect();
        let forgotten = store.forgotten_deletes();
        let doubt = store.doubt();
        if doubt.is_some() {
            store.forget_acknowledgements();
        }
        let begin = |(shard, (from, goes_on))| {
            if goes_on && doubt.is_none() {
                Sending::resumed(from)
            } else {
                Sending::walking(from, store.acknowledged(shard), now)
            }
        };
        let shards: Vec<Sending> = streams.into_iter().enumerate().map(begin).collect();
        if let Some(durability) = &durability {
            durability.begin(shards.iter().map(|sending| (sending.opened, sending.resumes)));
        }
        let protocol = ours.protocol_with(peer);
        // An older peer sends all that it stores itself.
        let largest = if protocol < VALUES_FIT { peer.item_size_max } else { ours.item_size_max };
        let anew = (0..SHARDS).all(|shard| store.acknowledged(shard) == Version::NONE);
        Session {
            resync: if anew { Resync::Full } else { Resync::Delta },
            memory,
            protocol,
            window: ours.window.min(peer.window).max(BATCH as u64),
            value_max: peer.item_size_max,
            frame_max: (largest.min(ITEM_SIZE_MAX) + BATCH_OVERHEAD) as usize,
            // Those that resume are to be looked at.
            dirty: u64::MAX >> (u64::BITS as usize - SHARDS),
            shards,
            next_walk: 0,
            flush_sent: None,
            doubt,
            forgotten,
            doubt_batch: 0,
            said_caught_up: false,
            taken_back: None,
            peer_caught_up: false,
            given_back: false,
            ack_due: false,
            pong_due: None,
            answered: false,
            dropping,
            unread: 0,
            last_heard: now,
            last_ping: Now(0),
            clock_offset: 0,
            clock_mentioned: false,
            best_round_trip: u64::MAX,
            sent: 0,
            received: 0,
            durability,
            errands,
            owed: Owed::default(),
            checking: Checking::default(),
            store,
        }
    }

    /// Ends the link; what it learnt is for the next one.
    pub fn end(mut self) -> Memory {
        self.store.pause_streams();
        self.memory.drained = self.is_drained();
        self.memory
    }

    /// Shards of which the peer still misses something old.
    pub fn shards_to_walk(&self) -> u64 {
        self.shards.iter().filter(|sending| sending.walk.is_some()).count() as u64
    }

    /// The version of the protocol that both speak.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether both sides hold the same but for what is on its way.
    pub fn is_in_sync(&self) -> bool {
        self.peer_caught_up && self.said_caught_up
    }

    /// Why the two are not in sync any more, though they had been; nothing otherwise.
    pub fn why_behind(&self) -> &'static str {
        self.taken_back.unwrap_or_default()
    }

    /// Whether everything that was written here has been acknowledged.
    pub fn is_drained(&self) -> bool {
        self.said_caught_up && self.dirty == 0 && self.memory.in_flight.is_empty()
    }

    /// How the session began.
    pub fn resync(&self) -> Resync {
        self.resync
    }

    /// Writes the figures that an operator sees.
    pub fn describe(&mut self, figures: &mut super::status::Figures, now: Now) {
        figures.in_flight_ops = self.memory.in_flight_ops;
        figures.in_flight_bytes = self.memory.in_flight_bytes;
        figures.lag_ms = self
            .memory
            .in_flight
            .front()
            .map_or(0, |oldest| now.0.saturating_sub(oldest.sent_at.0));
        figures.shards_to_walk = self.shards_to_walk();
        figures.clock_offset_ms = self.clock_offset;
        figures.filled = self.memory.filled;
        figures.checked_keys += std::mem::take(&mut self.checking.checked);
        figures.divergent_keys = self.checking.news.take().unwrap_or(figures.divergent_keys);
    }

    /// Changes sent and received since the last call.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.sent), std::mem::take(&mut self.received))
    }
}
