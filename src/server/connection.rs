//! One client's connection: read, do all complete requests, write once.
//!
//! Input is read into a buffer of the worker's, not of the connection's; a connection keeps only an
//! unfinished request, and replies that the client does not take. While such replies wait nothing
//! more is read, so a client that does not read costs itself only.

use super::errand::{Answer, Errand};
use super::held::{Claims, Held};
use super::socket::Socket;
use super::terms::Terms;
use super::trace::{self, SHOW_FROM};
use super::{presence, watching};
use crate::command::roster::{Seat, State};
use crate::command::{
    Cache, Dump, Login, Outcome, Unconfirmed, WorkerCounters, execute, execute_frame, refuse,
    resume_get,
};
use crate::protocol::text::{self, Get, Keys, Parsed};
use crate::protocol::{Output, binary, login};
use crate::store::{Now, Written};
use crate::watch::Subscription;
use memchr::memchr;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::ReadBuf;

/// Bytes that one read takes.
const READ: usize = 64 * 1024;
/// Reply bytes after which a turn ends and the client is to take them.
const OUTPUT_MAX: usize = 256 * 1024;
/// Memory that an idle connection may keep for the next unfinished request.
const KEEP: usize = 2 * 1024;

thread_local! {
    /// The worker's buffers, lent to the connection whose turn it is.
    static LENT: RefCell<Lent> = RefCell::new(Lent { input: vec![0; READ].into(), output: Output::default() });
}

struct Lent {
    input: Box<[u8]>,
    output: Output,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client left.
    Closed,
    /// The connection broke, or the client was sent away for what it sent.
    Broken,
    /// The client was sent away for its silence.
    Idle,
    /// The client asked the daemon to stop.
    Shutdown { graceful: bool },
}

/// What is to be done after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Read on; the request at hand needs this many bytes in all, as far as is known.
    Read(usize),
    /// Let others go first.
    Yield,
    /// Let the client take its replies first.
    Flush,
    /// Hear what the peer says of the request at hand.
    Ask,
    /// Send what waits, then end.
    End(End),
}

/// A request that goes on in the next turn.
enum Paused {
    /// A read with keys left; they stand at the front of the input.
    Get(Get),
    /// A dump; its line was taken.
    Dump(Dump),
}

pub(super) struct Connection {
    seat: Seat,
    socket: Socket,
    cache: Arc<Cache>,
    worker: usize,
    /// What its listener says about it.
    terms: Arc<Terms>,
    /// The beginning of a request.
    unfinished: Vec<u8>,
    /// Bytes the request in `unfinished` needs in all, as far as is known.
    needed: usize,
    /// Bytes of input still to be thrown away.
    skip: usize,
    /// The request that has begun to be answered.
    paused: Option<Paused>,
    /// Whether the binary protocol is spoken, once the first byte has told.
    binary: Option<bool>,
    /// Whether anything may be asked for yet.
    login: Login,
    /// Replies that the client has not taken, or has not been sent because of a yield.
    replies: Output,
    /// The last turn ended for the sake of others, and its replies have not been sent.
    yielded: bool,
    /// Those of the replies that claim a write, where the peer must have it.
    claims: Claims,
    /// What the replies wait for before they go out.
    held: Option<Box<Held>>,
    /// What is to be had before the request at hand is done, and what came of it.
    errand: Option<Errand>,
    answer: Option<Answer>,
    end: Option<End>,
    /// What the client is shown once its replies are sent.
    watching: Option<Subscription>,
    /// When something last came from the client.
    heard: Now,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.cache.connections.current.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    pub(super) fn new(
        seat: Seat,
        socket: Socket,
        cache: Arc<Cache>,
        worker: usize,
        terms: Arc<Terms>,
    ) -> Connection {
        Connection {
            heard: cache.clock.now(),
            seat,
            login: Login::new(&cache),
            socket,
            cache,
            worker,
            terms,
            unfinished: Vec::new(),
            needed: 0,
            skip: 0,
            binary: None,
            paused: None,
            replies: Output::default(),
            yielded: false,
            claims: Claims::default(),
            held: None,
            errand: None,
            answer: None,
            end: None,
            watching: None,
        }
    }

    fn counters(&self) -> &WorkerCounters {
        &self.cache.workers[self.worker]
    }

