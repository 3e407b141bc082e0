//! The meta commands' lines: a key, then flags of one letter each, some with a token right behind it.

use super::text::{BAD_FORMAT, LENGTH_MAX, Parsed, Request, Words};
use super::{KEY_MAX, base64, parse_i32, parse_i64, parse_u32_cut, parse_u64};

/// Words that one command may have, its name and its key among them.
const WORDS_MAX: usize = 20;
/// Longest opaque, its letter included, in bytes.
const OPAQUE_MAX: usize = 32;
const OPAQUE_TOO_LONG: &str = "CLIENT_ERROR opaque token too long";
const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";

/// Which command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `mg`.
    Get,
    /// `ms`.
    Set,
    /// `md`.
    Delete,
    /// `ma`.
    Arithmetic,
    /// `me`.
    Debug,
}

/// What became of the data block of an `ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// Its bytes, without line end; empty for the other commands.
    Value(&'a [u8]),
    /// It does not end where it should, and is thrown away.
    Bad,
    /// It is larger than items may be, and is thrown away.
    TooLarge,
}

/// A meta command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta<'a> {
    /// Which one.
    pub verb: Verb,
    /// The key as it was sent: base64 if the options say binary.
    pub key: &'a [u8],
    /// The flags as they were sent; they were checked.
    pub flags: Words<'a>,
    /// What the flags say.
    pub options: Options,
    /// The data block.
    pub block: Block<'a>,
    /// Length that the client gave for the data block, in bytes.
    pub length: usize,
}

impl Meta<'_> {
    /// Gives `take` the key as items have it.
    pub fn with_key<R>(&self, take: impl FnOnce(&[u8]) -> R) -> R {
        let mut room = [0; KEY_MAX];
        let decoded =
            if self.options.has(b'b') { base64::decode(self.key, &mut room) } else { None };
        take(decoded.unwrap_or(self.key))
    }

    /// Whether it stores whatever is there.
    pub fn is_plain_set(&self) -> bool {
        self.verb == Verb::Set
            && matches!(self.options.mode, None | Some(b'S' | b's'))
            && self.options.compare.is_none()
    }

    /// Whether what it does depends on what is there, in a way that two nodes must not decide at
    /// once.
    pub fn is_atomic(&self) -> bool {
        match self.verb {
            Verb::Set => {
                let conditional = matches!(self.options.mode, Some(b'E' | b'A' | b'P'))
                    || self.options.compare.is_some();
                conditional && matches!(self.block, Block::Value(_))
            }
            Verb::Arithmetic => true,
            Verb::Delete => self.options.compare.is_some(),
            Verb::Get | Verb::Debug => false,
        }
    }
}

/// What the flags of a command say, as far as it is more than what the reply is to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    letters: u128,
    /// `C`: the CAS that the item must have.
    pub compare: Option<u64>,
    /// `E`: the CAS to give it.
    pub cas: Option<u64>,
    /// `T`: its expiry.
    pub exptime: Option<i32>,
    /// `N`: make an item with this expiry where there is none.
    pub vivify: Option<i32>,
    /// `R`: ask one client to write it anew when it has less than these seconds left.
    pub recache: Option<i32>,
    /// `F`: the client's flags.
    pub flags: u32,
    /// `J`: what a counter begins with.
    pub initial: u64,
    /// `D`: how much is counted.
    pub delta: Option<u64>,
    /// The first character behind `M`; a space if there is none.
    pub mode: Option<u8>,
}

/// Flags of `mg` that have no token and change nothing: what its reply shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown(u32);

impl Shown {
    /// Those in these words, if they are no others and none is there twice.
    pub(super) fn of(flags: &[u8]) -> Option<Shown> {
        let mut shown = 0;
        for word in flags.chunks(2) {
            let &[b' ', letter @ (b'c' | b'f' | b'h' | b'k' | b'l' | b's' | b't' | b'u' | b'v')] =
                word
            else {
                return None;
            };
            let bit = 1 << (letter - b'a');
            if shown & bit != 0 {
                return None;
            }
            shown |= bit;
        }
        Some(Shown(shown))
    }

    /// Whether there is a flag of this letter.
    pub fn has(self, letter: u8) -> bool {
        self.0 & 1 << (letter - b'a') != 0
    }
}

impl From<Shown> for Options {
    fn from(shown: Shown) -> Options {
        Options { letters: u128::from(shown.0) << b'a', ..Options::default() }
    }
}

impl Options {
    /// Whether there is a flag of this letter.
    pub fn has(&self, letter: u8) -> bool {
        self.letters & 1 << (letter & 127) != 0
    }

