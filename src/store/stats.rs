//! What the store counts, per virtual slab class.

use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one virtual slab class.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ClassStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for ClassStats {
            fn add_assign(&mut self, other: ClassStats) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Items held.
    number,
    /// Their sizes as memcached counts them, in bytes.
    mem_requested,
    /// Chunks they would take.
    chunks,
    /// Reads that found an item.
    get_hits,
    /// Storage commands, whatever came of them.
    cmd_set,
    /// Deletes that found an item.
    delete_hits,
    /// Increments that found an item.
    incr_hits,
    /// Decrements that found an item.
    decr_hits,
    /// `cas` with the right version.
    cas_hits,
    /// `cas` with another version.
    cas_badval,
    /// Touches that found an item.
    touch_hits,
    /// Live items that had to make room.
    evicted,
    /// Those of them that had an expiry.
    evicted_nonzero,
    /// Those of them that nobody had read.
    evicted_unfetched,
    /// Those of them that had been read since the hand last passed.
    evicted_active,
    /// Seconds that the last evicted item had not been used.
    evicted_time,
    /// Writes refused for lack of room.
    outofmemory,
    /// Expired or flushed items whose room was taken back.
    reclaimed,
    /// Those of them that nobody had read.
    expired_unfetched,
    /// Those of them that the background search found.
    crawler_reclaimed,
}

impl ClassStats {
    /// Sets what events counted to zero and keeps what is held.
    pub fn reset(&mut self) {
        *self = ClassStats {
            number: self.number,
            mem_requested: self.mem_requested,
            chunks: self.chunks,
            ..ClassStats::default()
        };
    }
}

/// The whole store at one moment.
#[derive(Clone, Debug, Default)]
pub struct StoreStats {
    /// Per class; class 1 is at 0.
    pub classes: Vec<ClassStats>,
    /// Seconds since the oldest item of each class was used, as far as a look at the oldest shows.
    pub ages: Vec<u64>,
    /// Writes stored since the start or the last reset.
    pub total_items: u64,
    /// Slots that the background search looked at.
    pub crawler_checked: u64,
    /// Deletes remembered for the peer.
    pub tombstones: u64,
    /// Changes recorded for the peer and not sent yet.
    pub unsent: u64,
    /// Changes of the peer that met a change of this node's that the peer had not seen.
    pub conflicts: u64,
}

impl StoreStats {
    /// The sum over all classes.
    pub fn total(&self) -> ClassStats {
        let mut sum = ClassStats::default();
        self.classes.iter().for_each(|&class| sum += class);
        sum
    }
}
