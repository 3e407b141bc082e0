//! A turn of a client's: what all requests that are done in it have in common.

use crate::command::{Cache, WorkerCounters};
use crate::protocol::Protocol;
use crate::server::trace::{self, SHOW_FROM};
use crate::store::Now;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

/// The turn.
pub(super) struct Turn<'a> {
    pub(super) cache: &'a Cache,
    pub(super) worker: &'a WorkerCounters,
    pub(super) protocol: Protocol,
    pub(super) client: RawFd,
    pub(super) now: Now,
    /// Whether the conversation is shown on standard error.
    pub(super) show: bool,
    /// Whether a write that the peer does not have is an error.
    pub(super) strict: bool,
    /// Whether the peer may have to be asked before a request is done.
    pub(super) asks_peer: bool,
    /// Whether nothing is to be seen to beside doing the requests.
    pub(super) simple: bool,
}

impl<'a> Turn<'a> {
    /// A turn now, of the client with that descriptor.
    // Called, it would cost each turn 50 instructions.
    #[inline(always)]
    pub(super) fn new(
        cache: &'a Cache,
        worker: usize,
        protocol: Protocol,
        client: RawFd,
    ) -> Turn<'a> {
        let worker = &cache.workers[worker];
        worker.client.store(client, Ordering::Relaxed);
        let (now, strict) = (cache.clock.now(), cache.is_strict());
        let show = cache.verbosity.load(Ordering::Relaxed) >= SHOW_FROM;
        let asks_peer = cache.errands().is_some();
        let simple = !(show || strict || asks_peer || cache.refuses_writes());
        Turn { cache, worker, protocol, client, now, show, strict, asks_peer, simple }
    }

    /// Whether the client whose first byte this is speaks the binary protocol.
    #[cold]
    pub(super) fn negotiate(&self, first: u8) -> bool {
        let binary = self.protocol.is_binary(first);
        if self.show && self.protocol == Protocol::Auto {
            trace::speaks(self.client, binary);
        }
        binary
    }

    pub(super) fn fits(&self, key: usize, flags: u32, value: usize) -> bool {
        let store = &self.cache.store;
        store.item_size(key, flags, value) <= store.item_size_max()
    }
}
