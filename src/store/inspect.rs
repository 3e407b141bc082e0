//! Looking at every item, in steps short enough for a lock.

use super::version::Now;
use super::{Item, SHARDS, Store};

/// How far an inspection of the store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    shard: usize,
    position: u32,
}

impl Store {
    /// Shows the live items among the next `limit` places of one shard; true when all were seen. An
    /// item that is there from the first step to the last is shown once; one that comes or goes
    /// meanwhile may be.
    pub fn inspect(
        &self,
        cursor: &mut Cursor,
        limit: u32,
        now: Now,
        mut show: impl FnMut(Item<'_>),
    ) -> bool {
        if cursor.shard >= SHARDS {
            return true;
        }
        let shard = self.lock(cursor.shard);
        let end = shard.slots.len().min(cursor.position.saturating_add(limit));
        for at in cursor.position..end {
            if shard.is_live(at, now) {
                show(Item::new(shard.slots.get(at)));
            }
        }
        *cursor = if end == shard.slots.len() {
            Cursor { shard: cursor.shard + 1, position: 0 }
        } else {
            Cursor { shard: cursor.shard, position: end }
        };
        cursor.shard >= SHARDS
    }
}
