//! How a change of the peer's enters a shard: the newest wins, whatever the order of arrival.

use super::change::{Applied, Change};
use super::shard::{NewItem, Shard};
use super::slots::State;
use super::version::{Now, Version};

impl Shard {
    /// The one way a change of the peer's enters: it wins if it is newer than what is here.
    pub(super) fn merge(&mut self, hash: u64, change: &Change<'_>, now: Now) -> Applied {
        match *change {
            Change::Set { key, value, flags, exptime, version, touched, mark } => {
                self.clock.observe(version.max(touched));
                let found = self.find(hash, key);
                if let Some(verdict) = self.refuses(found, version) {
                    if verdict == Applied::Stale {
                        self.merge_touch(found, version, touched, exptime);
                    }
                    return verdict;
                }
                let new = NewItem { key, value: &[value], flags, exptime, version, touched, mark };
                let at = self.put(hash, found, &new, now);
                if self.is_dead(self.slots.get(at), now) {
                    self.forget(at);
                }
                Applied::Accepted
            }
            Change::Delete { key, version } => {
                self.clock.observe(version);
                let found = self.find(hash, key);
                match (found, self.refuses(found, version)) {
                    (Some(at), None) => {
                        self.forget(at);
                        Applied::Accepted
                    }
                    (None, _) => Applied::Accepted,
                    (_, Some(verdict)) => verdict,
                }
            }
            Change::Touch { key, version, touched, exptime } => {
                self.clock.observe(touched);
                let found = self.find(hash, key);
                if self.merge_touch(found, version, touched, exptime) {
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

    fn refuses(&mut self, found: Option<u32>, version: Version) -> Option<Applied> {
        if version < self.horizon {
            return Some(Applied::Stale);
        }
        let Some(at) = found else {
            return (version <= self.floor).then_some(Applied::Dropped);
        };
        let here = self.slots.get(at).version;
        let ours = here.node() == self.node();
        if here != version && ours && here > self.acked {
            self.conflicts += 1;
        }
        (here >= version).then_some(Applied::Stale)
    }

    fn merge_touch(
        &mut self,
        found: Option<u32>,
        version: Version,
        touched: Version,
        exptime: u32,
    ) -> bool {
        let Some(at) = found else { return false };
        let slot = self.slots.get_mut(at);
        let newer = slot.state == State::Item && slot.version == version && touched > slot.touched;
        if newer {
            slot.touched = touched;
            slot.exptime = exptime;
        }
        newer
    }

    /// Everything older than `horizon` is gone.
    pub(super) fn flush_before(&mut self, horizon: Version) {
        self.horizon = self.horizon.max(horizon);
        self.clock.observe(horizon);
    }

    /// Drops every item up to `floor`: it can't be known which of them were deleted at the peer.
    pub(super) fn drop_in_doubt(&mut self, floor: Version) -> u64 {
        let mut dropped = 0;
        for at in 0..self.slots.len() {
            let slot = self.slots.get(at);
            if slot.state == State::Item && slot.version <= floor {
                self.end(at, State::Tombstone);
                dropped += 1;
            }
        }
        dropped
    }
}
