//! What `--check-config` prints.

use std::fmt::Display;
use std::path::PathBuf;

use super::link_tls::LinkTls;
use super::settings::Settings;
use super::source::{Set, Source};
use super::tls::{FORMATS, VERIFY_MODES, VERSIONS};
use super::value::{ATOMIC_OPS, FACILITIES, LEVELS, NODES, PROTOCOLS, TARGETS, name_of};
use super::{Listen, Port};

/// Every setting with its source, then what has no effect, then the warnings.
pub(super) fn show(settings: &Settings) -> String {
    let mut lines = Lines::default();
    memcached(settings, &mut lines);
    tls(settings, &mut lines);
    replication(settings, &mut lines);
    monitor(settings, &mut lines);
    lines.add("auth.ascii_file", path(&settings.ascii_file.value), &settings.ascii_file);
    lines.plain("auth.sasl", &settings.sasl);
    lines.add("auth.sasl_file", path(&settings.sasl_file.value), &settings.sasl_file);
    lines.add("log.target", name_of(&TARGETS, settings.log_target.value), &settings.log_target);
    let facility = name_of(&FACILITIES, settings.log_facility.value);
    lines.add("log.facility", facility, &settings.log_facility);
    lines.add("log.level", name_of(&LEVELS, settings.log_level.value), &settings.log_level);
    let width = lines.0.iter().map(|(text, _)| text.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (setting, source) in &lines.0 {
        text.push_str(&format!("{setting:width$}  # {source}\n"));
    }
    text.push_str(&format!("advice: {}\n", memory_advice(settings)));
    for line in &settings.no_effect {
        text.push_str(&format!("no effect: {line}\n"));
    }
    for warning in &settings.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

/// What the daemon may come to need in all, for whoever limits it from outside. Killing it there
/// would cost the cache, so the figure is generous.
fn memory_advice(settings: &Settings) -> String {
    /// Program, libraries, and what the allocator holds in reserve.
    const BASE: u64 = 32 << 20;
    /// Buffers that a worker lends its connections.
    const PER_THREAD: u64 = 1 << 20;
    /// Between the 2 KiB of an idle one and the largest item of one that sends it.
    const PER_CONNECTION: u64 = 16 << 10;
    let memory = settings.memory.value;
    let (threads, connections) = (settings.threads.value, settings.max_connections.value);
    // What is on its way in each direction.
    let link = match settings.peer.value {
        Some(_) => 2 * settings.window.value + (4 << 20),
        None => 0,
    };
    let most = memory
        + memory / 16
        + BASE
        + PER_THREAD * u64::from(threads)
        + PER_CONNECTION * u64::from(connections)
        + settings.item_size_max.value
        + link;
    let replicated = if link > 0 { " and a peer" } else { "" };
    format!(
        "MemoryMax={}M in the unit has room for {} of items, {connections} connections, \
         {threads} threads{replicated}",
        most.div_ceil(1 << 20),
        size(memory)
    )
}

#[derive(Default)]
struct Lines(Vec<(String, Source)>);

impl Lines {
    fn add<T>(&mut self, name: &str, value: impl Display, from: &Set<T>) {
        self.0.push((format!("{name} = {value}"), from.source.clone()));
    }

    /// A setting that shows as it is kept.
    fn plain<T: Display>(&mut self, name: &str, set: &Set<T>) {
        self.add(name, &set.value, set);
    }
}

fn memcached(settings: &Settings, lines: &mut Lines) {
    lines.add("tcp_port", port(settings.tcp_port.value), &settings.tcp_port);
    lines.add("udp_port", port(settings.udp_port.value), &settings.udp_port);
    lines.add("listen", listen(&settings.listen.value), &settings.listen);
    lines.add("unix_socket", path(&settings.unix_socket.value), &settings.unix_socket);
    lines.add("unix_mask", format!("{:o}", settings.unix_mask.value), &settings.unix_mask);
    lines.plain("detach", &settings.detach);
    lines.plain("coredumps", &settings.coredumps);
    lines.add("user", settings.user.value.as_deref().unwrap_or("none"), &settings.user);
    lines.add("memory", size(settings.memory.value), &settings.memory);
    lines.plain("evictions", &settings.evictions);
    lines.plain("max_connections", &settings.max_connections);
    lines.plain("lock_memory", &settings.lock_memory);
    lines.plain("large_pages", &settings.large_pages);
    lines.plain("verbosity", &settings.verbosity);
    lines.add("pid_file", path(&settings.pid_file.value), &settings.pid_file);
    lines.plain("growth_factor", &settings.growth_factor);
    lines.plain("chunk_size", &settings.chunk_size);
    lines.plain("threads", &settings.threads);
    lines.plain("requests_per_event", &settings.requests_per_event);
    lines.plain("backlog", &settings.backlog);
    lines.add("protocol", name_of(&PROTOCOLS, settings.protocol.value), &settings.protocol);
    lines.add("item_size_max", size(settings.item_size_max.value), &settings.item_size_max);
    lines.plain("cas", &settings.cas);
    lines.plain("flush_enabled", &settings.flush_enabled);
    lines.plain("shutdown_command", &settings.shutdown_command);
    lines.plain("dump_enabled", &settings.dump_enabled);
    lines.plain("maxconns_fast", &settings.maxconns_fast);
    lines.plain("watch_enabled", &settings.watch_enabled);
    lines.add("watcher_buffer", size(settings.watcher_buffer.value), &settings.watcher_buffer);
    lines.add("worker_buffer", size(settings.worker_buffer.value), &settings.worker_buffer);
    let delimiter = [settings.prefix_delimiter.value].escape_ascii().to_string();
    lines.add("prefix_delimiter", delimiter, &settings.prefix_delimiter);
    lines.plain("detail_enabled", &settings.detail_enabled);
    lines.plain("track_sizes", &settings.track_sizes);
    lines.plain("idle_timeout", &settings.idle_timeout);
    lines.plain("lru_crawler", &settings.lru_crawler);
    lines.plain("relaxed_privileges", &settings.relaxed_privileges);
    lines.add("memory_file", path(&settings.memory_file.value), &settings.memory_file);
}

fn tls(settings: &Settings, lines: &mut Lines) {
    let tls = &settings.tls;
    lines.plain("tls.enabled", &tls.enabled);
    lines.add("tls.chain_cert", path(&tls.chain_cert.value), &tls.chain_cert);
    lines.add("tls.key", path(&tls.key.value), &tls.key);
    lines.add("tls.keyformat", name_of(&FORMATS, tls.key_format.value), &tls.key_format);
    lines.add("tls.verify_mode", name_of(&VERIFY_MODES, tls.verify.value), &tls.verify);
    lines.add("tls.ca_cert", path(&tls.ca_cert.value), &tls.ca_cert);
    lines.plain("tls.session_cache", &tls.session_cache);
    lines.add("tls.min_version", name_of(&VERSIONS, tls.min_version.value), &tls.min_version);
}

fn replication(settings: &Settings, lines: &mut Lines) {
    let peer = settings.peer.value.as_ref().map(|(host, _)| {
        let port = settings.peer_port();
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    });
    let peer = peer.unwrap_or_else(|| String::from("none"));
    lines.add("replication.peer", peer, &settings.peer);
    lines.plain("replication.port", &settings.replication_port);
    let addresses = match &settings.replication_listen.value[..] {
        [] => String::from("any"),
        list => list.join(","),
    };
    lines.add("replication.listen", addresses, &settings.replication_listen);
    lines.add("replication.node", name_of(&NODES, settings.node.value), &settings.node);
    lines.plain("replication.cluster", &settings.cluster);
    let atomic = &settings.atomic_ops;
    lines.add("replication.atomic_ops", name_of(&ATOMIC_OPS, atomic.value), atomic);
    let durability = &settings.durability;
    lines.add("replication.durability", durability.value.name(), durability);
    let timeout = &settings.durability_timeout;
    lines.add("replication.durability_timeout", timeout.value.as_secs_f64(), timeout);
    lines.add("replication.secret_file", path(&settings.secret_file.value), &settings.secret_file);
    let LinkTls { chain_cert, key, ca_cert, peer_name } = &settings.link_tls;
    lines.add("replication.tls_chain_cert", path(&chain_cert.value), chain_cert);
    lines.add("replication.tls_key", path(&key.value), key);
    lines.add("replication.tls_ca_cert", path(&ca_cert.value), ca_cert);
    let name = peer_name.value.as_deref().unwrap_or("auto");
    lines.add("replication.tls_peer_name", name, peer_name);
    let tombstones = &settings.tombstone_memory;
    lines.add("replication.tombstone_memory", size(tombstones.value), tombstones);
    lines.add("replication.window", size(settings.window.value), &settings.window);
    let (skew, drain) = (&settings.max_clock_skew, &settings.drain_timeout);
    lines.add("replication.max_clock_skew", skew.value.as_secs_f64(), skew);
    lines.add("replication.drain_timeout", drain.value.as_secs_f64(), drain);
}

fn monitor(settings: &Settings, lines: &mut Lines) {
    let endpoint = |(host, port): &(String, u16)| match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let listen = match &settings.monitor_listen.value[..] {
        [] => String::from("none"),
        list => list.iter().map(endpoint).collect::<Vec<_>>().join(","),
    };
    lines.add("monitor.listen", listen, &settings.monitor_listen);
    let peer = settings.monitor_peer.value.as_ref().map_or(String::from("auto"), endpoint);
    lines.add("monitor.peer", peer, &settings.monitor_peer);
}

fn port(port: Port) -> String {
    match port {
        Port::Off => String::from("off"),
        Port::Ephemeral => String::from("ephemeral"),
        Port::Number(number) => number.to_string(),
    }
}

fn listen(addresses: &[Listen]) -> String {
    match addresses {
        [] => String::from("any"),
        _ => addresses.iter().map(|address| &*address.text).collect::<Vec<_>>().join(","),
    }
}

fn path(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or(String::from("none"), |path| path.display().to_string())
}

/// With the unit that leaves a whole number, so that it can be written back.
fn size(bytes: u64) -> String {
    match bytes {
        0 => String::from("0"),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}m", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}k", bytes >> 10),
        _ => bytes.to_string(),
    }
}
