//! The binary protocol's replies.

mod stat;

use super::arithmetic::{Arithmetic, Counted};
use super::login::{Attempt, MECHANISM, MECHANISM_MAX};
use super::operation::{Context, Deleted, Stored, Value};
use super::prefixes::Asked;
use super::{Cache, Login, MEMCACHED_VERSION, Outcome, WorkerCounters};
use crate::protocol::Output;
use crate::protocol::binary::{Frame, Get, HEADER, REPLY, Request};
use crate::protocol::text::Verb;
use crate::store::{Item, Now, Payload};

/// What a reply says beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok = 0x00,
    NotFound = 0x01,
    Exists = 0x02,
    TooLarge = 0x03,
    Invalid = 0x04,
    NotStored = 0x05,
    NotANumber = 0x06,
    Forbidden = 0x20,
    Continue = 0x21,
    Unknown = 0x81,
    OutOfMemory = 0x82,
    Temporary = 0x86,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Status::Ok | Status::Continue => "",
            Status::NotFound => "Not found",
            Status::Exists => "Data exists for key.",
            Status::TooLarge => "Too large.",
            Status::Invalid => "Invalid arguments",
            Status::NotStored => "Not stored.",
            Status::NotANumber => "Non-numeric server-side value for incr or decr",
            Status::Forbidden => "Auth failure.",
            Status::Unknown => "Unknown command",
            Status::OutOfMemory => "Out of memory",
            Status::Temporary => "Temporary failure",
        }
    }
}

/// The parts of a reply that are copied; a value by reference comes behind.
#[derive(Default)]
struct Reply<'a> {
    cas: u64,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
    /// Bytes of the value that the caller appends.
    behind: usize,
}

/// Does one request of the binary protocol and appends its reply to `out`.
pub fn execute_frame<'a>(
    cache: &Cache,
    worker: &WorkerCounters,
    now: Now,
    login: &mut Login,
    frame: &Frame<'_>,
    out: &mut Output,
) -> Outcome<'a> {
    if login.forbids(frame) && frame.request != Request::BadLengths {
        write_error(frame, Status::Forbidden, out);
        return Outcome::Close;
    }
    if cache.write_refusal().is_some() && frame.request.writes() {
        cache.count_refused();
        write_error(frame, Status::Temporary, out);
        return Outcome::Continue;
    }
    perform(cache, worker, now, login, frame, out)
}

/// Does one request, whether or not this node takes writes from its own clients.
pub(super) fn perform<'a>(
    cache: &Cache,
    worker: &WorkerCounters,
    now: Now,
    login: &mut Login,
    frame: &Frame<'_>,
    out: &mut Output,
) -> Outcome<'a> {
    let context = Context { cache, worker, now };
    let done = match frame.request {
        Request::Get(get) => {
            context.read_frame(frame, get, out);
            return Outcome::Continue;
        }
        Request::Stats(argument) => return stat::run(&context, frame, argument, out),
        Request::Arithmetic { key, delta, increment, initial } => {
            let initial = initial.map(|(number, exptime)| (number, i64::from(exptime)));
            let only = only(frame.cas);
            let change = Arithmetic { delta, increment, only, initial };
            context.count_frame(frame, key, &change, out)
        }
        Request::Store { verb, key, flags, exptime, value } => {
            let value = Value { flags, exptime: exptime.into(), bytes: value, only: None };
            context.store_frame(frame.cas, verb, key, value)
        }
        Request::TooLarge { verb, key } => {
            context.count(key, Asked::Set);
            context.too_large(verb, key);
            Err(Status::TooLarge)
        }
        Request::Delete { key } => match context.delete(key, only(frame.cas)) {
            Deleted::Done => Ok(Some(0)),
            Deleted::NotFound => Err(Status::NotFound),
            Deleted::Exists => Err(Status::Exists),
        },
        Request::FlushAll(delay) if context.flush(delay.into()) => Ok(Some(0)),
        Request::FlushAll(_) => Err(Status::Forbidden),
        Request::Noop | Request::Quit => Ok(Some(0)),
        Request::Version => {
            let value = MEMCACHED_VERSION.as_bytes();
            write(frame, Status::Ok, &Reply { value, ..Reply::default() }, out);
            Ok(None)
        }
        Request::Mechanisms if cache.passwords.is_some() => {
            write(frame, Status::Ok, &Reply { value: MECHANISM, ..Reply::default() }, out);
            Ok(None)
        }
        Request::Authenticate { mechanism, .. }
            if cache.passwords.is_some() && mechanism.len() > MECHANISM_MAX =>
        {
            Err(Status::Invalid)
        }
        Request::Authenticate { first, mechanism, token } if cache.passwords.is_some() => {
            match login.sasl(cache, worker, first.then_some(mechanism), token) {
                Attempt::Accepted => {
                    let value = b"Authenticated";
                    write(frame, Status::Ok, &Reply { value, ..Reply::default() }, out);
                    Ok(None)
                }
                Attempt::Continue => Err(Status::Continue),
                Attempt::Refused => Err(Status::Forbidden),
            }
        }
        Request::Mechanisms | Request::Authenticate { .. } => Err(Status::Unknown),
        Request::Unknown | Request::BadLengths => Err(Status::Unknown),
        Request::Invalid => Err(Status::Invalid),
    };
    match done {
        Ok(Some(cas)) if !frame.quiet => {
            write(frame, Status::Ok, &Reply { cas, ..Reply::default() }, out);
        }
        Ok(_) => {}
        Err(status) => write_error(frame, status, out),
    }
    match frame.request {
        Request::Quit | Request::BadLengths | Request::Invalid => Outcome::Close,
        _ => Outcome::Continue,
    }
}

