//! A client's socket, of whichever family.

use super::tls::TlsStream;
use crate::command::roster::{Place, Who};
use crate::protocol::Output;
use crate::watch::{Peer, Transport};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Slices that one vectored write is given at most (the kernel takes 1024).
const SLICES_MAX: usize = 64;

/// A connected client, not yet in the hands of a worker's runtime.
pub(super) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A connected client.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// On the heap, so that it makes no other connection larger.
    Tls(Box<TlsStream>),
}

impl Accepted {
    /// Who it is, and where it came in.
    pub(super) fn who(&self) -> Who {
        match self {
            Accepted::Tcp(stream) => {
                let place = stream.local_addr().map_or(Place::Unknown, Place::Address);
                // A client that has left by now has no address any more.
                let address = stream.peer_addr().ok();
                Who::Client(Peer { address, transport: Transport::Tcp }, place)
            }
            Accepted::Unix(stream) => {
                let here = stream.local_addr().ok();
                let path = here.and_then(|here| here.as_pathname().map(Path::to_owned));
                let place = path.map_or(Place::Unknown, Place::Path);
                Who::Client(Peer { address: None, transport: Transport::Local }, place)
            }
        }
    }

    /// Registers it with the runtime that this is called in.
    pub(super) fn register(self) -> io::Result<Socket> {
        Ok(match self {
            Accepted::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
            Accepted::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl Socket {
    /// The descriptor: the name by which `-vv` speaks of a client.
    pub(super) fn fd(&self) -> RawFd {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
            Socket::Tls(stream) => stream.fd(),
        }
    }

    /// Ready when there may be something to read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
            // What is decrypted already is not known to the socket.
            Socket::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Reads into `buffer`; the number of bytes read is 0 at the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let before = buffer.filled().len();
        let polled = match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Tls(stream) => stream.poll_read(cx, buffer),
        };
        polled.map_ok(|()| buffer.filled().len() - before)
    }

    /// Reads into `first`, and into `second` what is more; 0 bytes are the end. Not ready again before
    /// there is something new, if less came than there was room for.
    pub(super) fn poll_read_two(
        &mut self,
        cx: &mut Context<'_>,
        first: &mut [u8],
        second: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let room = first.len() + second.len();
        let mut slices = [IoSliceMut::new(first), IoSliceMut::new(second)];
        loop {
            ready!(self.poll_readable(cx))?;
            let read = match self {
                Socket::Tcp(stream) => stream.try_read_vectored(&mut slices),
                Socket::Unix(stream) => stream.try_read_vectored(&mut slices),
                Socket::Tls(stream) => {
                    let place = slices.iter_mut().find(|slice| !slice.is_empty());
                    let mut buffer = ReadBuf::new(place.map_or(&mut [], |slice| &mut *slice));
                    return stream.poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len());
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Ok(read) if read > 0 && read < room => self.note_drained(),
                _ => {}
            }
            return Poll::Ready(read);
        }
    }

    /// There is nothing to read any more, which the next attempt would find out by a system call.
    fn note_drained(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = match self {
            Socket::Tcp(stream) => stream.try_io(Interest::READABLE, nothing),
            Socket::Unix(stream) => stream.try_io(Interest::READABLE, nothing),
            Socket::Tls(_) => return,
        };
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Tls(stream) => stream.poll_write(cx, &[IoSlice::new(bytes)]),
        }
    }

    /// Sends the front of `output`; ready with the number of bytes that went.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        output: &Output,
    ) -> Poll<io::Result<usize>> {
        if let Some(bytes) = output.plain() {
            return self.poll_write(cx, bytes);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let slices = output.slices(&mut slices);
        match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Tls(stream) => stream.poll_write(cx, slices),
        }
    }
}
