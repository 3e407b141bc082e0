//! The store: items by key within a memory budget, each with a version. No I/O; time is a parameter.
//!
//! What is public here is the interface that everything above uses, and that another engine can stand
//! behind: [`Store::get`] and [`Store::entry`] for commands, [`Store::merge`] for what the peer
//! sends, [`Store::live_changes`] and [`Store::walk`] for what the peer is sent, [`Store::restore`]
//! for what an earlier store held.
//!
//! Keys are spread over [`SHARDS`] shards by a keyed hash, each behind a lock that is held for one
//! step only. All share one log and one budget:
//!
//! | module | what it is |
//! |---|---|
//! | `record`, `block`, `caches` | how an item stands in memory, and a large value |
//! | `landing` | where a large value arrives |
//! | `log`, `segment` | what records are appended to |
//! | `index` | where the record of a key stands |
//! | `shard`, `entry`, `lookup` | one part of the keys, and one key, locked; the way to it |
//! | `put`, `room` | how items are written and moved, and where to |
//! | `clean`, `evict`, `density`, `expiry`, `flush`, `ghost` | how room is made |
//! | `tombstone`, `ring`, `stream`, `merge` | what the peer is told and tells |
//!
//! Locks are taken in the order cleaner, shard, lane, pool. `docs/engine.md` tells the whole.

mod area;
mod block;
mod budget;
mod caches;
mod change;
#[cfg(test)]
mod check;
mod classes;
mod clean;
mod density;
mod entry;
mod evict;
mod expiry;
mod flush;
mod ghost;
mod index;
mod inspect;
mod landing;
mod log;
mod lookup;
mod merge;
mod put;
mod record;
mod references;
mod restore;
mod ring;
mod room;
mod segment;
mod settings;
mod shard;
mod stats;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod tombstone;
mod version;
mod written;

pub use change::{Applied, Change, Flush, Mark};
pub use classes::{Classes, PAGE};
pub use entry::{Entry, Item, Payload};
pub use inspect::Cursor;
pub use landing::Landing;
pub use lookup::Hashed;
pub use restore::Progress;
pub use settings::Settings;
pub use stats::{ClassStats, StoreStats};
pub use stream::{LiveStep, Walk};
pub use version::{Node, Now, Version};
pub use written::Written;

use ahash::RandomState;
use clean::Cleaner;
use entry::Locked;
use index::{Index, Peek};
use log::Log;
use shard::{Replicated, Shard};
use std::sync::atomic::{self, AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Number of shards: many more than workers, and as many as an atomic word has bits.
pub const SHARDS: usize = 64;

/// Values from this size on are shared with the connections that send them instead of copied, and
/// smaller ones, too, where the whole memory is small.
pub const SHARED_FROM: usize = record::INLINE_MAX;

/// Records that one tick moves to gather what sparse segments hold.
const COMPACT_STEPS: usize = 4096;
/// Records that one look under the cleaner's lock takes in.
const CLEAN_STEP: usize = 256;
/// Looks that one tick takes to come below a limit that was lowered.
const SHRINK_STEPS: usize = 256;
/// Memory for which the index begins with a bucket, in bytes.
const MEMORY_PER_BUCKET: u64 = 16 * 1024;

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
    peeks: Box<[Peek]>,
    hasher: RandomState,
    log: Arc<Log>,
    cleaner: Mutex<Cleaner>,
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
    crawling: AtomicBool,
}

impl Store {
    /// An empty store.
    pub fn new(settings: &Settings) -> Store {
        Store::hashing_by(settings, RandomState::new())
    }

    /// An empty store that spreads its keys as any other of this seed does: what is tried with it can be
    /// tried again. Not for keys of clients, who could find some that all fall into one place.
    pub fn seeded(settings: &Settings, seed: u64) -> Store {
        Store::hashing_by(settings, RandomState::with_seeds(seed, 1, 2, 3))
    }

