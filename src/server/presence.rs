//! Clients that come and go, told to those who watch.

use super::connection::End;
use super::trace;
use crate::command::Cache;
use crate::command::roster::Seat;
use crate::protocol::Protocol;
use crate::watch::{Event, Reason, Streams};
use nix::errno::Errno;
use std::io;
use std::os::fd::RawFd;

/// How a connection ended that could not be read or written any more, which is told unless the
/// client left.
pub(super) fn failed(error: &io::Error, client: RawFd, cache: &Cache, worker: usize) -> End {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return End::Closed;
    }
    if cache.watch.wants(Streams::CONNECTIONS) {
        let number = error.raw_os_error();
        let why = number
            .map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned());
        cache.watch.tell(Some(worker), &Event::Failed { client, why: &why });
    }
    End::Broken
}

/// Shows that a client came or, with an `end`, that it went.
pub(super) fn show(client: RawFd, end: Option<End>, cache: &Cache, protocol: Protocol) {
    match end {
        _ if !trace::is_on(cache) => {}
        None => trace::opened(client, protocol),
        Some(_) => trace::closed(client),
    }
}

/// Tells that a client came or, with an `end`, that it went.
pub(super) fn tell(seat: &Seat, client: RawFd, end: Option<End>, cache: &Cache, worker: usize) {
    if !cache.watch.wants(Streams::CONNECTIONS) {
        return;
    }
    let Some(peer) = seat.peer() else { return };
    let event = match end {
        None => Event::Opened { peer, client },
        Some(end) => {
            let reason = match end {
                End::Closed => Reason::Normal,
                End::Broken => Reason::Error,
                End::Idle => Reason::IdleTimeout,
                End::Shutdown { .. } => Reason::Shutdown,
            };
            Event::Closed { peer, reason, client }
        }
    };
    cache.watch.tell(Some(worker), &event);
}

/// Tells that a client's TLS handshake failed.
pub(super) fn tell_unshaken(seat: &Seat, client: RawFd, why: &str, cache: &Cache, worker: usize) {
    // Not above debug: whoever finds the port could fill the log.
    let peer = seat.peer().and_then(|peer| peer.address);
    log::debug!("event=tls_handshake_failed peer={peer:?} error={why:?}");
    if cache.watch.wants(Streams::CONNECTIONS) {
        cache.watch.tell(Some(worker), &Event::Unshaken { client, why });
    }
}
