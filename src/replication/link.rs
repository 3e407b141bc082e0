//! The rim of replication: dials, listens, and runs a [`Session`] over a socket.
//!
//! Both nodes dial whenever there is no link, for ever. Whoever is first wins; when both connect at
//! the same moment, [`hello::replaces`] makes both keep the same connection.

mod handshake;
mod pace;
mod sealing;
mod told;
mod wire;

use super::frame::{self, Kind};
use super::hello;
use super::session::{Resync, Session};
use super::{Lineage, Memory, Restored, Seal, State, Status};
use crate::clock::Clock;
use crate::store::{Node, Now, Store};
use handshake::{Candidate, Greeter};
use pace::Pace;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};
use told::{Told, Unmentioned};

/// What the link is told.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// The peer's name or address.
    pub peer_host: String,
    /// The peer's replication port.
    pub peer_port: u16,
    /// This node's replication port.
    pub port: u16,
    /// Which node this is, if that is configured.
    pub node: Option<Node>,
    /// Which node this was when it saved what it has, if it did.
    pub node_before: Option<Node>,
    /// Where its data is from, if it is from a file.
    pub restored: Option<Restored>,
    /// Name that both must say.
    pub cluster: String,
    /// What keeps others out.
    pub seal: Seal,
    /// Bytes in flight to the peer at most.
    pub window: u64,
    /// A peer whose clock is further off is refused.
    pub max_clock_skew: Duration,
    /// How long a stop waits until the peer has everything.
    pub drain_timeout: Duration,
}

/// The link of one node.
pub struct Link {
    settings: LinkSettings,
    store: Arc<Store>,
    status: Arc<Status>,
    clock: Clock,
    incarnation: u64,
    told: Arc<Told>,
}

enum End {
    /// The connection is of no use any more.
    Lost(String),
    /// The peer has connected anew.
    Replaced(Box<Candidate>),
    /// This daemon stops.
    Stopped,
}

impl Link {
    /// A link that is not running yet. Decides which node this is, as far as that can be known now.
    pub fn new(
        settings: LinkSettings,
        store: Arc<Store>,
        status: Arc<Status>,
        clock: Clock,
    ) -> Link {
        let before = settings.restored.map_or(0, |restored| restored.lineage.incarnation);
        let incarnation = incarnation(Clock::time_of_day()).max(before.saturating_add(1));
        let guess = || {
            let peer: Option<IpAddr> = settings.peer_host.parse().ok();
            peer.and_then(|peer| {
                guess_node(SocketAddr::new(peer, settings.peer_port), settings.port)
            })
        };
        let node = settings.node.or(settings.node_before).or_else(guess);
        store.set_node(node.unwrap_or(if incarnation & 2 == 0 { Node::A } else { Node::B }));
        Link { settings, store, status, clock, incarnation, told: Arc::new(Told::new()) }
    }

    /// Runs until `stop` turns true and the peer has everything, or the time for that is over; says
    /// who this was.
    pub async fn run(self, listeners: Vec<TcpListener>, stop: watch::Receiver<bool>) -> Lineage {
        let (sender, mut candidates) = mpsc::channel(4);
        let (linked, is_linked) = watch::channel(false);
        let greeter = Arc::new(Greeter::new(&self));
        for listener in listeners {
            tokio::spawn(Arc::clone(&greeter).accept(listener, sender.clone()));
        }
        let dialling = tokio::spawn(Arc::clone(&greeter).dial(sender, is_linked));
        if let Some(durability) = self.status.durability().cloned() {
            tokio::spawn(async move { durability.keep_time().await });
        }
        let changed = Arc::new(Notify::new());
        let wake = Arc::clone(&changed);
        self.store.on_change(move || wake.notify_one());
        let mut memory = self.settings.restored.map(Memory::restored).unwrap_or_default();
        greeter.remember(&memory);
        let mut waiting = stop.clone();
        let mut next = None;
        let mut acknowledged = false;
        loop {
            let candidate = match next.take() {
                Some(candidate) => candidate,
                None => tokio::select! {
                    candidate = candidates.recv() => match candidate {
                        Some(candidate) => candidate,
                        None => break,
                    },
                    _ = waiting.wait_for(|&stop| stop) => break,
                },
            };
            let _ = linked.send(true);
            let end = self
                .drive(candidate, &mut memory, &greeter, &changed, &mut candidates, stop.clone())
                .await;
            greeter.remember(&memory);
            match end {
                End::Replaced(candidate) => next = Some(*candidate),
                End::Lost(reason) => {
                    self.enter(State::Connecting, &reason);
                    let _ = linked.send(false);
                }
                End::Stopped => {
                    // Nobody writes any more.
                    acknowledged = memory.drained;
                    break;
                }
            }
        }
        dialling.abort();
        memory.lineage(self.incarnation, acknowledged)
    }

