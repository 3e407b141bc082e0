//! What a client asks and is answered: the requests of a turn, one after another.

use super::arrival::{Arrival, LARGE};
use super::turn::Turn;
use super::{End, Next};
use crate::command::{
    Cache, Dump, Login, Outcome, Unconfirmed, execute, execute_frame, execute_get, execute_simple,
    refuse,
};
use crate::protocol::text::{self, Get, Keys, Parsed, Request, Simple};
use crate::protocol::{Output, binary, login};
use crate::server::errand::{Answer, Errand};
use crate::server::held::Claims;
use crate::server::trace;
use crate::store::Hashed;
use crate::watch::Subscription;
use memchr::memchr;
use std::task::{Context, Poll, ready};

/// Reply bytes after which a turn ends and the client is to take them.
const OUTPUT_MAX: usize = 256 * 1024;

/// Simple requests that are read before the first of them is done, so that the memory which their
/// keys need comes at the same time.
const AHEAD: usize = 16;

/// A request that goes on in the next turn.
enum Paused {
    /// A read with keys left; they stand at the front of the input.
    Get(Get),
    /// A dump; its line was taken.
    Dump(Dump),
}

/// A request that was done.
struct Done<'i> {
    outcome: Outcome<'i>,
    /// Bytes that it took.
    length: usize,
    /// What it is answered if the peer does not have what it wrote.
    error: Unconfirmed,
}

/// How far the client has come.
pub(super) struct Dialog {
    /// Bytes of input still to be thrown away.
    skip: usize,
    /// The request that has begun to be answered.
    paused: Option<Paused>,
    /// Whether the binary protocol is spoken, once the first byte has told.
    binary: Option<bool>,
    /// Whether anything may be asked for yet.
    login: Login,
    /// Those of the replies that claim a write, where the peer must have it.
    pub(super) claims: Claims,
    /// What is to be had before the request at hand is done, and what came of it.
    errand: Option<Errand>,
    answer: Option<Answer>,
    /// The request at hand, if its value is being read to where it will stand.
    pub(super) arrival: Option<Box<Arrival>>,
    /// What the client is shown once its replies are sent.
    pub(super) watching: Option<Subscription>,
}

impl Dialog {
    pub(super) fn new(cache: &Cache) -> Dialog {
        Dialog {
            skip: 0,
            paused: None,
            binary: None,
            login: Login::new(cache),
            claims: Claims::default(),
            errand: None,
            answer: None,
            arrival: None,
            watching: None,
        }
    }

    /// Whether a request has begun to be answered.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Whether what comes next is thrown away.
    pub(super) fn is_skipping(&self) -> bool {
        self.skip > 0
    }

    /// Ready when nothing is to be had before the request at hand is done.
    pub(super) fn poll_errand(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(errand) = &mut self.errand {
            self.answer = Some(ready!(errand.poll(cx)));
            self.errand = None;
        }
        Poll::Ready(())
    }

    /// Does the requests at the front of `input`; returns how many bytes they took and what is next.
    pub(super) fn go_on(
        &mut self,
        turn: &Turn<'_>,
        input: &[u8],
        out: &mut Output,
    ) -> (usize, Next) {
        let mut left = turn.cache.settings.requests_per_event;
        let (mut at, mut ahead) = (0, 0);
        loop {
            let skipped = self.skip.min(input.len() - at);
            self.skip -= skipped;
            at += skipped;
            if turn.simple && self.takes_text() {
                at += go_on_simply(turn, &input[at..], &mut left, out);
            }
            let rest = &input[at..];
            if rest.is_empty() && self.paused.is_none() {
                return (at, Next::Read(0));
            }
            if out.len() >= OUTPUT_MAX {
                return (at, Next::Flush);
            }
            if left == 0 {
                return (at, Next::Yield);
            }
            // One frame stands by itself; behind a second there may be many.
            if at > 0 && ahead == 0 && self.binary == Some(true) {
                fetch_frames_ahead(turn.cache, rest);
                ahead = AHEAD;
            }
            ahead = ahead.saturating_sub(1);
            left -= 1;
            let mark = out.mark();
            if turn.strict {
                self.claims.begin();
            }
            let done = match self.step(turn, rest, out) {
                Ok(done) => done,
                Err(Next::Land) => return (input.len(), Next::Land),
                Err(next) => return (at, next),
            };
            at += done.length;
            if turn.strict {
                self.claims.keep(mark, out.mark(), done.error);
            }
            if turn.show {
                trace::reply(turn.client, out.copied_since(mark));
            }
            if let Outcome::Paused(_, keys) = &done.outcome {
                at = keys.rest().as_ptr() as usize - input.as_ptr() as usize;
            }
            if let Some(next) = self.after(done.outcome, out) {
                let at = if self.watching.is_some() { input.len() } else { at };
                return (at, next);
            }
        }
    }

