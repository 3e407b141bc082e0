//! Looking at every item, in steps short enough for a lock.

use super::index::Reached;
use super::version::Now;
use super::{Item, SHARDS, Store};

/// How far an inspection of the store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    shard: usize,
    reached: Reached,
}

impl Store {
    /// Shows the live items among about the next `limit` of one shard; true when all were seen. An
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
        let mut seen = 0;
        while seen < limit {
            let before = cursor.reached;
            // An empty bucket is looked at, too.
            seen += 1;
            let more = shard.index.visit(&mut cursor.reached, |at| {
                seen += 1;
                let record = shard.record(at);
                let is_new = || self.hash(record.key()).reverse_bits() >= before;
                if !shard.is_dead(record, now) && is_new() {
                    show(Item::new(&shard, record, now));
                }
            });
            if !more {
                *cursor = Cursor { shard: cursor.shard + 1, reached: 0 };
                break;
            }
        }
        cursor.shard >= SHARDS
    }
}
