//! What a request takes of the kernel, at the least: a server that stores nothing and looks nothing up. A
//! `get` is answered with the value that was set first, whatever its key, a `set` with `STORED`. One thread,
//! one read and one write for all requests that have come; so no server with these system calls takes less,
//! but for large values: here they are copied once into the answers.
//!
//! Started as `benches/floor` does it: the port is written to the file `MEMCACHED_PORT_FILENAME`.

#![allow(missing_docs, clippy::unwrap_used)]

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;
const LISTENER: u64 = 0;

struct Client {
    stream: TcpStream,
    /// The beginning of a line.
    line: Vec<u8>,
    /// Bytes of a value and its end that are still to come.
    rest: usize,
    /// Answers that the socket did not take.
    unsent: Vec<u8>,
}

struct Server {
    value: Vec<u8>,
    replies: Vec<u8>,
    buffer: Vec<u8>,
}

impl Server {
    /// Reads and answers until nothing is left to read; false if the client has gone.
    fn serve(&mut self, client: &mut Client) -> bool {
        loop {
            if !client.unsent.is_empty() {
                let Some(sent) = taken(client.stream.write(&client.unsent)) else { return false };
                client.unsent.drain(..sent);
                if !client.unsent.is_empty() {
                    return true;
                }
            }
            let kept = client.line.len();
            self.buffer[..kept].copy_from_slice(&client.line);
            let read = match client.stream.read(&mut self.buffer[kept..]) {
                Ok(0) => return false,
                read => read,
            };
            let Some(read) = taken(read) else { return false };
            client.line.clear();
            self.answer(client, kept + read);
            if !self.replies.is_empty() {
                let Some(sent) = taken(client.stream.write(&self.replies)) else { return false };
                client.unsent.extend_from_slice(&self.replies[sent..]);
                self.replies.clear();
            }
            if kept + read < BUFFER && client.unsent.is_empty() {
                return true;
            }
        }
    }

    fn answer(&mut self, client: &mut Client, end: usize) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut input = &buffer[..end];
        while !input.is_empty() {
            if client.rest > 0 {
                let (piece, after) = input.split_at(client.rest.min(input.len()));
                self.keep(piece);
                client.rest -= piece.len();
                input = after;
                if client.rest == 0 {
                    self.replies.extend_from_slice(b"STORED\r\n");
                }
                continue;
            }
            let Some(length) = memchr::memchr(b'\n', input) else {
                client.line.extend_from_slice(input);
                break;
            };
            let (line, after) = input.split_at(length + 1);
            input = after;
            let line = line.trim_ascii();
            if let Some(key) = line.strip_prefix(b"get ") {
                self.replies.extend_from_slice(b"VALUE ");
                self.replies.extend_from_slice(key);
                write!(self.replies, " 0 {}\r\n", self.value.len() - 2).unwrap();
                self.replies.extend_from_slice(&self.value);
                self.replies.extend_from_slice(b"END\r\n");
            } else {
                let length = line.rsplit(|&byte| byte == b' ').next().unwrap();
                client.rest = std::str::from_utf8(length).unwrap().parse::<usize>().unwrap() + 2;
            }
        }
        self.buffer = buffer;
    }

    /// Keeps a piece of the first value that comes.
    fn keep(&mut self, piece: &[u8]) {
        if !self.value.ends_with(b"\r\n") {
            self.value.extend_from_slice(piece);
        }
    }
}

/// What a socket took or gave; nothing if it is broken.
fn taken(result: std::io::Result<usize>) -> Option<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
        result => result.ok(),
    }
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let file = std::env::var_os("MEMCACHED_PORT_FILENAME").unwrap();
    std::fs::write(file, format!("TCP INET: {port}\n")).unwrap();
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).unwrap();
    let (mut clients, mut last) = (HashMap::new(), LISTENER);
    let mut server = Server { value: Vec::new(), replies: Vec::new(), buffer: vec![0; BUFFER] };
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE).unwrap();
        for event in &events[..count] {
            let number = event.data();
            if number == LISTENER {
                let (stream, _) = listener.accept().unwrap();
                stream.set_nonblocking(true).unwrap();
                stream.set_nodelay(true).unwrap();
                last += 1;
                let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
                epoll.add(&stream, EpollEvent::new(flags, last)).unwrap();
                let (line, unsent) = (Vec::new(), Vec::new());
                clients.insert(last, Client { stream, line, rest: 0, unsent });
            } else if clients.get_mut(&number).is_some_and(|client| !server.serve(client)) {
                clients.remove(&number);
            }
        }
    }
}
