//! One question, one answer, each bounded in time and size.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::server::Server;
use super::tls;

/// How long a node may take to answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// No statistics are longer.
const LONGEST_ANSWER: usize = 4 << 20;

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

trait Stream: Read + Write {
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

/// What is left until `deadline`, at least enough to be a valid timeout.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left.max(Duration::from_millis(1))),
    }
}

fn connect(server: &Server, deadline: Instant) -> io::Result<Box<dyn Stream>> {
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
        _ => "are host and port right (-s HOST:PORT)?",
    }
}
