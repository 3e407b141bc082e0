//! The threads that serve clients.

use super::connection::{Connection, End};
use super::socket::{Accepted, Socket};
use super::terms::Terms;
use super::udp::Datagrams;
use super::{presence, timers, tls};
use crate::command::Cache;
use crate::command::roster::Seat;
use crate::store::Written;
use crate::tls::TlsMode;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// How often a worker shows that it is alive.
const PULSE: Duration = Duration::from_millis(500);

/// What a client may ask of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `shutdown`; whether it is the graceful one.
    Shutdown {
        /// After draining.
        graceful: bool,
    },
}

/// What a worker is given to serve.
pub(super) enum Job {
    /// A client.
    Client(Accepted, Arc<Terms>),
    /// An end of a UDP socket.
    Datagrams(std::net::UdpSocket, Seat),
}

/// Threads, each with a runtime of its own; connections are dealt out in turn.
pub struct Workers {
    inboxes: Vec<mpsc::UnboundedSender<Job>>,
    pulses: Arc<[AtomicU64]>,
    next: AtomicUsize,
}

/// The threads behind [`Workers`], to wait for.
pub struct Threads(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts as many workers as `cache` has counters for. Clients' wishes go to `requests`. The
    /// runtime that this is called in keeps the workers' timers, and must outlive them.
    pub fn start(
        cache: &Arc<Cache>,
        requests: &mpsc::Sender<Request>,
    ) -> io::Result<(Workers, Threads)> {
        let pulses: Arc<[AtomicU64]> = cache.workers.iter().map(|_| AtomicU64::new(0)).collect();
        let keeper = Handle::current();
        let mut inboxes = Vec::new();
        let mut threads = Vec::new();
        for number in 0..cache.workers.len() {
            let (sender, inbox) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            let keeper = keeper.clone();
            let (cache, pulses, requests) =
                (Arc::clone(cache), Arc::clone(&pulses), requests.clone());
            let thread =
                std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                    timers::keep_by(keeper);
                    runtime.block_on(work(number, inbox, &cache, &pulses[number], &requests));
                })?;
            inboxes.push(sender);
            threads.push(thread);
        }
        Ok((Workers { inboxes, pulses, next: AtomicUsize::new(0) }, Threads(threads)))
    }

    pub(super) fn hand_over(&self, job: Job) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        // A worker ends only with the daemon, and then the connection may end too.
        let _ = self.inboxes[next].send(job);
    }

    /// A number per worker that rises while the worker is not stuck.
    pub fn pulses(&self) -> Vec<u64> {
        self.pulses.iter().map(|pulse| pulse.load(Ordering::Relaxed)).collect()
    }
}

impl Threads {
    /// Waits until all have ended; they do when their [`Workers`] is dropped.
    pub fn join(self) {
        for thread in self.0 {
            // A panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

async fn work(
    number: usize,
    mut inbox: mpsc::UnboundedReceiver<Job>,
    cache: &Arc<Cache>,
    pulse: &AtomicU64,
    requests: &mpsc::Sender<Request>,
) {
    if cache.durability.is_some() {
        Written::note_from_now();
    }
    let mut beat = timers::interval(PULSE);
    loop {
        let job = tokio::select! {
            job = inbox.recv() => job,
            _ = beat.tick() => {
                pulse.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        };
        match job {
            None => return,
            Some(Job::Client(accepted, terms)) => {
                welcome(accepted, terms, cache, number, requests.clone());
            }
            Some(Job::Datagrams(socket, seat)) => match UdpSocket::from_std(socket) {
                Ok(socket) => {
                    let datagrams = Datagrams::new(socket, seat, Arc::clone(cache), number);
                    let requests = requests.clone();
                    tokio::spawn(async move { pass_on(datagrams.serve().await, requests).await });
                }
                Err(error) => log::warn!("event=register_failed error=\"{error}\""),
            },
        }
    }
}

/// Starts to serve a client, after the handshake if there must be one.
fn welcome(
    accepted: Accepted,
    terms: Arc<Terms>,
    cache: &Arc<Cache>,
    number: usize,
    requests: mpsc::Sender<Request>,
) {
    let tls = cache.tls.as_ref().filter(|_| terms.tls != Some(TlsMode::Plain));
    let who = accepted.who();
    let seated = accepted.register().map(|socket| {
        let seat = cache.roster.enter(socket.fd(), who, cache.clock.now());
        (seat, socket)
    });
    let cache = Arc::clone(cache);
    match (seated, tls) {
        (Ok((seat, Socket::Tcp(stream))), Some(tls)) => {
            let tls = Arc::clone(tls);
            tokio::spawn(async move {
                let client = stream.as_raw_fd();
                match tls::accept(stream, &tls, terms.tls).await {
                    Ok(stream) => {
                        let socket = Socket::Tls(stream);
                        let connection = Connection::new(seat, socket, cache, number, terms);
                        serve(connection, requests).await;
                    }
                    Err(why) => {
                        presence::tell_unshaken(&seat, client, &why, &cache, number);
                        cache.connections.current.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            });
        }
        (Ok((seat, socket)), _) => {
            let connection = Connection::new(seat, socket, cache, number, terms);
            tokio::spawn(serve(connection, requests));
        }
        (Err(error), _) => {
            cache.connections.current.fetch_sub(1, Ordering::Relaxed);
            if let Some(others) = cache.mentions.register.due() {
                log::warn!("event=register_failed error=\"{error}\" unmentioned_before={others}");
            }
        }
    }
}

/// Serves a client.
#[expect(clippy::manual_async_fn, reason = "it would keep the connection twice, as argument too")]
fn serve(mut connection: Connection, requests: mpsc::Sender<Request>) -> impl Future<Output = ()> {
    async move {
        let end = connection.serve().await;
        drop(connection);
        pass_on(end, requests).await;
    }
}

/// Passes on what the client that was served asks of the daemon.
async fn pass_on(end: End, requests: mpsc::Sender<Request>) {
    if let End::Shutdown { graceful } = end {
        // On the heap: only one connection comes here.
        let _ = Box::pin(requests.send(Request::Shutdown { graceful })).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the task of an idle connection may take, in bytes: there are many of them.
    const TASK_MAX: usize = 512;

    /// Bytes of the future that the function returns.
    fn size_of_future<A, F: Future>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_is_small() {
        let size = size_of_future(|(connection, requests)| serve(connection, requests));
        assert!(size <= TASK_MAX, "the task of a connection has {size} bytes");
    }
}
