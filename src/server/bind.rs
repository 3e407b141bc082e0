//! Sockets on addresses.

use super::inherited::Inherited;
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use thiserror::Error;

/// An address that could not be listened on; says what memcached says.
#[derive(Debug, Error)]
#[error("{call}(): {reason}\nfailed to listen on {what}: {reason}")]
pub struct BindError {
    what: String,
    call: &'static str,
    reason: String,
}

impl BindError {
    /// `what` is the address in words.
    pub fn new(what: String, error: &io::Error) -> BindError {
        match error.raw_os_error() {
            Some(number) => {
                let reason = Errno::from_raw(number).desc().to_owned();
                BindError { what, call: "bind", reason }
            }
            // The resolver's errors have no number.
            None => BindError { what, call: "getaddrinfo", reason: error.to_string() },
        }
    }
}

/// Binds every address that `host` and `port` mean, or takes it from `inherited`; `*` is any.
/// Addresses in use are skipped as long as one is left. Nobody can connect before they are listened on.
pub(super) fn bind_tcp(
    host: &str,
    port: u16,
    inherited: &mut Inherited,
) -> io::Result<Vec<TcpListener>> {
    if host == "*" {
        // Some of the addresses are taken by these; whoever opened them chose them.
        let there = inherited.port(port);
        if !there.is_empty() {
            return Ok(there);
        }
    }
    let sockets = bind_all(host, port, |address| {
        if let Some(listener) = inherited.tcp(address) {
            return Ok(listener.into());
        }
        let socket = new_socket(address, Type::STREAM, Protocol::TCP)?;
        socket.set_reuse_address(true)?;
        socket.set_keepalive(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    })?;
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

/// As [`bind_tcp`], for datagrams.
pub(super) fn bind_udp(host: &str, port: u16) -> io::Result<Vec<UdpSocket>> {
    // Without memcached's SO_REUSEADDR, by which a second daemon could take the port over.
    let sockets = bind_all(host, port, |address| {
        let socket = new_socket(address, Type::DGRAM, Protocol::UDP)?;
        socket.bind(&address.into())?;
        Ok(socket)
    })?;
    Ok(sockets.into_iter().map(UdpSocket::from).collect())
}

fn bind_all(
    host: &str,
    port: u16,
    mut bind: impl FnMut(SocketAddr) -> io::Result<Socket>,
) -> io::Result<Vec<Socket>> {
    let addresses: Vec<SocketAddr> = if host == "*" {
        vec![([0, 0, 0, 0], port).into(), ([0u16; 8], port).into()]
    } else {
        (host, port).to_socket_addrs()?.collect()
    };
    let mut bound: Vec<Socket> = Vec::new();
    let mut failed = None;
    // With an ephemeral port the families get the same one if that can be had.
    let mut port = port;
    for mut address in addresses {
        address.set_port(port);
        match bind(address) {
            Ok(socket) => {
                let address = socket.local_addr()?.as_socket();
                port = address.map_or(port, |address| address.port());
                bound.push(socket);
            }
            // A kernel without IPv6 is no fault of the configuration.
            Err(error) if host == "*" && address.is_ipv6() && !bound.is_empty() => drop(error),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if bound.is_empty() || error.kind() != io::ErrorKind::AddrInUse => Err(error),
        _ if bound.is_empty() => {
            Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address"))
        }
        _ => Ok(bound),
    }
}

fn new_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds a Unix socket with mode `mask`; a stale socket of that name is removed first.
pub(super) fn bind_unix(path: &Path, mask: u32) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    // Not even for a moment may more connect than are meant to. There are no threads yet that
    // could be making files of their own.
    let others = umask(Mode::from_bits_truncate(!mask & 0o777));
    let bound = UnixListener::bind(path);
    umask(others);
    let listener = bound.map_err(|error| match error.kind() {
        // Without a number: the system was not even asked.
        io::ErrorKind::InvalidInput => Errno::ENAMETOOLONG.into(),
        _ => error,
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
