//! A client's socket with TLS on it.
//!
//! What is encrypted is read into a buffer of the worker's and decrypted from there: a read takes
//! one system call however many records it brings, and an idle connection keeps next to nothing.

use super::timers;
use crate::tls::{Tls, TlsMode};
use rustls::server::ServerConnection;
use rustls::{Error, InvalidMessage};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, BufRead, IoSlice, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that one read takes during the handshake. What comes behind it in the same read has to
/// fit into the session.
const HANDSHAKE_READ: usize = 4 * 1024;
/// Bytes that one read takes.
const READ: usize = 64 * 1024;

thread_local! {
    /// The worker's buffer for what is still encrypted.
    static SEALED: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// A connected client that speaks TLS.
pub(super) struct TlsStream {
    tcp: TcpStream,
    session: ServerConnection,
    tls: Arc<Tls>,
    /// Bytes of the write at hand that are encrypted but not all sent.
    sealed: usize,
}

/// Does the handshake of a new client, within bounds of time and memory. A failure is counted; the
/// error is the reason.
pub(super) async fn accept(
    tcp: TcpStream,
    tls: &Arc<Tls>,
    mode: Option<TlsMode>,
) -> Result<Box<TlsStream>, String> {
    let done = match tls.config(mode).map(ServerConnection::new) {
        Some(Ok(session)) => {
            let stream = TlsStream { tcp, session, tls: Arc::clone(tls), sealed: 0 };
            let mut stream = Box::new(stream);
            let shaken = poll_fn(|cx| stream.poll_handshake(cx));
            match timers::timeout(HANDSHAKE_TIMEOUT, shaken).await {
                Ok(shaken) => shaken.map(|()| stream).map_err(|error| error.to_string()),
                Err(_) => Err("it took too long".to_owned()),
            }
        }
        Some(Err(error)) => Err(error.to_string()),
        None => Err("there is no ssl_ca_cert to verify clients with".to_owned()),
    };
    done.inspect_err(|_| tls.handshake_failed())
}

impl TlsStream {
    pub(super) fn fd(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.is_handshaking() {
            ready!(self.poll_flush(cx))?;
            let mut nothing = ReadBuf::new(&mut []);
            if !ready!(self.poll_receive(cx, HANDSHAKE_READ, &mut nothing))? {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.poll_flush(cx)
    }

    /// Reads into `buffer`; what is read is nothing at the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            let ended = !self.take_opened(buffer)?;
            if ended || buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_flush(cx))?;
            let room = buffer.remaining().min(READ);
            ready!(self.poll_receive(cx, room, buffer))?;
        }
    }

    /// Sends the front of `slices`: ready with the number of its bytes when they have all gone out.
    /// Until then it must be called again with the same.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.sealed == 0 {
            ready!(self.poll_flush(cx))?;
            // As much as the session lets wait.
            self.sealed = self.session.writer().write_vectored(slices)?;
        }
        ready!(self.poll_flush(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.sealed)))
    }

    /// Reads once, decrypts all of it, and moves what that gives into `buffer`. With `room` no
    /// larger than that, what does not fit is less than a record, which the session keeps. False
    /// at the end of the stream.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        SEALED.with_borrow_mut(|sealed| {
            let mut sealed = ReadBuf::new(&mut sealed[..room]);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut sealed))?;
            let mut sealed = sealed.filled();
            if sealed.is_empty() {
                self.session.read_tls(&mut sealed)?;
                return Poll::Ready(Ok(false));
            }
            while !sealed.is_empty() && self.session.read_tls(&mut sealed)? > 0 {
                self.open()?;
                self.take_opened(buffer)?;
            }
            Poll::Ready(Ok(true))
        })
    }

    /// Decrypts what the session was given.
    fn open(&mut self) -> io::Result<()> {
        let handshaking = self.session.is_handshaking();
        let Err(error) = self.session.process_new_packets() else { return Ok(()) };
        if !handshaking {
            self.tls.protocol_broken();
        }
        // To a client that speaks no TLS an alert would be noise.
        if error != Error::InvalidMessage(InvalidMessage::InvalidContentType) {
            self.send_what_can_be();
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Moves decrypted bytes into `buffer`, as far as it has room. False at the end of the stream.
    fn take_opened(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<bool> {
        if buffer.remaining() == 0 {
            return Ok(true);
        }
        let mut reader = self.session.reader();
        match reader.fill_buf() {
            Ok(opened) => {
                let read = opened.len().min(buffer.remaining());
                buffer.put_slice(&opened[..read]);
                reader.consume(read);
                Ok(read > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            // Many clients leave without a word.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends what is encrypted; ready when nothing is left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut polled = Polled { tcp: &mut self.tcp, cx };
            match self.session.write_tls(&mut polled) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what the client takes at once, in parting.
    fn send_what_can_be(&mut self) {
        while self.session.wants_write() {
            match self.session.write_tls(&mut AtOnce(&self.tcp)) {
                Ok(sent) if sent > 0 => {}
                _ => return,
            }
        }
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        if !self.session.is_handshaking() {
            // Without it the client could not tell the end from a cut.
            self.session.send_close_notify();
            self.send_what_can_be();
        }
    }
}

/// The socket as a writer: would block where the poll is pending.
struct Polled<'a, 'b> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, slices) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket as a writer that does not wait.
struct AtOnce<'a>(&'a TcpStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
