//! Where clients connect: binding, and accepting within the limit of connections.

use super::bind::{BindError, bind_tcp, bind_udp, bind_unix};
use super::inherited::Inherited;
use super::socket::Accepted;
use super::terms::Terms;
use super::trace;
use super::worker::{Job, Workers};
use crate::command::Cache;
use crate::command::roster::{Place, Who};
use crate::watch::Transport;
use socket2::SockRef;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What a client is told when there are too many.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";
/// Pause after accepting failed, for lack of descriptors as a rule.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);
/// How often a client held back looks for room; memcached looks as often.
const ROOM_RETRY: Duration = Duration::from_millis(10);

/// Bound listeners.
pub struct Listeners {
    inherited: Inherited,
    tcp: Vec<(TcpListener, Arc<Terms>)>,
    udp: Vec<UdpSocket>,
    unix: Vec<(UnixListener, Arc<Terms>)>,
}

/// Lets clients connect, if they can't already; so many may wait to be accepted.
pub fn listen(listener: &TcpListener, backlog: u32) -> io::Result<()> {
    let socket = SockRef::from(listener);
    if socket.is_listener()? {
        return Ok(());
    }
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

impl Listeners {
    /// None yet; those of `inherited` are taken before others are bound.
    pub fn new(inherited: Inherited) -> Listeners {
        Listeners { inherited, tcp: Vec::new(), udp: Vec::new(), unix: Vec::new() }
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
    pub fn bind_tcp(&mut self, host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
        bind_tcp(host, port, &mut self.inherited)
    }

    /// Binds one TCP address of `-l`, or any with `*`.
    pub fn add_tcp(&mut self, host: &str, port: u16, terms: &Arc<Terms>) -> io::Result<()> {
        let bound = self.bind_tcp(host, port)?;
        self.tcp.extend(bound.into_iter().map(|listener| (listener, Arc::clone(terms))));
        Ok(())
    }

    /// Binds one UDP address of `-l`, or any with `*`.
    pub fn add_udp(&mut self, host: &str, port: u16) -> io::Result<()> {
        self.udp.extend(bind_udp(host, port)?);
        Ok(())
    }

    /// Binds a Unix socket with mode `mask`; a stale socket of that name is removed first.
    pub fn add_unix(
        &mut self,
        path: &Path,
        mask: u32,
        terms: &Arc<Terms>,
    ) -> Result<(), BindError> {
        let bound = match self.inherited.unix(path) {
            Some(listener) => Ok(listener),
            None => bind_unix(path, mask),
        };
        let listener = bound
            .map_err(|error| BindError::new(format!("UNIX socket: {}", path.display()), &error))?;
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
        let tcp = self.tcp.iter().map(|(listener, _)| ("TCP", listener.local_addr()));
        let udp = self.udp.iter().map(|socket| ("UDP", socket.local_addr()));
        for (transport, address) in tcp.chain(udp) {
            let address = address?;
            let family = if address.is_ipv4() { "INET" } else { "INET6" };
            writeln!(out, "{transport} {family}: {}", address.port())?;
        }
        std::fs::rename(unfinished, file)
    }

    /// Starts to accept, in the runtime that this is called in, and hands clients to the workers.
    /// Dropping the returned set ends it.
    pub fn accept(self, cache: &Arc<Cache>, workers: &Arc<Workers>) -> io::Result<JoinSet<()>> {
        let mut accepting = JoinSet::new();
        let listening = &cache.connections.listening;
        listening.fetch_add((self.tcp.len() + self.unix.len()) as u64, Ordering::Relaxed);
        for socket in &self.udp {
            for _ in 0..cache.settings.threads_per_udp {
                let socket = socket.try_clone()?;
                let place = socket.local_addr().map_or(Place::Unknown, Place::Address);
                let who = Who::Listener(Transport::Udp, place);
                // Here, not when its worker takes it: the first client is to see all of them.
                let seat = cache.roster.enter(socket.as_raw_fd(), who, cache.clock.now());
                workers.hand_over(Job::Datagrams(socket, seat));
                listening.fetch_add(1, Ordering::Relaxed);
            }
        }
        let counted = listening.load(Ordering::Relaxed);
        cache.connections.total.fetch_add(counted, Ordering::Relaxed);
        let shown = trace::is_on(cache);
        if shown {
            trace::classes(cache);
        }
        for (listener, terms) in self.tcp {
            if shown {
                trace::listening(listener.as_raw_fd(), terms.protocol);
            }
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
            if shown {
                trace::listening(listener.as_raw_fd(), terms.protocol);
            }
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
            if let Some(others) = cache.mentions.accept.due() {
                log::warn!(
                    "event=accept_failed error=\"{error}\" open={} unmentioned_before={others}",
                    cache.connections.current()
                );
            }
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
    let current = connections.current.fetch_add(1, Ordering::Relaxed) + 1;
    connections.most.fetch_max(current, Ordering::Relaxed);
    connections.total.fetch_add(1, Ordering::Relaxed);
    workers.hand_over(Job::Client(accepted, Arc::clone(terms)));
}
