//! What a line may ask for.

use super::super::meta::{self, Meta};

/// Which storage command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Store whatever is there.
    Set,
    /// Store only if nothing is there.
    Add,
    /// Store only over something.
    Replace,
    /// Put behind what is there.
    Append,
    /// Put before what is there.
    Prepend,
    /// Store only over this version.
    Cas(u64),
}

/// A request, borrowed from the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Get(Get, Keys<'a>),
    /// A storage command with its data block.
    Store(Store<'a>),
    /// A storage command whose data block does not end where it should; the block is thrown away.
    BadChunk(Store<'a>),
    /// A storage command whose data block is larger than items may be; the block is thrown away.
    TooLarge(Store<'a>),
    /// `delete`.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// `incr` or `decr`.
    Arithmetic {
        /// The key.
        key: &'a [u8],
        /// How much is added or taken away.
        delta: u64,
        /// Whether it is added.
        increment: bool,
    },
    /// `touch`.
    Touch {
        /// The key.
        key: &'a [u8],
        /// As the client gave it: see [`Store::exptime`].
        exptime: i32,
    },
    /// `flush_all`, with its delay or date if there is one.
    FlushAll(Option<i32>),
    /// `version`.
    Version,
    /// `verbosity`.
    Verbosity(u64),
    /// `cache_memlimit`, in megabytes as memcached counts them: 1048576 bytes.
    MemoryLimit(u32),
    /// `refresh_certs`.
    RefreshCertificates,
    /// `slabs` with its arguments.
    Slabs(Words<'a>),
    /// `lru` with its arguments.
    Lru(Words<'a>),
    /// `lru_crawler` with its arguments.
    Crawler(Words<'a>),
    /// `stats` with its arguments.
    Stats(Words<'a>),
    /// `debugtime` with its arguments.
    DebugTime(Words<'a>),
    /// `watch` with its arguments.
    Watch(Words<'a>),
    /// `shutdown` with its arguments.
    Shutdown(Words<'a>),
    /// A meta command.
    Meta(Meta<'a>),
    /// `mn`.
    MetaNoop,
    /// What [`crate::protocol::login::parse`] takes for a `set`.
    Login {
        /// Who it is.
        user: &'a [u8],
        /// The proof.
        password: &'a [u8],
    },
    /// `quit`.
    Quit,
}

impl Request<'_> {
    /// Shows the keys whose absence makes a difference.
    pub fn needed_keys(&self, see: &mut dyn FnMut(&[u8])) {
        match self {
            Request::Get(_, keys) => (*keys).for_each(see),
            Request::Store(store) if store.verb != Verb::Set => see(store.key),
            Request::Delete { key }
            | Request::Arithmetic { key, .. }
            | Request::Touch { key, .. } => see(key),
            Request::Meta(meta) if !meta.is_plain_set() => meta.with_key(see),
            _ => {}
        }
    }

    /// Gives `take` the key of what only one node may decide: whether something is added, and what
    /// becomes of what is there.
    pub fn atomic_key<R>(&self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match self {
            Request::Store(store) if !matches!(store.verb, Verb::Set | Verb::Replace) => {
                Some(take(store.key))
            }
            Request::Arithmetic { key, .. } => Some(take(key)),
            Request::Meta(meta) if meta.is_atomic() => Some(meta.with_key(take)),
            _ => None,
        }
    }

    /// Whether it may change anything that the peer should have too.
    pub fn writes(&self) -> bool {
        match self {
            Request::Get(get, _) => get.touch.is_some(),
            Request::Store(_)
            | Request::TooLarge(_)
            | Request::Delete { .. }
            | Request::Arithmetic { .. }
            | Request::Touch { .. }
            | Request::FlushAll(_) => true,
            Request::Meta(meta) => match meta.verb {
                meta::Verb::Set | meta::Verb::Delete | meta::Verb::Arithmetic => true,
                meta::Verb::Get => meta.options.exptime.is_some() || meta.options.vivify.is_some(),
                meta::Verb::Debug => false,
            },
            _ => false,
        }
    }
}

/// How a read is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Get {
    /// Whether the reply shows the CAS.
    pub cas: bool,
    /// The expiry to set, if it is a `gat`.
    pub touch: Option<i32>,
}

/// A storage command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store<'a> {
    /// Which one.
    pub verb: Verb,
    /// The key.
    pub key: &'a [u8],
    /// The client's flags.
    pub flags: u32,
    /// As the client gave it: 0 never, negative at once, up to 30 days in seconds from now, beyond
    /// that a Unix time.
    pub exptime: i32,
    /// The data block without its line end; empty where the block is thrown away.
    pub value: &'a [u8],
    /// Length that the client gave for the data block, in bytes.
    pub length: usize,
}

/// What stands at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The beginning of a request; nothing can be said before the buffer holds this many bytes.
    Incomplete(usize),
    /// A request.
    Request {
        /// It.
        request: Request<'a>,
        /// Whether the client wants no reply.
        noreply: bool,
        /// Bytes that it took.
        length: usize,
        /// Bytes after it that are to be thrown away.
        skip: usize,
    },
    /// Something that gets an error and changes nothing.
    Refused {
        /// The error, without line end.
        reply: &'static str,
        /// Whether the client wants no reply.
        noreply: bool,
        /// Bytes that it took.
        length: usize,
        /// Bytes after it that are to be thrown away.
        skip: usize,
    },
    /// Something that ends the connection without a reply.
    Hangup,
}

/// The words of a line, separated by spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words<'a>(pub(super) &'a [u8]);

impl<'a> Words<'a> {
    /// The words of this line, which has no end.
    pub fn of(line: &'a [u8]) -> Words<'a> {
        Words(line)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|&byte| byte != b' ')?;
        let line = &self.0[start..];
        let end = find_any(line, [b' ']).unwrap_or(line.len());
        self.0 = &line[end..];
        Some(&line[..end])
    }
}

/// Where the first of the `wanted` bytes is. Lines are mostly short words: eight bytes at a time are
/// quicker than any call.
#[inline]
pub(super) fn find_any<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The lowest bit that is set is that of the first byte which is zero.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (number, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        let found =
            wanted.iter().fold(0, |found, &byte| found | zeros(word ^ (ONES * u64::from(byte))));
        if found != 0 {
            return Some(number * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let before = bytes.len() - rest.len();
    rest.iter().position(|byte| wanted.contains(byte)).map(|at| before + at)
}

/// The keys of a read. They were checked: each has 1 to 250 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys<'a>(pub(super) Words<'a>);

impl<'a> Keys<'a> {
    /// The rest of a line, as [`Keys::rest`] gave it.
    pub fn resume(rest: &'a [u8]) -> Keys<'a> {
        Keys(Words(rest))
    }

    /// What has not been taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0.0
    }

    /// Those behind a `key` that is one of these.
    pub fn behind(self, key: &'a [u8]) -> Keys<'a> {
        let rest = self.rest();
        let end = key.as_ptr() as usize + key.len() - rest.as_ptr() as usize;
        Keys(Words(&rest[end..]))
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next()
    }
}
