//! What can be told, and the line that tells it.

use super::Streams;
use crate::protocol::uri;
use std::io::Write;
use std::net::SocketAddr;

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A key was looked up, also on the way to a write.
    Fetched {
        /// The key.
        key: &'a [u8],
        /// What was found.
        found: Finding,
        /// Slab class of the item, 0 without one.
        class: u8,
        /// Descriptor of the client.
        client: i32,
        /// Bytes of the value, 0 without one.
        size: usize,
    },
    /// A storage command was done or refused.
    Stored {
        /// The key.
        key: &'a [u8],
        /// What became of it.
        status: &'static str,
        /// The command.
        command: &'static str,
        /// Seconds that the item has; 0 is no end.
        ttl: u32,
        /// Its slab class.
        class: u8,
        /// Descriptor of the client.
        client: i32,
        /// Bytes of the value.
        size: usize,
    },
    /// An item had to make room.
    Evicted {
        /// The key.
        key: &'a [u8],
        /// It had been read.
        fetched: bool,
        /// Seconds that it still had; none without an end.
        ttl: Option<u32>,
        /// Seconds since it was used.
        unused: u32,
        /// Its slab class.
        class: u8,
        /// Bytes of the value.
        size: usize,
    },
    /// An item was deleted.
    Deleted {
        /// The key.
        key: &'a [u8],
        /// The command.
        command: &'static str,
        /// Its slab class.
        class: u8,
        /// Bytes of the value.
        size: usize,
    },
    /// A client connected.
    Opened {
        /// Who it is.
        peer: Peer,
        /// Its descriptor.
        client: i32,
    },
    /// A client's connection ended.
    Closed {
        /// Who it was.
        peer: Peer,
        /// Why.
        reason: Reason,
        /// Its descriptor.
        client: i32,
    },
    /// A client's connection could not be read or written any more.
    Failed {
        /// Its descriptor.
        client: i32,
        /// Why.
        why: &'a str,
    },
    /// A client's TLS handshake failed.
    Unshaken {
        /// Its descriptor.
        client: i32,
        /// Why.
        why: &'a str,
    },
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing.
    Missing,
    /// An item.
    Found,
    /// An item from before a flush.
    Flushed,
    /// An item whose time was over.
    Expired,
}

/// Who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address; none on a Unix socket.
    pub address: Option<SocketAddr>,
    /// How it comes.
    pub transport: Transport,
}

/// How a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By a Unix socket.
    Local,
    /// By TCP.
    Tcp,
    /// By UDP.
    Udp,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Transport::Local => "local",
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It broke, or the client sent what no protocol knows.
    Error,
    /// The client left.
    Normal,
    /// The client was silent for too long.
    IdleTimeout,
    /// The client stopped the daemon.
    Shutdown,
}

impl Event<'_> {
    /// The stream that it belongs to.
    pub(super) fn stream(&self) -> Streams {
        match self {
            Event::Fetched { .. } => Streams::FETCHERS,
            Event::Stored { .. } => Streams::MUTATIONS,
            Event::Evicted { .. } => Streams::EVICTIONS,
            Event::Deleted { .. } => Streams::DELETIONS,
            Event::Opened { .. }
            | Event::Closed { .. }
            | Event::Failed { .. }
            | Event::Unshaken { .. } => Streams::CONNECTIONS,
        }
    }

    /// Appends its line from `type=` on, as memcached writes it.
    pub(super) fn write(&self, line: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = match *self {
            Event::Fetched { key, found, class, client, size } => {
                keyed("item_get", key, line);
                let status = match found {
                    Finding::Missing => "not_found",
                    Finding::Found => "found",
                    Finding::Flushed => "flushed",
                    Finding::Expired => "expired",
                };
                writeln!(line, "status={status} clsid={class} cfd={client} size={size}")
            }
            Event::Stored { key, status, command, ttl, class, client, size } => {
                keyed("item_store", key, line);
                writeln!(
                    line,
                    "status={status} cmd={command} ttl={ttl} clsid={class} cfd={client} size={size}"
                )
            }
            Event::Evicted { key, fetched, ttl, unused, class, size } => {
                keyed("eviction", key, line);
                let fetch = if fetched { "yes" } else { "no" };
                let ttl = ttl.map_or(-1, i64::from);
                writeln!(line, "fetch={fetch} ttl={ttl} la={unused} clsid={class} size={size}")
            }
            Event::Deleted { key, command, class, size } => {
                keyed("deleted", key, line);
                writeln!(line, "cmd={command} clsid={class} size={size}")
            }
            Event::Opened { peer, client } => {
                connection("conn_new", peer, line);
                writeln!(line, "cfd={client}")
            }
            Event::Closed { peer, reason, client } => {
                connection("conn_close", peer, line);
                let reason = match reason {
                    Reason::Error => "error",
                    Reason::Normal => "normal",
                    Reason::IdleTimeout => "idle_timeout",
                    Reason::Shutdown => "shutdown",
                };
                writeln!(line, "reason={reason} cfd={client}")
            }
            Event::Failed { client, why } => writeln!(line, "type=connerr fd={client} msg={why}"),
            Event::Unshaken { client, why } => {
                writeln!(line, "type=conntlserr fd={client} msg={why}")
            }
        };
    }
}

fn keyed(what: &str, key: &[u8], line: &mut Vec<u8>) {
    let _ = write!(line, "type={what} key=");
    uri::encode(key, |bytes| line.extend_from_slice(bytes));
    line.push(b' ');
}

fn connection(what: &str, peer: Peer, line: &mut Vec<u8>) {
    let transport = peer.transport.name();
    let _ = match peer.address {
        Some(address) => {
            let (ip, port) = (address.ip(), address.port());
            write!(line, "type={what} rip={ip} rport={port} transport={transport} ")
        }
        None => write!(line, "type={what} rip=unix rport=0 transport={transport} "),
    };
}
