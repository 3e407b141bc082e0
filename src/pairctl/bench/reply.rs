//! Answers of the text protocol, read as they arrive.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::keys::{Values, number};
use super::report::Totals;

const READ_SIZE: usize = 64 << 10;
/// No line of an answer is longer.
const LONGEST_LINE: usize = 4096;

/// The receiving half of a connection.
pub(super) struct Replies<R> {
    stream: R,
    buffer: BytesMut,
}

/// What a line of an answer to `get` is.
enum Line {
    End,
    /// A value follows: of which key, how long.
    Value(Option<u64>, usize),
    Error(String),
}

impl<R: AsyncRead + Unpin> Replies<R> {
    pub(super) fn new(stream: R) -> Replies<R> {
        Replies { stream, buffer: BytesMut::new() }
    }

    /// Reads the answer to one `set`.
    pub(super) async fn stored(&mut self, totals: &mut Tally) -> io::Result<()> {
        let length = self.line().await?;
        let line = &self.buffer[..length];
        match line {
            b"STORED\r\n" => {}
            _ if is_error(line) => totals.errors.push(show(line)),
            _ => return Err(unexpected(line)),
        }
        self.buffer.advance(length);
        Ok(())
    }

    /// Reads the answer to one `get` of `keys`, and checks the values.
    pub(super) async fn values(
        &mut self,
        keys: &[u64],
        values: &Values,
        totals: &mut Tally,
    ) -> io::Result<()> {
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
                    self.value(key, size, values, totals).await?;
                }
            }
        }
    }

    async fn value(
        &mut self,
        key: u64,
        size: usize,
        values: &Values,
        totals: &mut Tally,
    ) -> io::Result<()> {
        if size > values.most() {
            return Err(invalid("it has a value larger than --value-size allows"));
        }
        while self.buffer.len() < size + 2 {
            self.fill().await?;
        }
        if &self.buffer[size..size + 2] != b"\r\n" {
            return Err(invalid("a value does not end where it should"));
        }
        totals.hits += 1;
        if !values.is_right(key, &self.buffer[..size]) {
            totals.wrong.push(key);
        }
        self.buffer.advance(size + 2);
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
