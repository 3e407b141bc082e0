//! One key, locked: what a command reads and writes in one step.

use super::change::{Applied, Change, Mark};
use super::evict::Reason;
use super::log::Position;
use super::record::{HEADER, Record, Stored};
use super::room::Room;
use super::shard::{NewItem, Shard};
use super::stats::ClassStats;
use super::tombstone::Remains;
use super::version::{Now, Version};
use super::written::Written;
use super::{Found, Store};
use bytes::Bytes;
use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

/// A live item, as long as its shard is locked.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    shard: &'a Shard,
    record: Record<'a>,
    now: Now,
}

/// A value on its way to a client.
pub enum Payload<'a> {
    /// To be copied.
    Small(&'a [u8]),
    /// By reference.
    Shared(Bytes),
}

impl Payload<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Payload::Small(value) => value.len(),
            Payload::Shared(bytes) => bytes.len(),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> Item<'a> {
    pub(super) fn new(shard: &'a Shard, record: Record<'a>, now: Now) -> Item<'a> {
        Item { shard, record, now }
    }

    /// The key.
    pub fn key(&self) -> &'a [u8] {
        self.record.key()
    }

    /// The value's bytes.
    pub fn value(&self) -> &'a [u8] {
        self.shard.value(self.record)
    }

    /// Length of the value, in bytes.
    pub fn value_len(&self) -> usize {
        self.record.value_len()
    }

    /// The value as it is best sent.
    #[inline]
    pub fn payload(&self) -> Payload<'a> {
        match self.record.stored() {
            Stored::Inline(value) => Payload::Small(value),
            Stored::Block { number, len } => {
                Payload::Shared(self.shard.log.blocks.share(number, len))
            }
        }
    }

    /// The client's flags.
    pub fn flags(&self) -> u32 {
        self.record.flags()
    }

    /// The CAS that clients see.
    pub fn cas(&self) -> u64 {
        self.record.mark().cas.unwrap_or(self.record.version().raw())
    }

    /// What the meta commands left on it.
    pub fn mark(&self) -> Mark {
        self.record.mark()
    }

    /// Whether it was read since it was written.
    pub fn fetched(&self) -> bool {
        self.record.fetched()
    }

    /// Unix seconds of the last read or write.
    pub fn accessed(&self) -> u32 {
        self.record.accessed(self.now.seconds())
    }

    /// When it was written.
    pub fn version(&self) -> Version {
        self.record.version()
    }

    /// When its expiry was last changed without a write; [`Version::NONE`] if never.
    pub fn touched(&self) -> Version {
        self.record.touched()
    }

    /// Whether the peer has been sent all that this node did to it, once it was sent what is old.
    pub fn is_sent(&self) -> bool {
        self.shard.is_sent(self.record)
    }

    /// Whether the peer has acknowledged all that this node did to it.
    pub fn is_acknowledged(&self) -> bool {
        self.shard.is_acknowledged(self.record)
    }

    /// Unix seconds at which it is gone; 0 is never.
    pub fn exptime(&self) -> u32 {
        self.record.exptime()
    }
}

/// A locked shard that settles with the budget and wakes the sender when it is let go.
pub(super) struct Locked<'s> {
    store: &'s Store,
    number: usize,
    guard: MutexGuard<'s, Shard>,
}

impl<'s> Locked<'s> {
    pub(super) fn new(store: &'s Store, number: usize, guard: MutexGuard<'s, Shard>) -> Locked<'s> {
        Locked { store, number, guard }
    }

    /// Takes a dead item out of the way, and says of what it died.
    #[cold]
    pub(super) fn bury_dead<R>(&mut self, hash: u64, at: Position, now: Now) -> Found<R> {
        let flushed = self.record(at).version() < self.horizon;
        self.retire(hash, at, Reason::Reclaimed, now);
        if flushed { Found::Flushed } else { Found::Expired }
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
        let cost = self.guard.cost();
        let charged = std::mem::replace(&mut self.guard.charged, cost);
        self.store.log.budget.settle(cost as i64 - charged as i64);
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
    pub(super) room: Room<'s>,
    pub(super) hash: u64,
    pub(super) key: &'k [u8],
    pub(super) now: Now,
    /// Where the live item stands, if there is one.
    pub(super) live: Option<Position>,
    /// Where the item of the key stands, live or not.
    pub(super) found: Option<Position>,
}

