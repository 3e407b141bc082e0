//! Replies that go out only once the peer has what they speak of.

use crate::command::Unconfirmed;
use crate::protocol::Output;
use crate::store::Written;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

/// A place in an output.
type Mark = (usize, usize);

/// A reply that says that something was written, and what is said instead if the peer does not have
/// it. Kept only where that is an error.
struct Claim {
    from: Mark,
    to: Mark,
    error: Unconfirmed,
}

/// The claims among the replies of one turn.
#[derive(Default)]
pub(super) struct Claims {
    list: Vec<Claim>,
    /// Writes that were noted before the request at hand.
    noted: u64,
}

impl Claims {
    /// Before a request is done.
    pub(super) fn begin(&mut self) {
        self.noted = Written::noted();
    }

    /// Keeps the reply between the two places, if the request wrote something.
    pub(super) fn keep(&mut self, from: Mark, to: Mark, error: Unconfirmed) {
        if Written::noted() > self.noted {
            self.list.push(Claim { from, to, error });
        }
    }
}

/// The replies of a turn that wait for the peer.
pub(super) struct Held {
    confirmed: oneshot::Receiver<bool>,
    claims: Claims,
}

impl Held {
    pub(super) fn new(confirmed: oneshot::Receiver<bool>, claims: Claims) -> Held {
        Held { confirmed, claims }
    }

    /// Ready when `replies` may go out: as they are, which is true, or with errors in place of what
    /// they claimed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, replies: &mut Output) -> Poll<bool> {
        let confirmed = ready!(Pin::new(&mut self.confirmed).poll(cx)).unwrap_or(false);
        if confirmed || self.claims.list.is_empty() {
            return Poll::Ready(true);
        }
        let mut honest = Output::default();
        let mut at = (0, 0);
        for claim in &self.claims.list {
            honest.append(replies, at, claim.from);
            claim.error.write(&mut honest);
            at = claim.to;
        }
        honest.append(replies, at, replies.mark());
        *replies = honest;
        Poll::Ready(false)
    }
}
