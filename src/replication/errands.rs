//! What clients' connections want of the peer while they wait: keys that are not here yet, and
//! requests that are the peer's to decide.

use crate::store::Node;
use blake2::{Blake2s256, Digest};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{Notify, oneshot};

/// Keys that may be on their way at once; for others a miss is a miss.
const FETCHES_MAX: usize = 1000;
/// Requests that may be at the peer at once.
const REQUESTS_MAX: usize = 10_000;
/// Bytes of requests that may wait to be sent; a single one may be longer.
const UNSENT_MAX: usize = 16 << 20;

/// A request as a client sent it, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Whether it is one of the binary protocol.
    pub binary: bool,
    /// Its bytes.
    pub bytes: Box<[u8]>,
}

/// Does a request here and returns the reply; none if it is not this node's to decide.
type Execute = Box<dyn Fn(&Raw) -> Option<Vec<u8>> + Send + Sync>;

#[derive(Default)]
struct Inner {
    /// Keys on their way, with those who wait for them.
    fetching: HashMap<Box<[u8]>, Vec<oneshot::Sender<()>>>,
    /// Those of them that the peer has not been asked for yet.
    wanted: VecDeque<Box<[u8]>>,
    /// Requests at the peer, with those who wait for the reply.
    requested: HashMap<u64, oneshot::Sender<Vec<u8>>>,
    /// Those of them that have not been sent yet.
    requests: VecDeque<(u64, Raw)>,
    /// Bytes of those, and of those that the link has taken over and could not send yet.
    unsent: usize,
    next: u64,
}

/// Errands of all connections.
#[derive(Default)]
pub struct Errands {
    inner: Mutex<Inner>,
    /// This node is being filled: the peer may have what is missing here.
    fetching: AtomicBool,
    /// Atomic operations are decided by the key's owner,
    owned: bool,
    /// and if the owner can't be asked, not at all.
    refused_alone: bool,
    /// The owner can be asked.
    together: AtomicBool,
    execute: OnceLock<Execute>,
    /// Something is to be sent to the peer.
    pub(super) called: Notify,
    fetched: AtomicU64,
    found: AtomicU64,
    forwarded: AtomicU64,
}

/// Who decides an atomic operation on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This node.
    Here,
    /// The peer.
    Peer,
    /// Nobody: the owner can't be asked.
    Nobody,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrandFigures {
    /// Whether atomic operations are decided by each key's owner now.
    pub together: bool,
    /// Keys that the peer was asked for.
    pub fetched: u64,
    /// Those of them that it had.
    pub found: u64,
    /// Requests that the peer decided.
    pub forwarded: u64,
}

/// Which node decides atomic operations on `key`: the same on both, whatever their versions.
fn owner(key: &[u8]) -> Node {
    if Blake2s256::digest(key)[0] & 1 == 0 { Node::A } else { Node::B }
}

impl Errands {
    /// With `owned` atomic operations are decided by the key's owner; with `refused_alone` by
    /// nobody if that can't be asked.
    pub fn new(owned: bool, refused_alone: bool) -> Errands {
        Errands { owned, refused_alone, ..Errands::default() }
    }

