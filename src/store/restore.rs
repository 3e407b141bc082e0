//! Bringing back what an earlier store held: what a full [`Store::walk`] of it emitted.

use super::change::{Change, Flush};
use super::shard::{NewItem, Shard};
use super::slots::State;
use super::version::{Node, Now, Version};
use super::{SHARDS, Store, slots};

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
        let (key, cost) = match *change {
            Change::Set { key, value, flags, mark, .. } => {
                if self.item_size(key.len(), flags, value.len()) > self.item_size_max {
                    return false;
                }
                (key, slots::cost_of(key.len() + mark.len(), value.len()))
            }
            Change::Delete { key, .. } => (key, slots::cost_of(key.len(), 0)),
            // A full walk shows those with the items.
            Change::Touch { .. } | Change::Flush(_) => return true,
        };
        if self.make_room(cost, now).is_err() {
            return false;
        }
        let hash = self.hasher.hash_one(key);
        self.lock_reserved(Store::shard_of(hash), cost).restore(hash, change, now);
        true
    }
}

impl Shard {
    fn restore(&mut self, hash: u64, change: &Change<'_>, now: Now) {
        match *change {
            Change::Set { key, value, flags, exptime, version, touched, mark } => {
                if version < self.horizon || self.find(hash, key).is_some() {
                    return;
                }
                let new = NewItem { key, value: &[value], flags, exptime, version, touched, mark };
                let at = self.put(hash, None, &new, now);
                if self.is_dead(self.slots.get(at), now) {
                    self.end(at, State::Trace);
                }
            }
            Change::Delete { key, version } => {
                let Some(replicated) = self.replicated else { return };
                if version < self.horizon || self.find(hash, key).is_some() {
                    return;
                }
                let new = NewItem {
                    key,
                    value: &[],
                    flags: 0,
                    exptime: 0,
                    version,
                    touched: Version::NONE,
                    mark: Default::default(),
                };
                let at = self.put(hash, None, &new, now);
                let limit = replicated.tombstone_limit.saturating_mul(SPREAD);
                self.bury(at, version, State::Tombstone, limit);
            }
            Change::Touch { .. } | Change::Flush(_) => {}
        }
    }
}
