//! The requests that make up nearly all of a busy client's, read the shortest way.

use super::super::KEY_MAX;
use super::request::{Store, Verb, Words, find_any};
use crate::protocol::meta::Shown;

/// Digits that no `u64` is too small for, and beyond which numbers are left to the full parser.
const FLAGS_DIGITS: usize = 10;
const EXPTIME_DIGITS: usize = 9;
const LENGTH_DIGITS: usize = 7;
/// Bytes of the flags of a `mg` that are looked at, line end included.
const READ_FLAGS_MAX: usize = 32;

/// A request in its plainest form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Simple<'a> {
    /// `get` of one key.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// `set` with a reply.
    Set(Store<'a>),
    /// `mg` that only reads.
    Read {
        /// The key.
        key: &'a [u8],
        /// What is to be shown.
        flags: Words<'a>,
        /// The same.
        options: Shown,
    },
}

impl<'a> Simple<'a> {
    /// The key that it is about.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Simple::Get { key } | Simple::Read { key, .. } => key,
            Simple::Set(store) => store.key,
        }
    }
}

/// Reads the request at the front of `buffer` if it is whole and simple, with the bytes that it took.
/// What this reads [`super::parse`] reads the same; the rest is for that alone.
#[inline]
pub fn parse_simple(
    buffer: &[u8],
    fits: impl Fn(usize, u32, usize) -> bool,
) -> Option<(Simple<'_>, usize)> {
    if buffer.starts_with(b"mg ") {
        return parse_read(buffer);
    }
    let (name, rest) = buffer.split_first_chunk()?;
    let end = find_any(&rest[..rest.len().min(KEY_MAX + 2)], [b' ', b'\n'])?;
    let (key, behind) = rest.split_at(end);
    match (name, behind[0]) {
        (b"get ", b'\n') => {
            let key = key.strip_suffix(b"\r").unwrap_or(key);
            is_key(key).then_some((Simple::Get { key }, name.len() + end + 1))
        }
        (b"set ", b' ') if is_key(key) => {
            let (store, length) = parse_set(key, &behind[1..], fits)?;
            Some((Simple::Set(store), name.len() + end + 1 + length))
        }
        _ => None,
    }
}

/// A `mg` with no flags but those of one letter that say what is to be shown.
#[inline]
fn parse_read(buffer: &[u8]) -> Option<(Simple<'_>, usize)> {
    let rest = &buffer[3..buffer.len().min(3 + KEY_MAX + 1 + READ_FLAGS_MAX)];
    let end = find_any(rest, [b' ', b'\n'])?;
    let (key, flags) = rest.split_at(end);
    let length = flags.iter().position(|&byte| byte == b'\n')?;
    let taken = 3 + end + length + 1;
    if length == 0 {
        let key = key.strip_suffix(b"\r").unwrap_or(key);
        let read = Simple::Read { key, flags: Words::of(&[]), options: Shown::default() };
        return is_key(key).then_some((read, taken));
    }
    let flags = flags[..length].strip_suffix(b"\r").unwrap_or(&flags[..length]);
    let options = Shown::of(flags)?;
    is_key(key).then_some((Simple::Read { key, flags: Words::of(flags), options }, taken))
}

/// Reads the line of a simple `set` whose value has not all come, with the bytes that it took.
pub fn parse_set_line(
    buffer: &[u8],
    fits: impl Fn(usize, u32, usize) -> bool,
) -> Option<(Store<'_>, usize)> {
    let rest = buffer.strip_prefix(b"set ")?;
    let (key, behind) = rest.split_at(find_any(&rest[..rest.len().min(KEY_MAX + 2)], [b' '])?);
    let (store, block) = set_line(key, &behind[1..])?;
    (is_key(key) && fits(key.len(), store.flags, store.length))
        .then_some((store, buffer.len() - block.len()))
}

fn is_key(word: &[u8]) -> bool {
    (1..=KEY_MAX).contains(&word.len())
}

/// What stands behind the key of a `set`, and its length with the data block.
#[inline]
fn parse_set<'a>(
    key: &'a [u8],
    line: &'a [u8],
    fits: impl Fn(usize, u32, usize) -> bool,
) -> Option<(Store<'a>, usize)> {
    let (mut store, block) = set_line(key, line)?;
    let (value, end) = block.split_at_checked(store.length)?;
    if !end.starts_with(b"\r\n") || !fits(key.len(), store.flags, store.length) {
        return None;
    }
    store.value = value;
    let taken = line.len() - block.len() + store.length + 2;
    Some((store, taken))
}

/// What stands behind the key of a `set`: the numbers of the line, and what comes after it.
// Called, it would cost each set 40 instructions.
#[inline(always)]
fn set_line<'a>(key: &'a [u8], line: &'a [u8]) -> Option<(Store<'a>, &'a [u8])> {
    let (flags, line_1) = number(line, FLAGS_DIGITS)?;
    let (exptime, line_2) = number(line_1.strip_prefix(b" ")?, EXPTIME_DIGITS)?;
    let (length, line_3) = number(line_2.strip_prefix(b" ")?, LENGTH_DIGITS)?;
    let line_3 = line_3.strip_prefix(b"\r").unwrap_or(line_3);
    let block = line_3.strip_prefix(b"\n")?;
    let (flags, exptime, length) = (flags as u32, exptime as i32, length as usize);
    Some((Store { verb: Verb::Set, key, flags, exptime, value: &[], length }, block))
}

