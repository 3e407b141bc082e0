//! What an operator sees of the pair.

use super::durability::{Durability, DurabilityFigures, Mode};
use super::errands::{ErrandFigures, Errands};
use super::seal::Seal;
use super::session::Clients;
use crate::store::{Node, Now, Store};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a node that has just started waits for its peer to fill it before it does without.
const GRACE: Duration = Duration::from_secs(10);

/// Where the link stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// There is no connection; the next attempt is under way or will be soon.
    #[default]
    Connecting,
    /// Connected and finding out who the other is.
    Handshaking,
    /// One of the two still misses something.
    CatchingUp,
    /// Both hold the same, but for what is on its way.
    InSync,
    /// One of the two will not have the other; the reason is beside it.
    Refused,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Connecting => "connecting",
            State::Handshaking => "handshaking",
            State::CatchingUp => "catching-up",
            State::InSync => "in-sync",
            State::Refused => "refused",
        })
    }
}

/// The figures that the link keeps up to date.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Where the link stands.
    pub state: State,
    /// Why it is not in sync, if that is known.
    pub reason: String,
    /// Whether this node dialled.
    pub dialled: Option<bool>,
    /// Changes sent and not acknowledged.
    pub in_flight_ops: u64,
    /// Bytes sent and not acknowledged.
    pub in_flight_bytes: u64,
    /// Age of the oldest unacknowledged change, in milliseconds.
    pub lag_ms: u64,
    /// Shards that are still being walked for the peer.
    pub shards_to_walk: u64,
    /// The peer's clock less this node's, in milliseconds.
    pub clock_offset_ms: i64,
    /// Whether this node has once been given everything the peer had.
    pub filled: bool,
    /// Catch-ups from nothing.
    pub resyncs_full: u64,
    /// Catch-ups of a difference.
    pub resyncs_delta: u64,
    /// Connections that came to nothing: strangers, wrong secrets, peers refused.
    pub refused: u64,
    /// How the link is sealed.
    pub seal: Seal,
    /// Changes sent.
    pub sent: u64,
    /// Changes received.
    pub received: u64,
    /// Keys of the peer's that were compared with what is here.
    pub checked_keys: u64,
    /// Keys that both have and not alike, in the last round of comparing.
    pub divergent_keys: u64,
}

/// The state of the pair, written by the link and read by `stats`, the log and systemd.
pub struct Status {
    peer: String,
    clients: Clients,
    figures: Mutex<Figures>,
    /// This node takes no more writes: it is about to be stopped.
    handover: AtomicBool,
    started: Instant,
}

