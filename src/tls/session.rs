//! Sessions that clients can resume, counted as memcached counts them.

use super::Counters;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Sessions that are remembered; the oldest go first.
const SESSIONS_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct CountedSessions {
    cache: Arc<ServerSessionMemoryCache>,
    counters: Arc<Counters>,
}

impl CountedSessions {
    pub(super) fn new(counters: Arc<Counters>) -> CountedSessions {
        CountedSessions { cache: ServerSessionMemoryCache::new(SESSIONS_MAX), counters }
    }
}

impl StoresServerSessions for CountedSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.counters.new_sessions.fetch_add(1, Ordering::Relaxed);
        self.cache.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.cache.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.cache.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}
