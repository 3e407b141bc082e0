//! One who watches: a bounded buffer of lines, filled by one thread and emptied by another.

use super::log::Log;
use super::{Streams, guard};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Room that is kept for saying how many lines were skipped, in bytes.
const SKIPPED_MAX: usize = 128;

pub(super) struct Watcher {
    pub(super) streams: Streams,
    /// Lines with a number up to this one were told before.
    since: u64,
    buffer: Mutex<Buffer>,
}

#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    /// Lines that found no room since the last one that did.
    skipped: u64,
    waker: Option<Waker>,
}

impl Watcher {
    pub(super) fn new(streams: Streams, since: u64) -> Watcher {
        Watcher { streams, since, buffer: Mutex::default() }
    }

    /// Appends those of `lines` that are asked for, as far as they fit into `limit` bytes; returns
    /// how many did, and how many did not.
    pub(super) fn hand<'l>(
        &self,
        lines: impl Iterator<Item = (u64, Streams, &'l [u8])>,
        limit: usize,
    ) -> (u64, u64) {
        let mut buffer = guard(&self.buffer);
        let (mut sent, mut skipped) = (0, 0);
        for (number, stream, line) in lines {
            if number <= self.since || !self.streams.has(stream) {
                continue;
            }
            if buffer.lines.len() + line.len() + SKIPPED_MAX > limit {
                buffer.skipped += 1;
                skipped += 1;
                continue;
            }
            let before = std::mem::take(&mut buffer.skipped);
            if before > 0 {
                // Writing to memory does not fail.
                let _ = writeln!(buffer.lines, "skipped={before}");
            }
            buffer.lines.extend_from_slice(line);
            sent += 1;
        }
        if sent > 0
            && let Some(waker) = buffer.waker.take()
        {
            waker.wake();
        }
        (sent, skipped)
    }
}

/// A watcher's place; dropped, it is free for another.
pub struct Subscription {
    pub(super) log: Arc<Log>,
    pub(super) watcher: Arc<Watcher>,
}

impl Subscription {
    /// Exchanges `empty`, which must be, for the lines that wait; when there are any.
    pub fn poll_lines(&self, cx: &mut Context<'_>, empty: &mut Vec<u8>) -> Poll<()> {
        let mut buffer = guard(&self.watcher.buffer);
        if buffer.lines.is_empty() {
            buffer.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut buffer.lines, empty);
        Poll::Ready(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.log.leave(&self.watcher);
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscription")
    }
}