/// The number of at most so many digits at the front, and what is behind them.
#[inline]
fn number(bytes: &[u8], digits: usize) -> Option<(u64, &[u8])> {
    let (mut number, mut at) = (0, 0);
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0'))
        && digit <= 9
    {
        if at == digits {
            return None;
        }
        number = number * 10 + u64::from(digit);
        at += 1;
    }
    (at > 0).then_some((number, &bytes[at..]))
}

#[cfg(test)]
mod tests {
    use super::super::{Get, Parsed, Request, parse};
    use super::*;
    use crate::protocol::meta::{self, Meta, Options};
    use proptest::prelude::*;

    /// What the full parser says, if it is what this one could say.
    fn by_the_full_parser(buffer: &[u8]) -> Option<(Simple<'_>, usize)> {
        match parse(buffer, small) {
            Parsed::Request { request, noreply: false, length, skip: 0 } => match request {
                Request::Get(Get { cas: false, touch: None }, mut keys) => {
                    let key = keys.next().filter(|_| keys.next().is_none())?;
                    Some((Simple::Get { key }, length))
                }
                Request::Store(store) if store.verb == Verb::Set => {
                    Some((Simple::Set(store), length))
                }
                Request::Meta(Meta { verb: meta::Verb::Get, key, flags, options: all, .. }) => {
                    let options = Shown::of(flags.0)?;
                    assert_eq!(Options::from(options), all);
                    Some((Simple::Read { key, flags, options }, length))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn small(_: usize, _: u32, length: usize) -> bool {
        length < 1000
    }

    #[test]
    fn plain_requests_are_simple() {
        for buffer in [
            &b"get k\r\n"[..],
            b"get k\nset",
            b"get a-key-of-some-length\r\nrest",
            b"set k 0 0 5\r\nvalue\r\n",
            b"set k 4294967295 2592001 0\n\r\nget",
            b"set a-key-of-some-length 1 2 3\r\n\r\n\n\r\n",
            b"mg k v\r\n",
            b"mg a-key-of-some-length f t s v c k\nmn",
        ] {
            let simple = parse_simple(buffer, small);
            assert!(simple.is_some(), "{}", buffer.escape_ascii());
            assert_eq!(simple, by_the_full_parser(buffer), "{}", buffer.escape_ascii());
            if let Some((Simple::Set(store), length)) = simple {
                let line = length - store.length - 2;
                let begun = Some((Store { value: &[], ..store }, line));
                for come in line..=length {
                    assert_eq!(parse_set_line(&buffer[..come], small), begun);
                }
            }
        }
    }

    #[test]
    fn the_rest_is_not() {
        let long = [b"get ", &[b'k'; 251][..], b"\r\n"].concat();
        for buffer in [
            &b""[..],
            b"get",
            b"get k",
            b"get \r\n",
            b"get k l\r\n",
            b"get  k\r\n",
            b"gets k\r\n",
            b" get k\r\n",
            &long,
            b"set k 0 0 5 noreply\r\nvalue\r\n",
            b"set k 0 -1 5\r\nvalue\r\n",
            b"set k 0 0 5\r\nvalu",
            b"set k 0 0 5\r\nvalues\r\n",
            b"set k 0 0  5\r\nvalue\r\n",
            b"set k 0 0 1000\r\n",
            b"set k 0 0\r\n",
            b"add k 0 0 5\r\nvalue\r\n",
            b"mg \r\n",
            b"mg k v v\r\n",
            b"mg k  v\r\n",
            b"mg k v \r\n",
            b"mg k v O1\r\n",
            b"mg k q\r\n",
            b"mg k T30\r\n",
            b"mg k b\r\n",
            b"mg k v",
        ] {
            assert_eq!(parse_simple(buffer, small), None, "{}", buffer.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_simple_is_the_same_to_the_full_parser(
            buffer in "(get|set|gets|add| get) {0,2}[a-z\r\t]{0,20}( {1,2}[0-9+-]{0,12}){0,4}( noreply)?\r?\n?[a-z\r\n ]{0,12}(\r\n)?"
        ) {
            if let Some(simple) = parse_simple(buffer.as_bytes(), small) {
                prop_assert_eq!(Some(simple), by_the_full_parser(buffer.as_bytes()));
            }
        }

        #[test]
        fn a_simple_mg_is_the_same_to_the_full_parser(
            buffer in "mg {0,2}[a-z\r\t]{0,20}( {1,2}[a-zA-Z]{1,2}){0,5} ?\r?\n?[a-z\r\n ]{0,12}"
        ) {
            if let Some(simple) = parse_simple(buffer.as_bytes(), small) {
                prop_assert_eq!(Some(simple), by_the_full_parser(buffer.as_bytes()));
            }
        }

        #[test]
        fn a_simple_set_of_any_value_is_the_same_to_the_full_parser(
            key in "[!-~]{1,250}", flags in any::<u32>(), exptime in 0u32..999_999_999,
            value in proptest::collection::vec(any::<u8>(), 0..60), rest in "[a-z\r\n]{0,9}",
        ) {
            let head = format!("set {key} {flags} {exptime} {}\r\n", value.len());
            let buffer = [head.as_bytes(), &value, b"\r\n", rest.as_bytes()].concat();
            let simple = parse_simple(&buffer, small);
            prop_assert!(simple.is_some());
            prop_assert_eq!(simple, by_the_full_parser(&buffer));
        }
    }
}
