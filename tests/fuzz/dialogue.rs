//! A client's bytes against the parsers and the commands, arriving in pieces of any sizes: what the
//! property tests, the replay of the corpus and the fuzz targets share.
//!
//! It does what a connection does, without a socket and with a clock that stands still, so that the
//! same bytes always get the same replies.

use ahash::random_state::{RandomSource, set_random_source};
use paircached::command::{
    Cache, Login, Outcome, PasswordFormat, Passwords, Settings, execute, execute_frame,
    execute_get, execute_simple, refuse,
};
use paircached::protocol::text::{self, Keys, Request};
use paircached::protocol::{Output, Protocol, binary, login};
use paircached::store::{self, Now, Store};
use std::io::IoSlice;
use std::sync::{Arc, Once};

/// Largest item: small, so that few bytes are too large.
const ITEM_MAX: u64 = 1024;
/// What may wait in memory for the rest of a request: a line of keys, or a line and its data block.
const WAITING_MAX: usize = (1 << 20) + 1;
const NOW: Now = Now(1_800_000_000_000);

/// Makes every store of this process put a key into the same shard: its number is part of the CAS.
struct SamePlaces;

impl RandomSource for SamePlaces {
    fn gen_hasher_seed(&self) -> usize {
        0
    }
}

static PLACES: Once = Once::new();

/// How a client was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// All bytes of all replies.
    pub replies: Vec<u8>,
    /// Requests and errors that there were.
    pub requests: usize,
    /// Whether the server hung up.
    pub closed: bool,
}

/// What a client gets that sends `bytes` in pieces of these sizes to an empty server.
pub fn converse(protocol: Protocol, bytes: &[u8], pieces: impl Iterator<Item = usize>) -> Answer {
    talk(Server::new(protocol, None), bytes, pieces)
}

/// The same of a server that lets in only who knows the password of the user `u`, `p`.
pub fn log_in(protocol: Protocol, bytes: &[u8], pieces: impl Iterator<Item = usize>) -> Answer {
    let passwords = Passwords::parse(b"u:p", PasswordFormat::Text).ok();
    talk(Server::new(protocol, passwords), bytes, pieces)
}

fn talk(mut server: Server, bytes: &[u8], pieces: impl Iterator<Item = usize>) -> Answer {
    let mut rest = bytes;
    for piece in pieces {
        let (arrived, later) = rest.split_at(piece.clamp(1, rest.len().max(1)).min(rest.len()));
        rest = later;
        server.receive(arrived);
        if rest.is_empty() || server.answer.closed {
            break;
        }
    }
    server.answer
}

/// All at once.
pub fn whole() -> impl Iterator<Item = usize> {
    std::iter::repeat(usize::MAX)
}

/// One byte at a time.
pub fn bytewise() -> impl Iterator<Item = usize> {
    std::iter::repeat(1)
}

/// Pieces of 1 to 16 bytes that depend on the bytes alone: a fault that was found is found again.
pub fn pieces_by(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        1 + (state >> 60) as usize
    })
}

/// What a connection tells the parsers of the sizes of items.
fn fits(cache: &Cache) -> impl Fn(usize, u32, usize) -> bool {
    |key, flags, value| cache.store.item_size(key, flags, value) <= cache.store.item_size_max()
}

struct Server {
    cache: Cache,
    login: Login,
    /// The beginning of a request.
    unfinished: Vec<u8>,
    /// Bytes of input to be thrown away.
    skip: usize,
    answer: Answer,
}

impl Server {
    fn new(protocol: Protocol, passwords: Option<Passwords>) -> Server {
        PLACES.call_once(|| {
            let _ = set_random_source(SamePlaces);
        });
        let store = Store::new(&store::Settings {
            memory: 1 << 20,
            item_size_max: ITEM_MAX,
            // Few classes are quickly made.
            growth_factor: 8.0,
            ..store::Settings::default()
        });
        let settings = Settings {
            threads: 1,
            cas: true,
            protocol,
            shutdown_command: true,
            flush_enabled: true,
            dump_enabled: true,
            item_size_max: ITEM_MAX,
            ..Settings::default()
        };
        let cache = Cache::new(Arc::new(store), settings, passwords, None, None);
        Server {
            login: Login::new(&cache),
            cache,
            unfinished: Vec::new(),
            skip: 0,
            answer: Answer { replies: Vec::new(), requests: 0, closed: false },
        }
    }