    /// Serves until the connection ends.
    pub(super) async fn serve(mut self) -> End {
        presence::tell(&self.seat, self.socket.fd(), None, &self.cache, self.worker);
        let result = match self.idle_timeout() {
            None => poll_fn(|cx| self.poll(cx)).await,
            Some(timeout) => self.serve_until_idle(timeout).await,
        };
        let end = match self.watching.take() {
            Some(subscription) => {
                self.seat.note(State::Watching, self.heard);
                let counters = &self.cache.workers[self.worker];
                watching::show(&mut self.socket, &subscription, counters).await
            }
            None => result.unwrap_or_else(|error| presence::end_of(&error)),
        };
        presence::tell(&self.seat, self.socket.fd(), Some(end), &self.cache, self.worker);
        end
    }

    /// What this connection is about, between two turns.
    fn state(&self) -> State {
        if !self.replies.is_empty() {
            State::Writing
        } else if self.skip > 0 {
            State::Swallowing
        } else if self.needed > self.unfinished.len() + 1 {
            State::ReadingOn
        } else {
            State::Reading
        }
    }

    /// How long this client may be silent, if there is a limit; as in memcached only on TCP.
    fn idle_timeout(&self) -> Option<Duration> {
        let seconds = self.cache.settings.idle_timeout;
        let limited = seconds > 0 && !matches!(self.socket, Socket::Unix(_));
        limited.then(|| Duration::from_secs(seconds.into()))
    }

    /// Serves until the connection ends or the client has been silent for more than `timeout`. One
    /// that is still to take its replies is not idle.
    async fn serve_until_idle(&mut self, timeout: Duration) -> io::Result<End> {
        // On the heap: without a limit no connection is to be larger for it.
        let mut timer = Box::pin(tokio::time::sleep(timeout));
        poll_fn(|cx| {
            if let Poll::Ready(ended) = self.poll(cx) {
                return Poll::Ready(ended);
            }
            while timer.as_mut().poll(cx).is_ready() {
                let silent = self.cache.clock.now().0.saturating_sub(self.heard.0);
                let left = timeout.saturating_sub(Duration::from_millis(silent));
                if left.is_zero() && self.replies.is_empty() {
                    self.counters().idle_kicks.add(1);
                    return Poll::Ready(Ok(End::Idle));
                }
                let again = if left.is_zero() { timeout } else { left };
                timer.as_mut().reset(tokio::time::Instant::now() + again);
            }
            Poll::Pending
        })
        .await
    }