    /// Notes and logs a change of state.
    fn enter(&self, state: State, reason: &str) {
        let mut figures = self.status.figures();
        if figures.state == state && figures.reason == reason {
            if let Some(others) = self.told.late() {
                self.tell(state, reason, &others);
            }
            return;
        }
        figures.state = state;
        reason.clone_into(&mut figures.reason);
        if state == State::Connecting {
            figures.dialled = None;
            (figures.in_flight_ops, figures.in_flight_bytes, figures.lag_ms) = (0, 0, 0);
        }
        if let Some(others) = self.told.change() {
            self.tell(state, reason, &others);
        }
    }

    fn tell(&self, state: State, reason: &str, others: &Unmentioned) {
        let peer = self.status.peer();
        match (state, reason) {
            (State::Connecting | State::Refused, reason) => {
                log::warn!("event=link state={state} peer={peer} reason={reason:?}{others}");
            }
            (state, "") => log::info!("event=link state={state} peer={peer}{others}"),
            (state, reason) => {
                log::info!("event=link state={state} peer={peer} reason={reason:?}{others}");
            }
        }
    }

    /// Runs a link until it ends.
    async fn drive(
        &self,
        candidate: Candidate,
        memory: &mut Memory,
        greeter: &Greeter,
        changed: &Notify,
        candidates: &mut mpsc::Receiver<Candidate>,
        mut stop: watch::Receiver<bool>,
    ) -> End {
        let Candidate { mut wire, peer, node, dialled, mut input } = candidate;
        let mut out = Vec::new();
        let ours = greeter.hello();
        if !dialled {
            // The hello is the acceptance.
            frame::write(&mut out, Kind::Hello, |out| ours.write(out));
        }
        if node != self.store.node() {
            self.store.set_node(node);
        }
        let dialled_by = if dialled { node } else { node.other() };
        let store = Arc::clone(&self.store);
        let mut session = Session::start(
            store,
            self.status.clients(),
            std::mem::take(memory),
            &ours,
            &peer,
            self.clock.now(),
        );
        let started = Instant::now();
        self.begin(&session, dialled);
        let mut draining: Option<Instant> = None;
        let (mut alarm, mut alarm_at) = (pin!(sleep(Duration::ZERO)), 0);
        let mut pace = match Pace::new() {
            Ok(pace) => pace,
            Err(error) => return End::Lost(format!("no timer for its batches: {error}")),
        };
        let end = loop {
            let now = self.clock.now();
            let paced = pace.waits();
            let done = session
                .receive(&mut input, now)
                .and_then(|()| session.produce(&mut out, now, paced));
            if let Err(error) = done {
                break End::Lost(error.to_string());
            }
            if let Err(error) = wire.writer.take(&mut out) {
                break End::Lost(format!("sealing for the peer: {error}"));
            }
            if let Err(error) = wire.writer.write_what_fits() {
                break End::Lost(format!("writing to the peer: {error}"));
            }
            let sent = self.publish(&mut session, started.elapsed());
            if sent > 0 && draining.is_none() && session.is_patient() {
                pace.begin(sent);
            }
            if let Some(deadline) = draining
                && (session.is_drained() || Instant::now() >= deadline)
            {
                break End::Stopped;
            }
            let patience = if draining.is_some() { 10 } else { session.patience(now).max(1) };
            let due = now.0 + patience;
            if due != alarm_at {
                alarm_at = due;
                alarm.as_mut().reset((Instant::now() + Duration::from_millis(patience)).into());
            }
            tokio::select! {
                // What comes meanwhile is heard with the next batch: one waking for both.
                read = wire.reader.read(&mut input, usize::MAX), if !pace.waits() => {
                    if let Some(end) = end_of_input(read.map(Some)) {
                        break end;
                    }
                }
                () = pace.over(), if pace.waits() => {
                    if let Some(end) = end_of_input(wire.reader.read_what_is_there(&mut input)) {
                        break end;
                    }
                }
                wrote = wire.writer.write(), if !wire.writer.is_idle() => {
                    if let Err(error) = wrote {
                        break End::Lost(format!("writing to the peer: {error}"));
                    }
                }
                () = changed.notified(), if !pace.waits() => {}
                () = self.status.errands().called.notified() => {}
                () = alarm.as_mut() => alarm_at = 0,
                Some(new) = candidates.recv() => {
                    let new_dialled_by = if new.dialled { new.node } else { new.node.other() };
                    if new.peer.incarnation != peer.incarnation
                        || hello::replaces(new_dialled_by, dialled_by, started.elapsed())
                    {
                        break End::Replaced(Box::new(new));
                    }
                    log::debug!("event=link_crossing kept=old");
                }
                _ = stop.wait_for(|&stop| stop), if draining.is_none() => {
                    draining = Some(Instant::now() + self.settings.drain_timeout);
                }
            }
        };
        self.status.errands().close();
        *memory = session.end();
        end
    }

