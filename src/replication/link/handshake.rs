//! Getting to know whoever is at the other end of a new connection.

use super::told::{Told, Unmentioned};
use super::wire::Wire;
use super::{Link, sealing, sleep, timeout};
use crate::clock::Clock;
use crate::replication::frame::{self, Kind};
use crate::replication::hello::{self, HELLO_MAX, Hello, Refusal, Said};
use crate::replication::secret::Secret;
use crate::replication::{Memory, Seal, State, Status};
use crate::sparing::Sparing;
use crate::store::{Node, Store};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// Time for a connection to be made, and for a hello to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Shortest and longest pause between two attempts to dial.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Strangers that are listened to at once: one more, and the one who came first has to go.
const HANDSHAKES_MAX: usize = 64;

/// A connection whose other end may be paired with.
pub(super) struct Candidate {
    pub wire: Wire,
    pub peer: Hello,
    /// Which node this one is in the pair of the two.
    pub node: Node,
    pub dialled: bool,
    /// What has been read beyond the handshake.
    pub input: BytesMut,
}

/// What is said of the past in a hello.
#[derive(Clone, Copy, Default)]
struct Seen {
    incarnation: u64,
    batch: u64,
    before: u64,
    restored_from: u64,
}

#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Io(io::Error),
    #[error("it hung up")]
    HungUp,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("it had not said who it is when more than {HANDSHAKES_MAX} wanted to")]
    Displaced,
}

/// Makes candidates of connections.
pub(super) struct Greeter {
    settings: super::LinkSettings,
    store: Arc<Store>,
    status: Arc<Status>,
    incarnation: u64,
    /// What this node knows from one link to the next, as far as the peer is told.
    seen: Mutex<Seen>,
    /// Of the link's state.
    told: Arc<Told>,
    /// Of connections that came to nothing.
    refusals: Sparing,
    /// Of those that could not be accepted.
    failures: Sparing,
}

impl Greeter {
    pub(super) fn new(link: &Link) -> Greeter {
        Greeter {
            settings: link.settings.clone(),
            store: Arc::clone(&link.store),
            status: Arc::clone(&link.status),
            incarnation: link.incarnation,
            seen: Mutex::default(),
            told: Arc::clone(&link.told),
            refusals: Sparing::new(1),
            failures: Sparing::new(1),
        }
    }

