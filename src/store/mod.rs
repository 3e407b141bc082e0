//! The store: items by key within a memory budget, each with a version. No I/O; time is a parameter.
//!
//! This file is the interface that everything above uses, and that another engine can stand
//! behind: [`Store::get`] and [`Store::entry`] for commands, [`Store::merge`] for what the peer
//! sends, [`Store::live_changes`] and [`Store::walk`] for what the peer is sent, [`Store::restore`]
//! for what an earlier store held.
//!
//! Keys are spread over [`SHARDS`] shards by a keyed hash, each behind a lock that is held for one
//! step only. Memory is one budget for all of them.

mod budget;
mod change;
mod classes;
mod entry;
mod evict;
mod inspect;
mod merge;
mod restore;
mod ring;
mod shard;
mod slots;
mod stats;
mod stream;
#[cfg(test)]
mod tests;
mod version;
mod written;

pub use change::{Applied, Change, Flush, Mark};
pub use classes::{Classes, PAGE};
pub use entry::{Entry, Item};
pub use inspect::Cursor;
pub use restore::Progress;
pub use slots::SHARED_FROM;
pub use stats::{ClassStats, StoreStats};
pub use stream::{LiveStep, Walk};
pub use version::{Node, Now, Version};
pub use written::Written;

use ahash::RandomState;
use budget::Budget;
use entry::Locked;
use shard::{Replicated, Shard};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Number of shards: many more than workers, and as many as an atomic word has bits.
pub const SHARDS: usize = 64;

/// Slots that the background search looks at under one lock.
const CRAWL_STEP: u32 = 512;
/// Locks that one tick of the background search takes, after a flush and otherwise.
const CRAWL_STEPS: (usize, usize) = (256, 4);
/// Locks that one tick takes to come below a limit that was lowered.
const SHRINK_STEPS: usize = 256;
/// Oldest items per shard that `stats items` looks at for its ages.
const AGE_SAMPLE: usize = 64;

/// What a store is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes that items may cost together, everything included.
    pub memory: u64,
    /// Whether old items make room for new ones (`-M` says no).
    pub evictions: bool,
    /// Largest item, in bytes as memcached counts them (`-I`).
    pub item_size_max: u64,
    /// Slab growth factor, for the statistics (`-f`).
    pub growth_factor: f64,
    /// Smallest slab chunk's room for key, value and flags in bytes, for the statistics (`-n`).
    pub chunk_size: u32,
    /// Whether clients see CAS (`-C` says no); items are counted 8 bytes smaller without.
    pub cas: bool,
    /// Bytes that remembered deletes may cost; `None` when there is no peer.
    pub tombstone_memory: Option<u64>,
}

/// There is no room, and nothing may be evicted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<R> {
    /// The item, as the caller's function took it.
    Hit(R),
    /// Nothing.
    Miss,
    /// An item whose time was over.
    Expired,
    /// An item from before the last flush.
    Flushed,
}

/// Sees every live item that has to make room, just before it goes.
pub type EvictionObserver = Box<dyn Fn(Item<'_>, Now) + Send + Sync>;

/// The items of one node.
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    budget: Budget,
    classes: Arc<Classes>,
    evictions: bool,
    item_size_max: u64,
    flush: Mutex<Flush>,
    /// Which of the two nodes this is; 0 is A.
    node: AtomicU8,
    replicated: bool,
    /// Shards whose live stream has something, a bit each.
    dirty: AtomicU64,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
    evicted: OnceLock<EvictionObserver>,
    next_victim: AtomicUsize,
    next_crawl: AtomicUsize,
    /// Shards that a flush has left full of dead items.
    to_crawl: AtomicUsize,
    crawling: AtomicBool,
}

