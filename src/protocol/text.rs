//! The text protocol: one request at a time from the front of a buffer.
//!
//! The parser keeps no state: given the same bytes it says the same, however they arrived. What it
//! says beside a request is how many bytes the request took, and how many of what follows are to be
//! thrown away.

mod request;
mod simple;

use super::meta;
use super::{KEY_MAX, parse_i32, parse_i64, parse_u32_cut, parse_u64};
use memchr::memchr;

pub use request::{Get, Keys, Parsed, Request, Store, Verb, Words};
pub use simple::{Simple, parse_set_line, parse_simple};

/// Longest line without its end, in bytes, except for reads of many keys.
pub(super) const LINE_MAX: usize = 2048;
/// Longest line of a read of many keys. memcached sets no limit; a client that never ends its line
/// must cost a bounded amount of memory.
const KEYS_LINE_MAX: usize = 1 << 20;
/// Words of a line that are looked at; more are ignored.
const WORDS_MAX: usize = 24;
/// Largest length of a data block that memcached takes for a number at all.
pub(super) const LENGTH_MAX: i64 = i32::MAX as i64 - 2;

/// The reply to a line that is no request.
pub const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
const BAD_EXPTIME: &str = "CLIENT_ERROR invalid exptime argument";
const BAD_DELTA: &str = "CLIENT_ERROR invalid numeric delta argument";

/// Reads the request at the front of `buffer`. `fits` says whether an item of that key length, those
/// flags and that value length may be stored at all.
pub fn parse(buffer: &[u8], fits: impl Fn(usize, u32, usize) -> bool) -> Parsed<'_> {
    let Some(end) = memchr(b'\n', buffer) else {
        return unfinished(buffer);
    };
    if end > LINE_MAX && !reads_keys(buffer) || end > KEYS_LINE_MAX {
        return Parsed::Hangup;
    }
    let length = end + 1;
    let line = buffer[..end].strip_suffix(b"\r").unwrap_or(&buffer[..end]);
    let refused = |reply| Parsed::Refused { reply, noreply: false, length, skip: 0 };
    if length < 4 {
        return refused(BAD_FORMAT);
    }
    // The most frequent line is split into its words where its keys are checked, and not before.
    if line.starts_with(b"get ") {
        let (name, after_name) = line.split_at(3);
        let block = &buffer[length..];
        let line = Line { name, args: &[], noreply: false, length, after_name, block };
        return line.get(Get { cas: false, touch: None }, 0);
    }
    let mut words = [&b""[..]; WORDS_MAX];
    let mut count = 0;
    let mut rest = Words(line);
    for word in rest.by_ref().take(WORDS_MAX) {
        words[count] = word;
        count += 1;
    }
    let words = &words[..count];
    let Some((&name, args)) = words.split_first().filter(|_| line[0] != b' ') else {
        return refused("ERROR");
    };
    let noreply = args.last() == Some(&&b"noreply"[..]);
    let line = Line {
        name,
        args,
        noreply,
        length,
        after_name: &line[name.len()..],
        block: &buffer[length..],
    };
    line.parse(fits)
}

fn reads_keys(buffer: &[u8]) -> bool {
    let spaces = buffer.iter().take(100).take_while(|&&byte| byte == b' ').count();
    let line = &buffer[spaces..];
    [&b"get "[..], b"gets ", b"gat ", b"gats "].iter().any(|name| line.starts_with(name))
}

fn unfinished(buffer: &[u8]) -> Parsed<'_> {
    let limit = if reads_keys(buffer) { KEYS_LINE_MAX } else { LINE_MAX };
    if buffer.len() > limit { Parsed::Hangup } else { Parsed::Incomplete(buffer.len() + 1) }
}

struct Line<'l, 'a> {
    name: &'a [u8],
    args: &'l [&'a [u8]],
    noreply: bool,
    length: usize,
    after_name: &'a [u8],
    block: &'a [u8],
}

