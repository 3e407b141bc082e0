//! Whether the two hold the same, asked in the background: a few keys a second, around and around.
//!
//! Each side tells the other which version it has of the keys that it comes across, and only of
//! those where it has sent all that it did to them. That is ahead of it in the stream, so the other
//! must hold the same by then, or something newer of its own that was not acknowledged yet, or
//! nothing: evictions and expiry are each node's own.
//!
//! Of what a node wrote in an earlier life, and was given back by its peer, no acknowledgement is
//! known: a difference in such a key is seen by the other side alone.

use super::{Session, SessionError};
use crate::protocol::KEY_MAX;
use crate::replication::frame::{self, FrameError, Kind};
use crate::store::{Cursor, Now, Version};
use bytes::{Buf, BufMut};

/// Places of the store that are looked at under one lock.
const PLACES: u32 = 256;
/// Bytes of one frame, about; there is one a second.
const CHECK: usize = 16 * 1024;

/// In the first byte of a frame: a round begins with it, or ends.
const FIRST: u8 = 1;
const LAST: u8 = 2;

/// How far a round has come.
#[derive(Default)]
pub(super) struct Checking {
    /// It is time for the next few keys.
    pub(super) due: bool,
    /// Where this node is in telling what it has.
    cursor: Cursor,
    /// Keys that the peer told of and that were compared, since that was last asked.
    pub(super) checked: u64,
    /// Keys that differed in the peer's round so far, if its beginning was heard.
    differing: Option<u64>,
    /// What is known of keys that differ, if anything new is.
    pub(super) news: Option<u64>,
}

impl Session {
    /// Tells what this node has of the next few keys; right behind all that it had to send.
    pub(super) fn produce_check(&mut self, out: &mut Vec<u8>, now: Now) {
        self.checking.due = false;
        let start = frame::begin(out, Kind::Check);
        let mut cursor = self.checking.cursor;
        let first = if cursor == Cursor::default() { FIRST } else { 0 };
        out.put_u8(first);
        let mut finished = false;
        // As often as there are shards at most, since each look but one of a shard fills the frame.
        while !finished && out.len() - start < CHECK {
            finished = self.store.inspect(&mut cursor, PLACES, now, |item| {
                if item.is_sent() {
                    out.put_u64_le(item.version().raw());
                    out.put_u64_le(item.touched().raw());
                    out.put_u8(item.key().len() as u8);
                    out.put_slice(item.key());
                }
            });
        }
        if finished {
            out[start + frame::HEADER] |= LAST;
            cursor = Cursor::default();
        }
        self.checking.cursor = cursor;
        frame::finish(out, start);
    }

    /// Keys that were compared, and those that differed if that is known, since it was last described.
    pub fn compared(&self) -> (u64, Option<u64>) {
        (self.checking.checked, self.checking.news)
    }

    /// Compares what the peer has with what is here.
    pub(super) fn judge(&mut self, mut payload: &[u8], now: Now) -> Result<(), SessionError> {
        let input = &mut payload;
        let bits = input.try_get_u8().map_err(FrameError::from)?;
        if bits & FIRST != 0 {
            self.checking.differing = Some(0);
        }
        while !input.is_empty() {
            let (version, touched) = (frame::version(input)?, frame::version(input)?);
            let key_len = usize::from(input.try_get_u8().map_err(FrameError::from)?);
            if key_len == 0 || key_len > KEY_MAX {
                return Err(FrameError::BadKey(key_len).into());
            }
            let key = frame::take(input, key_len)?;
            self.checking.checked += 1;
            if self.differs(key, (version, touched), now) {
                self.note_difference();
            }
        }
        if bits & LAST != 0 && self.checking.differing.is_some() {
            self.checking.news = self.checking.differing.take();
        }
        Ok(())
    }

    /// Whether this node has another value under the key than the peer, which should have this one.
    fn differs(&self, key: &[u8], theirs: (Version, Version), now: Now) -> bool {
        let entry = self.store.entry(key, now);
        entry.item().is_some_and(|item| {
            item.is_acknowledged() && (item.version(), item.touched()) != theirs
        })
    }

    fn note_difference(&mut self) {
        let Some(differing) = &mut self.checking.differing else { return };
        *differing += 1;
        self.checking.news = Some(*differing);
        if *differing == 1 {
            log::warn!(
                "event=divergence reason=\"both nodes have a key, not the same of it, and nothing is on its way\" \
                 next=\"pairctl verify names such keys; writing them anew mends it\""
            );
        }
    }
}