/// The version that must be there for a change to be made.
fn only(cas: u64) -> Option<u64> {
    (cas != 0).then_some(cas)
}

/// Done with the CAS for a reply without data, done and answered, or not done.
type Done = Result<Option<u64>, Status>;

impl Context<'_> {
    fn store_frame(&self, cas: u64, verb: Verb, key: &[u8], mut value: Value<'_>) -> Done {
        // Without CAS there is nothing to compare with, and memcached stores.
        let expected = only(cas).filter(|_| self.cache.settings.cas);
        let verb = match (verb, expected) {
            (Verb::Append | Verb::Prepend, _) | (_, None) => verb,
            (_, Some(cas)) => Verb::Cas(cas),
        };
        value.only = expected;
        match self.store(verb, self.cache.store.hashed(key), &value) {
            Stored::Done(version) => Ok(Some(self.shown(version))),
            Stored::Exists => Err(Status::Exists),
            Stored::NotFound => Err(Status::NotFound),
            Stored::OutOfMemory => Err(Status::OutOfMemory),
            Stored::Declined | Stored::TooLarge => Err(match verb {
                Verb::Add => Status::Exists,
                Verb::Replace => Status::NotFound,
                _ => Status::NotStored,
            }),
        }
    }

    fn count_frame(
        &self,
        frame: &Frame<'_>,
        key: &[u8],
        change: &Arithmetic,
        out: &mut Output,
    ) -> Done {
        match self.arithmetic(key, change) {
            Counted::Value(number, version) => {
                if !frame.quiet {
                    let value = &number.to_be_bytes();
                    let cas = self.shown(version);
                    write(frame, Status::Ok, &Reply { cas, value, ..Reply::default() }, out);
                }
                Ok(None)
            }
            Counted::NotFound => Err(Status::NotFound),
            Counted::NotANumber => Err(Status::NotANumber),
            Counted::Exists => Err(Status::Exists),
            Counted::Declined => Err(Status::NotStored),
            Counted::OutOfMemory => Err(Status::OutOfMemory),
        }
    }

    fn read_frame(&self, frame: &Frame<'_>, get: Get<'_>, out: &mut Output) {
        let key = if get.show_key { get.key } else { &[] };
        let show = |item: Item<'_>| {
            let flags = item.flags().to_be_bytes();
            let mut reply =
                Reply { cas: self.cache.cas_of(item), extras: &flags, key, ..Reply::default() };
            match item.payload() {
                Payload::Shared(bytes) if get.show_value => {
                    reply.behind = bytes.len();
                    write(frame, Status::Ok, &reply, out);
                    out.push_shared(bytes);
                }
                Payload::Small(value) if get.show_value => {
                    reply.value = value;
                    write(frame, Status::Ok, &reply, out);
                }
                _ => write(frame, Status::Ok, &reply, out),
            }
        };
        let found = match get.touch {
            Some(exptime) => self.get_and_touch(get.key, exptime.into(), show),
            None => self.get(self.cache.store.hashed(get.key), show),
        };
        match found {
            Some(()) => {}
            None if frame.quiet => {}
            None if get.show_key => {
                write(frame, Status::NotFound, &Reply { key, ..Reply::default() }, out);
            }
            None => write_error(frame, Status::NotFound, out),
        }
    }
}

fn write_error(frame: &Frame<'_>, status: Status, out: &mut Output) {
    write(frame, status, &Reply { value: status.text().as_bytes(), ..Reply::default() }, out);
}

/// The answer to a request whose write the peer did not confirm.
pub(super) fn write_unconfirmed(opcode: u8, opaque: [u8; 4], out: &mut Output) {
    let (request, quiet) = (Request::Noop, false);
    write_error(&Frame { opcode, opaque, quiet, cas: 0, request }, Status::Temporary, out);
}

fn write(frame: &Frame<'_>, status: Status, reply: &Reply<'_>, out: &mut Output) {
    write_packet(frame.opcode, frame.opaque, status, reply, out);
}

fn write_packet(opcode: u8, opaque: [u8; 4], status: Status, reply: &Reply<'_>, out: &mut Output) {
    let body = reply.extras.len() + reply.key.len() + reply.value.len() + reply.behind;
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&[REPLY, opcode]);
    header[2..4].copy_from_slice(&(reply.key.len() as u16).to_be_bytes());
    (header[4], header[7]) = (reply.extras.len() as u8, status as u8);
    header[8..12].copy_from_slice(&(body as u32).to_be_bytes());
    header[12..16].copy_from_slice(&opaque);
    header[16..].copy_from_slice(&reply.cas.to_be_bytes());
    out.push(&header);
    out.push(reply.extras);
    out.push(reply.key);
    out.push(reply.value);
}
