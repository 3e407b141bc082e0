//! `-vv`: the conversation on standard error, in memcached's form.

use crate::protocol::binary::{Frame, HEADER, Request};
use std::io::Write;
use std::os::fd::RawFd;

/// Verbosity from which on the conversation is shown.
pub(super) const SHOW_FROM: u8 = 2;
/// Bytes of a line that are shown.
const SHOWN_MAX: usize = 256;

/// Shows the line that a client sent.
pub(super) fn request(fd: RawFd, bytes: &[u8]) {
    show('<', fd, bytes);
}

/// Shows the frame that a client sent, whose bytes these are, but no password.
pub(super) fn frame(fd: RawFd, frame: &Frame<'_>, bytes: &[u8]) {
    let secret = matches!(frame.request, Request::Authenticate { .. });
    request(fd, if secret { &bytes[..HEADER] } else { bytes });
}

/// Shows the first line of what it was answered.
pub(super) fn reply(fd: RawFd, bytes: &[u8]) {
    if !bytes.is_empty() {
        show('>', fd, bytes);
    }
}

fn show(direction: char, fd: RawFd, bytes: &[u8]) {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(SHOWN_MAX)];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // What a client sent must not steer the terminal of whoever reads it.
    let line = line.escape_ascii();
    let _ = writeln!(std::io::stderr().lock(), "{direction}{fd} {line}");
}
