//! Clients over UDP. As in memcached every worker reads every UDP socket, and whichever is free
//! takes the next datagram: no state goes from one datagram to the next, so it does not matter which.
//! A datagram's requests are done one after another, and each reply is sent before the next is made,
//! so there is never more than one reply in memory.

use super::connection::End;
use super::timers;
use super::trace::{self, SHOW_FROM};
use crate::command::roster::{Seat, State};
use crate::command::{
    Cache, Login, Outcome, Unconfirmed, WorkerCounters, execute, execute_frame, refuse,
};
use crate::protocol::text::{self, Get, Keys, Parsed, Request};
use crate::protocol::udp::{self, DATAGRAM_MAX, Reply};
use crate::protocol::{Output, Protocol, binary};
use crate::store::{Now, Written};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// More than any datagram holds.
const READ: usize = 64 * 1024;
/// Pause after receiving failed, for lack of memory as a rule.
const RETRY: Duration = Duration::from_millis(10);
/// Ends the reply to a read of keys.
const END: &[u8] = b"END\r\n";
/// What a server answers when it does not understand, and so never a request. To answer it would
/// let a forged sender's address set two servers to answer each other for ever.
const NOT_UNDERSTOOD: &[u8] = b"ERROR\r\n";

/// What is to be done after a request.
enum Next<'a> {
    /// Sends the reply, or this error if the peer lacks what it speaks of, then goes on behind so many
    /// bytes.
    Reply(usize, Unconfirmed),
    /// Reads these keys, which end after so many bytes.
    Read(Get, Keys<'a>, usize),
    /// Sends the reply and leaves the rest of the datagram.
    Leave,
    /// Ends the daemon.
    End(End),
}

/// A worker's end of a UDP socket.
pub(super) struct Datagrams {
    socket: UdpSocket,
    cache: Arc<Cache>,
    worker: usize,
    seat: Seat,
    output: Output,
}

impl Datagrams {
    pub(super) fn new(
        socket: UdpSocket,
        seat: Seat,
        cache: Arc<Cache>,
        worker: usize,
    ) -> Datagrams {
        Datagrams { socket, cache, worker, seat, output: Output::default() }
    }

    /// Serves until a client asks the daemon to stop.
    pub(super) async fn serve(mut self) -> End {
        let mut input = vec![0; READ];
        loop {
            let (length, client) = match self.socket.recv_from(&mut input).await {
                Ok(received) => received,
                Err(error) => {
                    if let Some(others) = self.cache.mentions.receive.due() {
                        log::warn!(
                            "event=receive_failed transport=udp error=\"{error}\" \
                             unmentioned_before={others}"
                        );
                    }
                    timers::sleep(RETRY).await;
                    continue;
                }
            };
            self.counters().bytes_read.add(length as u64);
            let Some((id, body)) = udp::request(&input[..length]) else { continue };
            if body != NOT_UNDERSTOOD
                && let Some(end) = self.requests(body, id, client).await
            {
                return end;
            }
        }
    }

    fn counters(&self) -> &WorkerCounters {
        &self.cache.workers[self.worker]
    }

    /// Does the requests of a datagram, as far as they are complete.
    async fn requests(&mut self, body: &[u8], id: u16, client: SocketAddr) -> Option<End> {
        // memcached heeds -B over TCP only.
        let is_binary = Protocol::Auto.is_binary(body[0]);
        let mut rest = body;
        let mut left = self.cache.settings.requests_per_event;
        while !rest.is_empty() {
            if left == 0 {
                left = self.cache.settings.requests_per_event;
                self.counters().conn_yields.add(1);
                tokio::task::yield_now().await;
            }
            left -= 1;
            let fd = self.socket.as_raw_fd();
            self.counters().client.store(fd, Ordering::Relaxed);
            let show = self.cache.verbosity.load(Ordering::Relaxed) >= SHOW_FROM;
            if show {
                trace::request(fd, rest);
            }
            let now = self.cache.clock.now();
            self.seat.note(State::Reading, now);
            let next = if is_binary { self.frame(rest, now) } else { self.text(rest, now) };
            let (length, error) = match next {
                Next::Reply(length, error) => (length, error),
                Next::Read(get, keys, length) => {
                    self.read(get, keys, now, id, client).await;
                    (length, Unconfirmed::Line)
                }
                Next::Leave => (rest.len(), Unconfirmed::Nothing),
                Next::End(end) => return Some(end),
            };
            self.confirm(error).await;
            if show {
                trace::reply(fd, self.output.copied_since((0, 0)));
            }
            self.send(id, client).await;
            rest = rest.get(length..).unwrap_or_default();
        }
        None
    }

