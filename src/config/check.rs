//! What no single value can tell: whether the settings suit each other.

use std::net::IpAddr;

use super::settings::Settings;
use super::source::Source;
use super::unused::CHUNK_MAX;
use super::value::Complaint;
use super::{
    Config, Listen, Log, Monitor, Peer, Place, Port, Replication, Sources, auth, link_tls, tls,
};
use crate::replication::Seal;
use crate::store::PAGE;

const USAGE: u8 = 64;
/// More workers than this are taken for a mistake.
const MANY_THREADS: u32 = 64;

/// Settles what follows from other settings, warns, and returns what does not go together, with the
/// place that is to be changed.
pub(super) fn check(settings: &mut Settings) -> Vec<(Source, Complaint)> {
    listening(settings);
    if settings.threads.value > MANY_THREADS {
        let source = settings.threads.source.clone();
        let text = format!(
            "-t {}: so many worker threads are not recommended; take the number of cores or less",
            settings.threads.value
        );
        warn(settings, &source, &text);
    }
    if settings.relaxed_privileges.value {
        let source = settings.relaxed_privileges.source.clone();
        let text =
            "-o relaxed_privileges: any client can move the clock by debugtime; it is for tests";
        warn(settings, &source, text);
    }
    if settings.item_size_max.value > PAGE && !settings.chunk_max.value.given {
        settings.chunk_max.value.bytes = CHUNK_MAX;
    }
    let mut found = Vec::new();
    found.extend(item_size(settings));
    found.extend(tls::check(settings));
    let lru = &settings.lru;
    found.extend(lru.value.check().map(|complaint| (lru.source.clone(), complaint)));
    if settings.napi_ids.value > settings.threads.value {
        let (ids, threads) = (settings.napi_ids.value, settings.threads.value);
        let what = format!(
            "Number of napi_ids({ids}) cannot be greater than number of threads({threads})"
        );
        let source = later(&settings.napi_ids.source, &settings.threads.source).clone();
        found.push((source, Complaint::new(USAGE, what, "write a smaller -N")));
    }
    found.extend(auth::check(settings));
    match settings.peer.value {
        Some(_) => {
            found.extend(replication(settings));
            found.extend(link_tls::check(settings));
        }
        None if settings.repcached_flags => {
            let source = settings.replication_port.source.clone();
            let text = "a replication port without a peer: replication stays off; name the peer \
                        with -x HOST, or peer in the TOML file";
            warn(settings, &source, text);
        }
        None => {}
    }
    found
}

fn warn(settings: &mut Settings, source: &Source, text: &str) {
    settings.warnings.push(format!("{source}: {text}"));
}

/// Settles the TCP port and warns of what is not listened on.
fn listening(settings: &mut Settings) {
    let udp = settings.udp_port.clone();
    if udp.value != Port::Off && settings.tcp_port.source == Source::Default {
        settings.tcp_port = udp.clone();
    }
    let on_unix = |listen: &Listen| matches!(listen.place, Place::Unix(_));
    if settings.unix_socket.value.is_some() {
        let own = settings.unix_socket.source.clone();
        if !settings.listen.value.is_empty() {
            let source = later(&own, &settings.listen.source).clone();
            let text = "-s leaves all of -l out; to have both, write the socket's /PATH in -l";
            warn(settings, &source, text);
        }
        if udp.value != Port::Off {
            warn(settings, later(&own, &udp.source), "-s leaves -U out");
        }
        return;
    }
    let ports = [settings.tcp_port.value, udp.value];
    if ports == [Port::Off; 2] && !settings.listen.value.iter().any(on_unix) {
        let source = settings.tcp_port.source.clone();
        warn(settings, &source, "-p 0 without a Unix socket: no client can connect");
    }
}

/// The one read later of two, since it overruled or met the other.
fn later<'a>(first: &'a Source, second: &'a Source) -> &'a Source {
    let rank = |source: &Source| match source {
        Source::Default => 0,
        Source::File(..) => 1,
        Source::Environment(_) => 2,
        Source::CommandLine => 3,
        Source::Credential => 0,
    };
    if rank(second) > rank(first) { second } else { first }
}

