//! Getting to know whoever is at the other end of a new connection.

use super::{Link, QUIET, sleep, timeout};
use crate::clock::Clock;
use crate::replication::Memory;
use crate::replication::frame::{self, Kind};
use crate::replication::hello::{self, HELLO_MAX, Hello, Refusal};
use crate::replication::{State, Status};
use crate::store::{Node, Store};
use bytes::{Buf, BytesMut};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

/// Time for a connection to be made, and for a hello to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Shortest and longest pause between two attempts to dial.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Strangers that may be listened to at once.
const HANDSHAKES_MAX: usize = 8;

/// A connection whose other end may be paired with.
pub(super) struct Candidate {
    pub stream: TcpStream,
    pub peer: Hello,
    /// Which node this one is in the pair of the two.
    pub node: Node,
    pub dialled: bool,
    /// What has been read beyond the handshake.
    pub input: BytesMut,
}

#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
}

/// Makes candidates of connections.
pub(super) struct Greeter {
    settings: super::LinkSettings,
    store: Arc<Store>,
    status: Arc<Status>,
    incarnation: u64,
    /// The peer's incarnation and the last batch of it that was applied.
    seen: Mutex<(u64, u64)>,
    /// When a stranger was last mentioned in the log, and how many were not since.
    mentioned: Mutex<(Option<Instant>, u64)>,
}

impl Greeter {
    pub(super) fn new(link: &Link) -> Greeter {
        Greeter {
            settings: link.settings.clone(),
            store: Arc::clone(&link.store),
            status: Arc::clone(&link.status),
            incarnation: link.incarnation,
            seen: Mutex::new((0, 0)),
            mentioned: Mutex::new((None, 0)),
        }
    }

    /// Notes how far the peer's stream was applied.
    pub(super) fn remember(&self, memory: &Memory) {
        let seen = (memory.peer_incarnation, memory.applied_batch);
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
            seen_incarnation: seen.0,
            seen_batch: seen.1,
            window: self.settings.window,
            item_size_max: self.store.item_size_max(),
            cluster: self.settings.cluster.clone(),
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
                    if candidates.send(candidate).await.is_err() {
                        return;
                    }
                    // The manager needs a moment to take it up.
                    let taken = linked.wait_for(|&linked| linked);
                    let _ = timeout(PATIENCE, taken).await;
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
        let peer = self.status.peer();
        let mut figures = self.status.figures();
        let reason = failure.to_string();
        let linked = matches!(figures.state, State::CatchingUp | State::InSync);
        if linked || (figures.state == state && figures.reason == reason) {
            return;
        }
        log::warn!(
            "event=link state={state} peer={peer} reason={reason:?} next=\"dials again until it succeeds\""
        );
        figures.state = state;
        figures.reason = reason;
    }

    async fn dial_once(&self) -> Result<Candidate, Failure> {
        let address = (self.settings.peer_host.as_str(), self.settings.peer_port);
        let connecting = TcpStream::connect(address);
        let mut stream = timeout(PATIENCE, connecting).await.map_err(|_| Failure::Late)??;
        stream.set_nodelay(true)?;
        let mut bytes = Vec::new();
        let hello = self.hello();
        frame::write(&mut bytes, Kind::Hello, |out| hello.write(out));
        stream.write_all(&bytes).await?;
        let mut input = BytesMut::new();
        let answer = timeout(PATIENCE, read_hello(&mut stream, &mut input))
            .await
            .map_err(|_| Failure::Late)?;
        let peer = answer?;
        let node = hello.pairs_with(&peer, self.settings.max_clock_skew, Clock::time_of_day())?;
        Ok(Candidate { stream, peer, node, dialled: true, input })
    }

    /// Accepts connections, for ever.
    pub(super) async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        candidates: mpsc::Sender<Candidate>,
    ) {
        let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            // Without a place the connection waits in the kernel's queue, where it costs nothing.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    log::warn!("event=replication_accept_failed error={error:?}");
                    sleep(RETRY.1).await;
                    continue;
                }
            };
            let greeter = Arc::clone(&self);
            let candidates = candidates.clone();
            tokio::spawn(async move {
                match timeout(PATIENCE, greeter.greet(stream)).await.unwrap_or(Err(Failure::Late)) {
                    Ok(candidate) => drop(candidates.send(candidate).await),
                    Err(failure) => greeter.mention(address, &failure),
                }
                drop(place);
            });
        }
    }

    async fn greet(&self, mut stream: TcpStream) -> Result<Candidate, Failure> {
        stream.set_nodelay(true)?;
        let mut input = BytesMut::new();
        let peer = read_hello(&mut stream, &mut input).await?;
        match self.hello().pairs_with(&peer, self.settings.max_clock_skew, Clock::time_of_day()) {
            Ok(node) => Ok(Candidate { stream, peer, node, dialled: false, input }),
            Err(refusal) => {
                let mut bytes = Vec::new();
                frame::write(&mut bytes, Kind::Refusal, |out| {
                    out.extend_from_slice(refusal.to_string().as_bytes());
                });
                stream.write_all(&bytes).await?;
                Err(refusal.into())
            }
        }
    }

    /// Logs a connection that came to nothing; anybody may make those, so not each of them.
    fn mention(&self, address: SocketAddr, failure: &Failure) {
        let mut mentioned = self.mentioned.lock().unwrap_or_else(PoisonError::into_inner);
        if mentioned.0.is_some_and(|last| last.elapsed() < QUIET) {
            mentioned.1 += 1;
            return;
        }
        let others = std::mem::take(&mut mentioned.1);
        mentioned.0 = Some(Instant::now());
        log::warn!(
            "event=replication_refused from={address} reason=\"{failure}\" unmentioned_before={others}"
        );
    }
}

/// Reads what must be the first frame.
async fn read_hello(stream: &mut TcpStream, input: &mut BytesMut) -> Result<Hello, Failure> {
    loop {
        if let Some((kind, payload, length)) =
            frame::read(input, HELLO_MAX).map_err(Refusal::from)?
        {
            let hello = match kind {
                Kind::Hello => Hello::read(payload).map_err(Refusal::from)?,
                Kind::Refusal => {
                    return Err(Refusal::ByPeer(hello::printable(payload)).into());
                }
                other => {
                    return Err(Refusal::from(frame::FrameError::UnknownKind(other as u8)).into());
                }
            };
            input.advance(length);
            return Ok(hello);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// A short random time, so that two nodes do not dial in step for ever.
fn jitter() -> Duration {
    let random = ahash::RandomState::new().hash_one(0);
    RETRY.0.mul_f64(random as f64 / u64::MAX as f64)
}