    /// Says how requests of the peer's clients are done here.
    pub fn on_request(&self, execute: impl Fn(&Raw) -> Option<Vec<u8>> + Send + Sync + 'static) {
        // A second one would be a mistake of this program; the first goes on to serve.
        let _ = self.execute.set(Box::new(execute));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there may be an errand for any request at all.
    pub fn any(&self) -> bool {
        self.owned || self.fetching.load(Ordering::Relaxed)
    }

    /// Whether what is missing here is to be fetched from the peer.
    pub fn fetching(&self) -> bool {
        self.fetching.load(Ordering::Relaxed)
    }

    /// Who decides an atomic operation on `key`, if this node is `node`.
    pub fn decision(&self, key: &[u8], node: Node) -> Decision {
        match self.together.load(Ordering::Relaxed) {
            _ if !self.owned => Decision::Here,
            true if owner(key) == node => Decision::Here,
            true => Decision::Peer,
            false if self.refused_alone => Decision::Nobody,
            false => Decision::Here,
        }
    }

    /// Has a key fetched, with others that want it if there are any. Done when it was, or could not
    /// be, or there is too much to fetch.
    pub fn fetch(&self, key: &[u8]) -> Option<oneshot::Receiver<()>> {
        let mut inner = self.inner();
        let (done, waiting) = oneshot::channel();
        if let Some(others) = inner.fetching.get_mut(key) {
            others.push(done);
            return Some(waiting);
        }
        if inner.fetching.len() >= FETCHES_MAX {
            return None;
        }
        inner.fetching.insert(key.into(), vec![done]);
        inner.wanted.push_back(key.into());
        drop(inner);
        self.fetched.fetch_add(1, Ordering::Relaxed);
        self.called.notify_one();
        Some(waiting)
    }

    /// Has a request done by the peer; no reply comes if it can't be.
    pub fn forward(&self, raw: Raw) -> oneshot::Receiver<Vec<u8>> {
        let (done, reply) = oneshot::channel();
        let mut inner = self.inner();
        if inner.requested.len() >= REQUESTS_MAX {
            inner.requested.retain(|_, waiting| !waiting.is_closed());
        }
        let unsent = inner.unsent + raw.bytes.len();
        let fits = inner.unsent == 0 || unsent <= UNSENT_MAX;
        if inner.requested.len() < REQUESTS_MAX && fits {
            inner.unsent = unsent;
            inner.next += 1;
            let id = inner.next;
            inner.requested.insert(id, done);
            inner.requests.push_back((id, raw));
            drop(inner);
            self.forwarded.fetch_add(1, Ordering::Relaxed);
            self.called.notify_one();
        }
        reply
    }

    /// How the link is: whether this node lacks what the peer may have, and whether both are there.
    pub(super) fn set(&self, fetching: bool, together: bool) {
        if together {
            // Until the link ends: that one of the two falls behind for a moment does not part them.
            self.together.store(true, Ordering::Relaxed);
        }
        if self.fetching.swap(fetching, Ordering::Relaxed) && !fetching {
            let mut inner = self.inner();
            inner.fetching.clear();
            inner.wanted.clear();
        }
    }

    /// There is no link any more: nothing that was asked will be answered.
    pub(super) fn close(&self) {
        self.set(false, false);
        self.together.store(false, Ordering::Relaxed);
        let mut inner = self.inner();
        inner.requested.clear();
        inner.requests.clear();
        inner.unsent = 0;
    }

    pub(super) fn take_wanted(&self) -> VecDeque<Box<[u8]>> {
        std::mem::take(&mut self.inner().wanted)
    }

    /// Requests to be sent, but for those that nobody waits for any more.
    pub(super) fn take_requests(&self) -> Vec<(u64, Raw)> {
        let mut inner = self.inner();
        let mut taken = Vec::new();
        while let Some((id, raw)) = inner.requests.pop_front() {
            if inner.requested.get(&id).is_some_and(|waiting| !waiting.is_closed()) {
                taken.push((id, raw));
            } else {
                inner.requested.remove(&id);
                inner.unsent -= raw.bytes.len();
            }
        }
        taken
    }

    /// So many bytes of requests are on their way.
    pub(super) fn sent(&self, bytes: usize) {
        let mut inner = self.inner();
        inner.unsent = inner.unsent.saturating_sub(bytes);
    }

    /// The peer has sent what it has of a key.
    pub(super) fn fetched(&self, key: &[u8], found: bool) {
        self.found.fetch_add(u64::from(found), Ordering::Relaxed);
        let waiting = self.inner().fetching.remove(key);
        for done in waiting.into_iter().flatten() {
            let _ = done.send(());
        }
    }

    /// The peer has done a request.
    pub(super) fn replied(&self, id: u64, reply: &[u8]) {
        let waiting = self.inner().requested.remove(&id);
        if let Some(done) = waiting {
            let _ = done.send(reply.to_vec());
        }
    }

    /// Does a request of one of the peer's clients; nothing if there is no way to.
    pub(super) fn execute(&self, raw: &Raw) -> Option<Vec<u8>> {
        self.execute.get().and_then(|execute| execute(raw))
    }

    /// Everything at this moment.
    pub fn figures(&self) -> ErrandFigures {
        ErrandFigures {
            together: self.owned && self.together.load(Ordering::Relaxed),
            fetched: self.fetched.load(Ordering::Relaxed),
            found: self.found.load(Ordering::Relaxed),
            forwarded: self.forwarded.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_many_want_is_fetched_once_and_no_more_than_allowed_at_a_time() {
        let errands = Errands::new(false, false);
        errands.set(true, false);
        let mut waiting = [errands.fetch(b"k").unwrap(), errands.fetch(b"k").unwrap()];
        assert_eq!(errands.take_wanted().len(), 1);
        errands.fetched(b"k", true);
        assert!(waiting.iter_mut().all(|waiting| waiting.try_recv() == Ok(())));
        let more: Vec<_> =
            (0..2 * FETCHES_MAX).filter_map(|key| errands.fetch(&key.to_le_bytes())).collect();
        assert_eq!(more.len(), FETCHES_MAX);
    }

    #[test]
    fn what_waits_for_a_link_that_stands_still_is_bounded_in_bytes() {
        let errands = Errands::new(true, false);
        errands.set(false, true);
        let forward =
            |bytes: usize| errands.forward(Raw { binary: false, bytes: vec![b'x'; bytes].into() });
        let waits = |reply: &mut oneshot::Receiver<Vec<u8>>| {
            reply.try_recv() == Err(oneshot::error::TryRecvError::Empty)
        };
        let mut large = forward(2 * UNSENT_MAX);
        assert!(waits(&mut large), "a single one may be longer");
        assert!(!waits(&mut forward(1)));
        // Taken over by the link, and still not sent.
        assert_eq!(errands.take_requests().len(), 1);
        assert!(!waits(&mut forward(1)));
        errands.sent(2 * UNSENT_MAX);
        let mut half = forward(UNSENT_MAX / 2);
        assert!(waits(&mut half) && waits(&mut forward(UNSENT_MAX / 2)) && !waits(&mut forward(1)));
        // Nobody waits for the second one any more: it is not sent, and its bytes are free.
        assert_eq!(errands.take_requests().len(), 1);
        assert!(waits(&mut forward(UNSENT_MAX / 2)));
    }

    #[test]
    fn who_waits_when_the_link_ends_waits_no_longer() {
        let errands = Errands::new(true, false);
        errands.set(true, true);
        let mut key = errands.fetch(b"k").unwrap();
        let mut reply = errands.forward(Raw { binary: false, bytes: (*b"incr k 1\r\n").into() });
        errands.close();
        assert!(key.try_recv().is_err() && reply.try_recv().is_err());
        assert!(!errands.fetching());
    }

    #[test]
    fn every_key_has_one_owner_and_both_nodes_own_about_half() {
        let keys = (0..10_000u32).map(u32::to_le_bytes);
        let of_a = keys.filter(|key| owner(key) == Node::A).count();
        assert!((4_800..5_200).contains(&of_a), "{of_a}");
        let errands = Errands::new(true, true);
        let node = owner(b"k");
        assert_eq!(errands.decision(b"k", node), Decision::Nobody);
        errands.set(false, true);
        assert_eq!(errands.decision(b"k", node), Decision::Here);
        assert_eq!(errands.decision(b"k", node.other()), Decision::Peer);
        assert_eq!(Errands::new(true, false).decision(b"k", node.other()), Decision::Here);
        assert_eq!(Errands::new(false, false).decision(b"k", node.other()), Decision::Here);
    }
}
