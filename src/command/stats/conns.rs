//! `stats conns`: every open connection and every listener.

use super::super::Cache;
use super::super::dump::Steps;
use super::super::reply::stat;
use super::super::roster::{Place, Who};
use crate::protocol::Output;
use crate::store::Now;
use crate::watch::Transport;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// Connections that are looked at under one lock.
const PAGE: usize = 64;

/// The reply under way.
pub(super) struct Connections {
    next: RawFd,
    /// The client that asks.
    asker: RawFd,
}

impl Connections {
    pub(super) fn new(asker: RawFd) -> Connections {
        Connections { next: 0, asker }
    }
}

impl Steps for Connections {
    fn step(&mut self, cache: &Cache, now: Now, out: &mut Output) -> bool {
        let page = cache.roster.page(self.next, PAGE);
        for (fd, entry) in &page {
            if let Who::Listener(Transport::Udp, _) = entry.who {
                stat(out, format_args!("{fd}:UDP"), "UDP");
            }
            match &entry.who {
                Who::Client(peer, place) => {
                    stat(out, format_args!("{fd}:addr"), Shown(peer.transport, peer.address));
                    stat(out, format_args!("{fd}:listen_addr"), shown(peer.transport, place));
                }
                Who::Listener(transport, place) => {
                    stat(out, format_args!("{fd}:addr"), shown(*transport, place));
                }
            }
            let state = if *fd == self.asker { "conn_parse_cmd" } else { entry.state() };
            stat(out, format_args!("{fd}:state"), state);
            stat(out, format_args!("{fd}:secs_since_last_cmd"), entry.quiet(now));
        }
        let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else {
            out.push(b"END\r\n");
            return true;
        };
        self.next = last + 1;
        false
    }
}

/// An address with its family; on a Unix socket a client has none.
struct Shown(Transport, Option<SocketAddr>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(transport, address) = *self;
        let Some(address) = address else { return f.write_str("?:<AF 0>") };
        let protocol = if transport == Transport::Udp { "udp" } else { "tcp" };
        match address {
            SocketAddr::V4(address) => write!(f, "{protocol}:{address}"),
            // Without the number of the interface.
            SocketAddr::V6(address) => {
                write!(f, "{protocol}6:[{}]:{}", address.ip(), address.port())
            }
        }
    }
}

fn shown(transport: Transport, place: &Place) -> String {
    match place {
        Place::Address(address) => Shown(transport, Some(*address)).to_string(),
        Place::Path(path) => format!("unix:{}", path.display()),
        Place::Unknown => Shown(transport, None).to_string(),
    }
}