    fn frame(&mut self, rest: &[u8], now: Now) -> Next<'static> {
        let Datagrams { cache, output, .. } = self;
        let store = &cache.store;
        let fits = |key, flags, value| store.item_size(key, flags, value) <= store.item_size_max();
        let binary::Parsed::Frame { frame, length, skip } = binary::parse(rest, fits) else {
            return Next::Leave;
        };
        let worker = &cache.workers[self.worker];
        let outcome = execute_frame(cache, worker, now, &mut Login::new(cache), &frame, output);
        let error = Unconfirmed::of_frame(&frame);
        after(&outcome, length.saturating_add(skip), error, output)
    }

    fn text<'a>(&mut self, rest: &'a [u8], now: Now) -> Next<'a> {
        let Datagrams { cache, output, .. } = self;
        let store = &cache.store;
        let fits = |key, flags, value| store.item_size(key, flags, value) <= store.item_size_max();
        match text::parse(rest, fits) {
            Parsed::Incomplete(_) | Parsed::Hangup => Next::Leave,
            Parsed::Refused { reply, noreply, length, skip } => {
                let outcome = refuse(reply, noreply, output);
                after(&outcome, length.saturating_add(skip), Unconfirmed::Nothing, output)
            }
            Parsed::Request { request: Request::Get(get, keys), length, .. } => {
                Next::Read(get, keys, length)
            }
            Parsed::Request { request: Request::Watch(_), .. } => Next::Leave,
            Parsed::Request { request: Request::Crawler(args), .. }
                if matches!(args.clone().next(), Some(b"metadump" | b"mgdump")) =>
            {
                Next::Leave
            }
            Parsed::Request { request, noreply, length, skip } => {
                let worker = &cache.workers[self.worker];
                let outcome = execute(cache, worker, now, request, noreply, output);
                let error = if noreply { Unconfirmed::Nothing } else { Unconfirmed::Line };
                after(&outcome, length.saturating_add(skip), error, output)
            }
        }
    }

    /// Reads keys. As in memcached each value is a message, and the end is part of the last or one
    /// of its own.
    async fn read(&mut self, get: Get, keys: Keys<'_>, now: Now, id: u16, client: SocketAddr) {
        let mut keys = keys.peekable();
        while let Some(key) = keys.next() {
            let request = Request::Get(get, Keys::resume(key));
            let Datagrams { cache, output, .. } = self;
            let outcome = execute(cache, &cache.workers[self.worker], now, request, false, output);
            // A large value pauses before the end.
            let ended = !matches!(outcome, Outcome::Paused(..));
            if keys.peek().is_none() {
                if !ended {
                    output.push(END);
                }
                return;
            }
            if ended {
                let (copied, shared) = output.mark();
                output.rewind((copied.saturating_sub(END.len()), shared));
            }
            self.confirm(Unconfirmed::Line).await;
            self.send(id, client).await;
            self.counters().client.store(self.socket.as_raw_fd(), Ordering::Relaxed);
        }
    }

    /// Where writes wait for the peer, waits until it has what the request wrote. If it does not get
    /// it, the reply may have to become an error. Nothing may be awaited between the request and this.
    async fn confirm(&mut self, error: Unconfirmed) {
        let Some(durability) = &self.cache.durability else { return };
        let Some(confirmed) = durability.hold(Written::take(), Instant::now()) else { return };
        if !confirmed.await.unwrap_or(false) && self.cache.is_strict() {
            self.output.clear();
            error.write(&mut self.output);
        }
    }

    /// Sends what waits as one message. What cannot be sent is lost, as it may be on the way.
    async fn send(&mut self, id: u16, client: SocketAddr) {
        let mut datagram = [0; DATAGRAM_MAX];
        if let Some(mut reply) = Reply::new(id, &self.output) {
            while let Some(next) = reply.next(&mut self.output, &mut datagram) {
                match self.socket.send_to(next, client).await {
                    Ok(sent) => self.counters().bytes_written.add(sent as u64),
                    Err(_) => break,
                }
            }
        }
        self.output.clear();
    }
}

/// What comes after a request that took `length` bytes.
fn after(
    outcome: &Outcome<'_>,
    length: usize,
    error: Unconfirmed,
    output: &mut Output,
) -> Next<'static> {
    match outcome {
        Outcome::Continue => Next::Reply(length, error),
        Outcome::Close => Next::Leave,
        Outcome::Shutdown { graceful } => Next::End(End::Shutdown { graceful: *graceful }),
        // What takes more than one turn is not for UDP: as a message it would have to be kept whole.
        // Nor is logging in: there is nobody who could stay so.
        Outcome::Paused(..) | Outcome::Dumping(_) | Outcome::Watching(_) | Outcome::LoggedIn => {
            output.clear();
            Next::Leave
        }
    }
}