    /// Does all requests that are complete when these bytes have come.
    fn receive(&mut self, arrived: &[u8]) {
        let mut input = std::mem::take(&mut self.unfinished);
        let mut begun = !input.is_empty();
        input.extend_from_slice(arrived);
        let mut at = 0;
        while !self.answer.closed {
            let skipped = self.skip.min(input.len() - at);
            self.skip -= skipped;
            at += skipped;
            let rest = &input[at..];
            if rest.is_empty() {
                break;
            }
            let taken = match self.cache.settings.protocol {
                Protocol::Binary => self.frame(rest),
                // What has begun to come before is read by the full parser, so that the other, which
                // reads what is simple, is compared with it.
                _ => (!begun).then(|| self.simple(rest)).flatten().or_else(|| self.line(rest)),
            };
            let Some(taken) = taken else { break };
            begun = false;
            assert!(taken > 0 && taken <= rest.len(), "took {taken} of {}", rest.len());
            at += taken;
            self.answer.requests += 1;
        }
        input.drain(..at);
        self.unfinished = input;
    }

    /// Nothing can be said before so many bytes are there.
    fn wait(&self, needed: usize, there: usize) -> Option<usize> {
        assert!(needed > there, "waits for {needed} bytes and has {there}");
        assert!(needed <= WAITING_MAX, "waits for {needed} bytes");
        None
    }

    fn hang_up(&mut self) -> Option<usize> {
        self.answer.closed = true;
        None
    }

    /// Does the simple request at the front, if there is one; says how many bytes it took.
    fn simple(&mut self, input: &[u8]) -> Option<usize> {
        if self.login != Login::Done {
            return None;
        }
        let cache = &self.cache;
        let (simple, length) = text::parse_simple(input, fits(cache))?;
        let (key, mut out) = (cache.store.hashed(simple.key()), Output::default());
        execute_simple(cache, &cache.workers[0], NOW, &simple, key, &mut out);
        self.finish(Outcome::Continue, &mut out, true);
        Some(length)
    }

    /// Does the line at the front; says how many bytes it took.
    fn line(&mut self, input: &[u8]) -> Option<usize> {
        let cache = &self.cache;
        let mut out = Output::default();
        let mut compared = true;
        let parsed = match self.login {
            Login::Done => text::parse(input, fits(cache)),
            _ => login::parse(input),
        };
        let (outcome, length) = match parsed {
            text::Parsed::Incomplete(needed) => return self.wait(needed, input.len()),
            text::Parsed::Hangup => return self.hang_up(),
            text::Parsed::Refused { reply, noreply, length, skip } => {
                self.skip = skip;
                (refuse(reply, noreply, &mut out), length)
            }
            text::Parsed::Request { request, noreply, length, skip } => {
                self.skip = skip;
                // They tell of the process, and show items in an order that is each store's own.
                compared = !matches!(request, Request::Stats(_) | Request::Crawler(_));
                (execute(cache, &cache.workers[0], NOW, request, noreply, &mut out), length)
            }
        };
        self.finish(outcome, &mut out, compared);
        Some(length)
    }

    /// Does the frame at the front; says how many bytes it took.
    fn frame(&mut self, input: &[u8]) -> Option<usize> {
        let cache = &self.cache;
        let fits = |key, flags, value| self.login == Login::Done && fits(cache)(key, flags, value);
        match binary::parse(input, fits) {
            binary::Parsed::Incomplete(needed) => self.wait(needed, input.len()),
            binary::Parsed::Hangup => self.hang_up(),
            binary::Parsed::Frame { frame, length, skip } => {
                self.skip = skip;
                let compared = !matches!(frame.request, binary::Request::Stats(_));
                let mut out = Output::default();
                let (worker, login) = (&cache.workers[0], &mut self.login);
                let outcome = execute_frame(cache, worker, NOW, login, &frame, &mut out);
                self.finish(outcome, &mut out, compared);
                Some(length)
            }
        }
    }

    /// Does what is left of a request whose first turn came out so, and keeps its reply.
    fn finish(&mut self, first: Outcome<'_>, out: &mut Output, compared: bool) {
        let mut outcome = first;
        loop {
            self.keep(out, compared);
            let (cache, worker) = (&self.cache, &self.cache.workers[0]);
            outcome = match outcome {
                Outcome::Continue => return,
                Outcome::LoggedIn => {
                    self.login = Login::Done;
                    return;
                }
                Outcome::Close | Outcome::Watching(_) | Outcome::Shutdown { .. } => {
                    self.answer.closed = true;
                    return;
                }
                Outcome::Paused(get, keys) => {
                    execute_get(cache, worker, NOW, get, Keys::resume(keys.rest()), out)
                }
                Outcome::Dumping(dump) => dump.resume(cache, NOW, out),
            };
        }
    }

    fn keep(&mut self, out: &mut Output, compared: bool) {
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 8];
            let slices = out.slices(&mut slices);
            let sent = slices.iter().map(|slice| slice.len()).sum();
            if compared {
                slices.iter().for_each(|slice| self.answer.replies.extend_from_slice(slice));
            }
            out.advance(sent);
        }
    }
}