    /// Notes how far the peer's stream was applied.
    pub(super) fn remember(&self, memory: &Memory) {
        let seen = Seen {
            incarnation: memory.peer_incarnation,
            batch: memory.applied_batch,
            before: memory.peer_before,
            restored_from: memory.restored.map_or(0, |restored| restored.lineage.incarnation),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// What this node says of itself now.
    pub(super) fn hello(&self) -> Hello {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Hello {
            protocol: Hello::protocol(),
            node: self.store.node(),
            node_fixed: self.settings.node.is_some(),
            incarnation: self.incarnation,
            clock: Clock::time_of_day().0,
            seen_incarnation: seen.incarnation,
            seen_batch: seen.batch,
            window: self.settings.window,
            item_size_max: self.store.item_size_max(),
            cluster: self.settings.cluster.clone(),
            seen_before: Some(seen.before),
            restored_from: seen.restored_from,
        }
    }

    /// Dials whenever there is no link, for ever.
    pub(super) async fn dial(
        self: Arc<Self>,
        candidates: mpsc::Sender<Candidate>,
        mut linked: watch::Receiver<bool>,
    ) {
        let mut pause = RETRY.0;
        loop {
            if linked.wait_for(|&linked| !linked).await.is_err() {
                return;
            }
            sleep(jitter()).await;
            let attempt = tokio::select! {
                attempt = self.dial_once() => attempt,
                // The peer was quicker; an attempt under way would only cross it. Node A's goes on:
                // when both dial at once it is the one that both keep, so one of them must.
                _ = linked.wait_for(|&linked| linked), if self.store.node() == Node::B => continue,
            };
            match attempt {
                Ok(candidate) => {
                    pause = RETRY.0;
                    linked.mark_unchanged();
                    if candidates.send(candidate).await.is_err() {
                        return;
                    }
                    // The manager needs a moment to take it up.
                    // What it took may have been lost again by the time this runs.
                    let _ = timeout(PATIENCE, linked.changed()).await;
                    continue;
                }
                Err(failure) => self.note_failure(&failure),
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = linked.wait_for(|&linked| linked) => {}
            }
            pause = (pause * 2).min(RETRY.1);
        }
    }

    fn note_failure(&self, failure: &Failure) {
        let state =
            if matches!(failure, Failure::Refused(_)) { State::Refused } else { State::Connecting };
        let mut figures = self.status.figures();
        let reason = failure.to_string();
        let linked = matches!(figures.state, State::CatchingUp | State::InSync);
        if linked {
            return;
        }
        let is_new = figures.state != state || figures.reason != reason;
        if let Some(others) = if is_new { self.told.change() } else { self.told.late() } {
            self.tell(state, &reason, &others);
        }
        figures.state = state;
        figures.reason = reason;
    }

    fn tell(&self, state: State, reason: &str, others: &Unmentioned) {
        let peer = self.status.peer();
        log::warn!(
            "event=link state={state} peer={peer} reason={reason:?} \
             next=\"dials again until it succeeds\"{others}"
        );
    }

    async fn dial_once(&self) -> Result<Candidate, Failure> {
        let address = (self.settings.peer_host.as_str(), self.settings.peer_port);
        let connecting = TcpStream::connect(address);
        let stream = timeout(PATIENCE, connecting).await.map_err(|_| Failure::Late)??;
        stream.set_nodelay(true)?;
        timeout(PATIENCE, self.introduce(Wire::plain(stream))).await.map_err(|_| Failure::Late)?
    }

    /// Says who this node is and hears who the other one is.
    async fn introduce(&self, mut wire: Wire) -> Result<Candidate, Failure> {
        let mut input = BytesMut::new();
        let mut said = Said::Introduction;
        match &self.settings.seal {
            Seal::None => {}
            Seal::Secret(secret) => offer_proof(&secret.get(), &mut wire, &mut input).await?,
            Seal::Certificates(tls) => {
                said = Said::Tls;
                let session = tls.dialled().map_err(io::Error::other)?;
                let shaken = wire.shake_hands(session, &mut input).await;
                shaken.map_err(|error| Failure::from(error).or(said))?;
            }
        }
        let hello = self.hello();
        let mut bytes = Vec::new();
        frame::write(&mut bytes, Kind::Hello, |out| hello.write(out));
        wire.writer.send(bytes).await.map_err(|error| Failure::from(error).or(said))?;
        let peer = match read_frame(&mut wire, &mut input).await.map_err(|f| f.or(said))? {
            Opener::Hello(peer) => peer,
            Opener::Proof(_) => return Err(Refusal::NoSecret.into()),
        };
        let node = hello.pairs_with(&peer, self.settings.max_clock_skew, Clock::time_of_day())?;
        Ok(Candidate { wire, peer, node, dialled: true, input })
    }

    /// Accepts connections, for ever.
    pub(super) async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        candidates: mpsc::Sender<Candidate>,
    ) {
        let mut strangers: VecDeque<(AbortHandle, SocketAddr)> = VecDeque::new();
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(others) = self.failures.due() {
                        log::warn!(
                            "event=replication_accept_failed error=\"{error}\" \
                             unmentioned_before={others}"
                        );
                    }
                    sleep(RETRY.1).await;
                    continue;
                }
            };
            strangers.retain(|(stranger, _)| !stranger.is_finished());
            if strangers.len() >= HANDSHAKES_MAX
                && let Some((first, from)) = strangers.pop_front()
            {
                // The peer is known within a moment; who takes longer gives way to it.
                first.abort();
                self.mention(from, &Failure::Displaced);
            }
            let greeter = Arc::clone(&self);
            let candidates = candidates.clone();
            let greeting = tokio::spawn(async move {
                match timeout(PATIENCE, greeter.greet(stream)).await.unwrap_or(Err(Failure::Late)) {
                    Ok(candidate) => drop(candidates.send(candidate).await),
                    Err(failure) => greeter.mention(address, &failure),
                }
            });
            strangers.push_back((greeting.abort_handle(), address));
        }
    }

    async fn greet(&self, stream: TcpStream) -> Result<Candidate, Failure> {
        stream.set_nodelay(true)?;
        let mut wire = Wire::plain(stream);
        let mut input = BytesMut::new();
        if let Seal::Certificates(tls) = &self.settings.seal {
            // Whoever has not shown a good certificate is told what TLS tells, and nothing else.
            let session = tls.accepted().map_err(io::Error::other)?;
            wire.shake_hands(session, &mut input).await?;
        }
        let mut opener = read_frame(&mut wire, &mut input).await?;
        if let Seal::Secret(secret) = &self.settings.seal {
            // Whoever has not proved that it knows the secret is told nothing.
            let Opener::Proof(proof) = opener else { return Err(Refusal::NoProof.into()) };
            let (opening, sealing, answer) =
                secret.get().answer(&proof).map_err(|_| Refusal::WrongProof)?;
            let mut bytes = Vec::new();
            frame::write(&mut bytes, Kind::Proof, |out| out.extend_from_slice(&answer));
            wire.writer.send(bytes).await?;
            wire.seal(opening, sealing, &mut input)?;
            opener = read_frame(&mut wire, &mut input).await?;
        }
        let refusal = match opener {
            Opener::Hello(peer) => {
                let allowed = self.settings.max_clock_skew;
                match self.hello().pairs_with(&peer, allowed, Clock::time_of_day()) {
                    Ok(node) => return Ok(Candidate { wire, peer, node, dialled: false, input }),
                    Err(refusal) => refusal,
                }
            }
            Opener::Proof(_) => Refusal::NoSecret,
        };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, Kind::Refusal, |out| {
            out.extend_from_slice(refusal.to_string().as_bytes());
        });
        wire.writer.send(bytes).await?;
        Err(refusal.into())
    }

    /// Logs a connection that came to nothing; anybody may make those, so not each of them.
    fn mention(&self, address: SocketAddr, failure: &Failure) {
        self.status.figures().refused += 1;
        if let Some(others) = self.refusals.due() {
            log::warn!(
                "event=replication_refused from={address} reason=\"{failure}\" \
                 unmentioned_before={others}"
            );
        }
    }
}

