//! The text protocol's replies.

use super::arithmetic::{Arithmetic, Counted};
use super::operation::{Context, Deleted, Stored, Value};
use super::prefixes::Asked;
use super::reply::line;
use super::{
    Cache, Dump, MEMCACHED_VERSION, WorkerCounters, admin, crawler, login, stats, tuning, watch,
};
use crate::protocol::Output;
use crate::protocol::meta::{self, Block, Meta, Options};
use crate::protocol::text::{Get, Keys, Request, Simple, Store};
use crate::store::{Hashed, Item, Now, Payload};
use crate::watch::Subscription;
use std::sync::atomic::Ordering;

/// Reply bytes after which a long reply stops and lets the client take what there is.
pub(super) const PAUSE_AT: usize = 256 * 1024;
/// Keys that are looked for together.
const AHEAD: usize = 16;
/// Keys after which others have their turn.
const KEYS_PER_TURN: usize = 1000;
/// memcached knows no more levels over the wire.
const VERBOSITY_MAX: u64 = 2;

/// What the connection does next.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// Reads the next request.
    Continue,
    /// Sends what waits, then goes on with the rest of this read by [`execute_get`].
    Paused(Get, Keys<'a>),
    /// Sends what waits, then goes on with this dump.
    Dumping(Dump),
    /// Sends what waits, then only lines of what happens.
    Watching(Subscription),
    /// Sends what waits and ends.
    Close,
    /// Reads the next request, which may now be any.
    LoggedIn,
    /// Ends, and the daemon with it.
    Shutdown {
        /// After draining.
        graceful: bool,
    },
}

/// Does one request and appends its reply to `out`.
pub fn execute<'a>(
    cache: &Cache,
    worker: &WorkerCounters,
    now: Now,
    request: Request<'a>,
    noreply: bool,
    out: &mut Output,
) -> Outcome<'a> {
    if let Some(refusal) = cache.write_refusal()
        && request.writes()
    {
        cache.count_refused();
        return refuse(refusal.text(), noreply, out);
    }
    perform(cache, worker, now, request, noreply, out)
}

/// Does one request, whether or not this node takes writes from its own clients.
pub(super) fn perform<'a>(
    cache: &Cache,
    worker: &WorkerCounters,
    now: Now,
    request: Request<'a>,
    noreply: bool,
    out: &mut Output,
) -> Outcome<'a> {
    let context = Context { cache, worker, now };
    let reply = match request {
        Request::Get(get, keys) => return context.read(get, keys, out),
        Request::Store(store) => context.write(&store, cache.store.hashed(store.key)),
        Request::BadChunk(store) => {
            context.bad_chunk(&store);
            "CLIENT_ERROR bad data chunk"
        }
        Request::TooLarge(store) => {
            context.count(store.key, Asked::Set);
            stored_reply(context.too_large(store.verb, store.key))
        }
        Request::Delete { key } => match context.delete(key, None) {
            Deleted::Done => "DELETED",
            Deleted::NotFound => "NOT_FOUND",
            Deleted::Exists => "EXISTS",
        },
        Request::Arithmetic { key, delta, increment } => match context
            .arithmetic(key, &Arithmetic { delta, increment, only: None, initial: None })
        {
            Counted::Value(number, _) => {
                if !noreply {
                    out.push_number(number);
                    out.push(b"\r\n");
                }
                return Outcome::Continue;
            }
            Counted::NotFound => "NOT_FOUND",
            Counted::Exists => "EXISTS",
            Counted::Declined => "NOT_STORED",
            Counted::NotANumber => "CLIENT_ERROR cannot increment or decrement non-numeric value",
            Counted::OutOfMemory => "SERVER_ERROR out of memory",
        },
        Request::Touch { key, exptime } if context.touch(key, exptime.into()) => "TOUCHED",
        Request::Touch { .. } => "NOT_FOUND",
        Request::FlushAll(delay) if context.flush(delay.unwrap_or(0).into()) => "OK",
        Request::FlushAll(_) => "CLIENT_ERROR flush_all not allowed",
        Request::Version => {
            out.push(b"VERSION ");
            out.push(MEMCACHED_VERSION.as_bytes());
            out.push(b"\r\n");
            return Outcome::Continue;
        }
        Request::Verbosity(level) => {
            cache.verbosity.store(level.min(VERBOSITY_MAX) as u8, Ordering::Relaxed);
            "OK"
        }
        Request::MemoryLimit(megabytes) => admin::limit_memory(cache, megabytes),
        Request::RefreshCertificates => match admin::refresh_certificates(cache) {
            Ok(()) => "OK",
            // A failure is told to those too who want no reply.
            Err(reason) => {
                line(out, &reason);
                return Outcome::Continue;
            }
        },
        Request::Slabs(args) => tuning::slabs(cache, args),
        Request::Lru(args) => tuning::lru(cache, args),
        Request::Crawler(args) => {
            let mark = out.mark();
            let outcome = crawler::run(&context, args, out);
            if noreply {
                // It is a word too many, or no class: no dump has begun.
                out.rewind(mark);
            }
            return outcome;
        }
        Request::DebugTime(args) => admin::debug_time(cache, args),
        Request::Stats(args) => return stats::run(&context, args, out),
        Request::Watch(args) => return watch::run(cache, args, out),
        Request::Shutdown(_) if !cache.settings.shutdown_command => {
            "SERVER_ERROR: shutdown not enabled"
        }
        Request::Shutdown(mut args) => match (args.next(), args.next()) {
            (None, _) => return Outcome::Shutdown { graceful: false },
            (Some(mode), None) if b"graceful".starts_with(mode) => {
                return Outcome::Shutdown { graceful: true };
            }
            _ => "CLIENT_ERROR invalid shutdown mode",
        },
        Request::Meta(meta) => {
            context.meta(&meta, out);
            return Outcome::Continue;
        }
        Request::MetaNoop => "MN",
        Request::Login { user, password } => {
            if login::accept(cache, worker, Some((user, password))) {
                line(out, "STORED");
                return Outcome::LoggedIn;
            }
            "CLIENT_ERROR authentication failure"
        }
        Request::Quit => return Outcome::Close,
    };
    if !noreply {
        line(out, reply);
    }
    Outcome::Continue
}

