//! Binding what clients and the peer connect to.

use super::exit::Fatal;
use crate::config::{Config, Listen, Place, Port};
use crate::server::listener::listen;
use crate::server::{BindError, Inherited, Listeners, Terms};
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

/// The addresses of `-l` as they were written.
pub(super) fn interfaces(config: &Config) -> String {
    config.listen.iter().map(|listen| &*listen.text).collect::<Vec<_>>().join(",")
}

/// What holds for the clients of an address, or of all without one.
fn terms(config: &Config, listen: Option<&Listen>) -> Arc<Terms> {
    Arc::new(Terms {
        protocol: listen.and_then(|listen| listen.protocol).unwrap_or(config.protocol),
        tag: listen.and_then(|listen| listen.tag),
        tls: listen.and_then(|listen| listen.tls),
    })
}

fn fatal(what: String, error: &io::Error) -> Fatal {
    Fatal::os(BindError::new(what, error).to_string())
}

/// Listeners that begin with what the service manager passed, sd_listen_fds(3).
pub(super) fn inherit() -> Result<Listeners, Fatal> {
    let inherited = Inherited::take().map_err(|error| {
        Fatal::os(format!("failed to take over the sockets that LISTEN_FDS announces: {error}"))
    })?;
    Ok(Listeners::new(inherited))
}

/// Takes inherited sockets that no address of the configuration names for clients.
pub(super) fn keep_inherited(config: &Config, listeners: &mut Listeners) {
    let count = listeners.add_inherited(&terms(config, None));
    if count > 0 {
        log::info!("event=sockets_inherited unnamed={count}");
    }
}

/// How many workers serve each UDP socket: all, as memcached has it, unless there are several
/// addresses.
pub(super) fn threads_per_udp(config: &Config) -> usize {
    if config.listen.len() > 1 { 1 } else { config.threads }
}

/// Binds the addresses of clients, which may take the rights of root.
pub(super) fn bind_addresses(config: &Config, listeners: &mut Listeners) -> Result<(), Fatal> {
    if config.unix_socket.is_some() {
        return Ok(());
    }
    bind_port(config, "TCP", config.tcp_port, |host, port, listen| {
        listeners.add_tcp(host, port, &terms(config, listen))
    })?;
    bind_port(config, "UDP", config.udp_port, |host, port, _| listeners.add_udp(host, port))
}

/// Binds by `bind` whatever addresses there are; `port` is for those without one of their own.
fn bind_port(
    config: &Config,
    transport: &str,
    port: Port,
    mut bind: impl FnMut(&str, u16, Option<&Listen>) -> io::Result<()>,
) -> Result<(), Fatal> {
    let default = match port {
        Port::Off => return Ok(()),
        Port::Ephemeral => 0,
        Port::Number(port) => port,
    };
    if config.listen.is_empty() {
        let what = || format!("{transport} port {default}");
        return bind("*", default, None).map_err(|error| fatal(what(), &error));
    }
    let what = || format!("one of interface(s) {}", interfaces(config));
    let mut bound = false;
    let mut missing = None;
    for listen in &config.listen {
        let Place::Inet { host, port } = &listen.place else { continue };
        match bind(host, port.unwrap_or(default), Some(listen)) {
            Ok(()) => bound = true,
            Err(error) if host.contains(':') && is_unavailable(&error) => {
                missing = Some((listen, error));
            }
            Err(error) => return Err(fatal(what(), &error)),
        }
    }
    match missing {
        Some((_, error)) if !bound => Err(fatal(what(), &error)),
        Some((listen, error)) => {
            let address = &listen.text;
            log::warn!("event=address_skipped listen={address} reason=\"{error}\"");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Whether a host without IPv6 says so: the usual `-l 127.0.0.1,::1` is to work there too.
fn is_unavailable(error: &io::Error) -> bool {
    use nix::libc::{EADDRNOTAVAIL, EAFNOSUPPORT};
    matches!(error.raw_os_error(), Some(EADDRNOTAVAIL | EAFNOSUPPORT))
}

/// Binds the Unix sockets. As memcached's, they belong to the user that the daemon runs as.
pub(super) fn bind_unix(config: &Config, listeners: &mut Listeners) -> Result<(), Fatal> {
    let mut bind = |path: &Path, listen| {
        let bound = listeners.add_unix(path, config.unix_mask, &terms(config, listen));
        bound.map_err(|error| Fatal::os(error.to_string()))
    };
    if let Some(path) = &config.unix_socket {
        return bind(path, None);
    }
    for listen in &config.listen {
        if let Place::Unix(path) = &listen.place {
            bind(path, Some(listen))?;
        }
    }
    Ok(())
}

/// Binds the addresses of the peer.
pub(super) fn bind_peer(config: &Config, bound: &mut Listeners) -> Result<Vec<TcpListener>, Fatal> {
    let Some(replication) = &config.replication else {
        return Ok(Vec::new());
    };
    let any = ["*".to_owned()];
    let hosts = if replication.listen.is_empty() { &any[..] } else { &replication.listen };
    let mut listeners = Vec::new();
    for host in hosts {
        let bound = bound.bind_tcp(host, replication.port).map_err(|error| {
            fatal(format!("{host} port {} for the peer", replication.port), &error)
        })?;
        listeners.extend(bound);
    }
    Ok(listeners)
}

/// Binds the addresses of the endpoint for operators.
pub(super) fn bind_monitor(
    config: &Config,
    bound: &mut Listeners,
) -> Result<Vec<TcpListener>, Fatal> {
    let endpoints = config.monitor.as_ref().map_or(&[][..], |monitor| &monitor.listen);
    let mut listeners = Vec::new();
    for (host, port) in endpoints {
        let bound = bound.bind_tcp(host, *port);
        listeners.extend(
            bound.map_err(|error| fatal(format!("{host} port {port} for monitoring"), &error))?,
        );
    }
    Ok(listeners)
}

/// Lets clients, and `others`, connect to the TCP addresses.
pub(super) fn listen_all(
    config: &Config,
    clients: &Listeners,
    others: &[&[TcpListener]],
) -> Result<(), Fatal> {
    let others = || others.iter().copied().flatten();
    let all = clients.listen(config.backlog);
    all.and_then(|()| others().try_for_each(|listener| listen(listener, config.backlog)))
        .map_err(|error| fatal(String::from("an address that was bound"), &error))
}