    /// Whether a request may begin, and of the text protocol; one that the peer was asked for has begun.
    fn takes_text(&self) -> bool {
        let begun = self.paused.is_some() || self.answer.is_some();
        self.binary == Some(false) && !begun && self.login == Login::Done
    }

    /// Does the request at the front of `rest`, if it is complete, or else says what is next.
    fn step<'i>(
        &mut self,
        turn: &Turn<'_>,
        rest: &'i [u8],
        out: &mut Output,
    ) -> Result<Done<'i>, Next> {
        if let Some(paused) = self.paused.take() {
            return Ok(resume(paused, turn, rest, out));
        }
        if *self.binary.get_or_insert_with(|| turn.negotiate(rest[0])) {
            self.frame(turn, rest, out)
        } else {
            self.line(turn, rest, out)
        }
    }

    fn frame<'i>(
        &mut self,
        turn: &Turn<'_>,
        rest: &'i [u8],
        out: &mut Output,
    ) -> Result<Done<'i>, Next> {
        // Whoever has not logged in must not make us wait for a value.
        let may_ask = self.login == Login::Done;
        let fits = |key, flags, value| may_ask && turn.fits(key, flags, value);
        match binary::parse(rest, fits) {
            binary::Parsed::Incomplete(needed) => Err(Next::Read(needed)),
            binary::Parsed::Hangup => Err(Next::End(End::Broken)),
            binary::Parsed::Frame { frame, length, skip } => {
                if turn.show && self.answer.is_none() {
                    trace::frame(turn.client, &frame, &rest[..length]);
                }
                if self.answer.is_none() && may_ask {
                    self.errand = Errand::of_frame(turn.cache, turn.now, &frame, &rest[..length]);
                    if self.errand.is_some() {
                        return Err(Next::Ask);
                    }
                }
                self.skip = skip;
                let error = Unconfirmed::of_frame(&frame);
                let (cache, worker, login) = (turn.cache, turn.worker, &mut self.login);
                let outcome = Answer::settle(self.answer.take(), error, out)
                    .unwrap_or_else(|| execute_frame(cache, worker, turn.now, login, &frame, out));
                Ok(Done { outcome, length, error })
            }
        }
    }

    fn line<'i>(
        &mut self,
        turn: &Turn<'_>,
        rest: &'i [u8],
        out: &mut Output,
    ) -> Result<Done<'i>, Next> {
        let may_ask = self.login == Login::Done;
        let fits = |key, flags, value| turn.fits(key, flags, value);
        let parsed = if may_ask { text::parse(rest, fits) } else { login::parse(rest) };
        // Before that any line may hold a password.
        if turn.show && may_ask && self.answer.is_none() && !matches!(parsed, Parsed::Incomplete(_))
        {
            trace::request(turn.client, rest);
        }
        match parsed {
            Parsed::Incomplete(needed) => {
                // Not with every piece of a value that found no place at its beginning.
                let begins = rest.len() <= LARGE;
                if turn.simple && may_ask && needed > LARGE && begins {
                    self.arrival = Arrival::begin(turn, rest);
                }
                Err(if self.arrival.is_some() { Next::Land } else { Next::Read(needed) })
            }
            Parsed::Hangup => Err(Next::End(End::Broken)),
            Parsed::Refused { reply, noreply, length, skip } => {
                self.skip = skip;
                let outcome = refuse(reply, noreply, out);
                Ok(Done { outcome, length, error: Unconfirmed::Line })
            }
            // The most frequent request goes the shortest way.
            Parsed::Request { request: Request::Get(get, keys), length, .. }
                if get.touch.is_none() && !turn.asks_peer =>
            {
                let (cache, worker) = (turn.cache, turn.worker);
                let outcome = execute_get(cache, worker, turn.now, get, keys, out);
                Ok(Done { outcome, length, error: Unconfirmed::Line })
            }
            Parsed::Request { request, noreply, length, skip } => {
                if self.answer.is_none() && may_ask {
                    let bytes = &rest[..length];
                    self.errand = Errand::of_request(turn.cache, turn.now, &request, bytes);
                    if self.errand.is_some() {
                        return Err(Next::Ask);
                    }
                }
                self.skip = skip;
                let error = if noreply { Unconfirmed::Nothing } else { Unconfirmed::Line };
                let (cache, worker) = (turn.cache, turn.worker);
                let outcome = Answer::settle(self.answer.take(), error, out)
                    .unwrap_or_else(|| execute(cache, worker, turn.now, request, noreply, out));
                Ok(Done { outcome, length, error })
            }
        }
    }

    /// What is next after a request, unless it is the next request.
    fn after(&mut self, outcome: Outcome<'_>, out: &Output) -> Option<Next> {
        self.paused = match outcome {
            Outcome::Continue => return None,
            Outcome::LoggedIn => {
                self.login = Login::Done;
                return None;
            }
            Outcome::Close => return Some(Next::End(End::Closed)),
            Outcome::Shutdown { graceful } => {
                return Some(Next::End(End::Shutdown { graceful }));
            }
            Outcome::Watching(subscription) => {
                self.watching = Some(subscription);
                return Some(Next::End(End::Closed));
            }
            Outcome::Paused(get, _) => Some(Paused::Get(get)),
            Outcome::Dumping(dump) => Some(Paused::Dump(dump)),
        };
        Some(if out.len() >= OUTPUT_MAX { Next::Flush } else { Next::Yield })
    }
}

