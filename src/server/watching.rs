//! A client that watches: it is sent lines, and what it sends is thrown away.

use super::connection::End;
use super::socket::Socket;
use crate::command::WorkerCounters;
use crate::watch::Subscription;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// Bytes that are thrown away at once.
const IGNORED: usize = 1024;

/// Shows the lines of `subscription` until the client leaves.
pub(super) async fn show(
    socket: &mut Socket,
    subscription: &Subscription,
    counters: &WorkerCounters,
) -> End {
    let mut lines = Lines::default();
    let left = poll_fn(|cx| {
        if let Poll::Ready(left) = poll_ignore(socket, cx, counters) {
            return Poll::Ready(left);
        }
        loop {
            ready!(lines.poll_fill(subscription, cx));
            ready!(lines.poll_send(socket, cx, counters))?;
        }
    });
    match left.await {
        Ok(()) => End::Closed,
        Err(_) => End::Broken,
    }
}

/// Throws away what the client sends; ready when it has left.
fn poll_ignore(
    socket: &mut Socket,
    cx: &mut Context<'_>,
    counters: &WorkerCounters,
) -> Poll<io::Result<()>> {
    loop {
        // The runtime ends this from time to time, for the sake of others.
        let mut ignored = [0; IGNORED];
        let read = ready!(socket.poll_read(cx, &mut ReadBuf::new(&mut ignored)))?;
        if read == 0 {
            return Poll::Ready(Ok(()));
        }
        counters.bytes_read.add(read as u64);
    }
}

/// Lines on their way to the client.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    sent: usize,
}

impl Lines {
    /// Ready when there is something to send.
    fn poll_fill(&mut self, subscription: &Subscription, cx: &mut Context<'_>) -> Poll<()> {
        if self.sent < self.text.len() {
            return Poll::Ready(());
        }
        self.text.clear();
        self.sent = 0;
        subscription.poll_lines(cx, &mut self.text)
    }

    fn poll_send(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        counters: &WorkerCounters,
    ) -> Poll<io::Result<()>> {
        let sent = ready!(socket.poll_write(cx, &self.text[self.sent..]))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        counters.bytes_written.add(sent as u64);
        self.sent += sent;
        Poll::Ready(Ok(()))
    }
}