/// Answers what is no request.
pub fn refuse<'a>(reply: &str, noreply: bool, out: &mut Output) -> Outcome<'a> {
    if !noreply {
        line(out, reply);
    }
    Outcome::Continue
}

/// Does a read that touches nothing, or goes on with one that was paused.
pub fn execute_get<'a>(
    cache: &Cache,
    worker: &WorkerCounters,
    now: Now,
    get: Get,
    keys: Keys<'a>,
    out: &mut Output,
) -> Outcome<'a> {
    Context { cache, worker, now }.read(get, keys, out)
}

fn stored_reply(stored: Stored) -> &'static str {
    match stored {
        Stored::Done(_) => "STORED",
        Stored::Declined => "NOT_STORED",
        Stored::Exists => "EXISTS",
        Stored::NotFound => "NOT_FOUND",
        Stored::TooLarge => "SERVER_ERROR object too large for cache",
        Stored::OutOfMemory => "SERVER_ERROR out of memory storing object",
    }
}

/// Does a request in its plainest form; `key` is the one that it is about.
pub fn execute_simple(
    cache: &Cache,
    worker: &WorkerCounters,
    now: Now,
    simple: &Simple<'_>,
    key: Hashed<'_>,
    out: &mut Output,
) {
    let context = Context { cache, worker, now };
    match simple {
        Simple::Get { .. } => {
            context.get(key, |item| context.show(false, key.key, item, out));
            out.push(b"END\r\n");
        }
        Simple::Set(store) => line(out, context.write(store, key)),
        Simple::Read { flags, options, .. } => {
            if !context.meta_read(key, *flags, *options, out) {
                let options = Options::from(*options);
                let block = Block::Value(&[]);
                let verb = meta::Verb::Get;
                let meta = Meta { verb, key: key.key, flags: *flags, options, block, length: 0 };
                context.meta(&meta, out);
            }
        }
    }
}

impl Context<'_> {
    fn read<'k>(&self, get: Get, mut keys: Keys<'k>, out: &mut Output) -> Outcome<'k> {
        let store = &self.cache.store;
        let mut left = KEYS_PER_TURN;
        let mut batch = [Hashed::default(); AHEAD];
        loop {
            let (before, mut count) = (keys, 0);
            for (place, key) in batch.iter_mut().zip(keys.by_ref()) {
                *place = store.hashed(key);
                count += 1;
            }
            let batch = &batch[..count];
            if count > 1 {
                store.fetch_ahead(batch.iter().copied());
            }
            for &key in batch {
                let show = |item: Item<'_>| self.show(get.cas, key.key, item, out);
                match get.touch {
                    Some(exptime) => self.get_and_touch(key.key, exptime.into(), show),
                    None => self.get(key, show),
                };
                left -= 1;
                if out.len() >= PAUSE_AT || left == 0 {
                    return Outcome::Paused(get, before.behind(key.key));
                }
            }
            if count < AHEAD {
                out.push(b"END\r\n");
                return Outcome::Continue;
            }
        }
    }

    #[inline]
    fn show(&self, cas: bool, key: &[u8], item: Item<'_>, out: &mut Output) {
        out.push(b"VALUE ");
        out.push(key);
        match item.flags() {
            0 => out.push(b" 0 "),
            flags => {
                out.push(b" ");
                out.push_number(u64::from(flags));
                out.push(b" ");
            }
        }
        let payload = item.payload();
        out.push_number(payload.len() as u64);
        if cas {
            out.push(b" ");
            out.push_number(self.cache.cas_of(item));
        }
        out.push(b"\r\n");
        match payload {
            Payload::Small(value) => out.push(value),
            Payload::Shared(bytes) => out.push_shared(bytes),
        }
        out.push(b"\r\n");
    }

    fn write(&self, store: &Store<'_>, key: Hashed<'_>) -> &'static str {
        let value = Value {
            flags: store.flags,
            exptime: store.exptime.into(),
            bytes: store.value,
            only: None,
        };
        stored_reply(self.store(store.verb, key, &value))
    }
}
