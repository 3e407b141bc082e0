//! The other node's status, asked for on behalf of whoever looks at the page of this one: a browser
//! may ask only the node that the page is from.

use super::PeerAddress;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long the peer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an answer serves for all who ask.
const FRESH: Duration = Duration::from_millis(500);
/// Bytes that an answer may have.
const ANSWER_MAX: usize = 64 * 1024;

type Answer = Result<Bytes, String>;

pub(super) struct Peer {
    address: PeerAddress,
    /// The last answer, and when it came. Locked while the peer is asked, so that however many look
    /// at the page, the peer is asked once.
    last: Mutex<Option<(Instant, Answer)>>,
}

impl Peer {
    pub(super) fn new(address: PeerAddress) -> Peer {
        Peer { address, last: Mutex::new(None) }
    }

    /// The peer's `/status`, or why there is none.
    pub(super) async fn status(&self) -> Answer {
        let mut last = self.last.lock().await;
        if let Some((when, answer)) = &*last
            && when.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = match timeout(PATIENCE, self.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }

    async fn ask(&self) -> Answer {
        let PeerAddress { host, port } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream =
            stream.map_err(|error| format!("connecting to {host} port {port}: {error}"))?;
        let failed = |error: hyper::Error| format!("talking to {host} port {port}: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let exchange = async move {
            let request = Request::get("/status").header(HOST, "peer").body(Empty::<Bytes>::new());
            let request = request.map_err(|error| error.to_string())?;
            let response = sender.send_request(request).await.map_err(failed)?;
            if response.status() != StatusCode::OK {
                return Err(format!("{host} port {port} answers {}", response.status()));
            }
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            Ok(body.map_err(|error| format!("{host} port {port}: {error}"))?.to_bytes())
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection may be over before its last answer is read.
            _ = connection => exchange.await,
        }
    }
}
