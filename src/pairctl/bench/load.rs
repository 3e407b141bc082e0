//! One connection: sends requests and takes the time until their answers.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::super::client::ANSWER_TIMEOUT;
use super::super::server::Server;
use super::super::{login, tls};
use super::Load;
use super::keys::{Chooser, Random, Values};
use super::reply::{Replies, Tally};
use super::report::Totals;

/// The timer is no finer than this: what is left is spent asking for the time.
const TIMER_STEP: Duration = Duration::from_millis(2);

/// What all connections share.
pub(super) struct Job {
    pub(super) load: Load,
    /// Set every key once instead of measuring.
    pub(super) fill: bool,
    pub(super) chooser: Chooser,
    pub(super) values: Values,
    /// Answers so far.
    pub(super) done: AtomicU64,
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// Connects within the time that an answer may take.
pub(super) async fn connect(server: &Server) -> io::Result<Box<dyn Stream>> {
    let connecting = async {
        let mut stream: Box<dyn Stream> = match server {
            Server::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Server::Tcp(host, port) => Box::new(tcp(host, *port).await?),
            Server::Tls(host, port, config) => {
                let connector = TlsConnector::from(Arc::clone(&config.0));
                Box::new(connector.connect(tls::name(host)?, tcp(host, *port).await?).await?)
            }
        };
        if let Some(words) = login::words() {
            stream.write_all(words).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\n") && answer.len() < login::ANSWER_MAX {
                answer.push(stream.read_u8().await?);
            }
            login::check(&answer)?;
        }
        Ok(stream)
    };
    tokio::time::timeout(ANSWER_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(too_long()))
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A request of the batch under way.
struct Request {
    /// When it was sent or, in an open loop, should have been.
    start: Instant,
    /// How many of the batch's keys it asks for; a `set` has none.
    keys: usize,
}

/// A connection and what it has yet to do.
pub(super) struct Connection {
    job: Arc<Job>,
    totals: Rc<RefCell<Totals>>,
    random: Random,
    number: u64,
    /// Requests sent.
    sent: u64,
    /// Requests to send.
    limit: u64,
    batch: Vec<Request>,
    keys: Vec<u64>,
    out: Vec<u8>,
}

impl Connection {
    pub(super) fn new(job: Arc<Job>, number: u64, totals: Rc<RefCell<Totals>>) -> Connection {
        let connections = u64::from(job.load.connections);
        let whole = if job.fill { Some(job.load.keys) } else { job.load.requests };
        let share = |whole| whole / connections + u64::from(number < whole % connections);
        let (limit, random) = (whole.map_or(u64::MAX, share), Random::new(number));
        let (batch, keys, out) = (Vec::new(), Vec::new(), Vec::new());
        Connection { job, totals, random, number, sent: 0, limit, batch, keys, out }
    }

    /// Works until all is done, the time is up or the server fails.
    pub(super) async fn run(mut self, stream: Box<dyn Stream>, start: Instant) {
        if let Err(error) = self.batches(stream, start).await {
            self.totals.borrow_mut().fail(|| error.to_string());
        }
    }

    async fn batches(&mut self, stream: Box<dyn Stream>, start: Instant) -> io::Result<()> {
        let (reader, mut writer) = tokio::io::split(stream);
        let mut replies = Replies::new(reader, self.job.load.protocol);
        let duration = self.job.load.duration().filter(|_| !self.job.fill);
        let end = duration.map(|duration| start + duration);
        while self.sent < self.limit {
            let due = self.due(start);
            if end.is_some_and(|end| due.unwrap_or_else(Instant::now).max(Instant::now()) >= end) {
                break;
            }
            if let Some(due) = due {
                wait_until(due).await;
            }
            self.prepare(start);
            let turn = self.exchange(&mut replies, &mut writer);
            tokio::time::timeout(ANSWER_TIMEOUT, turn).await.unwrap_or_else(|_| Err(too_long()))?;
        }
        Ok(())
    }

    /// When the next request should be sent: the connections take turns.
    fn due(&self, start: Instant) -> Option<Instant> {
        let rate = self.job.load.rate.filter(|_| !self.job.fill)?;
        let turn =
            u128::from(self.sent) * u128::from(self.job.load.connections) + u128::from(self.number);
        let ns = turn * 1_000_000_000 / u128::from(rate);
        // A time that cannot be told is after every end.
        let wait = Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX));
        Some(start.checked_add(wait).unwrap_or(start + Duration::from_secs(86_400 * 365)))
    }

    /// Makes the next batch: as many requests as may be on their way and are due.
    fn prepare(&mut self, start: Instant) {
        let now = Instant::now();
        self.batch.clear();
        self.keys.clear();
        self.out.clear();
        while self.batch.len() < self.job.load.pipeline as usize && self.sent < self.limit {
            let due = self.due(start).unwrap_or(now);
            if due > now && !self.batch.is_empty() {
                break;
            }
            let keys = if self.job.fill || self.wants_set() { self.set() } else { self.get() };
            self.batch.push(Request { start: due.min(now), keys });
            self.sent += 1;
        }
    }

    fn wants_set(&mut self) -> bool {
        let ratio = self.job.load.ratio;
        self.random.below(ratio.sets + ratio.gets) < ratio.sets
    }

    fn set(&mut self) -> usize {
        let key = match self.job.fill {
            true => self.number + self.sent * u64::from(self.job.load.connections),
            false => self.job.chooser.choose(&mut self.random),
        };
        let value = self.job.values.choose(key, &mut self.random);
        self.job.load.protocol.push_set(&mut self.out, key, value);
        0
    }

    fn get(&mut self) -> usize {
        let (count, before) = (self.job.load.keys_per_get as usize, self.keys.len());
        for _ in 0..count {
            self.keys.push(self.job.chooser.choose(&mut self.random));
        }
        self.job.load.protocol.push_get(&mut self.out, &self.keys[before..]);
        count
    }

    /// Sends the batch and reads its answers meanwhile: else both sides could wait for the other to
    /// read.
    async fn exchange(
        &mut self,
        replies: &mut Replies<ReadHalf<Box<dyn Stream>>>,
        writer: &mut WriteHalf<Box<dyn Stream>>,
    ) -> io::Result<()> {
        let (job, totals) = (&self.job, &self.totals);
        let (batch, mut keys) = (&self.batch, self.keys.as_slice());
        let reading = async {
            let mut tally = Tally::default();
            for request in batch {
                let (mine, rest) = keys.split_at(request.keys);
                keys = rest;
                let answer = match mine {
                    [] => replies.stored(&mut tally).await,
                    _ => replies.values(mine, &job.values, &mut tally).await,
                };
                let mut totals = totals.borrow_mut();
                tally.count(&mut totals);
                answer?;
                let ns = request.start.elapsed().as_nanos() as u64;
                match mine {
                    [] => totals.sets.saturating_record(ns),
                    _ => totals.gets.saturating_record(ns),
                }
                job.done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let writing = async {
            writer.write_all(&self.out).await?;
            writer.flush().await
        };
        tokio::try_join!(writing, reading).map(|_| ())
    }
}

/// The timer wakes too late by up to a step, which would count as the server's latency.
async fn wait_until(due: Instant) {
    if let Some(early) = due.checked_sub(TIMER_STEP).filter(|early| *early > Instant::now()) {
        tokio::time::sleep_until(early.into()).await;
    }
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}
