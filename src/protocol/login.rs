//! The text protocol before a client has logged in: all that is taken is a `set`, of any key, whose
//! data block is the user, a space, and the password.

use super::parse_u64;
use super::text::{LINE_MAX, Parsed, Request, Words};
use memchr::memchr;

/// A line shorter than this, without its end, is none that could log in; memcached hangs up.
const LINE_MIN: usize = 5;
/// Longest data block.
pub(super) const TOKEN_MAX: usize = 16 * 1024;

/// Reads what stands at the front of `buffer`; the only request found is [`Request::Login`].
pub fn parse(buffer: &[u8]) -> Parsed<'_> {
    let Some(end) = memchr(b'\n', buffer) else {
        let too_long = buffer.len() > LINE_MAX;
        return if too_long { Parsed::Hangup } else { Parsed::Incomplete(buffer.len() + 1) };
    };
    if !(LINE_MIN + 1..=LINE_MAX).contains(&end) {
        return Parsed::Hangup;
    }
    let refused = |reply, length, skip| Parsed::Refused { reply, noreply: false, length, skip };
    let line = buffer[..end].strip_suffix(b"\r").unwrap_or(&buffer[..end]);
    let size = Words::of(line).nth(4).filter(|word| word[0].is_ascii_digit()).and_then(parse_u64);
    let size = size.filter(|size| *size <= u32::MAX.into());
    let (true, Some(size)) = (line.starts_with(b"set"), size) else {
        return refused("CLIENT_ERROR unauthenticated", end + 1, 0);
    };
    let (start, size) = (end + 1, size as usize);
    if size > TOKEN_MAX {
        return refused("CLIENT_ERROR auth token too long", start, size + 2);
    }
    let length = start + size + 2;
    if buffer.len() < length {
        return Parsed::Incomplete(length);
    }
    let Some(token) = buffer[start..length].strip_suffix(b"\r\n") else {
        return refused("CLIENT_ERROR bad command line termination", length, 0);
    };
    let Some(space) = memchr(b' ', token) else {
        return refused("CLIENT_ERROR bad authentication token format", length, 0);
    };
    let request = Request::Login { user: &token[..space], password: &token[space + 1..] };
    Parsed::Request { request, noreply: false, length, skip: 0 }
}
