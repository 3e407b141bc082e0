//! Requests that the peer's clients made and this node decides.

use super::{Cache, Login, WorkerCounters, binary as frames, text as lines};
use crate::protocol::{Output, binary, text};
use crate::replication::Raw;

/// Does a request; returns what the client is told.
pub fn execute_raw(cache: &Cache, worker: &WorkerCounters, raw: &Raw) -> Vec<u8> {
    let store = &cache.store;
    let fits = |key, flags, value| store.item_size(key, flags, value) <= store.item_size_max();
    let (now, mut out) = (cache.clock.now(), Output::default());
    if raw.binary {
        if let binary::Parsed::Frame { frame, .. } = binary::parse(&raw.bytes, fits) {
            // Its client has logged in there, or need not.
            frames::perform(cache, worker, now, &mut Login::Done, &frame, &mut out);
        }
    } else if let text::Parsed::Request { request, noreply, .. } = text::parse(&raw.bytes, fits) {
        lines::perform(cache, worker, now, request, noreply, &mut out);
    }
    let mut reply = vec![0; out.len()];
    out.take(&mut reply);
    reply
}
