//! Sockets that were listened on before this process was there: systemd keeps them open while the
//! daemon restarts, and whoever connects meanwhile waits instead of being refused.

use socket2::{Domain, Socket};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Inherited listeners that nobody has asked for yet.
#[derive(Default)]
pub struct Inherited {
    tcp: Vec<TcpListener>,
    unix: Vec<UnixListener>,
}

impl Inherited {
    /// Takes what the service manager passed to this process; call it once, before any descriptor is
    /// opened or the process forks.
    ///
    /// # Errors
    /// When a descriptor that was announced is not there or is no stream socket that listens.
    pub fn take() -> io::Result<Inherited> {
        let mut inherited = Inherited::default();
        for descriptor in sd_notify::listen_fds()? {
            // SAFETY: the service manager opened it for this process, sd_listen_fds(3), and nothing
            // else here knows of it, as this is called once.
            let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
            if !socket.is_listener()? {
                let what = format!("descriptor {descriptor} is no socket that listens for streams");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            socket.set_nonblocking(true)?;
            match socket.domain()? {
                Domain::UNIX => inherited.unix.push(OwnedFd::from(socket).into()),
                _ => inherited.tcp.push(socket.into()),
            }
        }
        Ok(inherited)
    }

    /// The listener on `address`, if there is one.
    pub(super) fn tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let is_it = |listener: &TcpListener| listener.local_addr().is_ok_and(|at| at == address);
        self.tcp.iter().position(is_it).map(|at| self.tcp.swap_remove(at))
    }

    /// All listeners on `port`.
    pub(super) fn port(&mut self, port: u16) -> Vec<TcpListener> {
        let is_it = |listener: &mut TcpListener| {
            listener.local_addr().is_ok_and(|address| address.port() == port)
        };
        self.tcp.extract_if(.., is_it).collect()
    }

    /// The listener on the Unix socket `path`, if there is one.
    pub(super) fn unix(&mut self, path: &Path) -> Option<UnixListener> {
        let is_it = |listener: &UnixListener| {
            listener.local_addr().is_ok_and(|at| at.as_pathname() == Some(path))
        };
        self.unix.iter().position(is_it).map(|at| self.unix.swap_remove(at))
    }

    /// What is left: addresses that the configuration does not name.
    pub(super) fn rest(self) -> (Vec<TcpListener>, Vec<UnixListener>) {
        (self.tcp, self.unix)
    }
}
