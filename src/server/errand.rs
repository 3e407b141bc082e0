//! What a connection waits for before it can do a request: keys that the peer has, or the peer's
//! own decision.

use super::timers::timeout;
use crate::command::{Cache, Outcome, Unconfirmed};
use crate::protocol::Output;
use crate::protocol::binary::Frame;
use crate::protocol::text::Request;
use crate::replication::{Decision, Errands, Raw};
use crate::store::Now;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a read waits for what it lacks: then it is a miss, as it was.
const FETCH: Duration = Duration::from_millis(100);
/// How long a request waits for its key's owner: then it is an error.
const DECISION: Duration = Duration::from_secs(1);

/// What came of it.
pub(super) enum Answer {
    /// What the peer had of the keys is here now: the request can be done.
    Here,
    /// The peer has done it.
    Reply(Vec<u8>),
    /// Nobody may have done it.
    Nothing,
}

impl Answer {
    /// Answers the request, if that is what it takes; `error` is how its client is told of one.
    pub(super) fn settle<'a>(
        answer: Option<Answer>,
        error: Unconfirmed,
        out: &mut Output,
    ) -> Option<Outcome<'a>> {
        match answer? {
            Answer::Here => return None,
            Answer::Reply(reply) => out.push(&reply),
            Answer::Nothing => error.write_undecided(out),
        }
        Some(Outcome::Continue)
    }
}

/// An errand under way. Behind a pointer: connections that need none are not larger for it.
pub(super) struct Errand(Pin<Box<dyn Future<Output = Answer> + Send>>);

impl Errand {
    /// What must be had before a text request can be done, if anything; `bytes` is all of it.
    pub(super) fn of_request(
        cache: &Cache,
        now: Now,
        request: &Request<'_>,
        bytes: &[u8],
    ) -> Option<Errand> {
        let errands = cache.errands()?;
        let node = cache.store.node();
        let decision = request.atomic_key(|key| errands.decision(key, node));
        Errand::by_owner(errands, decision, false, bytes)
            .or_else(|| Errand::of_missing(cache, errands, now, |see| request.needed_keys(see)))
    }

    /// The same for a request of the binary protocol.
    pub(super) fn of_frame(
        cache: &Cache,
        now: Now,
        frame: &Frame<'_>,
        bytes: &[u8],
    ) -> Option<Errand> {
        let errands = cache.errands()?;
        let node = cache.store.node();
        let decision = frame.atomic_key().map(|key| errands.decision(key, node));
        Errand::by_owner(errands, decision, true, bytes).or_else(|| {
            Errand::of_missing(cache, errands, now, |see| {
                frame.needed_key().into_iter().for_each(see);
            })
        })
    }

    fn by_owner(
        errands: &Errands,
        decision: Option<Decision>,
        binary: bool,
        bytes: &[u8],
    ) -> Option<Errand> {
        let reply = match decision? {
            Decision::Here => return None,
            Decision::Peer => Some(errands.forward(Raw { binary, bytes: bytes.into() })),
            Decision::Nobody => None,
        };
        Some(Errand(Box::pin(async move {
            let Some(reply) = reply else { return Answer::Nothing };
            match timeout(DECISION, reply).await {
                Ok(Ok(reply)) => Answer::Reply(reply),
                _ => Answer::Nothing,
            }
        })))
    }

    /// Fetches those of the keys that are not here.
    fn of_missing(
        cache: &Cache,
        errands: &Errands,
        now: Now,
        keys: impl FnOnce(&mut dyn FnMut(&[u8])),
    ) -> Option<Errand> {
        if !errands.fetching() {
            return None;
        }
        let mut waiting: Vec<oneshot::Receiver<()>> = Vec::new();
        keys(&mut |key| {
            if cache.store.entry(key, now).item().is_none() {
                waiting.extend(errands.fetch(key));
            }
        });
        if waiting.is_empty() {
            return None;
        }
        Some(Errand(Box::pin(async move {
            let all = async {
                for key in waiting {
                    let _ = key.await;
                }
            };
            let _ = timeout(FETCH, all).await;
            Answer::Here
        })))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        self.0.as_mut().poll(cx)
    }
}
