//! The threads that serve clients.

use super::connection::{Connection, End};
use super::socket::{Accepted, Socket};
use super::terms::Terms;
use super::tls;
use crate::command::Cache;
use crate::store::Written;
use crate::tls::TlsMode;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
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

/// Threads, each with a runtime of its own; connections are dealt out in turn.
pub struct Workers {
    inboxes: Vec<mpsc::UnboundedSender<(Accepted, Arc<Terms>)>>,
    pulses: Arc<[AtomicU64]>,
    next: AtomicUsize,
}

/// The threads behind [`Workers`], to wait for.
pub struct Threads(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts as many workers as `cache` has counters for. Clients' wishes go to `requests`.
    pub fn start(
        cache: &Arc<Cache>,
        requests: &mpsc::Sender<Request>,
    ) -> io::Result<(Workers, Threads)> {
        let pulses: Arc<[AtomicU64]> = cache.workers.iter().map(|_| AtomicU64::new(0)).collect();
        let mut inboxes = Vec::new();
        let mut threads = Vec::new();
        for number in 0..cache.workers.len() {
            let (sender, inbox) = mpsc::unbounded_channel();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
            let (cache, pulses, requests) =
                (Arc::clone(cache), Arc::clone(&pulses), requests.clone());
            let thread =
                std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                    runtime.block_on(work(number, inbox, &cache, &pulses[number], &requests));
                })?;
            inboxes.push(sender);
            threads.push(thread);
        }
        Ok((Workers { inboxes, pulses, next: AtomicUsize::new(0) }, Threads(threads)))
    }

    pub(super) fn hand_over(&self, accepted: Accepted, terms: &Arc<Terms>) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
        // A worker ends only with the daemon, and then the connection may end too.
        let _ = self.inboxes[next].send((accepted, Arc::clone(terms)));
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
    mut inbox: mpsc::UnboundedReceiver<(Accepted, Arc<Terms>)>,
    cache: &Arc<Cache>,
    pulse: &AtomicU64,
    requests: &mpsc::Sender<Request>,
) {
    if cache.durability.is_some() {
        Written::note_from_now();
    }
    let mut beat = tokio::time::interval(PULSE);
    loop {
        let accepted = tokio::select! {
            accepted = inbox.recv() => accepted,
            _ = beat.tick() => {
                pulse.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        };
        let Some((accepted, terms)) = accepted else { return };
        let requests = requests.clone();
        let tls = cache.tls.as_ref().filter(|_| terms.tls != Some(TlsMode::Plain));
        let who = accepted.who();
        let seated = accepted.register().map(|socket| {
            let seat = cache.roster.enter(socket.fd(), who, cache.clock.now());
            (seat, socket)
        });
        match (seated, tls) {
            (Ok((seat, Socket::Tcp(stream))), Some(tls)) => {
                let (cache, tls) = (Arc::clone(cache), Arc::clone(tls));
                tokio::spawn(async move {
                    match tls::accept(stream, &tls, terms.tls).await {
                        Some(stream) => {
                            let socket = Socket::Tls(stream);
                            let connection = Connection::new(seat, socket, cache, number, terms);
                            serve(connection, requests).await;
                        }
                        None => {
                            cache.connections.current.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            (Ok((seat, socket)), _) => {
                let connection = Connection::new(seat, socket, Arc::clone(cache), number, terms);
                tokio::spawn(serve(connection, requests));
            }
            (Err(error), _) => {
                cache.connections.current.fetch_sub(1, Ordering::Relaxed);
                log::warn!("event=register_failed error=\"{error}\"");
            }
        }
    }
}

async fn serve(connection: Connection, requests: mpsc::Sender<Request>) {
    if let End::Shutdown { graceful } = connection.serve().await {
        let _ = requests.send(Request::Shutdown { graceful }).await;
    }
}
