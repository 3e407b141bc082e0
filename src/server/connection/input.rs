//! What a client has sent: read into a buffer of the worker's, which a connection keeps only with
//! much of an unfinished request in it.

use super::Next;
use crate::command::WorkerCounters;
use crate::server::socket::Socket;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// Bytes that one read takes, unless the request at hand is known to need more.
const READ: usize = 64 * 1024;
/// Bytes that one read takes where a large value is expected, which is to be read to its own place.
const READ_OF_LARGE: usize = 2 * 1024;
/// Memory that an idle connection may keep for the next unfinished request.
const KEEP: usize = 2 * 1024;
/// Bytes that a worker's idle buffers may have together.
const SPARE_MAX: usize = 2 * 1024 * 1024;

/// A worker's buffers for input.
#[derive(Default)]
pub(super) struct Buffers {
    idle: Vec<Vec<u8>>,
    /// Their capacity in all.
    bytes: usize,
}

impl Buffers {
    /// A buffer with a copy of `front` in it.
    fn take(&mut self, front: &[u8]) -> Vec<u8> {
        let mut buffer = self.idle.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer.extend_from_slice(front);
        buffer
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity >= READ && self.bytes + capacity <= SPARE_MAX {
            buffer.clear();
            self.bytes += capacity;
            self.idle.push(buffer);
        }
    }
}

/// A connection's input.
pub(super) struct Input {
    /// What was read and not taken.
    kept: Vec<u8>,
    /// Bytes at the front of `kept` that were taken.
    taken: usize,
    /// Bytes that must be there before anything can be done, as far as is known.
    needed: usize,
    /// The last read left room: nothing more is to be expected at once.
    drained: bool,
    /// The last request was a large value, so the next may be one.
    expects_large: bool,
}

impl Input {
    pub(super) fn new() -> Input {
        Input { kept: Vec::new(), taken: 0, needed: 1, drained: false, expects_large: false }
    }

    /// Whether the beginning of a request has told that more must come than was read.
    pub(super) fn is_unfinished(&self) -> bool {
        self.needed > self.kept.len() - self.taken + 1
    }

    /// What was read and not taken.
    pub(super) fn front(&self) -> &[u8] {
        &self.kept[self.taken..]
    }

    /// Adds what was read beside it.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
    }

    /// Takes so many bytes from the front.
    pub(super) fn take(&mut self, bytes: usize) {
        self.kept.drain(..self.taken + bytes);
        (self.taken, self.needed, self.drained) = (0, 1, true);
    }

    /// Puts something in front again.
    pub(super) fn put_back(&mut self, pieces: &[&[u8]]) {
        let mut whole = pieces.concat();
        whole.extend_from_slice(self.front());
        self.kept = whole;
        (self.taken, self.needed) = (0, 0);
    }

    /// Reads once, unless enough is there, and has `use_up` say how many bytes of all that is there
    /// it took and what is next.
    pub(super) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        counters: &WorkerCounters,
        buffers: &mut Buffers,
        use_up: impl FnOnce(&[u8]) -> (usize, Next),
    ) -> Poll<io::Result<Next>> {
        if std::mem::take(&mut self.drained) && self.kept.len() - self.taken < self.needed {
            // To learn that, no buffer is needed.
            ready!(socket.poll_readable(cx))?;
        }
        let lent = self.kept.capacity() <= KEEP;
        debug_assert!(!lent || self.taken == 0, "a buffer that goes back must be as it was");
        let mut buffer =
            if lent { buffers.take(&self.kept) } else { std::mem::take(&mut self.kept) };
        let read = match self.poll_read(cx, socket, counters, &mut buffer) {
            Poll::Ready(Ok(read)) => read,
            other => {
                if lent {
                    buffers.give(buffer);
                } else {
                    self.kept = buffer;
                }
                return other.map_ok(|_| Next::Flush);
            }
        };
        let (taken, next) = use_up(&buffer[self.taken..]);
        self.needed = match next {
            Next::Read(needed) => needed.max(1),
            _ => 0,
        };
        self.expects_large = next == Next::Land;
        self.taken += taken;
        let rest = buffer.len() - self.taken;
        // A copy where a buffer would be kept for little, unless it comes back at once or grows.
        let grows = !lent && read > 0 && taken == 0;
        let keeps = next == Next::Yield || grows || rest >= buffer.capacity() / 4;
        let much = rest > if lent { KEEP } else { 0 };
        if much && keeps {
            self.kept = buffer;
        } else {
            self.kept.clear();
            self.kept.extend_from_slice(&buffer[self.taken..]);
            self.taken = 0;
            buffers.give(buffer);
        }
        Poll::Ready(Ok(next))
    }

    /// Reads behind what is there, unless that is enough; ready with the bytes that came.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        counters: &WorkerCounters,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        if buffer.len() - self.taken >= self.needed {
            return Poll::Ready(Ok(0));
        }
        buffer.drain(..std::mem::take(&mut self.taken));
        let length = buffer.len();
        // Memory follows what really arrives, not what the client announced.
        let least = READ.saturating_sub(length).max(READ / 4);
        let room = (self.needed - length).clamp(least, READ.max(length));
        buffer.reserve(room);
        let most = if self.expects_large { READ_OF_LARGE } else { room.max(READ) };
        let room = most.min(buffer.capacity() - length);
        let mut spare = ReadBuf::uninit(&mut buffer.spare_capacity_mut()[..room]);
        let read = ready!(socket.poll_read(cx, &mut spare))?;
        if read == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        // SAFETY: so many bytes behind the others are filled, which a `ReadBuf` lets nobody say
        // who has not written them.
        unsafe { buffer.set_len(length + read) };
        self.drained = read < room;
        counters.bytes_read.add(read as u64);
        Poll::Ready(Ok(read))
    }
}
