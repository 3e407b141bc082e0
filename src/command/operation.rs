//! What commands do to the store, whatever the protocol they came by.

use super::observe::{Brought, name};
use super::prefixes::Asked;
use super::{Cache, WorkerCounters};
use crate::protocol::text::{self, Verb};
use crate::store::{Entry, Found, Hashed, Item, Mark, Now, Version};
use crate::watch::{Finding, Streams};

/// Relative expiry times reach this far, in seconds; larger numbers are dates.
const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;
/// A date long past: how "expired from the start" is kept.
const PAST: u32 = 1;
/// Who is interested in reads.
const READS: Streams = Streams::FETCHERS.and(Streams::PREFIXES);

/// Who is interested in writes.
const WRITES: Streams = READS.and(Streams::MUTATIONS);

/// One request's surroundings.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub cache: &'a Cache,
    pub worker: &'a WorkerCounters,
    pub now: Now,
}

/// What became of a storage command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Done(Version),
    Declined,
    Exists,
    NotFound,
    TooLarge,
    OutOfMemory,
}

/// What became of `delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    Done,
    NotFound,
    Exists,
}

/// An expiry time as clients give it, in Unix seconds; 0 is never.
pub(super) fn expiry(exptime: impl Into<i64>, now: Now) -> u32 {
    let exptime = exptime.into();
    let seconds = u32::try_from(exptime).unwrap_or(u32::MAX);
    match exptime {
        0 => 0,
        ..0 => PAST,
        1..=RELATIVE_MAX => now.seconds().saturating_add(seconds),
        _ => seconds,
    }
}

/// A value to store.
pub(super) struct Value<'a> {
    pub flags: u32,
    pub exptime: i64,
    pub bytes: &'a [u8],
    /// The version to append or prepend to, if it must be a certain one.
    pub only: Option<u64>,
}

