//! The two directions of a connection to the peer, sealed or plain.

use super::sealing::{self, Opening, Sealing, Session};
use crate::replication::hello::Refusal;
use crate::replication::secret;
use bytes::BytesMut;
use rustls::Connection;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes that one read takes at most.
const READ: usize = 256 * 1024;
/// Bytes that one read takes during the handshake of TLS.
const HANDSHAKE_READ: usize = 4 * 1024;

/// A connection to somebody.
pub(super) struct Wire {
    pub reader: Reader,
    pub writer: Writer,
}

impl Wire {
    /// A plain one.
    pub(super) fn plain(stream: TcpStream) -> Wire {
        let (reader, writer) = stream.into_split();
        Wire {
            reader: Reader { half: reader, opening: None, sealed: BytesMut::new() },
            writer: Writer { half: writer, sealing: None, waiting: Vec::new(), written: 0 },
        }
    }

    /// Seals it by the secret from now on; what `input` holds beyond the handshake is sealed already.
    pub(super) fn seal(
        &mut self,
        opening: secret::Opening,
        sealing: secret::Sealing,
        input: &mut BytesMut,
    ) -> io::Result<()> {
        self.reader.opening = Some(Opening::Secret(opening));
        self.reader.sealed = std::mem::take(input);
        self.writer.sealing = Some(Sealing::Secret(sealing));
        self.reader.open(input)
    }

    /// Does the handshake of TLS; what came behind it is appended to `input`.
    pub(super) async fn shake_hands(
        &mut self,
        connection: Connection,
        input: &mut BytesMut,
    ) -> io::Result<()> {
        let session = Session::new(connection);
        let mut sealed = BytesMut::new();
        loop {
            let mut out = Vec::new();
            session.take_sealed(&mut out)?;
            self.writer.send(out).await?;
            if !session.is_handshaking() {
                break;
            }
            let reader = &mut self.reader.half;
            if reader.take(HANDSHAKE_READ as u64).read_buf(&mut sealed).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = session.open(&mut sealed, input) {
                // It may be told why, if it speaks TLS.
                let mut out = Vec::new();
                session.take_sealed(&mut out)?;
                if sealing::refusal(&error) != Some(Refusal::NoTls) {
                    self.writer.send(out).await?;
                }
                return Err(error);
            }
        }
        self.reader.opening = Some(Opening::Tls(session.clone()));
        self.writer.sealing = Some(Sealing::Tls(session));
        Ok(())
    }
}

pub(super) struct Reader {
    half: OwnedReadHalf,
    opening: Option<Opening>,
    /// What has arrived and is no whole sealed message yet.
    sealed: BytesMut,
}

impl Reader {
    /// Reads once, at most `limit` bytes, and appends what that makes readable to `input`; says how
    /// many bytes came, 0 when there are no more. Nothing is lost if it is not waited for.
    pub(super) async fn read(&mut self, input: &mut BytesMut, limit: usize) -> io::Result<usize> {
        let limit = limit.min(READ);
        if self.opening.is_none() {
            input.reserve(limit);
            return (&mut self.half).take(limit as u64).read_buf(input).await;
        }
        self.sealed.reserve(limit);
        let read = (&mut self.half).take(limit as u64).read_buf(&mut self.sealed).await?;
        self.open(input)?;
        Ok(read)
    }

    /// As [`Reader::read`] where that need not wait; else nothing is read, and that is no end.
    pub(super) fn read_what_is_there(&mut self, input: &mut BytesMut) -> io::Result<Option<usize>> {
        let buffer = if self.opening.is_none() { &mut *input } else { &mut self.sealed };
        buffer.reserve(READ);
        match self.half.try_read_buf(buffer) {
            Ok(read) => {
                self.open(input)?;
                Ok(Some(read))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open(&mut self, input: &mut BytesMut) -> io::Result<()> {
        match &mut self.opening {
            Some(opening) => opening.open(&mut self.sealed, input),
            None => Ok(()),
        }
    }
}

pub(super) struct Writer {
    half: OwnedWriteHalf,
    sealing: Option<Sealing>,
    waiting: Vec<u8>,
    written: usize,
}

impl Writer {
    /// Whether everything it was given has been written.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes over `out`, if it has nothing else to write.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if !self.is_idle() || out.is_empty() {
            return Ok(());
        }
        match &mut self.sealing {
            Some(sealing) => sealing.seal(out, &mut self.waiting)?,
            None => std::mem::swap(out, &mut self.waiting),
        }
        out.clear();
        Ok(())
    }

    /// Writes once. Nothing is lost if it is not waited for.
    pub(super) async fn write(&mut self) -> io::Result<()> {
        let written = self.half.write(&self.waiting[self.written..]).await?;
        self.wrote(written);
        Ok(())
    }

    /// As [`Writer::write`] as far as that need not wait.
    pub(super) fn write_what_fits(&mut self) -> io::Result<()> {
        while !self.is_idle() {
            match self.half.try_write(&self.waiting[self.written..]) {
                Ok(written) => self.wrote(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.waiting.len() {
            self.waiting.clear();
            self.written = 0;
        }
    }

    /// Writes all of `out`.
    pub(super) async fn send(&mut self, mut out: Vec<u8>) -> io::Result<()> {
        self.take(&mut out)?;
        while !self.is_idle() {
            self.write().await?;
        }
        Ok(())
    }
}
