//! Logging in: what a connection may ask for before, and how it shows who it is.

use super::{Cache, WorkerCounters};
use crate::protocol::binary::{self, Frame};
use std::sync::PoisonError;

/// The only mechanism: with it a password may be kept in any form, and in memcached's files it is.
pub(super) const MECHANISM: &[u8] = b"PLAIN";
/// Longest name of a mechanism.
pub(super) const MECHANISM_MAX: usize = 32;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It may ask for anything.
    Done,
    /// It has to log in.
    Needed,
    /// It has named the mechanism of SASL, and is to send its password.
    Begun,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Accepted,
    Refused,
    /// The password is to be sent now.
    Continue,
}

impl Login {
    /// How a new connection begins.
    pub fn new(cache: &Cache) -> Login {
        if cache.passwords.is_some() { Login::Needed } else { Login::Done }
    }

    /// Whether a frame of the binary protocol has to wait until after it.
    pub(super) fn forbids(self, frame: &Frame<'_>) -> bool {
        self != Login::Done && !binary::before_login(frame.opcode)
    }

    /// Does one step of SASL: the first, which names the mechanism, or a further one. `token` is
    /// `None` for one too long to be of any use.
    pub(super) fn sasl(
        &mut self,
        cache: &Cache,
        worker: &WorkerCounters,
        mechanism: Option<&[u8]>,
        token: Option<&[u8]>,
    ) -> Attempt {
        let begun = match mechanism {
            Some(name) => name.eq_ignore_ascii_case(MECHANISM),
            None => *self == Login::Begun,
        };
        // Whoever tries to become another has to succeed.
        *self = Login::Needed;
        if begun && mechanism.is_some() && token == Some(b"") {
            *self = Login::Begun;
            return Attempt::Continue;
        }
        let shown = token.filter(|_| begun).and_then(plain);
        if accept(cache, worker, shown) {
            *self = Login::Done;
            Attempt::Accepted
        } else {
            Attempt::Refused
        }
    }
}

/// Whether these are a user and their password; counts the attempt.
pub(super) fn accept(
    cache: &Cache,
    worker: &WorkerCounters,
    shown: Option<(&[u8], &[u8])>,
) -> bool {
    worker.auth_cmds.add(1);
    let accepted = cache.passwords.as_ref().zip(shown).is_some_and(|(passwords, shown)| {
        let (user, password) = shown;
        passwords.read().unwrap_or_else(PoisonError::into_inner).accept(user, password)
    });
    if !accepted {
        worker.auth_errors.add(1);
    }
    accepted
}

/// User and password of a PLAIN token: whom to act for, who it is and the password, with a zero
/// byte between. Nobody may act for another.
fn plain(token: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = token.split(|&byte| byte == 0);
    let (acting, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let own = acting.is_empty() || acting == user;
    (own && parts.next().is_none()).then_some((user, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_token_has_three_parts_and_acts_for_its_own_user() {
        let found = Some((&b"user"[..], &b"secret"[..]));
        assert_eq!(plain(b"\0user\0secret"), found);
        assert_eq!(plain(b"user\0user\0secret"), found);
        for token in
            [&b""[..], b"\0", b"user", b"\0user", b"other\0user\0secret", b"\0user\0secret\0"]
        {
            assert_eq!(plain(token), None, "{token:?}");
        }
    }
}
