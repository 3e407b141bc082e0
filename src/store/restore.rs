//! Bringing back what an earlier store held: what a full [`Store::walk`] of it emitted.

use super::change::{Change, Flush};
use super::entry::Entry;
use super::shard::NewItem;
use super::tombstone::Remains;
use super::version::{Node, Now, Version};
use super::{SHARDS, Store};

/// Keys are spread anew over the shards, so one may get more remembered deletes than fit; it keeps up
/// to so many times its share rather than put the rest in doubt.
const SPREAD: u64 = 2;

/// What a store knows beside its items and the deletes it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which of the two nodes it was.
    pub node: Node,
    /// The newest version it had made or seen.
    pub newest: Version,
    /// Deletes up to here may have been forgotten that the peer never heard of.
    pub floor: Version,
    /// What `flush_all` had done and was to do.
    pub flush: Flush,
}

impl Store {
    /// How far this store has come.
    pub fn progress(&self) -> Progress {
        let newest = (0..SHARDS).map(|number| self.lock(number).clock.last()).max();
        Progress {
            node: self.node(),
            newest: newest.unwrap_or_default(),
            floor: self.doubt().unwrap_or_default(),
            flush: self.flush_state(),
        }
    }

    /// Goes on from where another store was; before [`Store::restore`] and before any client.
    pub fn resume(&self, progress: &Progress, now: Now) {
        self.set_node(progress.node);
        for number in 0..SHARDS {
            let mut shard = self.lock(number);
            shard.clock.observe(progress.newest);
            shard.floor = progress.floor;
        }
        self.merge_flush(progress.flush, now);
    }

    /// Takes back a change that a full walk of the other store emitted; false if there is no room for
    /// it. What has expired since does not come back; where there is a peer, its end is remembered.
    pub fn restore(&self, change: &Change<'_>, now: Now) -> bool {
        match *change {
            Change::Set { key, value, flags, .. } => {
                if self.item_size(key.len(), flags, value.len()) > self.item_size_max {
                    return false;
                }
                let entry = self.entry_with_room(key, value.len(), now);
                entry.is_ok_and(|entry| entry.restore(change))
            }
            Change::Delete { key, .. } => self.entry(key, now).restore(change),
            // A full walk shows those with the items.
            Change::Touch { .. } | Change::Flush(_) => true,
        }
    }
}

impl Entry<'_, '_> {
    fn restore(mut self, change: &Change<'_>) -> bool {
        let Entry { shard, room, hash, found, now, .. } = &mut self;
        let (hash, now) = (*hash, *now);
        match *change {
            Change::Set { key, value, flags, exptime, version, touched, mark, hits } => {
                if version < shard.horizon || found.is_some() {
                    return true;
                }
                let value = &[value];
                let new = NewItem { key, value, flags, exptime, version, touched, mark, hits };
                let Some(at) = shard.put(hash, None, &new, room, now) else { return false };
                if shard.is_dead(shard.record(at), now) {
                    shard.end(hash, at, Remains::Trace);
                }
            }
            Change::Delete { key, version } => {
                if version >= shard.horizon && found.is_none() {
                    shard.bury(hash, key.into(), version, Remains::Tombstone, SPREAD);
                }
            }
            Change::Touch { .. } | Change::Flush(_) => {}
        }
        true
    }
}
