//! Requests that the peer's clients made and this node decides.

use super::{Cache, Login, WorkerCounters, binary as frames, text as lines};
use crate::protocol::{Output, binary, text};
use crate::replication::Raw;

/// Does a request that its key's owner decides; returns what the client is told. Nothing else is done
/// for the peer: not what may have a long reply, and not what is for this node's own clients.
pub fn execute_raw(cache: &Cache, worker: &WorkerCounters, raw: &Raw) -> Option<Vec<u8>> {
    let store = &cache.store;
    let fits = |key, flags, value| store.item_size(key, flags, value) <= store.item_size_max();
    let (now, mut out) = (cache.clock.now(), Output::default());
    if raw.binary {
        let binary::Parsed::Frame { frame, .. } = binary::parse(&raw.bytes, fits) else {
            return None;
        };
        // It may be too large here and not there.
        let too_large = matches!(frame.request, binary::Request::TooLarge { .. });
        if !too_large && frame.atomic_key().is_none() {
            return None;
        }
        // Its client has logged in there, or need not.
        frames::perform(cache, worker, now, &mut Login::Done, &frame, &mut out);
    } else {
        let parsed = text::parse(&raw.bytes, fits);
        let text::Parsed::Request { request, noreply, .. } = parsed else { return None };
        let too_large = matches!(request, text::Request::TooLarge(_));
        if !too_large && request.atomic_key(|_| ()).is_none() {
            return None;
        }
        lines::perform(cache, worker, now, request, noreply, &mut out);
    }
    let mut reply = vec![0; out.len()];
    out.take(&mut reply);
    Some(reply)
}