    fn begin(&self, session: &Session, dialled: bool) {
        let mut figures = self.status.figures();
        figures.dialled = Some(dialled);
        match session.resync() {
            Resync::Full => figures.resyncs_full += 1,
            Resync::Delta => figures.resyncs_delta += 1,
        }
    }

    /// Has the figures say what the session does; returns how many changes it sent since.
    fn publish(&self, session: &mut Session, age: Duration) -> u64 {
        let (sent, received) = session.take_counts();
        let (lag, filled) = {
            let mut figures = self.status.figures();
            session.describe(&mut figures, self.clock.now());
            figures.sent += sent;
            figures.received += received;
            (Duration::from_millis(figures.lag_ms), figures.filled)
        };
        let state = if session.is_in_sync() { State::InSync } else { State::CatchingUp };
        if state == State::InSync
            && let Some(durability) = self.status.durability()
        {
            durability.in_sync(lag);
        }
        if session.protocol() >= frame::ERRANDS {
            // A link that may still give way to another is none that a decision can be asked by.
            let settled = age > hello::CROSSING;
            self.status.errands().set(!filled, settled && state == State::InSync);
        }
        self.enter(state, session.why_behind());
        sent
    }
}

/// The end of a link, if that is what reading from it came to.
fn end_of_input(read: io::Result<Option<usize>>) -> Option<End> {
    match read {
        Ok(Some(0)) => Some(End::Lost("the peer closed the connection".to_owned())),
        Ok(_) => None,
        Err(error) => Some(End::Lost(format!("reading from the peer: {error}"))),
    }
}

/// A number that no other run of the program has, larger than those of this host before.
fn incarnation(now: Now) -> u64 {
    const RANDOM_BITS: u32 = 22;
    let random = ahash::RandomState::new().hash_one(std::process::id()) | 1;
    (now.0 << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1))
}

/// Which node this is, by comparing the two ends of the link: both sides compare the same two
/// addresses and come to opposite ends.
fn guess_node(peer: SocketAddr, own_port: u16) -> Option<Node> {
    let any: SocketAddr =
        if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    // Connecting a datagram socket sends nothing: it asks the routing table.
    socket.connect(peer).ok()?;
    let own = SocketAddr::new(socket.local_addr().ok()?.ip(), own_port);
    Some(if own < peer { Node::A } else { Node::B })
}
