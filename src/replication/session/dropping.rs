//! Items that must go before the link goes on, a shard at a time.

use super::Session;
use crate::store::{SHARDS, Version};

/// What goes, and how far that is.
pub(super) struct Dropping {
    why: Why,
    /// Nothing newer goes.
    upto: Version,
    shard: usize,
    dropped: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Doubt,
    Stale,
}

impl Dropping {
    /// The peer forgot which keys it deleted up to there.
    pub(super) fn in_doubt(upto: Version) -> Dropping {
        Dropping { why: Why::Doubt, upto, shard: 0, dropped: 0 }
    }

    /// A file brought it back that had been overtaken.
    pub(super) fn stale(upto: Version) -> Dropping {
        Dropping { why: Why::Stale, upto, shard: 0, dropped: 0 }
    }
}

impl Session {
    /// Whether what is here is still to be judged: none of it may be sent.
    pub(super) fn is_stale(&self) -> bool {
        self.dropping.as_ref().is_some_and(|dropping| dropping.why == Why::Stale)
    }

    /// Goes on with what has to go, a shard at a time; true while there is more. What the peer says
    /// has to wait.
    pub(super) fn is_dropping(&mut self) -> bool {
        let Some(dropping) = &mut self.dropping else { return false };
        let Dropping { why, upto, shard, .. } = *dropping;
        dropping.dropped += match why {
            Why::Doubt => self.store.drop_in_doubt(shard, upto),
            Why::Stale => self.store.drop_stale(shard, upto),
        };
        dropping.shard += 1;
        if dropping.shard < SHARDS {
            return true;
        }
        let dropped = dropping.dropped;
        self.dropping = None;
        match why {
            Why::Doubt => {
                let reason = "the peer forgot which keys it deleted";
                log::warn!("event=in_doubt dropped={dropped} reason={reason:?}");
            }
            Why::Stale => {
                self.memory.restored = None;
                let reason = "the peer has heard of a later incarnation of this node than saved it";
                log::warn!(
                    "event=memory_file_stale dropped={dropped} reason={reason:?} \
                     next=\"the peer sends all it has\""
                );
            }
        }
        false
    }
}
