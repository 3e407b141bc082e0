//! Lines of replies.

use crate::protocol::Output;
use std::fmt::Display;

/// Appends a line.
pub(super) fn line(out: &mut Output, reply: &str) {
    out.push(reply.as_bytes());
    out.push(b"\r\n");
}

/// Appends a statistic.
pub(super) fn stat(out: &mut Output, name: impl Display, value: impl Display) {
    line(out, &format!("STAT {name} {value}"));
}
