//! How a change of the peer's enters a shard: the newest wins, whatever the order of arrival.

use super::change::{Applied, Change};
use super::log::Position;
use super::room::Room;
use super::shard::{NewItem, Shard};
use super::version::{Now, Version};

impl Shard {
    /// The one way a change of the peer's enters: it wins if it is newer than what is here.
    pub(super) fn merge(
        &mut self,
        hash: u64,
        change: &Change<'_>,
        room: &mut Room<'_>,
        now: Now,
    ) -> Applied {
        match *change {
            Change::Set { key, value, flags, exptime, version, touched, mark, hits } => {
                self.clock.observe(version.max(touched));
                let found = self.find(hash, key);
                if let Some(verdict) = self.refuses(hash, key, found, version) {
                    if verdict == Applied::Stale {
                        self.merge_touch(hash, found, (version, touched), exptime, room);
                    }
                    return verdict;
                }
                let value = &[value];
                let new = NewItem { key, value, flags, exptime, version, touched, mark, hits };
                let Some(at) = self.put(hash, found, &new, room, now) else {
                    return Applied::Dropped;
                };
                if self.is_dead(self.record(at), now) {
                    self.forget(hash, at);
                }
                Applied::Accepted
            }
            Change::Delete { key, version } => {
                self.clock.observe(version);
                let found = self.find(hash, key);
                if found.is_none() && self.tombstones.get(hash, key).is_none() {
                    return Applied::Accepted;
                }
                if let Some(verdict) = self.refuses(hash, key, found, version) {
                    return verdict;
                }
                match found {
                    Some(at) => self.forget(hash, at),
                    None => self.tombstones.remove(hash, key),
                }
                Applied::Accepted
            }
            Change::Touch { key, version, touched, exptime } => {
                self.clock.observe(touched);
                let found = self.find(hash, key);
                if self.merge_touch(hash, found, (version, touched), exptime, room) {
                    Applied::Accepted
                } else {
                    Applied::Stale
                }
            }
            Change::Flush(flush) => {
                self.flush_before(flush.horizon);
                Applied::Accepted
            }
        }
    }

    fn refuses(
        &mut self,
        hash: u64,
        key: &[u8],
        found: Option<Position>,
        version: Version,
    ) -> Option<Applied> {
        if version < self.horizon {
            return Some(Applied::Stale);
        }
        let here = match found {
            Some(at) => self.record(at).version(),
            None => match self.tombstones.get(hash, key) {
                // It ended here and not there: a delete has a version of its own.
                Some(tombstone) if tombstone.version == version => return None,
                Some(tombstone) => tombstone.version,
                None => return (version <= self.floor).then_some(Applied::Dropped),
            },
        };
        let is_unknown = here.node() == self.node() && here > self.acked;
        if here != version && is_unknown {
            self.conflicts += 1;
        }
        if here < version && is_unknown {
            // Once the peer has been told that its change was applied it may forget it, if it was a
            // delete, and would take a copy of what was here before for something new.
            self.ring.forget_copies();
        }
        (here >= version).then_some(Applied::Stale)
    }

    /// `(version, touched)`: the value that was touched, and when.
    fn merge_touch(
        &mut self,
        hash: u64,
        found: Option<Position>,
        (version, touched): (Version, Version),
        exptime: u32,
        room: &mut Room<'_>,
    ) -> bool {
        let Some(at) = found else { return false };
        let record = self.record(at);
        let newer = record.version() == version && touched > record.touched();
        if newer {
            self.touch(hash, at, exptime, touched, room);
        }
        newer
    }

    /// Everything older than `horizon` is gone.
    pub(super) fn flush_before(&mut self, horizon: Version) {
        self.horizon = self.horizon.max(horizon);
        self.clock.observe(horizon);
    }
}
