//! Keys, and the items that they lead to: one at a time, and several whose memory is had together.

use super::caches::prefetch;
use super::change::Mark;
use super::entry::{Item, Locked};
use super::index::Peek;
use super::log::Position;
use super::record::options_of;
use super::room::Room;
use super::shard::Shard;
use super::version::Now;
use super::{Entry, Found, OutOfMemory, Store, guard};
use std::sync::MutexGuard;

/// Attempts at a write: others may take what was freed for it.
const ATTEMPTS: usize = 1000;

/// A key and its hash, which only this store's [`Store::hashed`] knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hashed<'k> {
    /// The key.
    pub key: &'k [u8],
    hash: u64,
}

impl Store {
    /// A key that is about to be used. Its part of the index begins to come closer.
    #[inline]
    pub fn hashed<'k>(&self, key: &'k [u8]) -> Hashed<'k> {
        let hash = self.hash(key);
        self.peek(hash).prefetch(hash);
        Hashed { key, hash }
    }

    #[inline]
    fn peek(&self, hash: u64) -> &Peek {
        &self.peeks[Store::shard_of(hash)]
    }

    /// Reads an item: `take` sees it while its shard is locked.
    pub fn get<R>(&self, key: &[u8], now: Now, take: impl FnOnce(Item<'_>) -> R) -> Found<R> {
        self.get_hashed(self.hashed(key), now, take)
    }

    /// As [`Store::get`].
    #[inline]
    pub fn get_hashed<R>(
        &self,
        key: Hashed<'_>,
        now: Now,
        take: impl FnOnce(Item<'_>) -> R,
    ) -> Found<R> {
        let (mut shard, at) = match self.find_live(key, now) {
            Ok(live) => live,
            Err(gone) => return gone,
        };
        shard.note_hit(at, now);
        Found::Hit(take(Item::new(&shard, shard.record(at), now)))
    }

    /// As [`Store::get`], but that the item is counted as read afterwards, and only if `take` gives
    /// something.
    #[inline]
    pub fn get_if<R>(
        &self,
        key: Hashed<'_>,
        now: Now,
        take: impl FnOnce(Item<'_>) -> Option<R>,
    ) -> Found<Option<R>> {
        let (mut shard, at) = match self.find_live(key, now) {
            Ok(live) => live,
            Err(gone) => return gone,
        };
        let taken = take(Item::new(&shard, shard.record(at), now));
        if taken.is_some() {
            shard.note_hit(at, now);
        }
        Found::Hit(taken)
    }

    /// The locked shard of a live item, and where the item stands in it; or why there is none.
    // Called, it would hand its large result over by memory: 40 instructions for each get.
    #[inline(always)]
    fn find_live<R>(
        &self,
        Hashed { key, hash }: Hashed<'_>,
        now: Now,
    ) -> Result<(MutexGuard<'_, Shard>, Position), Found<R>> {
        let number = Store::shard_of(hash);
        let shard = guard(&self.shards[number]);
        match shard.find(hash, key) {
            None => Err(Found::Miss),
            Some(at) if shard.is_dead(shard.record(at), now) => {
                Err(Locked::new(self, number, shard).bury_dead(hash, at, now))
            }
            Some(at) => Ok((shard, at)),
        }
    }

    /// Has the items of keys that are used next come closer, all at the same time instead of one after
    /// another. It changes nothing.
    #[inline]
    pub fn fetch_ahead<'k>(&self, keys: impl Iterator<Item = Hashed<'k>>) {
        for key in keys {
            if let Some(at) = self.peek(key.hash).position(key.hash) {
                prefetch::<2>(self.log.pointer(at));
            }
        }
    }

    /// Finds a live item; one that is dead is taken out of the way, and the finding says of what it died.
    pub fn seek<'s, 'k>(&'s self, key: &'k [u8], now: Now) -> Found<Entry<'s, 'k>> {
        let mut entry = self.entry(key, now);
        if entry.live.is_some() {
            return Found::Hit(entry);
        }
        match entry.found {
            Some(at) => entry.shard.bury_dead(entry.hash, at, now),
            None => Found::Miss,
        }
    }

    /// To be called before an item is sought to be touched: that may take some room.
    pub fn prepare_touch(&self, now: Now) {
        if self.log.is_short() {
            self.clean_on_the_way(now);
            // That may not have been enough, as when the limit was lowered just before; a write that has
            // no room is told so, but what is touched must not be lost.
            self.free_up(0, now);
        }
    }

    /// Locks a key for a step that writes nothing new.
    pub fn entry<'s, 'k>(&'s self, key: &'k [u8], now: Now) -> Entry<'s, 'k> {
        self.entry_hashed(self.hashed(key), now)
    }

    #[inline]
    fn entry_hashed<'s, 'k>(&'s self, Hashed { key, hash }: Hashed<'k>, now: Now) -> Entry<'s, 'k> {
        let number = Store::shard_of(hash);
        let shard = self.lock(number);
        let found = shard.find(hash, key);
        let live = found.filter(|&at| !shard.is_dead(shard.record(at), now));
        Entry { shard, room: Room::none(&self.log, number), hash, key, now, live, found }
    }

    /// Locks a key with room for a value of `value` bytes.
    pub fn entry_with_room<'s, 'k>(
        &'s self,
        key: &'k [u8],
        value: usize,
        now: Now,
    ) -> Result<Entry<'s, 'k>, OutOfMemory> {
        self.open(self.hashed(key), now, |_| (value, None))
    }

    /// Locks a key with room for `addition` bytes more than the item has.
    pub fn entry_to_join<'s, 'k>(
        &'s self,
        key: &'k [u8],
        addition: usize,
        now: Now,
    ) -> Result<Entry<'s, 'k>, OutOfMemory> {
        let joined = |item: Option<Item<'_>>| addition + item.map_or(0, |item| item.value().len());
        self.open(self.hashed(key), now, |item| (joined(item), None))
    }

    /// Locks a key with room for an item of `value` bytes with these flags and this expiry, and for no
    /// other.
    #[inline]
    pub fn entry_for<'s, 'k>(
        &'s self,
        key: Hashed<'k>,
        value: usize,
        (flags, exptime): (u32, u32),
        now: Now,
    ) -> Result<Entry<'s, 'k>, OutOfMemory> {
        let inline = value < self.log.block_from();
        let options = inline.then(|| options_of(flags, exptime, Mark::default()));
        self.open(key, now, |_| (value, options))
    }

    #[inline]
    fn open<'s, 'k>(
        &'s self,
        key: Hashed<'k>,
        now: Now,
        size: impl Fn(Option<Item<'_>>) -> (usize, Option<usize>),
    ) -> Result<Entry<'s, 'k>, OutOfMemory> {
        if self.log.is_short() {
            self.clean_on_the_way(now);
        }
        for _ in 0..ATTEMPTS {
            let mut entry = self.entry_hashed(key, now);
            let (value, options) = size(entry.item());
            let Err(wanted) = entry.reserve(value, options) else { return Ok(entry) };
            drop(entry);
            if !self.free_up(wanted, now) {
                break;
            }
        }
        Err(OutOfMemory)
    }
}
