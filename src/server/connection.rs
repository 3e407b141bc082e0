//! One client's connection: read, do all complete requests, write once.
//!
//! Buffers belong to the worker, not to the connection; a connection keeps only an unfinished
//! request, and replies that the client does not take. While such replies wait nothing more is
//! read, so a client that does not read costs itself only.

mod arrival;
mod dialog;
mod input;
mod turn;

use super::held::Held;
use super::socket::Socket;
use super::terms::Terms;
use super::{presence, timers, watching};
use crate::command::roster::{Seat, State};
use crate::command::{Cache, WorkerCounters};
use crate::protocol::Output;
use crate::store::{Now, Written};
use dialog::Dialog;
use input::{Buffers, Input};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use turn::Turn;

thread_local! {
    /// The worker's buffers, lent to the connection whose turn it is.
    static LENT: RefCell<Lent> = RefCell::default();
}

#[derive(Default)]
struct Lent {
    buffers: Buffers,
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
    /// Read the value of the request at hand to its place.
    Land,
    /// Let others go first.
    Yield,
    /// Let the client take its replies first.
    Flush,
    /// Hear what the peer says of the request at hand.
    Ask,
    /// Send what waits, then end.
    End(End),
}

pub(super) struct Connection {
    seat: Seat,
    socket: Socket,
    cache: Arc<Cache>,
    worker: usize,
    /// What its listener says about it.
    terms: Arc<Terms>,
    input: Input,
    dialog: Dialog,
    /// Replies that the client has not taken, or has not been sent because of a yield.
    replies: Output,
    /// The last turn ended for the sake of others, and its replies have not been sent.
    yielded: bool,
    /// What the replies wait for before they go out.
    held: Option<Box<Held>>,
    end: Option<End>,
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
            socket,
            input: Input::new(),
            dialog: Dialog::new(&cache),
            cache,
            worker,
            terms,
            replies: Output::default(),
            yielded: false,
            held: None,
            end: None,
        }
    }

    fn counters(&self) -> &WorkerCounters {
        &self.cache.workers[self.worker]
    }

    /// Serves until the connection ends.
    pub(super) async fn serve(&mut self) -> End {
        presence::show(self.socket.fd(), None, &self.cache, self.terms.protocol);
        presence::tell(&self.seat, self.socket.fd(), None, &self.cache, self.worker);
        let result = match self.idle_timeout() {
            None => poll_fn(|cx| self.poll(cx)).await,
            Some(timeout) => Box::pin(self.serve_until_idle(timeout)).await,
        };
        let end = match self.dialog.watching.take() {
            Some(subscription) => {
                self.seat.note(State::Watching, self.heard);
                let counters = &self.cache.workers[self.worker];
                // On the heap, as is the rest that few connections need.
                Box::pin(watching::show(&mut self.socket, &subscription, counters)).await
            }
            None => result.unwrap_or_else(|error| {
                presence::failed(&error, self.socket.fd(), &self.cache, self.worker)
            }),
        };
        presence::show(self.socket.fd(), Some(end), &self.cache, self.terms.protocol);
        presence::tell(&self.seat, self.socket.fd(), Some(end), &self.cache, self.worker);
        end
    }

    /// What this connection is about, between two turns.
    fn state(&self) -> State {
        if !self.replies.is_empty() {
            State::Writing
        } else if self.dialog.is_skipping() {
            State::Swallowing
        } else if self.dialog.arrival.is_some() || self.input.is_unfinished() {
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
        let mut timer = Box::pin(timers::sleep(timeout));
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
                let honest = ready!(held.poll(cx, &mut self.replies));
                self.held = None;
                if !honest && self.dialog.is_paused() {
                    // The rest of a reply that turned out to be an error belongs to nothing.
                    self.end = Some(End::Closed);
                }
            }
            if !self.yielded {
                ready!(self.poll_flush(cx))?;
            }
            if let Some(end) = self.end {
                return Poll::Ready(Ok(end));
            }
            ready!(self.dialog.poll_errand(cx));
            let polled = LENT.with_borrow_mut(|lent| self.poll_turn(cx, lent));
            match ready!(polled)? {
                Next::Read(_) | Next::Land | Next::Flush | Next::Ask => {}
                Next::Yield => {
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
        let Lent { buffers, output } = lent;
        debug_assert!(output.is_empty());
        if self.dialog.arrival.is_some() {
            ready!(self.poll_arrival(cx, output))?;
            return self.finish_turn(cx, Next::Read(0), output);
        }
        if std::mem::take(&mut self.yielded) {
            // The replies from before go out together with those of this turn.
            std::mem::swap(output, &mut self.replies);
        }
        let Connection { socket, cache, worker, dialog, heard, .. } = self;
        let (client, protocol) = (socket.fd(), self.terms.protocol);
        let counters = &cache.workers[*worker];
        let next = ready!(self.input.poll_turn(cx, socket, counters, buffers, |input| {
            let turn = Turn::new(cache, *worker, protocol, client);
            *heard = turn.now;
            dialog.go_on(&turn, input, output)
        }))?;
        self.finish_turn(cx, next, output)
    }

    /// Reads the value that is on its way; when all has come, does its request.
    // Out of the way of what most turns do.
    #[cold]
    fn poll_arrival(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<io::Result<()>> {
        let Connection { socket, cache, worker, dialog, heard, input, .. } = self;
        let counters = &cache.workers[*worker];
        if let Some(arrival) = &mut dialog.arrival {
            ready!(arrival.poll_read(cx, socket, input, |read| {
                counters.bytes_read.add(read as u64);
                *heard = cache.clock.now();
            }))?;
        }
        if let Some(arrival) = dialog.arrival.take() {
            let turn = Turn::new(cache, *worker, self.terms.protocol, socket.fd());
            arrival.perform(&turn, input, output);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the replies of a turn, or sees to it that they wait.
    // For most turns this is a part of it; called, it would cost them.
    #[inline(always)]
    fn finish_turn(
        &mut self,
        cx: &mut Context<'_>,
        next: Next,
        output: &mut Output,
    ) -> Poll<io::Result<Next>> {
        if let Some(durability) = &self.cache.durability {
            let claims = std::mem::take(&mut self.dialog.claims);
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
            let sent = ready!(self.socket.poll_send(cx, output))?;
            self.counters().bytes_written.add(sent as u64);
            output.advance(sent);
        }
        output.clear();
        Poll::Ready(Ok(()))
    }
}
