//! What an operator and the tools of one look at, over HTTP: metrics, health, status and a page.
//!
//! Off unless configured, on addresses of its own, and for reading only: no request changes
//! anything. Whatever is sent here costs a bounded amount of memory and time.

mod health;
mod history;
mod metrics;
mod peer;
mod status;

use crate::command::Cache;
use crate::sparing::Sparing;
use history::History;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::Metrics;
use peer::Peer;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections served at a time; others wait to be accepted.
const CONNECTIONS: usize = 32;
/// How long a client may take over its request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that a connection may keep of a request.
const BUFFER: usize = 16 * 1024;
/// Pause after accepting failed, for lack of descriptors as a rule.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How often a sample for the page is taken.
const SAMPLE: Duration = Duration::from_secs(1);

/// The page. It loads nothing from elsewhere, so that it works where there is no way out.
const PAGE: &str = include_str!("page.html");
/// What the page may do: run its own script and ask this node.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";

/// Where the other node's endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Name or address, without brackets.
    pub host: String,
    /// Port of its endpoint.
    pub port: u16,
}

/// The endpoint of one node.
pub struct Monitor {
    cache: Arc<Cache>,
    metrics: Metrics,
    history: History,
    peer: Option<Peer>,
    stopping: watch::Receiver<bool>,
    /// Of connections that could not be accepted.
    failures: Sparing,
}

impl Monitor {
    /// An endpoint that says "do not send me clients" once `stopping` turns true. With `peer` the
    /// page shows that node too.
    pub fn new(
        cache: &Arc<Cache>,
        peer: Option<PeerAddress>,
        stopping: watch::Receiver<bool>,
    ) -> Monitor {
        Monitor {
            cache: Arc::clone(cache),
            metrics: Metrics::new(cache),
            history: History::default(),
            peer: peer.map(Peer::new),
            stopping,
            failures: Sparing::new(1),
        }
    }

    /// Serves on `listeners`, in the runtime that this is called in, until the returned set is
    /// dropped.
    pub fn serve(self, listeners: Vec<std::net::TcpListener>) -> io::Result<JoinSet<()>> {
        let monitor = Arc::new(self);
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut serving = JoinSet::new();
        for listener in listeners {
            let listener = TcpListener::from_std(listener)?;
            serving.spawn(accept(Arc::clone(&monitor), listener, Arc::clone(&slots)));
        }
        serving.spawn(async move {
            loop {
                monitor.history.sample(&monitor.cache);
                sleep(SAMPLE).await;
            }
        });
        Ok(serving)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refusal = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
            refusal
                .headers_mut()
                .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let stopping = *self.stopping.borrow();
        match request.uri().path() {
            "/metrics" => reply(StatusCode::OK, metrics::CONTENT_TYPE, self.metrics.render()),
            "/healthz" => verdict(health::pair(&self.cache, stopping)),
            "/readyz" => verdict(health::node(&self.cache, stopping)),
            "/status" => reply(StatusCode::OK, JSON, status::report(&self.cache, stopping)),
            "/status/peer" => match &self.peer {
                None => reply(StatusCode::NOT_FOUND, TEXT, "there is no peer\n"),
                Some(peer) => match peer.status().await {
                    Ok(body) => reply(StatusCode::OK, JSON, body),
                    Err(reason) => {
                        let text = format!("no status of the peer: {reason}\n");
                        reply(StatusCode::BAD_GATEWAY, TEXT, text)
                    }
                },
            },
            "/history" => reply(StatusCode::OK, JSON, self.history.report()),
            "/" => {
                let mut page = reply(StatusCode::OK, "text/html; charset=utf-8", PAGE);
                let policy = hyper::header::HeaderValue::from_static(PAGE_POLICY);
                page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
                page
            }
            _ => {
                let known = "there are /, /status, /healthz, /readyz and /metrics\n";
                reply(StatusCode::NOT_FOUND, TEXT, known)
            }
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

/// Says yes or no, with the reason in words.
fn verdict(verdict: Result<String, String>) -> Response<Full<Bytes>> {
    match verdict {
        Ok(state) => reply(StatusCode::OK, TEXT, format!("{state}\n")),
        Err(reason) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
    }
}

async fn accept(monitor: Arc<Monitor>, listener: TcpListener, slots: Arc<Semaphore>) {
    // Connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(others) = monitor.failures.due() {
                    log::warn!(
                        "event=monitor_accept_failed error=\"{error}\" unmentioned_before={others}"
                    );
                }
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let monitor = Arc::clone(&monitor);
        connections.spawn(async move {
            // What a client did wrong is of no interest to anybody else.
            let _ = timeout(CONNECTION_TIMEOUT, converse(&monitor, stream)).await;
            drop(slot);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(monitor: &Monitor, stream: TcpStream) -> Result<(), hyper::Error> {
    let answer = |request| async { Ok::<_, Infallible>(monitor.answer(request).await) };
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await
}
