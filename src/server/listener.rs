//! Where clients connect: binding, and accepting within the limit of connections.

use super::inherited::Inherited;
use super::socket::Accepted;
use super::terms::Terms;
use super::worker::Workers;
use crate::command::Cache;
use crate::command::roster::{Place, Who};
use crate::watch::Transport;
use nix::sys::stat::{Mode, umask};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::task::JoinSet;

/// What a client is told when there are too many.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";
/// Pause after accepting failed, for lack of descriptors as a rule.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);
/// How often a client held back looks for room; memcached looks as often.
const ROOM_RETRY: Duration = Duration::from_millis(10);

/// An address that could not be listened on; says what memcached says.
#[derive(Debug, Error)]
#[error("{call}(): {reason}\nfailed to listen on {what}: {reason}")]
pub struct BindError {
    what: String,
    call: &'static str,
    reason: String,
}

impl BindError {
    /// `what` is the address in words.
    pub fn new(what: String, error: &io::Error) -> BindError {
        match error.raw_os_error() {
            Some(number) => {
                let reason = nix::errno::Errno::from_raw(number).desc().to_owned();
                BindError { what, call: "bind", reason }
            }
            // The resolver's errors have no number.
            None => BindError { what, call: "getaddrinfo", reason: error.to_string() },
        }
    }
}

/// Bound listeners.
pub struct Listeners {
    inherited: Inherited,
    tcp: Vec<(std::net::TcpListener, Arc<Terms>)>,
    unix: Vec<(UnixListener, Arc<Terms>)>,
}

