//! Answers, read as they arrive.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::keys::{Values, number};
use super::protocol::{HEADER, Protocol};
use super::report::Totals;

const READ_SIZE: usize = 64 << 10;
/// No line of an answer is longer.
const LONGEST_LINE: usize = 4096;
/// What ends a value in all but the binary protocol.
const LINE_END: &[u8] = b"\r\n";
/// First byte of an answer of the binary protocol.
const RESPONSE: u8 = 0x81;
/// Its status where the key is not there.
const NOT_FOUND: u16 = 1;

/// The receiving half of a connection.
pub(super) struct Replies<R> {
    stream: R,
    protocol: Protocol,
    buffer: BytesMut,
}

/// What an answer of the binary protocol begins with.
struct Head {
    status: u16,
    /// Bytes in front of the value: extras and key.
    before: usize,
    /// Bytes of the value.
    value: usize,
}

/// What a line of an answer to `get` is.
enum Line {
    End,
    /// A value follows: of which key, how long.
    Value(Option<u64>, usize),
    Error(String),
}

impl<R: AsyncRead + Unpin> Replies<R> {
    pub(super) fn new(stream: R, protocol: Protocol) -> Replies<R> {
        Replies { stream, protocol, buffer: BytesMut::new() }
    }

    /// Reads the answer to one `set`.
    pub(super) async fn stored(&mut self, totals: &mut Tally) -> io::Result<()> {
        if self.protocol == Protocol::Binary {
            let head = self.head().await?;
            return self.nothing(&head, head.status == 0, totals).await;
        }
        let length = self.line().await?;
        let line = &self.buffer[..length];
        match line {
            b"STORED\r\n" if self.protocol == Protocol::Text => {}
            b"HD\r\n" if self.protocol == Protocol::Meta => {}
            _ if is_error(line) => totals.errors.push(show(line)),
            _ => return Err(unexpected(line)),
        }
        self.buffer.advance(length);
        Ok(())
    }

    /// Reads what is answered to who asked for `keys`, and checks the values.
    pub(super) async fn values(
        &mut self,
        keys: &[u64],
        values: &Values,
        totals: &mut Tally,
    ) -> io::Result<()> {
        match self.protocol {
            Protocol::Text => return self.lines(keys, values, totals).await,
            Protocol::Meta => {
                for &key in keys {
                    self.meta(key, values, totals).await?;
                }
            }
            Protocol::Binary => {
                for &key in keys {
                    self.binary(key, values, totals).await?;
                }
            }
        }
        totals.keys += keys.len() as u64;
        Ok(())
    }

    /// The answer to `mg`.
    async fn meta(&mut self, key: u64, values: &Values, totals: &mut Tally) -> io::Result<()> {
        let length = self.line().await?;
        let line = &self.buffer[..length];
        let size = line
            .strip_prefix(b"VA ")
            .and_then(|rest| std::str::from_utf8(rest.trim_ascii_end()).ok()?.parse().ok());
        match (line, size) {
            (b"EN\r\n", _) => self.buffer.advance(length),
            (_, Some(size)) => {
                self.buffer.advance(length);
                self.value(key, size, LINE_END, values, totals).await?;
            }
            _ if is_error(line) => {
                totals.errors.push(show(line));
                self.buffer.advance(length);
            }
            _ => return Err(unexpected(line)),
        }
        Ok(())
    }

    /// The answer to a get of the binary protocol.
    async fn binary(&mut self, key: u64, values: &Values, totals: &mut Tally) -> io::Result<()> {
        let head = self.head().await?;
        if head.status != 0 {
            return self.nothing(&head, head.status == NOT_FOUND, totals).await;
        }
        self.need(head.before).await?;
        self.buffer.advance(head.before);
        self.value(key, head.value, b"", values, totals).await
    }

    /// Takes an answer of the binary protocol that has no value; what it has in its place says what
    /// is wrong, if anything is.
    async fn nothing(&mut self, head: &Head, fine: bool, totals: &mut Tally) -> io::Result<()> {
        let length = head.before + head.value;
        if length > LONGEST_LINE {
            return Err(invalid("an answer without a value is too long"));
        }
        self.need(length).await?;
        if !fine {
            let text = show(&self.buffer[head.before..length]);
            totals.errors.push(format!("status {:#06x}: {text}", head.status));
        }
        self.buffer.advance(length);
        Ok(())
    }