impl Entry<'_, '_> {
    /// The live item of this key.
    pub fn item(&self) -> Option<Item<'_>> {
        self.live.map(|at| Item::new(&self.shard, self.shard.record(at), self.now))
    }

    /// Sees to it that a value of `value` bytes can be written, or says how many bytes must be free
    /// for that.
    ///
    /// With `options`, the bytes that the optional fields will take, nothing is reserved for what is
    /// going to be written over what the key has.
    #[inline]
    pub(super) fn reserve(&mut self, value: usize, options: Option<usize>) -> Result<(), u64> {
        if let (Some(at), Some(options)) = (self.found, options)
            && self.shard.will_overwrite(at, HEADER + self.key.len() + options + value)
        {
            return Ok(());
        }
        self.reserve_anew(value)
    }

    fn reserve_anew(&mut self, value: usize) -> Result<(), u64> {
        let held = self.found.and_then(|at| match self.shard.record(at).stored() {
            Stored::Block { number, .. } => Some(number),
            Stored::Inline(_) => None,
        });
        let to_main = self.found.is_none() && self.shard.ghosts.contains(self.hash);
        self.room.reserve(self.key.len(), value, to_main, held)
    }

    /// Applies a change of the peer's to this key; nothing else can be done with the entry then.
    pub(super) fn merge(mut self, change: &Change<'_>) -> Applied {
        self.shard.merge(self.hash, change, &mut self.room, self.now)
    }

    /// Writes an item; the caller has made room for the value. Returns its new version.
    #[inline]
    pub fn put(&mut self, flags: u32, exptime: u32, value: &[&[u8]]) -> Version {
        self.put_marked(flags, exptime, value, Mark::default())
    }

    /// As [`Entry::put`], with a mark; a mark takes no room.
    #[inline]
    pub fn put_marked(&mut self, flags: u32, exptime: u32, value: &[&[u8]], mark: Mark) -> Version {
        let version = self.shard.next_version(self.now);
        let touched = Version::NONE;
        let (key, hits) = (self.key, 0);
        let new = NewItem { key, value, flags, exptime, version, touched, mark, hits };
        let at = self.shard.put(self.hash, self.found, &new, &mut self.room, self.now);
        if at.is_none() {
            // The peer must not go on to serve what this write would have replaced.
            self.shard.bury(self.hash, self.key.into(), version, Remains::Tombstone, 1);
        }
        self.shard.record_write(self.hash, version, at);
        Written::note(version);
        (self.found, self.live) = (at, at);
        version
    }

    /// Writes over the live item as memcached does in place: to those who ask for statistics it is
    /// the same item still, and was read if it was read before.
    pub fn amend(&mut self, flags: u32, exptime: u32, value: &[&[u8]], mark: Mark) -> Version {
        let fetched = self.item().is_some_and(|item| item.fetched());
        let version = self.put_marked(flags, exptime, value, mark);
        if let Some(at) = self.live {
            self.shard.total_items -= 1;
            if fetched {
                self.shard.record_mut(at).mark_fetched();
            }
        }
        version
    }

    /// Deletes the live item, if there is one; returns the version of the delete.
    pub fn delete(&mut self) -> Option<Version> {
        let at = self.live.take()?;
        self.found = None;
        let version = self.shard.delete(self.hash, at, self.now);
        Written::note(version);
        Some(version)
    }

    /// Sets the expiry of the live item, in Unix seconds; the version stays.
    pub fn touch(&mut self, exptime: u32) {
        let Some(at) = self.live else { return };
        let mut touched = Version::NONE;
        if self.shard.replicated.is_some() {
            touched = self.shard.next_version(self.now);
            self.shard.record_write(self.hash, touched, None);
            Written::note(touched);
        }
        let at = self.shard.touch(self.hash, at, exptime, touched, &mut self.room);
        (self.found, self.live) = (at, at);
    }

    /// Notes that a client was told to write the live item anew. It is this node's word: the peer
    /// hears of it with the item only.
    pub fn mark_won(&mut self) {
        if let Some(at) = self.live {
            self.shard.record_mut(at).mark_won();
        }
    }

    /// Notes that a client read the live item.
    pub fn mark_read(&mut self) {
        if let Some(at) = self.live {
            let seconds = self.now.seconds();
            self.shard.record_mut(at).mark_read(seconds);
        }
    }

    /// Notes that a client asked for the live item to be there, and read nothing of it.
    pub fn mark_used(&mut self) {
        if let Some(at) = self.live {
            let seconds = self.now.seconds();
            self.shard.record_mut(at).mark_used(seconds);
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
