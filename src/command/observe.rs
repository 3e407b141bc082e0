//! What requests tell those who watch, and the counts by prefix. With nobody there every request
//! pays for one look at a flag.

use super::operation::{Context, Stored};
use super::prefixes::Asked;
use crate::protocol::text::Verb;
use crate::store::{Entry, Found, Item, Store, Version};
use crate::watch::{Event, Finding, Log, Streams};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a storage command brought.
pub(super) struct Brought {
    /// The command.
    pub name: &'static str,
    /// Bytes of the value.
    pub size: usize,
    /// Unix seconds at which it is to end; 0 is never.
    pub exptime: u32,
    /// Size of the item as memcached counts it, in bytes.
    pub item_size: u64,
}

/// The name of a storage command, in the lines of `watch`.
pub(super) fn name(verb: Verb) -> &'static str {
    match verb {
        Verb::Set => "set",
        Verb::Add => "add",
        Verb::Replace => "replace",
        Verb::Append => "append",
        Verb::Prepend => "prepend",
        Verb::Cas(_) => "cas",
    }
}

/// Has the store tell `log` what it evicts.
pub(super) fn evictions(store: &Store, log: &Arc<Log>) {
    let (log, classes) = (Arc::clone(log), store.classes().clone());
    store.observe_evictions(Box::new(move |item, now| {
        if !log.wants(Streams::EVICTIONS) {
            return;
        }
        let (key, size) = (item.key(), item.value().len());
        let item_size = classes.item_size(key.len(), item.flags(), size);
        let left = item.exptime().saturating_sub(now.seconds());
        let event = Event::Evicted {
            key,
            fetched: item.fetched(),
            ttl: (item.exptime() != 0).then_some(left),
            unused: now.seconds().saturating_sub(item.accessed()),
            class: classes.class_of(item_size),
            size,
        };
        log.tell(None, &event);
    }));
}

impl Context<'_> {
    /// Whether anybody is interested in one of `streams`.
    #[inline]
    pub(super) fn is_watched(&self, streams: Streams) -> bool {
        self.cache.watch.wants(streams)
    }

    fn tell(&self, event: &Event<'_>) {
        self.cache.watch.tell(Some(self.worker.number), event);
    }

    fn client(&self) -> i32 {
        self.worker.client.load(Ordering::Relaxed)
    }

    /// Tells of a look-up.
    #[cold]
    pub(super) fn tell_fetched(&self, key: &[u8], found: Finding, item: Option<Item<'_>>) {
        if !self.is_watched(Streams::FETCHERS) {
            return;
        }
        let class = item.map_or(0, |item| self.cache.class_of(&item));
        let size = item.map_or(0, |item| item.value().len());
        let client = self.client();
        self.tell(&Event::Fetched { key, found, class, client, size });
    }

    /// Finds a live item as [`Store::seek`] does, and tells of it.
    pub(super) fn seek<'k>(&self, key: &'k [u8]) -> Found<Entry<'_, 'k>> {
        let found = self.cache.store.seek(key, self.now);
        if self.is_watched(Streams::FETCHERS) {
            match &found {
                Found::Hit(entry) => self.tell_fetched(key, Finding::Found, entry.item()),
                Found::Miss => self.tell_fetched(key, Finding::Missing, None),
                Found::Expired => self.tell_fetched(key, Finding::Expired, None),
                Found::Flushed => self.tell_fetched(key, Finding::Flushed, None),
            }
        }
        found
    }

    /// Tells of the look-up on the way to a write.
    pub(super) fn opened(&self, key: &[u8], entry: &Entry<'_, '_>) {
        if self.is_watched(Streams::FETCHERS) {
            let item = entry.item();
            let found = if item.is_some() { Finding::Found } else { Finding::Missing };
            self.tell_fetched(key, found, item);
        }
    }

    /// Counts a request by the prefix of its key.
    pub(super) fn count(&self, key: &[u8], asked: Asked) {
        if self.is_watched(Streams::PREFIXES) {
            self.cache.prefixes.count(key, asked);
        }
    }

    /// Tells what became of a storage command; `item` is what was stored, if it was.
    #[cold]
    pub(super) fn tell_stored(
        &self,
        key: &[u8],
        stored: Stored,
        brought: &Brought,
        item: Option<Item<'_>>,
    ) {
        let item = item.filter(|_| matches!(stored, Stored::Done(_)));
        let exptime = item.map_or(brought.exptime, |item| item.exptime());
        let item_size = item.map_or(brought.item_size, |item| self.cache.item_size(&item));
        let status = match stored {
            Stored::Done(_) => "stored",
            Stored::Declined => "not_stored",
            Stored::Exists => "exists",
            Stored::NotFound => "not_found",
            Stored::TooLarge => "too_large",
            Stored::OutOfMemory => "no_memory",
        };
        self.tell(&Event::Stored {
            key,
            status,
            command: brought.name,
            // What ended before it began shows as a number below zero without its sign.
            ttl: if exptime == 0 { 0 } else { exptime.wrapping_sub(self.now.seconds()) },
            class: self.cache.store.classes().class_of(item_size),
            client: self.client(),
            size: item.map_or(brought.size, |item| item.value().len()),
        });
    }

    /// Tells that a command that counts has stored the number to begin with.
    pub(super) fn tell_begun(&self, key: &[u8], version: Version, entry: &Entry<'_, '_>) {
        if self.is_watched(Streams::MUTATIONS) {
            let brought = Brought { name: "add", size: 0, exptime: 0, item_size: 0 };
            self.tell_stored(key, Stored::Done(version), &brought, entry.item());
        }
    }

    /// Tells that an item is about to be deleted.
    pub(super) fn deleting(&self, key: &[u8], item: Item<'_>, command: &'static str) {
        if self.is_watched(Streams::DELETIONS) {
            let (class, size) = (self.cache.class_of(&item), item.value().len());
            self.tell(&Event::Deleted { key, command, class, size });
        }
    }
}
