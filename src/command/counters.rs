//! What is counted outside the store.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// A counter that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning thread may call it: two plain accesses are a fraction of the cost
    /// of an atomic addition, which is felt at a million requests per second.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! worker_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one worker counts.
        #[derive(Debug, Default)]
        pub struct WorkerCounters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Number of the worker, from 0.
            pub number: usize,
            /// Descriptor of the client that is being served.
            pub client: AtomicI32,
        }

        /// The sum over all workers, as plain numbers.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct WorkerTotals {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl WorkerTotals {
            pub(super) fn sum<'a>(workers: impl Iterator<Item = &'a WorkerCounters>) -> WorkerTotals {
                let mut sum = WorkerTotals::default();
                for worker in workers {
                    $(sum.$name += worker.$name.get();)*
                }
                sum
            }

            pub(super) fn less(self, earlier: WorkerTotals) -> WorkerTotals {
                WorkerTotals { $($name: self.$name.wrapping_sub(earlier.$name),)* }
            }
        }
    };
}

worker_counters! {
    /// Keys asked for.
    cmd_get,
    /// Keys asked for that were not there.
    get_misses,
    /// Keys asked for whose item had expired.
    get_expired,
    /// Keys asked for whose item was flushed.
    get_flushed,
    /// Touches.
    cmd_touch,
    /// Touches of nothing.
    touch_misses,
    /// `me`: memcached counts no other meta command here.
    cmd_meta,
    /// Flushes.
    cmd_flush,
    /// Deletes of nothing.
    delete_misses,
    /// Increments of nothing.
    incr_misses,
    /// Decrements of nothing.
    decr_misses,
    /// `cas` on nothing.
    cas_misses,
    /// Values refused for their size.
    store_too_large,
    /// Values refused for lack of memory.
    store_no_memory,
    /// Attempts to log in.
    auth_cmds,
    /// Those that failed.
    auth_errors,
    /// Bytes that came from clients.
    bytes_read,
    /// Bytes that went to clients.
    bytes_written,
    /// Searches for dead items and dumps that clients asked for.
    crawler_starts,
    /// Times a connection had to let others go first.
    conn_yields,
    /// Clients sent away for being idle.
    idle_kicks,
}

/// What is counted of connections, by the thread that accepts and by all workers.
#[derive(Debug, Default)]
pub struct ConnectionCounters {
    /// Open now.
    pub current: AtomicU64,
    /// Accepted since the start or the last reset; as in memcached with those of `listening`.
    pub total: AtomicU64,
    /// Most that were open at once.
    pub most: AtomicU64,
    /// Sockets that clients come by, and workers' ends of UDP sockets. memcached counts them as
    /// connections.
    pub listening: AtomicU64,
    /// Sent away because there were too many.
    pub rejected: AtomicU64,
    /// Listeners that hold a client back until there is room.
    pub holding: AtomicU64,
    /// Times that clients began to be held back.
    pub held: AtomicU64,
    /// How long they were, in microseconds, in all.
    pub held_us: AtomicU64,
}

impl ConnectionCounters {
    /// `stats reset`: counts of events start again from zero.
    pub(super) fn reset(&self) {
        for counter in [&self.total, &self.rejected, &self.held, &self.held_us] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Open now.
    pub fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }
}