fn item_size(settings: &Settings) -> Option<(Source, Complaint)> {
    let (size, memory) = (settings.item_size_max.value, settings.memory.value);
    let (chunk, chunk_source) = (settings.chunk_max.value.bytes, &settings.chunk_max.source);
    let source = &settings.item_size_max.source;
    let (source, what, remedy) = if size < 1024 {
        let what = String::from("Item max size cannot be less than 1024 bytes.");
        (source, what, "write a larger -I, such as 1m")
    } else if size > memory / 2 {
        let what = "Cannot set item size limit higher than 1/2 of memory max.".into();
        let source = later(source, &settings.memory.source);
        (source, what, "write a larger -m or CACHESIZE, or a smaller -I")
    } else if size > 1 << 30 {
        let what = "Cannot set item size limit higher than a gigabyte.".into();
        (source, what, "write a smaller -I")
    } else if size < chunk {
        let what = format!(
            "slab_chunk_max (bytes: {chunk}) cannot be larger than -I (item_size_max {size})"
        );
        (later(source, chunk_source), what, "write a larger -I, or a smaller slab_chunk_max")
    } else if size % chunk != 0 {
        let what = format!(
            "-I (item_size_max: {size}) must be evenly divisible by slab_chunk_max (bytes: {chunk})"
        );
        (later(source, chunk_source), what, "write a multiple of it")
    } else if !PAGE.is_multiple_of(chunk) {
        let what = format!(
            "slab_chunk_max (bytes: {chunk}) must divide evenly into {PAGE} (slab_page_size)"
        );
        (chunk_source, what, "leave slab_chunk_max out")
    } else {
        return None;
    };
    Some((source.clone(), Complaint::new(USAGE, what, remedy)))
}

/// Peer and ports. Names are not looked up: what they mean may change, and so may this host's
/// addresses.
fn replication(settings: &Settings) -> Option<(Source, Complaint)> {
    let (host, _) = settings.peer.value.as_ref()?;
    let (own, dialled) = (settings.replication_port.value, settings.peer_port());
    let listen = &settings.replication_listen.value;
    let everywhere = listen.is_empty() || listen.iter().any(|address| is_any(address));
    let itself = own == dialled
        && (listen.iter().any(|address| same(address, host)) || (everywhere && is_loopback(host)));
    let clients = || match &settings.listen.value[..] {
        [] => vec![("*", settings.tcp_port.value)],
        list => list
            .iter()
            .filter_map(|one| match &one.place {
                Place::Inet { host, port } => Some((&**host, client_port(settings, *port))),
                Place::Unix(_) => None,
            })
            .collect(),
    };
    let taken = settings.unix_socket.value.is_none()
        && clients().iter().any(|(client, port)| {
            *port == Port::Number(own)
                && (everywhere || is_any(client) || listen.iter().any(|one| same(one, client)))
        });
    let (source, what, remedy) = if is_any(host) {
        let what = format!("Replication peer {host} is no address of a single host.");
        (&settings.peer.source, what, "write the address of the other node")
    } else if itself {
        let what = format!("Replication peer {host}:{dialled} is this node itself.");
        let source = later(&settings.peer.source, &settings.replication_listen.source);
        (source, what, "write the address of the other node")
    } else if taken {
        let what = format!("Port {own} cannot serve both clients and replication.");
        let source = later(&settings.replication_port.source, &settings.tcp_port.source);
        // With both by default there would be two numbers.
        let source = later(source, &settings.listen.source);
        (source, what, "write another port for one of them")
    } else {
        return None;
    };
    Some((source.clone(), Complaint::new(USAGE, what, remedy)))
}

fn client_port(settings: &Settings, own: Option<u16>) -> Port {
    own.map_or(settings.tcp_port.value, Port::Number)
}