    fn hashing_by(settings: &Settings, hasher: RandomState) -> Store {
        let classes =
            Arc::new(Classes::new(settings.growth_factor, settings.chunk_size, settings.cas));
        let replicated = settings.tombstone_memory.map(|bytes| Replicated {
            node: Node::A,
            // Remembered deletes must never fill the cache.
            tombstone_limit: bytes.min(settings.memory / 4) / SHARDS as u64,
        });
        let log = Arc::new(Log::new(settings.memory, settings.evictions, settings.huge_pages));
        let level = (settings.memory / SHARDS as u64 / MEMORY_PER_BUCKET).max(1).ilog2();
        let indices: Vec<_> = (0..SHARDS).map(|_| Index::new(level, settings.huge_pages)).collect();
        let peeks = indices.iter().map(Index::peek).collect();
        let shard = |(number, index)| {
            Mutex::new(Shard::new(
                number,
                index,
                Arc::clone(&log),
                Arc::clone(&classes),
                replicated,
            ))
        };
        let store = Store {
            shards: indices.into_iter().enumerate().map(shard).collect(),
            peeks,
            hasher,
            log,
            cleaner: Mutex::new(Cleaner::default()),
            classes,
            evictions: settings.evictions,
            item_size_max: settings.item_size_max,
            flush: Mutex::new(Flush::default()),
            node: AtomicU8::new(0),
            replicated: replicated.is_some(),
            dirty: AtomicU64::new(0),
            wake: OnceLock::new(),
            evicted: OnceLock::new(),
            crawling: AtomicBool::new(true),
        };
        // Each settles what its empty index costs.
        (0..SHARDS).for_each(|number| drop(store.lock(number)));
        store
    }

    fn lock(&self, number: usize) -> Locked<'_> {
        Locked::new(self, number, guard(&self.shards[number]))
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard_of(hash: u64) -> usize {
        // The index uses the low bits.
        (hash >> 58) as usize
    }

    /// Has `observer` see evictions; one for the life of the store, a second one is not heard. It is
    /// called with a shard locked: it must be quick and must not come back to the store.
    pub fn observe_evictions(&self, observer: EvictionObserver) {
        let _ = self.evicted.set(observer);
    }

    /// Applies a change that came from the peer.
    pub fn merge(&self, change: &Change<'_>, now: Now) -> Applied {
        let entry = match *change {
            Change::Set { key, value, flags, .. } => {
                if self.item_size(key.len(), flags, value.len()) > self.item_size_max {
                    return self.merge_unstorable(change, now);
                }
                match self.entry_with_room(key, value.len(), now) {
                    Ok(entry) => entry,
                    Err(OutOfMemory) => return self.merge_unstorable(change, now),
                }
            }
            Change::Delete { key, .. } | Change::Touch { key, .. } => self.entry(key, now),
            Change::Flush(flush) => {
                self.merge_flush(flush, now);
                return Applied::Accepted;
            }
        };
        entry.merge(change)
    }

    /// A value that has no place here still ends the older one.
    fn merge_unstorable(&self, change: &Change<'_>, now: Now) -> Applied {
        if let Change::Set { key, version, .. } = *change {
            self.entry(key, now).merge(&Change::Delete { key, version });
        }
        Applied::Dropped
    }

    /// Work that time brings: call about every 100 ms. Makes a delayed flush happen, brings memory
    /// below a limit that was lowered, and takes back the memory of some items that are dead.
    pub fn tick(&self, now: Now) {
        self.merge_flush(Flush::default(), now);
        self.shrink(now);
        if self.crawling() {
            self.crawl(now);
        }
        self.compact(now);
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

    /// Evicts some of what is above a limit that was lowered.
    fn shrink(&self, now: Now) {
        let enough = || self.log.budget.is_met();
        for _ in 0..SHRINK_STEPS {
            if enough() || !self.clean(&mut guard(&self.cleaner), CLEAN_STEP, enough, now) {
                break;
            }
        }
        self.log.budget.lower_ceiling();
    }

    /// Gathers what sparse segments hold, so that the memory of the rest is free.
    fn compact(&self, now: Now) {
        for _ in 0..COMPACT_STEPS / CLEAN_STEP {
            if !self.gather(&mut guard(&self.cleaner), CLEAN_STEP, now) {
                break;
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
        self.log.budget.limit()
    }

    /// Changes what items may cost; the excess is evicted by and by.
    pub fn set_memory_limit(&self, bytes: u64) {
        self.log.budget.set_limit(bytes);
    }

    /// Bytes that items, tombstones and their index cost now.
    pub fn memory_used(&self) -> u64 {
        self.log.budget.used()
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
            sum.total_items += shard.total_items;
            sum.crawler_checked += shard.crawler_checked;
            sum.tombstones += shard.tombstones.len() as u64;
            sum.unsent += shard.ring.len() as u64;
            sum.conflicts += shard.conflicts;
        }
        self.ages(now, &mut sum.ages);
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
