//! One question, one answer, each bounded in time and size.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::server::Server;
use super::{login, tls};

/// How long a node may take to answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// No statistics are longer.
const LONGEST_ANSWER: usize = 4 << 20;
/// What a node says that wants a password first.
const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";
/// No line of a dump is longer: a key may take three bytes for each of its own.
const LONGEST_LINE: u64 = 16 << 10;

/// Sends `command` and returns the lines of the answer without its last one, `END`. An error says
/// what was tried, on what, and what to do.
pub(crate) fn ask(
    server: &Server,
    command: &str,
    timeout: Duration,
) -> Result<Vec<String>, String> {
    let deadline = Instant::now() + timeout;
    let mut stream = connect(server, deadline).map_err(|error| {
        format!("cannot connect to {server}: {}; {}", explain(&error), advice(&error))
    })?;
    let answer = exchange(&mut stream, command, deadline).map_err(|error| {
        format!("no answer from {server} to \"{command}\": {}; {}", explain(&error), advice(&error))
    })?;
    let text = String::from_utf8_lossy(&answer);
    // What a server says ends up on a terminal.
    let clean = |line: &str| line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let mut lines: Vec<String> = text.lines().map(clean).collect();
    match lines.last() {
        Some(last) if last == UNAUTHENTICATED => {
            Err(format!("{server} wants a password; name the file of one by --auth-file"))
        }
        Some(last) if is_error(last) => Err(format!(
            "{server} answers \"{last}\" to \"{command}\"; is it a paircached that knows this?"
        )),
        Some(last) if last == "END" => {
            lines.pop();
            Ok(lines)
        }
        _ => Ok(lines),
    }
}

/// A connection of either kind.
pub(crate) trait Stream: Read + Write {
    /// How long a read or write may take.
    fn limit(&self, timeout: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn limit(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

impl Stream for UnixStream {
    fn limit(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn limit(&self, timeout: Duration) -> io::Result<()> {
        self.sock.limit(timeout)
    }
}

/// A connection for more than one question. Its errors say what was tried, on what, and what to do.
pub(crate) struct Conversation<'a> {
    server: &'a Server,
    stream: BufReader<Box<dyn Stream>>,
}

impl<'a> Conversation<'a> {
    /// Connects; no read or write may take longer than `patience` from then on.
    pub(crate) fn open(server: &'a Server, patience: Duration) -> Result<Conversation<'a>, String> {
        let connected = connect(server, Instant::now() + ANSWER_TIMEOUT).and_then(|stream| {
            stream.limit(patience)?;
            Ok(BufReader::with_capacity(64 << 10, stream))
        });
        let stream = connected.map_err(|error| {
            format!("cannot connect to {server}: {}; {}", explain(&error), advice(&error))
        })?;
        Ok(Conversation { server, stream })
    }

    /// Sends all of it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.stream.get_mut();
        let sent = stream.write_all(bytes).and_then(|()| stream.flush());
        sent.map_err(|error| self.lost(&error))
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        let read = self.stream.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        read.map_err(|error| self.lost(&error))?;
        if line.pop() != Some(b'\n') {
            return Err(self.lost(&io::ErrorKind::UnexpectedEof.into()));
        }
        line.pop_if(|byte| *byte == b'\r');
        Ok(line)
    }

    /// What has come of the next line so far, which stays to be read.
    pub(crate) fn peek(&mut self) -> Result<Vec<u8>, String> {
        match self.stream.fill_buf() {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// The next `length` bytes and the line end behind them, which does not come with them.
    pub(crate) fn block(&mut self, length: u64) -> Result<Vec<u8>, String> {
        let mut block = Vec::new();
        let read = self.stream.by_ref().take(length + 2).read_to_end(&mut block);
        read.map_err(|error| self.lost(&error))?;
        if block.len() as u64 != length + 2 || !block.ends_with(b"\r\n") {
            return Err(format!("{} sent a value that is not as long as it said", self.server));
        }
        block.truncate(block.len() - 2);
        Ok(block)
    }

    /// What is said of an answer that fits no question.
    pub(crate) fn surprised(&self, answer: &[u8]) -> String {
        let answer: String = String::from_utf8_lossy(answer).chars().take(200).collect();
        format!("{} answers {answer:?}, which was not expected", self.server)
    }

    fn lost(&self, error: &io::Error) -> String {
        format!("lost {}: {}; {}", self.server, explain(error), advice(error))
    }
}

/// What is left until `deadline`, at least enough to be a valid timeout.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left.max(Duration::from_millis(1))),
    }
}

fn connect(server: &Server, deadline: Instant) -> io::Result<Box<dyn Stream>> {
    let mut stream = dial(server, deadline)?;
    if let Some(words) = login::words() {
        stream.limit(left(deadline)?)?;
        stream.write_all(words)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") && answer.len() < login::ANSWER_MAX {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        login::check(&answer)?;
    }
    Ok(stream)
}

fn dial(server: &Server, deadline: Instant) -> io::Result<Box<dyn Stream>> {
    let (host, port, config) = match server {
        Server::Unix(path) => return Ok(Box::new(UnixStream::connect(path)?)),
        Server::Tcp(host, port) => (host.as_str(), *port, None),
        Server::Tls(host, port, config) => (host.as_str(), *port, Some(config)),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => {
                let Some(config) = config else { return Ok(Box::new(stream)) };
                let session = ClientConnection::new(Arc::clone(&config.0), tls::name(host)?);
                let session = session.map_err(io::Error::other)?;
                return Ok(Box::new(StreamOwned::new(session, stream)));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(stream: &mut Box<dyn Stream>, command: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    stream.limit(left(deadline)?)?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 << 10]);
    while !is_complete(&answer) {
        stream.limit(left(deadline)?)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(size) => answer.extend_from_slice(&buffer[..size]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if answer.len() > LONGEST_ANSWER {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer does not end"));
        }
    }
    Ok(answer)
}

fn is_complete(answer: &[u8]) -> bool {
    let Some(body) = answer.strip_suffix(b"\n") else { return false };
    let start = memchr::memrchr(b'\n', body).map_or(0, |at| at + 1);
    let last = String::from_utf8_lossy(&body[start..]);
    let last = last.trim_end_matches('\r');
    // A statistic is named by what follows STAT, so none can be taken for these.
    ["END", "OK", "RESET"].contains(&last) || is_error(last)
}

fn is_error(line: &str) -> bool {
    ["ERROR", "CLIENT_ERROR", "SERVER_ERROR"].iter().any(|word| {
        line.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ':']))
    })
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => String::from("it took too long"),
        io::ErrorKind::UnexpectedEof => String::from("it closed the connection"),
        _ => error.to_string(),
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            "is it started, and are host and port right (-s HOST:PORT)?"
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "is the host up, and does a firewall let clients through?"
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "has it as many clients as it may have (-c), or does it speak TLS only (--tls)?"
        }
        io::ErrorKind::InvalidData => {
            "does it speak TLS there, is its certificate of --ca and for the host in -s, and does \
             it ask for one (--cert)?"
        }
        io::ErrorKind::PermissionDenied => "is there a user:password of its in --auth-file?",
        _ => "are host and port right (-s HOST:PORT)?",
    }
}
