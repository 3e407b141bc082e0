//! Keys that one side lacks and the other has, and requests that the other side decides.

use super::outgoing::Batch;
use super::{Session, SessionError};
use crate::protocol::KEY_MAX;
use crate::replication::errands::Raw;
use crate::replication::frame::{self, FrameError, Kind};
use crate::replication::memory::InFlight;
use crate::store::{Change, Now};
use bytes::{Buf, BufMut};

/// Keys that the peer may want at once; who wants more is no peer of this program.
const WANTED_MAX: usize = 10_000;

/// Bytes of replies that may wait to be sent; all that a peer of this program has asked at once are
/// a quarter of it.
const REPLIES_MAX: usize = 16 << 20;

/// What this side owes the other, and what waits for its turn.
#[derive(Default)]
pub(super) struct Owed {
    /// Keys that the peer wants.
    wanted: Vec<Box<[u8]>>,
    /// Frames that must not overtake what was written here before them.
    behind_live: Vec<u8>,
    /// Bytes of clients' requests in them,
    requests: usize,
    /// and of replies.
    replies: usize,
}

impl Session {
    pub(super) fn handle_errand(
        &mut self,
        kind: Kind,
        mut payload: &[u8],
    ) -> Result<(), SessionError> {
        let input = &mut payload;
        let number = |input: &mut &[u8]| input.try_get_u8().map_err(FrameError::from);
        match kind {
            Kind::Fetch => {
                if input.is_empty() || input.len() > KEY_MAX {
                    return Err(FrameError::BadKey(input.len()).into());
                }
                if self.owed.wanted.len() >= WANTED_MAX {
                    return Err(SessionError::Unexpected(kind));
                }
                self.owed.wanted.push((*input).into());
            }
            Kind::Fetched => {
                let found = number(input)? != 0;
                self.errands.fetched(input, found);
            }
            Kind::Request => {
                let id = input.try_get_u64_le().map_err(FrameError::from)?;
                let binary = number(input)? != 0;
                let raw = Raw { binary, bytes: (*input).into() };
                if self.owed.replies > REPLIES_MAX {
                    return Err(SessionError::Deaf);
                }
                if let Some(reply) = self.errands.execute(&raw) {
                    let before = self.owed.behind_live.len();
                    frame::write(&mut self.owed.behind_live, Kind::Reply, |out| {
                        out.put_u64_le(id);
                        out.put_slice(&reply);
                    });
                    self.owed.replies += self.owed.behind_live.len() - before;
                }
            }
            Kind::Reply => {
                let id = input.try_get_u64_le().map_err(FrameError::from)?;
                self.errands.replied(id, input);
            }
            other => return Err(SessionError::Unexpected(other)),
        }
        Ok(())
    }

    /// Asks for what clients here want, and sends what they want there: first the item, then that
    /// it was sent.
    pub(super) fn produce_errands(&mut self, out: &mut Vec<u8>, now: Now) {
        for key in self.errands.take_wanted() {
            frame::write(out, Kind::Fetch, |out| out.put_slice(&key));
        }
        for (id, raw) in self.errands.take_requests() {
            self.owed.requests += raw.bytes.len();
            frame::write(&mut self.owed.behind_live, Kind::Request, |out| {
                out.put_u64_le(id);
                out.put_u8(u8::from(raw.binary));
                out.put_slice(&raw.bytes);
            });
        }
        while let Some(key) = self.owed.wanted.pop() {
            let found = self.produce_item(&key, out, now);
            frame::write(out, Kind::Fetched, |out| {
                out.put_u8(u8::from(found));
                out.put_slice(&key);
            });
            if out.len() >= super::outgoing::OUTPUT {
                break;
            }
        }
    }

    /// Appends what must not overtake the live stream, which has just been sent to its end.
    pub(super) fn produce_behind_live(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.owed.behind_live);
        self.owed.replies = 0;
        match std::mem::take(&mut self.owed.requests) {
            0 => {}
            bytes => self.errands.sent(bytes),
        }
    }

    /// Appends a batch of one item, if there is one.
    fn produce_item(&mut self, key: &[u8], out: &mut Vec<u8>, now: Now) -> bool {
        let store = std::sync::Arc::clone(&self.store);
        let entry = store.entry(key, now);
        let Some(item) = entry.item() else { return false };
        let change = Change::Set {
            key,
            value: item.value(),
            flags: item.flags(),
            exptime: item.exptime(),
            version: item.version(),
            touched: item.touched(),
            mark: item.mark(),
            hits: 0,
        };
        let number = self.memory.sent_batch + 1;
        let mut batch = Batch::begin(out, number, self.protocol, self.value_max);
        batch.add(&change);
        let (start, ops) = (batch.start, batch.ops);
        frame::finish(out, start);
        self.sent += ops;
        self.memory.send(InFlight {
            batch: number,
            bytes: (out.len() - start) as u64,
            ops,
            sent_at: now,
            reached: Vec::new(),
            confirms: Vec::new(),
        });
        true
    }
}