fn is_any(host: &str) -> bool {
    host == "*" || host.parse().is_ok_and(|address: IpAddr| address.is_unspecified())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn same(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one.eq_ignore_ascii_case(other),
    }
}

/// The configuration from settings that [`check`] found nothing wrong with.
pub(super) fn finish(settings: Settings, seal: Seal, sources: Sources) -> Config {
    let port = settings.peer_port();
    let monitor = monitor(&settings);
    let password_file = auth::file(&settings);
    let mut unused = settings.unused;
    unused.insert("slab_chunk_max", settings.chunk_max.value.bytes.to_string());
    let replication = settings.peer.value.map(|(host, _)| Replication {
        certificates: settings.link_tls.complete(&host),
        peer: Peer { host, port },
        port: settings.replication_port.value,
        listen: settings.replication_listen.value,
        node: settings.node.value,
        cluster: settings.cluster.value,
        atomic_ops: settings.atomic_ops.value,
        durability: settings.durability.value,
        durability_timeout: settings.durability_timeout.value,
        secret_file: settings.secret_file.value,
        tombstone_memory: settings.tombstone_memory.value,
        window: settings.window.value,
        max_clock_skew: settings.max_clock_skew.value,
        drain_timeout: settings.drain_timeout.value,
    });
    Config {
        tcp_port: settings.tcp_port.value,
        udp_port: settings.udp_port.value,
        listen: settings.listen.value,
        unix_socket: settings.unix_socket.value,
        unix_mask: settings.unix_mask.value,
        detach: settings.detach.value,
        coredumps: settings.coredumps.value,
        user: settings.user.value,
        memory: settings.memory.value,
        evictions: settings.evictions.value,
        max_connections: settings.max_connections.value,
        lock_memory: settings.lock_memory.value,
        large_pages: settings.large_pages.value,
        verbosity: settings.verbosity.value,
        pid_file: settings.pid_file.value,
        growth_factor: settings.growth_factor.value,
        chunk_size: settings.chunk_size.value,
        threads: settings.threads.value as usize,
        requests_per_event: settings.requests_per_event.value,
        backlog: settings.backlog.value,
        protocol: settings.protocol.value,
        ascii_file: settings.ascii_file.value,
        sasl: settings.sasl.value,
        password_file,
        item_size_max: settings.item_size_max.value,
        cas: settings.cas.value,
        flush_enabled: settings.flush_enabled.value,
        shutdown_command: settings.shutdown_command.value,
        dump_enabled: settings.dump_enabled.value,
        maxconns_fast: settings.maxconns_fast.value,
        watch_enabled: settings.watch_enabled.value,
        watcher_buffer: settings.watcher_buffer.value,
        worker_buffer: settings.worker_buffer.value,
        prefix_delimiter: settings.prefix_delimiter.value,
        detail_enabled: settings.detail_enabled.value,
        track_sizes: settings.track_sizes.value,
        idle_timeout: settings.idle_timeout.value,
        relaxed_privileges: settings.relaxed_privileges.value,
        tls: settings.tls.finish(),
        // The daemon may be in another directory by the time it stops.
        memory_file: settings.memory_file.value.map(|path| sources.directory.join(path)),
        replication,
        monitor,
        seal,
        repcached_flags: settings.repcached_flags,
        log: Log {
            target: settings.log_target.value,
            facility: settings.log_facility.value,
            level: settings.log_level.value,
        },
        warnings: settings.warnings,
        lru_crawler: settings.lru_crawler.value,
        unused,
        no_effect: settings.no_effect,
        sources,
    }
}

/// The endpoint; unless told otherwise, the peer's is taken to be on the same port.
fn monitor(settings: &Settings) -> Option<Monitor> {
    let listen = settings.monitor_listen.value.clone();
    let (_, port) = *listen.first()?;
    let host = settings.peer.value.as_ref().map(|(host, _)| host.clone());
    let peer = settings.monitor_peer.value.clone().or_else(|| Some((host?, port)));
    Some(Monitor { listen, peer })
}