impl<'a> Line<'_, 'a> {
    fn parse(&self, fits: impl Fn(usize, u32, usize) -> bool) -> Parsed<'a> {
        match self.name {
            b"get" => self.get(Get { cas: false, touch: None }, 0),
            b"gets" => self.get(Get { cas: true, touch: None }, 0),
            b"gat" => self.get_and_touch(false),
            b"gats" => self.get_and_touch(true),
            b"set" => self.store(Verb::Set, fits),
            b"add" => self.store(Verb::Add, fits),
            b"replace" => self.store(Verb::Replace, fits),
            b"append" => self.store(Verb::Append, fits),
            b"prepend" => self.store(Verb::Prepend, fits),
            b"cas" => self.store(Verb::Cas(0), fits),
            // A key, a zero of old times, noreply: more than that is somebody else's command.
            b"delete" if self.args.len() > 3 => self.refused(BAD_FORMAT),
            b"delete" => self.with_key(1, |key, _| Ok(Request::Delete { key })),
            b"incr" => self.arithmetic(true),
            b"decr" => self.arithmetic(false),
            b"touch" => self.with_key(2, |key, args| {
                let exptime = parse_i32(args[1]).ok_or(BAD_EXPTIME)?;
                Ok(Request::Touch { key, exptime })
            }),
            b"flush_all" => self.flush_all(),
            b"version" => self.request(Request::Version),
            b"verbosity" => match self.args.first().and_then(|level| parse_u64(level)) {
                Some(level) => self.request(Request::Verbosity(level)),
                None => self.refused(BAD_FORMAT),
            },
            b"cache_memlimit" => match self.args.first().and_then(|word| parse_u32_cut(word)) {
                Some(megabytes) => self.request(Request::MemoryLimit(megabytes)),
                None => self.refused("ERROR"),
            },
            b"refresh_certs" => self.request(Request::RefreshCertificates),
            b"slabs" => self.request(Request::Slabs(Words(self.after_name))),
            b"lru" => self.request(Request::Lru(Words(self.after_name))),
            b"lru_crawler" => self.request(Request::Crawler(Words(self.after_name))),
            b"debugtime" if !self.is_http() => {
                self.outspoken(Request::DebugTime(Words(self.after_name)))
            }
            // It is never silent: noreply is no stream.
            b"watch" => self.outspoken(Request::Watch(Words(self.after_name))),
            b"stats" => self.request(Request::Stats(Words(self.after_name))),
            b"shutdown" => self.request(Request::Shutdown(Words(self.after_name))),
            b"quit" => self.request(Request::Quit),
            b"mn" => self.outspoken(Request::MetaNoop),
            b"mg" | b"ms" | b"md" | b"ma" | b"me" => {
                meta::parse(self.name, Words(self.after_name), self.length, self.block, fits)
            }
            _ => self.unknown(),
        }
    }

    fn request(&self, request: Request<'a>) -> Parsed<'a> {
        Parsed::Request { request, noreply: self.noreply, length: self.length, skip: 0 }
    }

    fn refused(&self, reply: &'static str) -> Parsed<'a> {
        Parsed::Refused { reply, noreply: self.noreply, length: self.length, skip: 0 }
    }

    /// An error in a line too short to be recognised as a command: `noreply` does not hide it.
    fn too_few(&self) -> Parsed<'a> {
        Parsed::Refused { reply: BAD_FORMAT, noreply: false, length: self.length, skip: 0 }
    }

    /// A browser or a forged cross-site request: its body must not be taken for commands.
    fn is_http(&self) -> bool {
        self.args.last().is_some_and(|word| word.starts_with(b"HTTP/"))
    }

    /// A request that is answered in any case.
    fn outspoken(&self, request: Request<'a>) -> Parsed<'a> {
        Parsed::Request { request, noreply: false, length: self.length, skip: 0 }
    }

    fn unknown(&self) -> Parsed<'a> {
        if self.is_http() {
            return Parsed::Hangup;
        }
        self.refused("ERROR")
    }

    fn get(&self, get: Get, words_before: usize) -> Parsed<'a> {
        let mut words = Words(self.after_name);
        let _ = words.by_ref().take(words_before).last();
        let keys = Keys(words);
        let mut longest = 0;
        keys.for_each(|key| longest = longest.max(key.len()));
        if longest == 0 || longest > KEY_MAX {
            return self.too_few();
        }
        Parsed::Request {
            request: Request::Get(get, keys),
            noreply: false,
            length: self.length,
            skip: 0,
        }
    }

    fn get_and_touch(&self, cas: bool) -> Parsed<'a> {
        if self.args.len() < 2 {
            return self.too_few();
        }
        let Some(exptime) = parse_i32(self.args[0]) else {
            return Parsed::Refused {
                reply: BAD_EXPTIME,
                noreply: false,
                length: self.length,
                skip: 0,
            };
        };
        self.get(Get { cas, touch: Some(exptime) }, 1)
    }

    /// A command of one key and `args` arguments, the key counted.
    fn with_key(
        &self,
        args: usize,
        make: impl FnOnce(&'a [u8], &[&'a [u8]]) -> Result<Request<'a>, &'static str>,
    ) -> Parsed<'a> {
        if self.args.len() < args {
            return self.too_few();
        }
        if self.args[0].len() > KEY_MAX {
            return self.refused(BAD_FORMAT);
        }
        match make(self.args[0], self.args) {
            Ok(request) => self.request(request),
            Err(reply) => self.refused(reply),
        }
    }

    fn arithmetic(&self, increment: bool) -> Parsed<'a> {
        self.with_key(2, |key, args| {
            let delta = parse_u64(args[1]).ok_or(BAD_DELTA)?;
            Ok(Request::Arithmetic { key, delta, increment })
        })
    }

    fn flush_all(&self) -> Parsed<'a> {
        match self.args {
            [] => self.request(Request::FlushAll(None)),
            [b"noreply"] => self.request(Request::FlushAll(None)),
            [delay, ..] => match parse_i32(delay) {
                Some(delay) => self.request(Request::FlushAll(Some(delay))),
                None => self.refused(BAD_EXPTIME),
            },
        }
    }

    fn store(&self, verb: Verb, fits: impl Fn(usize, u32, usize) -> bool) -> Parsed<'a> {
        let is_cas = matches!(verb, Verb::Cas(_));
        if self.args.len() < 4 {
            return self.too_few();
        }
        let length = parse_i64(self.args[3]).filter(|length| (0..=LENGTH_MAX).contains(length));
        // Without a length the next request can't be found; memcached takes the next line for one.
        let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
            return self.too_few();
        };
        let skip = length + 2;
        let refused =
            |reply| Parsed::Refused { reply, noreply: self.noreply, length: self.length, skip };
        let key = self.args[0];
        let (flags, exptime) = (parse_u32_cut(self.args[1]), parse_i64(self.args[2]));
        let cas = if is_cas { self.args.get(4).and_then(|cas| parse_u64(cas)) } else { Some(0) };
        let (Some(flags), Some(exptime), Some(cas), true) =
            (flags, exptime, cas, key.len() <= KEY_MAX)
        else {
            return refused(BAD_FORMAT);
        };
        let verb = if is_cas { Verb::Cas(cas) } else { verb };
        // 64 bits of text cut to 32 signed ones: what memcached makes of 2147483648 is negative.
        let exptime = exptime as i32;
        let mut store = Store { verb, key, flags, exptime, value: &[], length };
        if !fits(key.len(), flags, length) {
            return Parsed::Request {
                request: Request::TooLarge(store),
                noreply: self.noreply,
                length: self.length,
                skip,
            };
        }
        if self.block.len() < skip {
            return Parsed::Incomplete(self.length + skip);
        }
        if &self.block[length..skip] != b"\r\n" {
            let (request, length) = (Request::BadChunk(store), self.length);
            return Parsed::Request { request, noreply: self.noreply, length, skip };
        }
        store.value = &self.block[..length];
        let length = self.length + skip;
        Parsed::Request { request: Request::Store(store), noreply: self.noreply, length, skip: 0 }
    }
}