impl Store {
    /// An empty store.
    pub fn new(settings: &Settings) -> Store {
        let classes =
            Arc::new(Classes::new(settings.growth_factor, settings.chunk_size, settings.cas));
        let replicated = settings.tombstone_memory.map(|bytes| Replicated {
            node: Node::A,
            // Remembered deletes must never fill the cache.
            tombstone_limit: bytes.min(settings.memory / 4) / SHARDS as u64,
        });
        Store {
            shards: (0..SHARDS)
                .map(|number| Mutex::new(Shard::new(number, Arc::clone(&classes), replicated)))
                .collect(),
            hasher: RandomState::new(),
            budget: Budget::new(settings.memory),
            classes,
            evictions: settings.evictions,
            item_size_max: settings.item_size_max,
            flush: Mutex::new(Flush::default()),
            node: AtomicU8::new(0),
            replicated: replicated.is_some(),
            dirty: AtomicU64::new(0),
            wake: OnceLock::new(),
            evicted: OnceLock::new(),
            next_victim: AtomicUsize::new(0),
            next_crawl: AtomicUsize::new(0),
            to_crawl: AtomicUsize::new(0),
            crawling: AtomicBool::new(true),
        }
    }

    fn lock(&self, number: usize) -> Locked<'_> {
        self.lock_reserved(number, 0)
    }

    fn lock_reserved(&self, number: usize, reserved: u64) -> Locked<'_> {
        Locked::new(self, number, guard(&self.shards[number]), reserved)
    }

    fn shard_of(hash: u64) -> usize {
        // The index uses the low bits for its buckets and the top seven for its tags.
        (hash >> 48) as usize % SHARDS
    }

    /// Reads an item: `take` sees it while its shard is locked.
    pub fn get<R>(&self, key: &[u8], now: Now, take: impl FnOnce(Item<'_>) -> R) -> Found<R> {
        let mut entry = match self.seek(key, now) {
            Found::Hit(entry) => entry,
            Found::Miss => return Found::Miss,
            Found::Expired => return Found::Expired,
            Found::Flushed => return Found::Flushed,
        };
        entry.mark_read();
        if let Some(stats) = entry.class_stats() {
            stats.get_hits += 1;
        }
        entry.item().map_or(Found::Miss, |item| Found::Hit(take(item)))
    }

    /// Finds a live item; one that is dead is taken out of the way, and the finding says of what it died.
    pub fn seek<'s, 'k>(&'s self, key: &'k [u8], now: Now) -> Found<Entry<'s, 'k>> {
        let mut entry = self.open(key, now, 0);
        if entry.live.is_some() {
            return Found::Hit(entry);
        }
        let Some(at) = entry.found else {
            return Found::Miss;
        };
        let slot = entry.shard.slots.get(at);
        if slot.state != slots::State::Item {
            return Found::Miss;
        }
        let found =
            if slot.version < entry.shard.horizon { Found::Flushed } else { Found::Expired };
        entry.shard.reclaim(at, now);
        found
    }

    /// Locks a key for a step that writes nothing new.
    pub fn entry<'s, 'k>(&'s self, key: &'k [u8], now: Now) -> Entry<'s, 'k> {
        self.open(key, now, 0)
    }

    /// Locks a key with room for a value of `value` bytes.
    pub fn entry_with_room<'s, 'k>(
        &'s self,
        key: &'k [u8],
        value: usize,
        now: Now,
    ) -> Result<Entry<'s, 'k>, OutOfMemory> {
        let cost = slots::cost_of(key.len(), value);
        self.make_room(cost, now)?;
        Ok(self.open(key, now, cost))
    }

    fn open<'s, 'k>(&'s self, key: &'k [u8], now: Now, reserved: u64) -> Entry<'s, 'k> {
        let hash = self.hasher.hash_one(key);
        let shard = self.lock_reserved(Store::shard_of(hash), reserved);
        let found = shard.find(hash, key);
        let live = found.filter(|&at| shard.is_live(at, now));
        Entry { shard, hash, key, now, live, found }
    }

    /// Reserves `bytes`, at the price of old items.
    fn make_room(&self, bytes: u64, now: Now) -> Result<(), OutOfMemory> {
        while !self.budget.reserve(bytes) {
            if !self.evictions || bytes > self.budget.limit() || !self.evict(bytes, now) {
                return Err(OutOfMemory);
            }
        }
        Ok(())
    }

    /// Evicts a few items somewhere; false when there is none left anywhere.
    fn evict(&self, wanted: u64, now: Now) -> bool {
        let start = self.next_victim.fetch_add(1, Ordering::Relaxed);
        let observe = |item: Item<'_>| {
            if let Some(observer) = self.evicted.get() {
                observer(item, now);
            }
        };
        (0..SHARDS).any(|offset| self.lock((start + offset) % SHARDS).evict(wanted, now, observe))
    }

    /// Has `observer` see evictions; one for the life of the store, a second one is not heard. It is
    /// called with a shard locked: it must be quick and must not come back to the store.
    pub fn observe_evictions(&self, observer: EvictionObserver) {
        let _ = self.evicted.set(observer);
    }

    /// Applies a change that came from the peer.
    pub fn merge(&self, change: &Change<'_>, now: Now) -> Applied {
        let (key, room) = match *change {
            Change::Set { key, value, flags, mark, .. } => {
                if self.item_size(key.len(), flags, value.len()) > self.item_size_max {
                    return self.merge_unstorable(change, now);
                }
                (key, slots::cost_of(key.len() + mark.len(), value.len()))
            }
            Change::Delete { key, .. } | Change::Touch { key, .. } => (key, 0),
            Change::Flush(flush) => {
                self.merge_flush(flush, now);
                return Applied::Accepted;
            }
        };
        if room > 0 && self.make_room(room, now).is_err() {
            return self.merge_unstorable(change, now);
        }
        let hash = self.hasher.hash_one(key);
        self.lock_reserved(Store::shard_of(hash), room).merge(hash, change, now)
    }

    /// A value that has no place here still ends the older one.
    fn merge_unstorable(&self, change: &Change<'_>, now: Now) -> Applied {
        if let Change::Set { key, version, .. } = *change {
            let hash = self.hasher.hash_one(key);
            self.lock(Store::shard_of(hash)).merge(hash, &Change::Delete { key, version }, now);
        }
        Applied::Dropped
    }

    /// `flush_all`: everything stored until now is gone.
    pub fn flush(&self, now: Now) {
        let issued = self.version_after_all(now);
        Written::note_flush(issued);
        // A flush that was to come is replaced, as memcached does.
        self.merge_flush(Flush { horizon: issued, issued, at: 0 }, now);
    }

    /// `flush_all` with a delay: at `at` (Unix milliseconds) everything stored before is gone.
    pub fn flush_at(&self, at: u64, now: Now) {
        let issued = self.version_after_all(now);
        Written::note_flush(issued);
        self.merge_flush(Flush { horizon: Version::NONE, issued, at }, now);
    }

    fn version_after_all(&self, now: Now) -> Version {
        let newest = (0..SHARDS).map(|number| self.lock(number).clock.last()).max();
        let mut clock = version::VersionClock::new(0);
        clock.observe(newest.unwrap_or_default());
        clock.observe(guard(&self.flush).issued);
        clock.next(now, self.node())
    }

    fn merge_flush(&self, flush: Flush, now: Now) {
        let (before, after) = {
            let mut state = guard(&self.flush);
            let before = *state;
            *state = state.merge(flush).advance(now.0);
            (before, *state)
        };
        if after.horizon > before.horizon {
            (0..SHARDS).for_each(|number| self.lock(number).flush_before(after.horizon));
            self.crawl_soon();
        }
        if after != before && self.replicated {
            self.wake_sender();
        }
    }

    /// What `flush_all` has done and will do.
    pub fn flush_state(&self) -> Flush {
        *guard(&self.flush)
    }

    /// Work that time brings: call about every 100 ms. Makes a delayed flush happen, brings memory
    /// below a limit that was lowered, and takes back the memory of some items that are dead.
    pub fn tick(&self, now: Now) {
        self.merge_flush(Flush::default(), now);
        self.shrink(now);
        if self.crawling() {
            self.crawl(now);
        }
    }

    /// Whether dead items are searched for.
    pub fn crawling(&self) -> bool {
        self.crawling.load(Ordering::Relaxed)
    }

    /// Starts or stops the search for dead items; says whether it was on. Without it they go when
    /// they are met, or when room is made.
    pub fn set_crawling(&self, on: bool) -> bool {
        self.crawling.swap(on, Ordering::Relaxed)
    }

    /// Has all shards searched for dead items at once.
    pub fn crawl_soon(&self) {
        self.to_crawl.store(SHARDS, Ordering::Relaxed);
    }

    /// Evicts some of what is above a limit that was lowered.
    fn shrink(&self, now: Now) {
        for _ in 0..SHRINK_STEPS {
            let excess = self.budget.excess();
            if excess == 0 || !self.evictions || !self.evict(excess, now) {
                break;
            }
        }
        self.budget.lower_ceiling();
    }

    /// Goes on with the search for dead items, in bounded steps: leisurely, but after a flush at once.
    fn crawl(&self, now: Now) {
        let hurry = self.to_crawl.load(Ordering::Relaxed) > 0;
        for _ in 0..if hurry { CRAWL_STEPS.0 } else { CRAWL_STEPS.1 } {
            let number = self.next_crawl.load(Ordering::Relaxed) % SHARDS;
            if self.lock(number).crawl(CRAWL_STEP, now) {
                self.next_crawl.fetch_add(1, Ordering::Relaxed);
                let left = self.to_crawl.load(Ordering::Relaxed);
                self.to_crawl.store(left.saturating_sub(1), Ordering::Relaxed);
            }
        }
    }

    /// Size of an item as memcached counts it, in bytes.
    pub fn item_size(&self, key: usize, flags: u32, value: usize) -> u64 {
        self.classes.item_size(key, flags, value)
    }

    /// Largest item, in bytes as memcached counts them.
    pub fn item_size_max(&self) -> u64 {
        self.item_size_max
    }

    /// The table of virtual slab classes.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Counts a write that was refused for lack of room.
    pub fn count_out_of_memory(&self, item_size: u64) {
        let class = usize::from(self.classes.class_of(item_size)) - 1;
        self.lock(0).stats[class].outofmemory += 1;
    }

    /// Bytes that items may cost.
    pub fn memory_limit(&self) -> u64 {
        self.budget.limit()
    }

    /// Changes what items may cost; the excess is evicted by and by.
    pub fn set_memory_limit(&self, bytes: u64) {
        self.budget.set_limit(bytes);
    }

    /// Bytes that items, tombstones and their index cost now.
    pub fn memory_used(&self) -> u64 {
        self.budget.used()
    }

    /// Everything the store counts, summed over the shards.
    pub fn stats(&self, now: Now) -> StoreStats {
        let mut sum = StoreStats {
            classes: vec![ClassStats::default(); self.classes.count()],
            ages: vec![0; self.classes.count()],
            ..StoreStats::default()
        };
        for number in 0..SHARDS {
            let shard = self.lock(number);
            for (class, &other) in sum.classes.iter_mut().zip(&shard.stats) {
                let evicted_time = class.evicted_time.max(other.evicted_time);
                *class += other;
                class.evicted_time = evicted_time;
            }
            shard.ages(AGE_SAMPLE, now, &mut sum.ages);
            sum.total_items += shard.total_items;
            sum.crawler_checked += shard.crawler_checked;
            sum.tombstones += shard.tombstones;
            sum.unsent += shard.ring.len() as u64;
            sum.conflicts += shard.conflicts;
        }
        sum
    }

    /// `stats reset`: counts of events start again from zero.
    pub fn reset_stats(&self) {
        for number in 0..SHARDS {
            let mut shard = self.lock(number);
            shard.stats.iter_mut().for_each(ClassStats::reset);
            shard.total_items = 0;
            shard.crawler_checked = 0;
        }
    }

    /// Which of the two nodes makes the versions here.
    pub fn node(&self) -> Node {
        if self.node.load(Ordering::Relaxed) == 0 { Node::A } else { Node::B }
    }

    /// Says which of the two nodes this is.
    pub fn set_node(&self, node: Node) {
        self.node.store(u8::from(node == Node::B), Ordering::Relaxed);
        for number in 0..SHARDS {
            if let Some(replicated) = &mut self.lock(number).replicated {
                replicated.node = node;
            }
        }
    }

    fn wake_sender(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

/// A lock whose holder panicked is used on: release builds abort on panic, and in tests the
/// panic itself is what is to be seen.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