    /// Waits for the head of an answer of the binary protocol.
    async fn head(&mut self) -> io::Result<Head> {
        self.need(HEADER).await?;
        let mut head = self.buffer.split_to(HEADER);
        if head.get_u8() != RESPONSE {
            return Err(invalid("it does not answer in the binary protocol"));
        }
        head.advance(1);
        let key = usize::from(head.get_u16());
        let before = key + usize::from(head.get_u8());
        head.advance(1);
        let status = head.get_u16();
        let body = head.get_u32() as usize;
        let value = body.checked_sub(before).ok_or_else(|| invalid("its lengths do not fit"))?;
        Ok(Head { status, before, value })
    }

    /// The lines that answer a `get` of the text protocol.
    async fn lines(&mut self, keys: &[u64], values: &Values, totals: &mut Tally) -> io::Result<()> {
        let mut expected = keys.iter();
        loop {
            let length = self.line().await?;
            let line = parse(&self.buffer[..length])?;
            self.buffer.advance(length);
            match line {
                Line::End => {
                    totals.keys += keys.len() as u64;
                    return Ok(());
                }
                Line::Error(text) => {
                    totals.errors.push(text);
                    return Ok(());
                }
                Line::Value(key, size) => {
                    let key = key.filter(|key| expected.any(|asked| asked == key));
                    let key = key.ok_or_else(|| invalid("it sends a key not asked for"))?;
                    self.value(key, size, LINE_END, values, totals).await?;
                }
            }
        }
    }

    async fn value(
        &mut self,
        key: u64,
        size: usize,
        end: &[u8],
        values: &Values,
        totals: &mut Tally,
    ) -> io::Result<()> {
        if size > values.most() {
            return Err(invalid("it has a value larger than --value-size allows"));
        }
        let whole = size + end.len();
        self.need(whole).await?;
        if &self.buffer[size..whole] != end {
            return Err(invalid("a value does not end where it should"));
        }
        totals.hits += 1;
        if !values.is_right(key, &self.buffer[..size]) {
            totals.wrong.push(key);
        }
        self.buffer.advance(whole);
        Ok(())
    }

    /// Waits for so many bytes.
    async fn need(&mut self, bytes: usize) -> io::Result<()> {
        while self.buffer.len() < bytes {
            self.fill().await?;
        }
        Ok(())
    }

    /// Waits for a whole line and returns its length.
    async fn line(&mut self) -> io::Result<usize> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer) {
                return Ok(at + 1);
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(invalid("a line of its answer does not end"));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve(READ_SIZE);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
            _ => Ok(()),
        }
    }
}

/// What one answer added to the counts.
#[derive(Default)]
pub(super) struct Tally {
    keys: u64,
    hits: u64,
    wrong: Vec<u64>,
    errors: Vec<String>,
}

impl Tally {
    /// Moves everything to `totals`.
    pub(super) fn count(&mut self, totals: &mut Totals) {
        totals.hits += self.hits;
        totals.misses += self.keys.saturating_sub(self.hits);
        (self.keys, self.hits) = (0, 0);
        self.wrong.drain(..).for_each(|key| totals.wrong(key));
        self.errors.drain(..).for_each(|text| totals.fail(|| format!("it answers \"{text}\"")));
    }
}

fn parse(line: &[u8]) -> io::Result<Line> {
    if line == b"END\r\n" {
        return Ok(Line::End);
    }
    if is_error(line) {
        return Ok(Line::Error(show(line)));
    }
    let mut words = line.trim_ascii_end().split(|&byte| byte == b' ');
    let (first, key, _flags, size) = (words.next(), words.next(), words.next(), words.next());
    let size = size.and_then(|size| std::str::from_utf8(size).ok()?.parse().ok());
    match (first, key, size) {
        (Some(b"VALUE"), Some(key), Some(size)) => Ok(Line::Value(number(key), size)),
        _ => Err(unexpected(line)),
    }
}

fn is_error(line: &[u8]) -> bool {
    [&b"ERROR\r"[..], b"CLIENT_ERROR ", b"SERVER_ERROR "].iter().any(|word| line.starts_with(word))
}

/// What a server says ends up on a terminal.
fn show(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.trim_ascii_end());
    text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn unexpected(line: &[u8]) -> io::Error {
    invalid(&format!("it answers \"{}\"", show(line)))
}
