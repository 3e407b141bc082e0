//! `-vv`: the conversation on standard error, in memcached's form.

use crate::command::Cache;
use crate::protocol::Protocol;
use crate::protocol::binary::{Frame, HEADER, REPLY, Request};
use crate::store::PAGE;
use std::fmt::Display;
use std::io::Write;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

/// Verbosity from which on the conversation is shown.
pub(super) const SHOW_FROM: u8 = 2;
/// Bytes of a line that are shown.
const SHOWN_MAX: usize = 256;

/// Whether the conversation is shown.
pub(super) fn is_on(cache: &Cache) -> bool {
    cache.verbosity.load(Ordering::Relaxed) >= SHOW_FROM
}

/// Shows the slab classes.
pub(super) fn classes(cache: &Cache) {
    let classes = cache.store.classes();
    for number in 1..=classes.count() as u8 {
        let size = classes.chunk_size(number);
        let per_page = PAGE / size;
        line(format_args!("slab class {number:3}: chunk size {size:9} perslab {per_page:7}"));
    }
}

/// Shows that clients are accepted there.
pub(super) fn listening(fd: RawFd, protocol: Protocol) {
    line(format_args!("<{fd} server listening ({})", name(protocol, "auto-negotiate")));
}

/// Shows that a client came.
pub(super) fn opened(fd: RawFd, protocol: Protocol) {
    line(format_args!("<{fd} new {} client connection", name(protocol, "auto-negotiating")));
}

/// Shows which protocol a client turned out to speak.
pub(super) fn speaks(fd: RawFd, binary: bool) {
    let protocol = if binary { "binary" } else { "ascii" };
    line(format_args!("{fd}: Client using the {protocol} protocol"));
}

/// Shows that a client went.
pub(super) fn closed(fd: RawFd) {
    line(format_args!("<{fd} connection closed."));
}

fn name(protocol: Protocol, auto: &str) -> &str {
    match protocol {
        Protocol::Auto => auto,
        Protocol::Ascii => "ascii",
        Protocol::Binary => "binary",
    }
}

/// Shows the line that a client sent.
pub(super) fn request(fd: RawFd, bytes: &[u8]) {
    show('<', fd, "", bytes);
}

/// Shows the frame that a client sent, whose bytes these are, but no password.
pub(super) fn frame(fd: RawFd, frame: &Frame<'_>, bytes: &[u8]) {
    line(format_args!("<{fd} Read binary protocol data:"));
    header('<', fd, bytes);
    let secret = matches!(frame.request, Request::Authenticate { .. });
    if !secret && bytes.len() > HEADER {
        show('<', fd, "", &bytes[HEADER..]);
    }
}

/// Shows what it was answered: the keys of a read, or else the first line.
pub(super) fn reply(fd: RawFd, mut bytes: &[u8]) {
    if bytes.first() == Some(&REPLY) {
        line(format_args!(">{fd} Writing bin response:"));
        return header('>', fd, bytes);
    }
    while let Some((key, rest)) = value(bytes) {
        show('>', fd, "sending key ", key);
        bytes = rest;
    }
    if !bytes.is_empty() {
        show('>', fd, "", bytes);
    }
}

/// The key of the value that a reply begins with, and what comes behind it. A large value is sent by
/// reference, and is not among these bytes.
fn value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let words = bytes.strip_prefix(b"VALUE ")?;
    let end = words.windows(2).position(|two| two == b"\r\n")?;
    let key = words[..end].split(|&byte| byte == b' ').next()?;
    let length = words[..end].split(|&byte| byte == b' ').nth(2)?;
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    let behind = &words[end + 2..];
    let rest = behind.get(length..).and_then(|rest| rest.strip_prefix(b"\r\n"));
    Some((key, rest.or_else(|| behind.strip_prefix(b"\r\n")).unwrap_or_default()))
}

/// Shows the header of a frame, four bytes to a line.
fn header(direction: char, fd: RawFd, bytes: &[u8]) {
    let gap = if direction == '<' { "   " } else { "  " };
    for four in bytes[..bytes.len().min(HEADER)].chunks(4) {
        let shown: String = four.iter().map(|byte| format!(" {byte:#04x}")).collect();
        line(format_args!("{direction}{fd}{gap}{shown}"));
    }
}

fn show(direction: char, fd: RawFd, what: &str, bytes: &[u8]) {
    let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let first = &first[..first.len().min(SHOWN_MAX)];
    // What a client sent must not steer the terminal of whoever reads it.
    let first = first.strip_suffix(b"\r").unwrap_or(first).escape_ascii();
    line(format_args!("{direction}{fd} {what}{first}"));
}

fn line(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_read_are_found_whether_its_values_are_there_or_not() {
        let small = b"VALUE a 0 5\r\nVALUE\r\nVALUE b 1 1 77\r\nx\r\nEND\r\n";
        let (key, rest) = value(small).unwrap();
        assert_eq!(key, b"a");
        assert_eq!(value(rest), Some((&b"b"[..], &b"END\r\n"[..])));
        let large = b"VALUE a 0 50000\r\n\r\nEND\r\n";
        assert_eq!(value(large), Some((&b"a"[..], &b"END\r\n"[..])));
        for other in [&b""[..], b"END\r\n", b"VALUE a", b"VALUE a\r\n", b"VALUE a 0 x\r\nx\r\n"] {
            assert_eq!(value(other), None);
        }
    }
}