impl Status {
    /// A link that has not been tried yet; `peer` is its address as configured.
    pub fn new(peer: String, clients: Clients) -> Status {
        Status {
            peer,
            clients,
            figures: Mutex::new(Figures::default()),
            handover: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// The figures, to read or to change.
    pub fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer's address as configured.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// What writes wait for, if they do.
    pub fn durability(&self) -> Option<&Arc<Durability>> {
        self.clients.durability.as_ref()
    }

    /// Whether this node takes no more writes, because it is about to be stopped.
    pub fn hands_over(&self) -> bool {
        self.handover.load(Ordering::Relaxed)
    }

    /// Begins to hand over, or takes that back; says which it is now.
    pub fn toggle_handover(&self) -> bool {
        !self.handover.fetch_xor(true, Ordering::Relaxed)
    }

    /// Whether clients should be sent to this node, and why, in words. One that lost its peer serves
    /// on; one that is being filled, or is about to be, can wait while the peer serves.
    pub fn ready(&self) -> Result<String, String> {
        if self.hands_over() {
            return Err(format!("handing over to {}", self.peer));
        }
        let (state, filled) = {
            let figures = self.figures();
            (figures.state, figures.filled)
        };
        let alone = matches!(state, State::Connecting | State::Refused);
        match (filled, alone) {
            (false, false) => Err(format!("being filled by {}", self.peer)),
            (false, true) if self.started.elapsed() < GRACE => {
                Err(format!("waiting for {} to fill it", self.peer))
            }
            _ => Ok(format!("replication {state}")),
        }
    }

    /// What connections want of the peer.
    pub fn errands(&self) -> &Arc<Errands> {
        &self.clients.errands
    }

    pub(super) fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// Everything at this moment.
    pub fn report(&self, store: &Store, now: Now) -> Report {
        let stats = store.stats(now);
        let figures = self.figures().clone();
        Report {
            figures,
            peer: self.peer.clone(),
            durability: self.durability().map(|durability| durability.figures()),
            errands: self.clients.errands.figures(),
            handover: self.hands_over(),
            ready: self.ready(),
            node: store.node(),
            unsent: stats.unsent,
            conflicts: stats.conflicts,
            tombstones: stats.tombstones,
            tombstone_floor: store.tombstone_floor().raw(),
        }
    }

    /// One line for systemd and the log; `items` is how many this node holds.
    pub fn summary(&self, items: u64) -> String {
        let figures = self.figures();
        let reason = if figures.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", figures.reason)
        };
        let lag = figures.in_flight_ops;
        format!("{} with {}{reason}; {items} items, lag {lag}", figures.state, self.peer)
    }
}

/// What `stats replication` shows.
#[derive(Clone, Debug)]
pub struct Report {
    figures: Figures,
    peer: String,
    durability: Option<DurabilityFigures>,
    errands: ErrandFigures,
    handover: bool,
    ready: Result<String, String>,
    node: Node,
    unsent: u64,
    conflicts: u64,
    tombstones: u64,
    tombstone_floor: u64,
}

impl Report {
    /// Name and value of each figure, in order.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let figures = &self.figures;
        let role = match figures.dialled {
            None => "none",
            Some(true) => "dialled",
            Some(false) => "accepted",
        };
        let mut fields = vec![
            ("state", figures.state.to_string()),
            (
                "reason",
                if figures.reason.is_empty() { "none".to_owned() } else { figures.reason.clone() },
            ),
            ("peer", self.peer.clone()),
            ("node", self.node.to_string()),
            ("role", role.to_owned()),
            ("sealed", u8::from(figures.seal != Seal::None).to_string()),
            ("sealed_by", figures.seal.name().to_owned()),
            ("refused", figures.refused.to_string()),
            ("filled", u8::from(figures.filled).to_string()),
            ("lag_ops", (self.unsent + figures.in_flight_ops).to_string()),
            ("lag_bytes", figures.in_flight_bytes.to_string()),
            ("lag_ms", figures.lag_ms.to_string()),
            ("shards_to_walk", figures.shards_to_walk.to_string()),
            ("sent", figures.sent.to_string()),
            ("received", figures.received.to_string()),
            ("resyncs_full", figures.resyncs_full.to_string()),
            ("resyncs_delta", figures.resyncs_delta.to_string()),
            ("checked_keys", figures.checked_keys.to_string()),
            ("divergent_keys", figures.divergent_keys.to_string()),
            ("conflicts", self.conflicts.to_string()),
            ("tombstones", self.tombstones.to_string()),
            ("tombstone_floor", self.tombstone_floor.to_string()),
            ("clock_offset_ms", figures.clock_offset_ms.to_string()),
        ];
        fields.extend([
            ("handover", u8::from(self.handover).to_string()),
            ("ready", u8::from(self.ready.is_ok()).to_string()),
            ("ready_reason", self.ready.clone().unwrap_or_else(|why| why)),
            ("owners_decide", u8::from(self.errands.together).to_string()),
            ("fetched", self.errands.fetched.to_string()),
            ("fetched_found", self.errands.found.to_string()),
            ("forwarded", self.errands.forwarded.to_string()),
        ]);
        let mode = self.durability.map_or(Mode::Async, |durability| durability.mode);
        fields.push(("durability", mode.name().to_owned()));
        if let Some(durability) = &self.durability {
            let fuse = if durability.open { "open" } else { "closed" };
            fields.extend([
                ("fuse", fuse.to_owned()),
                ("fuse_opened", durability.opened.to_string()),
                ("unconfirmed_writes", durability.unconfirmed.to_string()),
                ("refused_writes", durability.refused.to_string()),
                ("waiting", durability.waiting.to_string()),
            ]);
        }
        fields
    }
}