impl Context<'_> {
    #[inline]
    pub(super) fn get<R>(&self, key: Hashed<'_>, take: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        self.worker.cmd_get.add(1);
        let watched = self.is_watched(READS);
        let found = self.cache.store.get_hashed(key, self.now, |item| {
            if watched {
                self.tell_read(key.key, Finding::Found, Some(item));
            }
            take(item)
        });
        let finding = match found {
            Found::Hit(taken) => return Some(taken),
            Found::Miss => Finding::Missing,
            Found::Expired => {
                self.worker.get_expired.add(1);
                Finding::Expired
            }
            Found::Flushed => {
                self.worker.get_flushed.add(1);
                Finding::Flushed
            }
        };
        self.worker.get_misses.add(1);
        if watched {
            self.tell_read(key.key, finding, None);
        }
        None
    }

    /// Tells and counts a read.
    #[cold]
    fn tell_read(&self, key: &[u8], found: Finding, item: Option<Item<'_>>) {
        self.tell_fetched(key, found, item);
        self.count(key, if item.is_some() { Asked::Hit } else { Asked::Miss });
    }

    pub(super) fn get_and_touch<R>(
        &self,
        key: &[u8],
        exptime: i64,
        take: impl FnOnce(Item<'_>) -> R,
    ) -> Option<R> {
        let touched = self.touched(key, exptime);
        self.count(key, if touched.is_some() { Asked::Hit } else { Asked::Miss });
        touched.and_then(|entry| entry.item().map(take))
    }

    pub(super) fn touch(&self, key: &[u8], exptime: i64) -> bool {
        self.touched(key, exptime).is_some()
    }

    fn touched<'s, 'k>(&'s self, key: &'k [u8], exptime: i64) -> Option<Entry<'s, 'k>> {
        self.worker.cmd_touch.add(1);
        self.cache.store.prepare_touch(self.now);
        let Found::Hit(mut entry) = self.seek(key) else {
            self.worker.touch_misses.add(1);
            return None;
        };
        entry.touch(expiry(exptime, self.now));
        entry.mark_read();
        if let Some(stats) = entry.class_stats() {
            stats.touch_hits += 1;
        }
        Some(entry)
    }

    pub(super) fn delete(&self, key: &[u8], only: Option<u64>) -> Deleted {
        self.count(key, Asked::Delete);
        let Found::Hit(mut entry) = self.seek(key) else {
            self.worker.delete_misses.add(1);
            return Deleted::NotFound;
        };
        if let Some(item) = entry.item() {
            if self.is_another(item, only) {
                return Deleted::Exists;
            }
            self.deleting(key, item, "delete");
        }
        if let Some(stats) = entry.class_stats() {
            stats.delete_hits += 1;
        }
        entry.delete();
        Deleted::Done
    }

    pub(super) fn store(&self, verb: Verb, hashed: Hashed<'_>, value: &Value<'_>) -> Stored {
        let key = hashed.key;
        let watched = self.is_watched(WRITES);
        if watched {
            self.count(key, Asked::Set);
        }
        let store = &self.cache.store;
        let size = store.item_size(key.len(), value.flags, value.bytes.len());
        let room = match verb {
            Verb::Append | Verb::Prepend => store.entry_to_join(key, value.bytes.len(), self.now),
            _ => {
                let fields = (value.flags, expiry(value.exptime, self.now));
                store.entry_for(hashed, value.bytes.len(), fields, self.now)
            }
        };
        let Ok(mut entry) = room else {
            return self.no_room(verb, key, size);
        };
        if watched {
            self.opened(key, &entry);
        }
        entry.stats_of_size(size).cmd_set += 1;
        let stored = self.store_at(&mut entry, verb, key, value);
        if watched && self.is_watched(Streams::MUTATIONS) {
            let brought = Brought {
                name: name(verb),
                size: value.bytes.len(),
                exptime: expiry(value.exptime, self.now),
                item_size: size,
            };
            self.tell_stored(key, stored, &brought, entry.item());
        }
        stored
    }

    #[inline]
    fn store_at(
        &self,
        entry: &mut Entry<'_, '_>,
        verb: Verb,
        key: &[u8],
        value: &Value<'_>,
    ) -> Stored {
        let refused = match verb {
            Verb::Add if entry.item().is_some() => {
                entry.mark_used();
                Some(Stored::Declined)
            }
            Verb::Replace if entry.item().is_none() => Some(Stored::Declined),
            Verb::Set | Verb::Add | Verb::Replace => None,
            Verb::Append | Verb::Prepend => return self.join(entry, verb, key, value),
            Verb::Cas(version) => self.compare(entry, version),
        };
        refused.unwrap_or_else(|| {
            let exptime = expiry(value.exptime, self.now);
            Stored::Done(entry.put(value.flags, exptime, &[value.bytes]))
        })
    }

    /// The room for a write could not be had.
    pub(super) fn no_room(&self, verb: Verb, key: &[u8], size: u64) -> Stored {
        self.worker.store_no_memory.add(1);
        self.cache.store.count_out_of_memory(size);
        self.refused(verb, key, Stored::OutOfMemory, size)
    }

    /// A data block of the wrong length was thrown away; memcached counts it as a set.
    pub(super) fn bad_chunk(&self, store: &text::Store<'_>) {
        self.count(store.key, Asked::Set);
        let size = self.cache.store.item_size(store.key.len(), store.flags, store.length);
        self.cache.store.entry(store.key, self.now).stats_of_size(size).cmd_set += 1;
    }

    /// A value that is larger than items may be was refused.
    pub(super) fn too_large(&self, verb: Verb, key: &[u8]) -> Stored {
        self.worker.store_too_large.add(1);
        self.refused(verb, key, Stored::TooLarge, self.cache.store.item_size_max())
    }

    /// A value was refused before it came: what is there now is not what the client wants there.
    fn refused(&self, verb: Verb, key: &[u8], refused: Stored, item_size: u64) -> Stored {
        if self.is_watched(Streams::MUTATIONS) {
            let brought = Brought { name: name(verb), size: 0, exptime: 0, item_size };
            self.tell_stored(key, refused, &brought, None);
        }
        if verb == Verb::Set {
            self.cache.store.entry(key, self.now).delete();
        }
        refused
    }

    /// The version as clients see it.
    pub(super) fn shown(&self, version: Version) -> u64 {
        if self.cache.settings.cas { version.raw() } else { 0 }
    }

    pub(super) fn is_another(&self, item: Item<'_>, only: Option<u64>) -> bool {
        only.is_some_and(|version| version != self.cache.cas_of(item))
    }

    /// Why a `cas` is refused, if it is.
    fn compare(&self, entry: &mut Entry<'_, '_>, version: u64) -> Option<Stored> {
        let Some(item) = entry.item() else {
            self.worker.cas_misses.add(1);
            return Some(Stored::NotFound);
        };
        let same = self.cache.settings.cas && item.cas() == version;
        if let Some(stats) = entry.class_stats() {
            let counter = if same { &mut stats.cas_hits } else { &mut stats.cas_badval };
            *counter += 1;
        }
        (!same).then_some(Stored::Exists)
    }

    fn join(&self, entry: &mut Entry<'_, '_>, verb: Verb, key: &[u8], value: &Value<'_>) -> Stored {
        let Some(item) = entry.item() else {
            return Stored::Declined;
        };
        if self.is_another(item, value.only) {
            return Stored::Exists;
        }
        let appends = verb == Verb::Append;
        let joined = self.put_joined(entry, key, value.bytes, appends, Mark::default());
        joined.map_or(Stored::TooLarge, Stored::Done)
    }

    /// Adds to the value of the live item, at its end or its front; `None` if there is no item or it
    /// would be too large.
    pub(super) fn put_joined(
        &self,
        entry: &mut Entry<'_, '_>,
        key: &[u8],
        addition: &[u8],
        appends: bool,
        mark: Mark,
    ) -> Option<Version> {
        let item = entry.item()?;
        let (flags, exptime) = (item.flags(), item.exptime());
        let store = &self.cache.store;
        let size = store.item_size(key.len(), flags, item.value().len() + addition.len());
        if size > store.item_size_max() {
            self.worker.store_too_large.add(1);
            return None;
        }
        let old = item.value().to_vec();
        let pieces = if appends { [&old, addition] } else { [addition, &old] };
        Some(entry.put_marked(flags, exptime, &pieces, mark))
    }

    /// Flushes now or then; false where that is not allowed.
    pub(super) fn flush(&self, delay: i64) -> bool {
        self.worker.cmd_flush.add(1);
        if !self.cache.settings.flush_enabled {
            return false;
        }
        if delay > 0 {
            let at = expiry(delay, self.now);
            self.cache.store.flush_at(u64::from(at) * 1000, self.now);
        } else {
            self.cache.store.flush(self.now);
        }
        true
    }
}