    /// Does all that can be done now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        loop {
            if let Some(held) = &mut self.held {
                let honest = std::task::ready!(held.poll(cx, &mut self.replies));
                self.held = None;
                if !honest && self.paused.is_some() {
                    // The rest of a reply that turned out to be an error belongs to nothing.
                    self.end = Some(End::Closed);
                }
            }
            if !self.yielded {
                std::task::ready!(self.poll_flush(cx))?;
            }
            if let Some(end) = self.end {
                return Poll::Ready(Ok(end));
            }
            if let Some(errand) = &mut self.errand {
                self.answer = Some(std::task::ready!(errand.poll(cx)));
                self.errand = None;
            }
            let polled = LENT.with_borrow_mut(|lent| self.poll_turn(cx, lent));
            match std::task::ready!(polled)? {
                Next::Read(needed) => self.needed = needed,
                Next::Flush | Next::Ask => self.needed = 0,
                Next::Yield => {
                    self.needed = 0;
                    self.yielded = true;
                    self.counters().conn_yields.add(1);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::End(end) => self.end = Some(end),
            }
            self.seat.note(self.state(), self.heard);
        }
    }

    /// Reads once, does the requests that are complete, and sends their replies.
    fn poll_turn(&mut self, cx: &mut Context<'_>, lent: &mut Lent) -> Poll<io::Result<Next>> {
        let Lent { input, output } = lent;
        debug_assert!(output.is_empty());
        if std::mem::take(&mut self.yielded) {
            // The replies from before go out together with those of this turn.
            std::mem::swap(output, &mut self.replies);
        }
        let next = if self.unfinished.is_empty() && self.paused.is_none() {
            let mut buffer = ReadBuf::new(input);
            if std::task::ready!(self.socket.poll_read(cx, &mut buffer))? == 0 {
                return Poll::Ready(Ok(Next::End(End::Closed)));
            }
            let input = buffer.filled();
            self.counters().bytes_read.add(input.len() as u64);
            let (done, next) = self.requests(input, output);
            self.unfinished.extend_from_slice(&input[done..]);
            next
        } else {
            if self.unfinished.len() < self.needed {
                std::task::ready!(self.poll_read_on(cx))?;
            }
            let unfinished = std::mem::take(&mut self.unfinished);
            let (done, next) = self.requests(&unfinished, output);
            self.unfinished = unfinished;
            self.unfinished.drain(..done);
            if self.unfinished.is_empty() && self.unfinished.capacity() > KEEP {
                self.unfinished = Vec::new();
            }
            next
        };
        if let Some(durability) = &self.cache.durability {
            let claims = std::mem::take(&mut self.claims);
            if let Some(confirmed) = durability.hold(Written::take(), Instant::now()) {
                self.held = Some(Box::new(Held::new(confirmed, claims)));
                std::mem::swap(output, &mut self.replies);
                return Poll::Ready(Ok(next));
            }
        }
        if output.is_empty() {
            return Poll::Ready(Ok(next));
        }
        if next == Next::Yield {
            std::mem::swap(output, &mut self.replies);
            return Poll::Ready(Ok(next));
        }
        let written = self.poll_send(cx, output);
        if !output.is_empty() {
            self.replies = std::mem::take(output);
        }
        if let Poll::Ready(Err(error)) = written {
            self.replies.clear();
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(next))
    }

    /// Reads behind an unfinished request, into its own memory.
    fn poll_read_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Memory follows what really arrives, not what the client announced.
        let length = self.unfinished.len();
        let room = (self.needed - length).clamp(READ / 4, READ.max(length));
        self.unfinished.resize(length + room, 0);
        let mut buffer = ReadBuf::new(&mut self.unfinished[length..]);
        let polled = self.socket.poll_read(cx, &mut buffer);
        let read = if let Poll::Ready(Ok(read)) = polled { read } else { 0 };
        self.unfinished.truncate(length + read);
        if std::task::ready!(polled)? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.counters().bytes_read.add(read as u64);
        Poll::Ready(Ok(()))
    }

    /// Does the requests at the front of `input`; returns how many bytes they took and what is next.
    fn requests(&mut self, input: &[u8], out: &mut Output) -> (usize, Next) {
        let fd = self.socket.fd();
        let Connection {
            cache,
            terms,
            skip: to_skip,
            binary,
            login,
            paused,
            claims,
            errand,
            answer,
            watching,
            heard,
            ..
        } = self;
        let show = cache.verbosity.load(Ordering::Relaxed) >= SHOW_FROM;
        let worker = &cache.workers[self.worker];
        worker.client.store(fd, Ordering::Relaxed);
        let now = cache.clock.now();
        *heard = now;
        let store = &cache.store;
        let fits = |key, flags, value| store.item_size(key, flags, value) <= store.item_size_max();
        let strict = cache.is_strict();
        let mut left = cache.settings.requests_per_event;
        let mut at = 0;
        loop {
            let skipped = (*to_skip).min(input.len() - at);
            *to_skip -= skipped;
            at += skipped;
            let rest = &input[at..];
            if rest.is_empty() && paused.is_none() {
                return (at, Next::Read(0));
            }
            if out.len() >= OUTPUT_MAX {
                return (at, Next::Flush);
            }
            if left == 0 {
                return (at, Next::Yield);
            }
            left -= 1;
            let mark = out.mark();
            let mut error = Unconfirmed::Line;
            if strict {
                claims.begin();
            }
            let is_binary = || terms.protocol.is_binary(rest[0]);
            let outcome = if let Some(paused) = paused.take() {
                match paused {
                    Paused::Get(get) => {
                        // The line was complete when the request began.
                        let end = memchr(b'\n', rest).unwrap_or(rest.len() - 1);
                        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
                        at += end + 1;
                        resume_get(cache, worker, now, get, Keys::resume(line), out)
                    }
                    Paused::Dump(dump) => dump.resume(cache, now, out),
                }
            } else if *binary.get_or_insert_with(is_binary) {
                // Whoever has not logged in must not make us wait for a value.
                let fits = |key, flags, value| *login == Login::Done && fits(key, flags, value);
                match binary::parse(rest, fits) {
                    binary::Parsed::Incomplete(needed) => return (at, Next::Read(needed)),
                    binary::Parsed::Hangup => return (at, Next::End(End::Broken)),
                    binary::Parsed::Frame { frame, length, skip } => {
                        if show && answer.is_none() {
                            trace::frame(fd, &frame, &rest[..length]);
                        }
                        if answer.is_none() && *login == Login::Done {
                            *errand = Errand::of_frame(cache, now, &frame, &rest[..length]);
                            if errand.is_some() {
                                return (at, Next::Ask);
                            }
                        }
                        at += length;
                        *to_skip = skip;
                        error = Unconfirmed::of_frame(&frame);
                        Answer::settle(answer.take(), error, out).unwrap_or_else(|| {
                            execute_frame(cache, worker, now, login, &frame, out)
                        })
                    }
                }
            } else {
                let may_ask = *login == Login::Done;
                let parsed = if may_ask { text::parse(rest, fits) } else { login::parse(rest) };
                // Before that any line may hold a password.
                if show && may_ask && answer.is_none() && !matches!(parsed, Parsed::Incomplete(_)) {
                    trace::request(fd, rest);
                }
                match parsed {
                    Parsed::Incomplete(needed) => return (at, Next::Read(needed)),
                    Parsed::Hangup => return (at, Next::End(End::Broken)),
                    Parsed::Refused { reply, noreply, length, skip } => {
                        at += length;
                        *to_skip = skip;
                        refuse(reply, noreply, out)
                    }
                    Parsed::Request { request, noreply, length, skip } => {
                        if answer.is_none() && *login == Login::Done {
                            *errand = Errand::of_request(cache, now, &request, &rest[..length]);
                            if errand.is_some() {
                                return (at, Next::Ask);
                            }
                        }
                        at += length;
                        *to_skip = skip;
                        if noreply {
                            error = Unconfirmed::Nothing;
                        }
                        Answer::settle(answer.take(), error, out)
                            .unwrap_or_else(|| execute(cache, worker, now, request, noreply, out))
                    }
                }
            };
            if strict {
                claims.keep(mark, out.mark(), error);
            }
            if show {
                trace::reply(fd, out.copied_since(mark));
            }
            match outcome {
                Outcome::Continue => {}
                Outcome::Paused(get, keys) => {
                    *paused = Some(Paused::Get(get));
                    at = keys.rest().as_ptr() as usize - input.as_ptr() as usize;
                    let next = if out.len() >= OUTPUT_MAX { Next::Flush } else { Next::Yield };
                    return (at, next);
                }
                Outcome::Dumping(dump) => {
                    *paused = Some(Paused::Dump(dump));
                    let next = if out.len() >= OUTPUT_MAX { Next::Flush } else { Next::Yield };
                    return (at, next);
                }
                Outcome::Watching(subscription) => {
                    *watching = Some(subscription);
                    return (input.len(), Next::End(End::Closed));
                }
                Outcome::LoggedIn => *login = Login::Done,
                Outcome::Close => return (at, Next::End(End::Closed)),
                Outcome::Shutdown { graceful } => {
                    return (at, Next::End(End::Shutdown { graceful }));
                }
            }
        }
    }

    /// Sends the replies that wait; ready when none is left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.replies.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut replies = std::mem::take(&mut self.replies);
        let polled = self.poll_send(cx, &mut replies);
        if !replies.is_empty() {
            self.replies = replies;
        }
        polled
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<io::Result<()>> {
        while !output.is_empty() {
            let polled = match output.plain() {
                Some(bytes) => self.socket.poll_write(cx, bytes),
                None => {
                    let mut slices: Vec<IoSlice<'_>> = Vec::new();
                    output.slices(&mut slices);
                    self.socket.poll_write_vectored(cx, &slices)
                }
            };
            let sent = std::task::ready!(polled)?;
            self.counters().bytes_written.add(sent as u64);
            output.advance(sent);
        }
        output.clear();
        Poll::Ready(Ok(()))
    }
}
