//! One key, locked: what a command reads and writes in one step.

use super::Store;
use super::change::Mark;
use super::shard::{NewItem, Shard};
use super::slots::{Data, FETCHED, Slot, WON};
use super::stats::ClassStats;
use super::version::{Now, Version};
use super::written::Written;
use bytes::Bytes;
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

/// A live item, as long as its shard is locked.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    slot: &'a Slot,
}

impl<'a> Item<'a> {
    pub(super) fn new(slot: &'a Slot) -> Item<'a> {
        Item { slot }
    }

    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.slot.key()
    }

    /// The value's bytes.
    pub fn value(&self) -> &'a [u8] {
        self.slot.value()
    }

    /// The value by reference, if it is large enough for that to be cheaper than a copy.
    pub fn shared(&self) -> Option<&'a Bytes> {
        match &self.slot.data {
            Data::Shared(shared) => Some(&shared.1),
            Data::Packed(_) => None,
        }
    }

    /// The client's flags.
    pub fn flags(&self) -> u32 {
        self.slot.flags
    }

    /// The CAS that clients see.
    pub fn cas(&self) -> u64 {
        self.slot.mark().cas.unwrap_or(self.slot.version.raw())
    }

    /// What the meta commands left on it.
    pub fn mark(&self) -> Mark {
        self.slot.mark()
    }

    /// Whether it was read since it was written.
    pub fn fetched(&self) -> bool {
        self.slot.marks & FETCHED != 0
    }

    /// Unix seconds of the last read or write.
    pub fn accessed(&self) -> u32 {
        self.slot.accessed
    }

    /// When it was written.
    pub fn version(&self) -> Version {
        self.slot.version
    }

    /// Unix seconds at which it is gone; 0 is never.
    pub fn exptime(&self) -> u32 {
        self.slot.exptime
    }
}

/// A locked shard that settles with the budget and wakes the sender when it is let go.
pub(super) struct Locked<'s> {
    store: &'s Store,
    number: usize,
    guard: MutexGuard<'s, Shard>,
    /// Bytes reserved for what is about to be written.
    pub(super) reserved: u64,
}

impl<'s> Locked<'s> {
    pub(super) fn new(
        store: &'s Store,
        number: usize,
        guard: MutexGuard<'s, Shard>,
        reserved: u64,
    ) -> Locked<'s> {
        Locked { store, number, guard, reserved }
    }
}

impl Deref for Locked<'_> {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.guard
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.guard
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let balance = std::mem::take(&mut self.guard.balance);
        self.store.budget.settle(balance - self.reserved as i64);
        if std::mem::take(&mut self.guard.ring.pushed) {
            let bit = 1 << self.number;
            let dirty = &self.store.dirty;
            if dirty.load(Ordering::Relaxed) & bit == 0
                && dirty.fetch_or(bit, Ordering::Release) == 0
            {
                self.store.wake_sender();
            }
        }
    }
}

/// One key with its shard locked. Short-lived by contract: no I/O while one is held.
pub struct Entry<'s, 'k> {
    pub(super) shard: Locked<'s>,
    pub(super) hash: u64,
    pub(super) key: &'k [u8],
    pub(super) now: Now,
    /// The slot of the live item, if there is one.
    pub(super) live: Option<u32>,
    /// The slot of the key, whatever it holds.
    pub(super) found: Option<u32>,
}

impl Entry<'_, '_> {
    /// The live item of this key.
    pub fn item(&self) -> Option<Item<'_>> {
        self.live.map(|at| Item::new(self.shard.slots.get(at)))
    }

    /// Writes an item; the caller has made room for the value. Returns its new version.
    pub fn put(&mut self, flags: u32, exptime: u32, value: &[&[u8]]) -> Version {
        self.put_marked(flags, exptime, value, Mark::default())
    }

    /// As [`Entry::put`], with a mark; a CAS in it needs room for 8 bytes more.
    pub fn put_marked(&mut self, flags: u32, exptime: u32, value: &[&[u8]], mark: Mark) -> Version {
        let version = self.shard.next_version(self.now);
        let touched = Version::NONE;
        let new = NewItem { key: self.key, value, flags, exptime, version, touched, mark };
        let at = self.shard.put(self.hash, self.found, &new, self.now);
        self.shard.record(at, version);
        Written::note(version);
        (self.found, self.live) = (Some(at), Some(at));
        version
    }

    /// Deletes the live item, if there is one; returns the version of the delete.
    pub fn delete(&mut self) -> Option<Version> {
        let at = self.live.take()?;
        self.found = None;
        let version = self.shard.delete(at, self.now);
        Written::note(version);
        Some(version)
    }

    /// Sets the expiry of the live item, in Unix seconds; the version stays.
    pub fn touch(&mut self, exptime: u32) {
        if let Some(at) = self.live {
            let touched = self.shard.next_version(self.now);
            let slot = self.shard.slots.get_mut(at);
            slot.exptime = exptime;
            slot.touched = touched;
            self.shard.record(at, touched);
            Written::note(touched);
            self.mark_read();
        }
    }

    /// Notes that a client was told to write the live item anew. It is this node's word: the peer
    /// hears of it with the item only.
    pub fn mark_won(&mut self) {
        if let Some(at) = self.live {
            self.shard.slots.get_mut(at).marks |= WON;
        }
    }

    /// Notes that a client read the live item.
    pub fn mark_read(&mut self) {
        if let Some(at) = self.live {
            let seconds = self.now.seconds();
            let slot = self.shard.slots.get_mut(at);
            slot.marks |= FETCHED;
            slot.visited = true;
            slot.accessed = seconds;
        }
    }

    /// The counters of the class that an item of that size (as memcached counts it) is in.
    pub fn stats_of_size(&mut self, item_size: u64) -> &mut ClassStats {
        self.shard.class_of_size(item_size)
    }

    /// The counters of the live item's class.
    pub fn class_stats(&mut self) -> Option<&mut ClassStats> {
        let at = self.live?;
        Some(self.shard.class_of(at))
    }
}