/// Does the simple requests at the front of `input`, as many as may be; returns the bytes that they
/// took.
fn go_on_simply(turn: &Turn<'_>, input: &[u8], left: &mut u32, out: &mut Output) -> usize {
    let Turn { cache, worker, now, .. } = *turn;
    let fits = |key, flags, value| turn.fits(key, flags, value);
    let mut at = 0;
    loop {
        let mut batch: [Option<(Simple<'_>, Hashed<'_>, usize)>; AHEAD] = Default::default();
        let (mut count, mut end) = (0, at);
        for place in batch.iter_mut().take(*left as usize) {
            let Some((simple, length)) = text::parse_simple(&input[end..], fits) else { break };
            end += length;
            let key = cache.store.hashed(simple.key());
            *place = Some((simple, key, end));
            count += 1;
        }
        let batch = &batch[..count];
        if count > 1 {
            cache.store.fetch_ahead(batch.iter().flatten().map(|&(_, key, _)| key));
        }
        for (simple, key, end) in batch.iter().flatten() {
            execute_simple(cache, worker, now, simple, *key, out);
            at = *end;
            *left -= 1;
            if out.len() >= OUTPUT_MAX {
                return at;
            }
        }
        if count < AHEAD {
            return at;
        }
    }
}

/// Has what the next frames need come closer.
fn fetch_frames_ahead(cache: &Cache, input: &[u8]) {
    let mut keys = [Hashed::default(); AHEAD];
    let mut count = 0;
    for (place, key) in keys.iter_mut().zip(binary::keys_ahead(input)) {
        *place = cache.store.hashed(key);
        count += 1;
    }
    cache.store.fetch_ahead(keys[..count].iter().copied());
}

/// Goes on with a request that was paused.
fn resume<'i>(paused: Paused, turn: &Turn<'_>, rest: &'i [u8], out: &mut Output) -> Done<'i> {
    let (length, outcome) = match paused {
        Paused::Get(get) => {
            // The line was complete when the request began.
            let end = memchr(b'\n', rest).unwrap_or(rest.len() - 1);
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            let keys = Keys::resume(line);
            (end + 1, execute_get(turn.cache, turn.worker, turn.now, get, keys, out))
        }
        Paused::Dump(dump) => (0, dump.resume(turn.cache, turn.now, out)),
    };
    Done { outcome, length, error: Unconfirmed::Line }
}