    fn add(&mut self, flag: &[u8]) -> Result<(), &'static str> {
        let (letter, token) = (flag[0], &flag[1..]);
        if !letter.is_ascii_alphanumeric() {
            return Err(BAD_FORMAT);
        }
        if self.has(letter) {
            return Err("CLIENT_ERROR duplicate flag");
        }
        self.letters |= 1 << letter;
        match letter {
            b'b' | b'c' | b'f' | b'h' | b'k' | b'l' | b'q' | b's' | b't' | b'u' | b'v' | b'x'
            | b'I' | b'P' | b'L' => {}
            b'O' if flag.len() > OPAQUE_MAX => return Err(OPAQUE_TOO_LONG),
            b'O' => {}
            b'T' => self.exptime = Some(parse_i32(token).ok_or(BAD_TOKEN)?),
            b'N' => self.vivify = Some(parse_i32(token).ok_or(BAD_TOKEN)?),
            b'R' => self.recache = Some(parse_i32(token).ok_or(BAD_TOKEN)?),
            b'C' => self.compare = Some(parse_u64(token).ok_or(BAD_TOKEN)?),
            b'E' => self.cas = Some(parse_u64(token).ok_or(BAD_TOKEN)?),
            b'F' => self.flags = parse_u32_cut(token).ok_or(BAD_FORMAT)?,
            b'J' => {
                self.initial =
                    parse_u64(token).ok_or("CLIENT_ERROR invalid numeric initial value")?;
            }
            b'D' => {
                let delta = parse_u64(token).ok_or("CLIENT_ERROR invalid numeric delta value")?;
                self.delta = Some(delta);
            }
            b'M' => self.mode = Some(token.first().copied().unwrap_or(b' ')),
            _ => return Err("CLIENT_ERROR invalid flag"),
        }
        Ok(())
    }
}

/// Reads a command whose name took part of a line of `length` bytes; `words` is the rest of it and
/// `block` what follows.
pub(super) fn parse<'a>(
    name: &[u8],
    mut words: Words<'a>,
    length: usize,
    block: &'a [u8],
    fits: impl Fn(usize, u32, usize) -> bool,
) -> Parsed<'a> {
    let refused = |reply, skip| Parsed::Refused { reply, noreply: false, length, skip };
    let verb = match name {
        b"mg" => Verb::Get,
        b"ms" => Verb::Set,
        b"md" => Verb::Delete,
        b"ma" => Verb::Arithmetic,
        _ => Verb::Debug,
    };
    let Some(key) = words.next() else {
        return refused(BAD_FORMAT, 0);
    };
    let (mut announced, mut skip) = (0, 0);
    if verb == Verb::Set {
        let Some(word) = words.next() else {
            return refused(BAD_FORMAT, 0);
        };
        // Without a length the next request can't be found; the next line is taken for one.
        let number = parse_i64(word).filter(|number| (0..=LENGTH_MAX).contains(number));
        let Some(number) = number.and_then(|number| usize::try_from(number).ok()) else {
            return refused(BAD_FORMAT, 0);
        };
        (announced, skip) = (number, number + 2);
    }
    let options = match options(verb, key, words) {
        Ok(options) => options,
        Err(reply) => return refused(reply, skip),
    };
    let mut meta =
        Meta { verb, key, flags: words, options, block: Block::Value(&[]), length: announced };
    let done = |meta, length, skip| {
        let request = Request::Meta(meta);
        Parsed::Request { request, noreply: false, length, skip }
    };
    if verb != Verb::Set {
        return done(meta, length, 0);
    }
    if !fits(key.len(), options.flags, announced) {
        meta.block = Block::TooLarge;
        return done(meta, length, skip);
    }
    if block.len() < skip {
        return Parsed::Incomplete(length + skip);
    }
    if &block[announced..skip] != b"\r\n" {
        meta.block = Block::Bad;
        return done(meta, length, skip);
    }
    meta.block = Block::Value(&block[..announced]);
    done(meta, length + skip, 0)
}

fn options(verb: Verb, key: &[u8], flags: Words<'_>) -> Result<Options, &'static str> {
    if key.len() > KEY_MAX {
        return Err(BAD_FORMAT);
    }
    if verb == Verb::Debug {
        return debug_options(key, flags);
    }
    let words_before = if verb == Verb::Set { 3 } else { 2 };
    if words_before + flags.count() > WORDS_MAX {
        return Err("CLIENT_ERROR options flags are too long");
    }
    let mut options = Options::default();
    let added = { flags }.try_for_each(|flag| options.add(flag));
    let decoded = added.and_then(|()| {
        if options.has(b'b') && base64::decode(key, &mut [0; KEY_MAX]).is_none() {
            return Err("CLIENT_ERROR error decoding key");
        }
        Ok(())
    });
    match decoded {
        Err(reply) if verb == Verb::Arithmetic && reply != OPAQUE_TOO_LONG => {
            Err("CLIENT_ERROR invalid or duplicate flag")
        }
        Err(reply) => Err(reply),
        Ok(()) => check_mode(verb, options),
    }
}

/// `me` knows `b` as its first flag, and looks at no other.
fn debug_options(key: &[u8], mut flags: Words<'_>) -> Result<Options, &'static str> {
    let mut options = Options::default();
    if flags.next() == Some(b"b") {
        options.add(b"b")?;
        base64::decode(key, &mut [0; KEY_MAX]).ok_or(BAD_FORMAT)?;
    }
    Ok(options)
}

fn check_mode(verb: Verb, options: Options) -> Result<Options, &'static str> {
    match (verb, options.mode) {
        (Verb::Set, Some(mode)) if !b"EAPRS".contains(&mode) => {
            Err("CLIENT_ERROR invalid mode for ms M token")
        }
        (Verb::Arithmetic, Some(mode)) if !b"I+D-".contains(&mode) => {
            Err("CLIENT_ERROR invalid mode for ma M token")
        }
        _ => Ok(options),
    }
}