/// What a connection begins with.
enum Opener {
    Proof(Vec<u8>),
    Hello(Hello),
}

impl Failure {
    /// Says what it means that the other side hung up on what it was told.
    fn or(self, said: Said) -> Failure {
        if matches!(self, Failure::HungUp) { Refusal::HungUp(said).into() } else { self }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match sealing::refusal(&error) {
            Some(refusal) => Failure::Refused(refusal),
            // A socket closed with our words unread answers with a reset.
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset => Failure::HungUp,
                _ => Failure::Io(error),
            },
        }
    }
}

/// Proves that this node knows the secret, and sees that the other one does.
async fn offer_proof(
    secret: &Secret,
    wire: &mut Wire,
    input: &mut BytesMut,
) -> Result<(), Failure> {
    let (handshake, proof) = secret.offer().map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    frame::write(&mut bytes, Kind::Proof, |out| out.extend_from_slice(&proof));
    wire.writer.send(bytes).await?;
    let answer = read_frame(wire, input).await.map_err(|failure| failure.or(Said::Proof))?;
    let Opener::Proof(proof) = answer else { return Err(Refusal::NoProof.into()) };
    let (opening, sealing) = handshake.finish(&proof).map_err(|_| Refusal::WrongProof)?;
    Ok(wire.seal(opening, sealing, input)?)
}

/// Reads a frame of the handshake.
async fn read_frame(wire: &mut Wire, input: &mut BytesMut) -> Result<Opener, Failure> {
    loop {
        if is_tls(input) {
            return Err(Refusal::Tls.into());
        }
        if let Some((kind, payload, length)) =
            frame::read(input, HELLO_MAX).map_err(Refusal::from)?
        {
            let opener = match kind {
                Kind::Proof => Opener::Proof(payload.to_vec()),
                Kind::Hello => Opener::Hello(Hello::read(payload).map_err(Refusal::from)?),
                Kind::Refusal => {
                    return Err(Refusal::ByPeer(hello::printable(payload)).into());
                }
                other => {
                    return Err(Refusal::from(frame::FrameError::UnknownKind(other as u8)).into());
                }
            };
            input.advance(length);
            return Ok(opener);
        }
        match wire.reader.read(input, 2 * HELLO_MAX).await {
            Ok(0) => return Err(Failure::HungUp),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether it begins as a handshake or an alert of TLS does; for a frame that would be too long.
fn is_tls(input: &[u8]) -> bool {
    matches!(input, [0x15 | 0x16, 3, 1..=4, ..])
}

/// A short random time, so that two nodes do not dial in step for ever.
fn jitter() -> Duration {
    let random = ahash::RandomState::new().hash_one(0);
    RETRY.0.mul_f64(random as f64 / u64::MAX as f64)
}
