//! The binary protocol: one frame at a time from the front of a buffer.
//!
//! As with the text protocol the parser keeps no state. It asks for no more of a frame than it
//! needs: a value that may not be stored is refused as soon as its key is there.

use super::KEY_MAX;
use super::login::TOKEN_MAX;
use super::text::Verb;

/// First byte of each request, which tells the binary protocol from the text protocol.
pub const REQUEST: u8 = 0x80;
/// First byte of each reply.
pub const REPLY: u8 = 0x81;
/// Bytes of a header, of requests and replies alike.
pub const HEADER: usize = 24;
/// Largest length that a header may announce for what follows it, in bytes.
const BODY_MAX: usize = 1 << 30;
/// The expiry by which `incr` and `decr` are told not to create anything.
const NO_CREATION: u32 = u32::MAX;

/// A request with what its reply repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The opcode as it was sent.
    pub opcode: u8,
    /// The client's own mark.
    pub opaque: [u8; 4],
    /// The version that is to be there, 0 for any.
    pub cas: u64,
    /// Whether the expected reply is left out: success, or for reads a miss.
    pub quiet: bool,
    /// What is asked for.
    pub request: Request<'a>,
}

impl<'a> Frame<'a> {
    /// The key whose absence makes a difference.
    pub fn needed_key(&self) -> Option<&'a [u8]> {
        match self.request {
            Request::Get(get) => Some(get.key),
            Request::Store { verb: Verb::Set, .. } if self.cas == 0 => None,
            Request::Store { key, .. }
            | Request::Delete { key }
            | Request::Arithmetic { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The key of what only one node may decide: whether something is added, and what becomes of
    /// what is there.
    pub fn atomic_key(&self) -> Option<&'a [u8]> {
        match self.request {
            Request::Store { verb: Verb::Set | Verb::Replace, .. } | Request::Delete { .. }
                if self.cas == 0 =>
            {
                None
            }
            Request::Store { key, .. }
            | Request::Delete { key }
            | Request::Arithmetic { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// A request, borrowed from the buffer. Expiry times are the client's: 0 never, up to 30 days in
/// seconds from now, beyond that a Unix time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The reads, `touch` among them.
    Get(Get<'a>),
    /// A storage command; never with [`Verb::Cas`], that is what the frame's `cas` makes of it.
    Store {
        /// Which one.
        verb: Verb,
        /// The key.
        key: &'a [u8],
        /// The client's flags.
        flags: u32,
        /// When it is gone.
        exptime: u32,
        /// The value.
        value: &'a [u8],
    },
    /// A storage command whose value is larger than items may be; the value is thrown away.
    TooLarge {
        /// Which one.
        verb: Verb,
        /// The key.
        key: &'a [u8],
    },
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
        /// The number to begin with and its expiry, if there is none.
        initial: Option<(u64, u32)>,
    },
    /// `flush_all` with its delay or date, 0 for now.
    FlushAll(u32),
    /// Nothing but a reply.
    Noop,
    /// `version`.
    Version,
    /// `stats` with its argument.
    Stats(&'a [u8]),
    /// `quit`.
    Quit,
    /// Which mechanisms of SASL there are.
    Mechanisms,
    /// A step of SASL.
    Authenticate {
        /// Whether it is the first, which chooses the mechanism.
        first: bool,
        /// The mechanism.
        mechanism: &'a [u8],
        /// What is to prove who it is; `None` if it is too long for that and is thrown away.
        token: Option<&'a [u8]>,
    },
    /// An opcode that is not known; what follows the header is thrown away.
    Unknown,
    /// Lengths that contradict each other, so that the next frame can't be found.
    BadLengths,
    /// Lengths that the command does not have.
    Invalid,
}

impl Request<'_> {
    /// Whether it may change anything that the peer should have too.
    pub fn writes(&self) -> bool {
        match self {
            Request::Get(get) => get.touch.is_some(),
            Request::Store { .. }
            | Request::TooLarge { .. }
            | Request::Delete { .. }
            | Request::Arithmetic { .. }
            | Request::FlushAll(_) => true,
            _ => false,
        }
    }
}

/// A read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Get<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The expiry to set.
    pub touch: Option<u32>,
    /// Whether the reply shows the key.
    pub show_key: bool,
    /// Whether the reply shows the value.
    pub show_value: bool,
}

/// What stands at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// The beginning of a frame; nothing can be said before the buffer holds this many bytes.
    Incomplete(usize),
    /// A frame.
    Frame {
        /// It.
        frame: Frame<'a>,
        /// Bytes that it took.
        length: usize,
        /// Bytes after it that are to be thrown away.
        skip: usize,
    },
    /// No frame: ends the connection without a reply.
    Hangup,
}

/// The number of `N` bytes that stands there; 0 behind the end.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<N>());
    bytes.map_or(0, |bytes| bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
}

/// Bytes in which keys are looked for ahead of their frames.
const AHEAD_MAX: usize = 16 * 1024;

/// The keys of the frames at the front of `buffer`, as a quick look shows them: for having what they
/// need come closer, and for nothing else.
pub fn keys_ahead(buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &buffer[..buffer.len().min(AHEAD_MAX)];
    std::iter::from_fn(move || {
        loop {
            let (header, body) = rest.split_first_chunk::<HEADER>()?;
            let (key, extras) = (number::<2>(header, 2) as usize, usize::from(header[4]));
            let found = body.get(extras..extras + key)?;
            rest = body.get(number::<4>(header, 8) as usize..)?;
            if !found.is_empty() {
                return Some(found);
            }
        }
    })
}

/// Reads the frame at the front of `buffer`. `fits` says whether an item of that key length, those
/// flags and that value length may be stored at all.
pub fn parse(buffer: &[u8], fits: impl Fn(usize, u32, usize) -> bool) -> Parsed<'_> {
    if buffer.first().is_some_and(|&magic| magic != REQUEST) {
        return Parsed::Hangup;
    }
    if buffer.len() < HEADER {
        return Parsed::Incomplete(HEADER);
    }
    let shape = Shape {
        key: number::<2>(buffer, 2) as usize,
        extras: usize::from(buffer[4]),
        body: number::<4>(buffer, 8) as usize,
    };
    let (command, quiet) = command(buffer[1]);
    let frame = |request| Frame {
        opcode: buffer[1],
        opaque: [buffer[12], buffer[13], buffer[14], buffer[15]],
        cas: number::<8>(buffer, 16),
        quiet,
        request,
    };
    // Nothing of the body is needed for these, and all of it may be on its way.
    let early = |request, skip| Parsed::Frame { frame: frame(request), length: HEADER, skip };
    if shape.key + shape.extras > shape.body {
        return early(Request::BadLengths, 0);
    }
    if shape.body > BODY_MAX || shape.key > KEY_MAX {
        return early(Request::Invalid, 0);
    }
    let Some(command) = command else { return early(Request::Unknown, shape.body) };
    if !shape.suits(command) {
        return early(Request::Invalid, 0);
    }
    let to_value = HEADER + shape.extras + shape.key;
    if buffer.len() < to_value {
        return Parsed::Incomplete(to_value);
    }
    let (extras, key) = buffer[HEADER..to_value].split_at(shape.extras);
    let value_length = shape.body - shape.extras - shape.key;
    let mut length = to_value;
    let mut value = Some(&[][..]);
    let wanted = match command {
        Command::Store(_) => Some(fits(key.len(), number::<4>(extras, 0) as u32, value_length)),
        Command::Authenticate { .. } => Some(value_length <= TOKEN_MAX),
        _ => None,
    };
    if wanted == Some(true) {
        length += value_length;
        if buffer.len() < length {
            return Parsed::Incomplete(length);
        }
        value = Some(&buffer[to_value..length]);
    } else if wanted == Some(false) {
        value = None;
    }
    let skip = HEADER + shape.body - length;
    Parsed::Frame { frame: frame(command.request(extras, key, value)), length, skip }
}

#[derive(Clone, Copy)]
enum Command {
    Get { show_key: bool },
    Touch { show_key: bool, show_value: bool },
    Store(Verb),
    Delete,
    Arithmetic { increment: bool },
    FlushAll,
    Noop,
    Version,
    Stats,
    Quit,
    Mechanisms,
    Authenticate { first: bool },
}

/// Whether a client may send this opcode without having logged in.
pub fn before_login(opcode: u8) -> bool {
    let (command, _) = command(opcode);
    matches!(command, Some(Command::Version | Command::Mechanisms | Command::Authenticate { .. }))
}

/// What an opcode means, and whether it is the quiet form.
fn command(opcode: u8) -> (Option<Command>, bool) {
    let (command, quiet) = match opcode {
        0x00 => (Command::Get { show_key: false }, false),
        0x01 => (Command::Store(Verb::Set), false),
        0x02 => (Command::Store(Verb::Add), false),
        0x03 => (Command::Store(Verb::Replace), false),
        0x04 => (Command::Delete, false),
        0x05 => (Command::Arithmetic { increment: true }, false),
        0x06 => (Command::Arithmetic { increment: false }, false),
        0x07 => (Command::Quit, false),
        0x08 => (Command::FlushAll, false),
        0x09 => (Command::Get { show_key: false }, true),
        0x0a => (Command::Noop, false),
        0x0b => (Command::Version, false),
        0x0c => (Command::Get { show_key: true }, false),
        0x0d => (Command::Get { show_key: true }, true),
        0x0e => (Command::Store(Verb::Append), false),
        0x0f => (Command::Store(Verb::Prepend), false),
        0x10 => (Command::Stats, false),
        0x11 => (Command::Store(Verb::Set), true),
        0x12 => (Command::Store(Verb::Add), true),
        0x13 => (Command::Store(Verb::Replace), true),
        0x14 => (Command::Delete, true),
        0x15 => (Command::Arithmetic { increment: true }, true),
        0x16 => (Command::Arithmetic { increment: false }, true),
        0x17 => (Command::Quit, true),
        0x18 => (Command::FlushAll, true),
        0x19 => (Command::Store(Verb::Append), true),
        0x1a => (Command::Store(Verb::Prepend), true),
        0x1c => (Command::Touch { show_key: false, show_value: false }, false),
        0x1d => (Command::Touch { show_key: false, show_value: true }, false),
        0x1e => (Command::Touch { show_key: false, show_value: true }, true),
        0x20 => (Command::Mechanisms, false),
        0x21 => (Command::Authenticate { first: true }, false),
        0x22 => (Command::Authenticate { first: false }, false),
        0x23 => (Command::Touch { show_key: true, show_value: true }, false),
        0x24 => (Command::Touch { show_key: true, show_value: true }, true),
        _ => return (None, false),
    };
    (Some(command), quiet)
}

/// The lengths of a header.
struct Shape {
    key: usize,
    extras: usize,
    body: usize,
}

impl Shape {
    /// Whether the command may have these lengths.
    fn suits(&self, command: Command) -> bool {
        let has_key = self.key > 0;
        let has_value = self.body > self.key + self.extras;
        match command {
            Command::Get { .. } | Command::Delete => has_key && self.extras == 0 && !has_value,
            Command::Touch { .. } => has_key && self.extras == 4,
            Command::Store(Verb::Append | Verb::Prepend) => has_key && self.extras == 0,
            Command::Store(_) => has_key && self.extras == 8,
            Command::Arithmetic { .. } => has_key && self.extras == 20 && !has_value,
            Command::FlushAll => !has_key && !has_value && matches!(self.extras, 0 | 4),
            Command::Noop | Command::Version | Command::Quit | Command::Mechanisms => {
                self.body == 0
            }
            Command::Authenticate { .. } => has_key && self.extras == 0,
            Command::Stats => self.extras == 0,
        }
    }
}

impl Command {
    /// The request; without a value if that is thrown away.
    fn request<'a>(self, extras: &[u8], key: &'a [u8], value: Option<&'a [u8]>) -> Request<'a> {
        let word = |at| number::<4>(extras, at) as u32;
        match self {
            Command::Get { show_key } => {
                Request::Get(Get { key, touch: None, show_key, show_value: true })
            }
            Command::Touch { show_key, show_value } => {
                Request::Get(Get { key, touch: Some(word(0)), show_key, show_value })
            }
            Command::Store(verb) => match value {
                Some(value) => {
                    Request::Store { verb, key, flags: word(0), exptime: word(4), value }
                }
                None => Request::TooLarge { verb, key },
            },
            Command::Delete => Request::Delete { key },
            Command::Arithmetic { increment } => Request::Arithmetic {
                key,
                delta: number::<8>(extras, 0),
                increment,
                initial: (word(16) != NO_CREATION).then(|| (number::<8>(extras, 8), word(16))),
            },
            Command::FlushAll => Request::FlushAll(word(0)),
            Command::Noop => Request::Noop,
            Command::Version => Request::Version,
            Command::Stats => Request::Stats(key),
            Command::Quit => Request::Quit,
            Command::Mechanisms => Request::Mechanisms,
            Command::Authenticate { first } => {
                Request::Authenticate { first, mechanism: key, token: value }
            }
        }
    }
}