/// Binds every address that `host` and `port` mean, or takes it from `inherited`; `*` is any.
/// Addresses in use are skipped as long as one is left. Nobody can connect before [`listen`].
fn bind_tcp(
    host: &str,
    port: u16,
    inherited: &mut Inherited,
) -> io::Result<Vec<std::net::TcpListener>> {
    if host == "*" {
        // Some of the addresses are taken by these; whoever opened them chose them.
        let there = inherited.port(port);
        if !there.is_empty() {
            return Ok(there);
        }
    }
    let addresses: Vec<SocketAddr> = if host == "*" {
        vec![([0, 0, 0, 0], port).into(), ([0u16; 8], port).into()]
    } else {
        (host, port).to_socket_addrs()?.collect()
    };
    let mut listeners: Vec<std::net::TcpListener> = Vec::new();
    let mut failed = None;
    // With an ephemeral port the families get the same one if that can be had.
    let mut port = port;
    for mut address in addresses {
        address.set_port(port);
        let bound = match inherited.tcp(address) {
            Some(listener) => Ok(listener),
            None => bind_address(address),
        };
        match bound {
            Ok(listener) => {
                port = listener.local_addr()?.port();
                listeners.push(listener);
            }
            // A kernel without IPv6 is no fault of the configuration.
            Err(error) if host == "*" && address.is_ipv6() && !listeners.is_empty() => drop(error),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if listeners.is_empty() || error.kind() != io::ErrorKind::AddrInUse => {
            Err(error)
        }
        _ if listeners.is_empty() => {
            Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address"))
        }
        _ => Ok(listeners),
    }
}

fn bind_address(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_keepalive(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// Lets clients connect, if they can't already; so many may wait to be accepted.
pub fn listen(listener: &std::net::TcpListener, backlog: u32) -> io::Result<()> {
    let socket = SockRef::from(listener);
    if socket.is_listener()? {
        return Ok(());
    }
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

impl Listeners {
    /// None yet; those of `inherited` are taken before others are bound.
    pub fn new(inherited: Inherited) -> Listeners {
        Listeners { inherited, tcp: Vec::new(), unix: Vec::new() }
    }

    /// Takes what is left of the inherited listeners for clients too; returns how many.
    pub fn add_inherited(&mut self, terms: &Arc<Terms>) -> usize {
        let (tcp, unix) = std::mem::take(&mut self.inherited).rest();
        let count = tcp.len() + unix.len();
        self.tcp.extend(tcp.into_iter().map(|listener| (listener, Arc::clone(terms))));
        self.unix.extend(unix.into_iter().map(|listener| (listener, Arc::clone(terms))));
        count
    }

    /// Binds addresses that are not for clients: see [`Listeners::add_tcp`].
    pub fn bind_tcp(&mut self, host: &str, port: u16) -> io::Result<Vec<std::net::TcpListener>> {
        bind_tcp(host, port, &mut self.inherited)
    }

    /// Binds one TCP address of `-l`, or any with `*`.
    pub fn add_tcp(&mut self, host: &str, port: u16, terms: &Arc<Terms>) -> io::Result<()> {
        let bound = self.bind_tcp(host, port)?;
        self.tcp.extend(bound.into_iter().map(|listener| (listener, Arc::clone(terms))));
        Ok(())
    }

    /// Binds a unix socket with mode `mask`; a stale socket of that name is removed first.
    pub fn add_unix(
        &mut self,
        path: &Path,
        mask: u32,
        terms: &Arc<Terms>,
    ) -> Result<(), BindError> {
        if let Some(listener) = self.inherited.unix(path) {
            self.unix.push((listener, Arc::clone(terms)));
            return Ok(());
        }
        let what = format!("UNIX socket: {}", path.display());
        let failed = |error: io::Error| BindError::new(what.clone(), &error);
        if std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
            std::fs::remove_file(path).map_err(failed)?;
        }
        // Not even for a moment may more connect than are meant to. There are no threads yet that
        // could be making files of their own.
        let others = umask(Mode::from_bits_truncate(!mask & 0o777));
        let bound = UnixListener::bind(path);
        umask(others);
        let listener = bound.map_err(|error| match error.kind() {
            // Without a number: the system was not even asked.
            io::ErrorKind::InvalidInput => failed(nix::errno::Errno::ENAMETOOLONG.into()),
            _ => failed(error),
        })?;
        listener.set_nonblocking(true).map_err(failed)?;
        self.unix.push((listener, Arc::clone(terms)));
        Ok(())
    }

    /// Lets clients connect to the TCP addresses; so many may wait to be accepted.
    pub fn listen(&self, backlog: u32) -> io::Result<()> {
        self.tcp.iter().try_for_each(|(listener, _)| listen(listener, backlog))
    }

    /// The TCP addresses that were bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }

    /// Writes the ports to `file` in the format that memcached's test tools read.
    pub fn write_port_file(&self, file: &Path) -> io::Result<()> {
        let mut unfinished = file.as_os_str().to_owned();
        unfinished.push(".lck");
        let mut out = std::fs::File::create(&unfinished)?;
        for address in self.addresses() {
            let family = if address.is_ipv4() { "INET" } else { "INET6" };
            writeln!(out, "TCP {family}: {}", address.port())?;
        }
        std::fs::rename(unfinished, file)
    }

    /// Starts to accept, in the runtime that this is called in, and hands clients to the workers.
    /// Dropping the returned set ends it.
    pub fn accept(self, cache: &Arc<Cache>, workers: &Arc<Workers>) -> io::Result<JoinSet<()>> {
        let mut accepting = JoinSet::new();
        for (listener, terms) in self.tcp {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let place = listener.local_addr().map_or(Place::Unknown, Place::Address);
            let who = Who::Listener(Transport::Tcp, place);
            let seat = cache.roster.enter(listener.as_raw_fd(), who, cache.clock.now());
            let (cache, workers) = (Arc::clone(cache), Arc::clone(workers));
            accepting.spawn(async move {
                let _seat = seat;
                loop {
                    let accepted = listener.accept().await.and_then(|(stream, _)| {
                        stream.set_nodelay(true)?;
                        stream.into_std()
                    });
                    admit(accepted.map(Accepted::Tcp), &terms, &cache, &workers).await;
                }
            });
        }
        for (listener, terms) in self.unix {
            let here = listener.local_addr().ok();
            let path = here.and_then(|here| here.as_pathname().map(Path::to_owned));
            let who = Who::Listener(Transport::Local, path.map_or(Place::Unknown, Place::Path));
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let seat = cache.roster.enter(listener.as_raw_fd(), who, cache.clock.now());
            let (cache, workers) = (Arc::clone(cache), Arc::clone(workers));
            accepting.spawn(async move {
                let _seat = seat;
                loop {
                    let accepted =
                        listener.accept().await.and_then(|(stream, _)| stream.into_std());
                    admit(accepted.map(Accepted::Unix), &terms, &cache, &workers).await;
                }
            });
        }
        Ok(accepting)
    }
}

fn is_full(cache: &Cache) -> bool {
    cache.connections.current() >= u64::from(cache.settings.max_connections)
}

/// Waits for room for the client at hand, while those behind it wait to be accepted.
async fn room(cache: &Cache) {
    if !is_full(cache) {
        return;
    }
    let connections = &cache.connections;
    // With several listeners it is the first to wait whose time counts.
    let first = connections.holding.fetch_add(1, Ordering::Relaxed) == 0;
    connections.held.fetch_add(u64::from(first), Ordering::Relaxed);
    let mut since = Instant::now();
    while is_full(cache) {
        tokio::time::sleep(ROOM_RETRY).await;
        if first {
            let passed = since.elapsed();
            since += passed;
            let passed = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
            connections.held_us.fetch_add(passed, Ordering::Relaxed);
        }
    }
    connections.holding.fetch_sub(1, Ordering::Relaxed);
}

async fn admit(
    accepted: io::Result<Accepted>,
    terms: &Arc<Terms>,
    cache: &Cache,
    workers: &Workers,
) {
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            log::warn!(
                "event=accept_failed error=\"{error}\" open={}",
                cache.connections.current()
            );
            return tokio::time::sleep(ACCEPT_RETRY).await;
        }
    };
    let connections = &cache.connections;
    if !cache.settings.maxconns_fast {
        room(cache).await;
    } else if is_full(cache) {
        connections.rejected.fetch_add(1, Ordering::Relaxed);
        // The socket is new: its send buffer takes these few bytes or nothing can be said at all.
        let _ = match accepted {
            Accepted::Tcp(mut stream) => stream.write(TOO_MANY),
            Accepted::Unix(mut stream) => stream.write(TOO_MANY),
        };
        return;
    }
    connections.current.fetch_add(1, Ordering::Relaxed);
    connections.total.fetch_add(1, Ordering::Relaxed);
    workers.hand_over(accepted, terms);
}
