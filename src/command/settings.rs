//! What the daemon was told, as far as commands behave by it or `stats settings` shows it.

use super::Cache;
use super::reply::stat;
use crate::protocol::{Output, Protocol};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// The settings of a running daemon. The default is nothing and never, to begin from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Client connections at once (`-c`).
    pub max_connections: u32,
    /// The TCP port as asked for (`-p`): 0 for none, -1 for any.
    pub tcp_port: i32,
    /// The UDP port as asked for (`-U`): 0 for none, -1 for any.
    pub udp_port: i32,
    /// Workers that serve each UDP socket.
    pub threads_per_udp: usize,
    /// The addresses of `-l`, separated by commas.
    pub interfaces: Option<String>,
    /// `-v`, counted.
    pub verbosity: u8,
    /// `-M` says no.
    pub evictions: bool,
    /// `-s`.
    pub unix_socket: Option<PathBuf>,
    /// `-a`.
    pub unix_mask: u32,
    /// `-A`.
    pub shutdown_command: bool,
    /// `-f`.
    pub growth_factor: f64,
    /// `-n`, in bytes.
    pub chunk_size: u32,
    /// `-t`.
    pub threads: usize,
    /// `-R`.
    pub requests_per_event: u32,
    /// `-C` says no.
    pub cas: bool,
    /// `-B`.
    pub protocol: Protocol,
    /// The file of `-Y`.
    pub ascii_file: Option<PathBuf>,
    /// `-S`.
    pub sasl: bool,
    /// `-b`.
    pub backlog: u32,
    /// `-I`, in bytes.
    pub item_size_max: u64,
    /// `-F` says no.
    pub flush_enabled: bool,
    /// `-X` says no.
    pub dump_enabled: bool,
    /// `-o no_maxconns_fast` says no.
    pub maxconns_fast: bool,
    /// `-W` says no.
    pub watch_enabled: bool,
    /// `-o watcher_logbuf_size`, in bytes.
    pub watcher_buffer: u64,
    /// `-o worker_logbuf_size`, in bytes.
    pub worker_buffer: u64,
    /// `-D`, or a colon.
    pub prefix_delimiter: u8,
    /// `-D` was given: counting by prefix is on from the start.
    pub detail_enabled: bool,
    /// `-o track_sizes`: `stats sizes` counts the items.
    pub track_sizes: bool,
    /// What options without effect were set to, by their names in `stats settings`.
    pub unused: BTreeMap<&'static str, String>,
    /// `-o idle_timeout`, in seconds; 0 is never.
    pub idle_timeout: u32,
    /// `-e`.
    pub memory_file: Option<PathBuf>,
    /// `-o relaxed_privileges`: clients may move the clock by `debugtime`.
    pub movable_clock: bool,
    /// `-Z` and what belongs to it.
    pub tls: crate::tls::Settings,
    /// The flags of repcached were used: `stats` shows its two fields.
    pub repcached: bool,
}

impl Settings {
    /// Whether an option without effect was told to be off, by its name in `stats settings`.
    pub(super) fn is_off(&self, name: &str) -> bool {
        self.unused.get(name).is_some_and(|value| value == "no")
    }
}

/// Appends `stats settings`: memcached's names in memcached's order. What speaks of parts that this
/// engine does not have shows what they were told, or memcached's default.
pub(super) fn write(cache: &Cache, out: &mut Output) {
    let settings = &cache.settings;
    let yes_no = |on: bool| if on { "yes" } else { "no" };
    let on_off = |on: bool| if on { "on" } else { "off" };
    stat(out, "maxbytes", cache.store.memory_limit());
    stat(out, "maxconns", settings.max_connections);
    stat(out, "tcpport", settings.tcp_port);
    stat(out, "udpport", settings.udp_port);
    stat(out, "inter", settings.interfaces.as_deref().unwrap_or("NULL"));
    stat(out, "verbosity", cache.verbosity.load(Ordering::Relaxed));
    stat(out, "oldest", 0);
    stat(out, "evictions", on_off(settings.evictions));
    let socket = settings.unix_socket.as_deref().map(|path| path.display().to_string());
    stat(out, "domain_socket", socket.as_deref().unwrap_or("NULL"));
    stat(out, "umask", format_args!("{:o}", settings.unix_mask));
    stat(out, "shutdown_command", yes_no(settings.shutdown_command));
    stat(out, "growth_factor", format_args!("{:.2}", settings.growth_factor));
    stat(out, "chunk_size", settings.chunk_size);
    stat(out, "num_threads", settings.threads);
    stat(out, "num_threads_per_udp", settings.threads_per_udp);
    stat(out, "stat_key_prefix", char::from(settings.prefix_delimiter));
    stat(out, "detail_enabled", yes_no(cache.watch.counts_prefixes()));
    stat(out, "reqs_per_event", settings.requests_per_event);
    stat(out, "cas_enabled", yes_no(settings.cas));
    stat(out, "tcp_backlog", settings.backlog);
    stat(out, "binding_protocol", settings.protocol.name());
    stat(out, "auth_enabled_sasl", yes_no(settings.sasl));
    let ascii_file = settings.ascii_file.as_deref().map(|path| path.display().to_string());
    stat(out, "auth_enabled_ascii", ascii_file.as_deref().unwrap_or("no"));
    stat(out, "item_size_max", settings.item_size_max);
    stat(out, "maxconns_fast", yes_no(settings.maxconns_fast));
    let unused = |name, default| settings.unused.get(name).map_or(default, String::as_str);
    let idle_timeout = settings.idle_timeout.to_string();
    let watcher_buffer = settings.watcher_buffer.to_string();
    let worker_buffer = settings.worker_buffer.to_string();
    let memory_file = settings.memory_file.as_deref().map(|path| path.display().to_string());
    for (name, value) in [
        ("hashpower_init", unused("hashpower_init", "0")),
        ("slab_reassign", unused("slab_reassign", "yes")),
        ("slab_automove", unused("slab_automove", "1")),
        ("slab_automove_ratio", unused("slab_automove_ratio", "0.80")),
        ("slab_automove_window", unused("slab_automove_window", "10")),
        ("slab_chunk_max", unused("slab_chunk_max", "524288")),
        ("lru_crawler", yes_no(cache.store.crawling())),
        ("lru_crawler_sleep", unused("lru_crawler_sleep", "100")),
        ("lru_crawler_tocrawl", unused("lru_crawler_tocrawl", "0")),
        ("tail_repair_time", unused("tail_repair_time", "0")),
        ("flush_enabled", yes_no(settings.flush_enabled)),
        ("dump_enabled", yes_no(settings.dump_enabled)),
        ("hash_algorithm", unused("hash_algorithm", "murmur3")),
        ("lru_maintainer_thread", unused("lru_maintainer_thread", "yes")),
        ("lru_segmented", unused("lru_segmented", "yes")),
        ("hot_lru_pct", unused("hot_lru_pct", "20")),
        ("warm_lru_pct", unused("warm_lru_pct", "40")),
        ("hot_max_factor", unused("hot_max_factor", "0.20")),
        ("warm_max_factor", unused("warm_max_factor", "2.00")),
        ("temp_lru", unused("temp_lru", "no")),
        ("temporary_ttl", unused("temporary_ttl", "61")),
        ("idle_timeout", &*idle_timeout),
        ("watcher_logbuf_size", &watcher_buffer),
        ("worker_logbuf_size", &worker_buffer),
        ("read_buf_mem_limit", unused("read_buf_mem_limit", "0")),
        ("track_sizes", yes_no(settings.track_sizes)),
        ("inline_ascii_response", "no"),
    ] {
        stat(out, name, value);
    }
    tls(&settings.tls, out);
    stat(out, "num_napi_ids", 0);
    stat(out, "memory_file", memory_file.as_deref().unwrap_or("(null)"));
    stat(out, "client_flags_size", 4);
}

fn tls(tls: &crate::tls::Settings, out: &mut Output) {
    let yes_no = |on: bool| if on { "yes" } else { "no" };
    let file = |path: &Option<PathBuf>, none: &str| {
        path.as_ref().map_or_else(|| none.to_owned(), |path| path.display().to_string())
    };
    stat(out, "ssl_enabled", yes_no(tls.enabled));
    stat(out, "ssl_chain_cert", file(&tls.chain_cert, "(null)"));
    stat(out, "ssl_key", file(&tls.key, "(null)"));
    stat(out, "ssl_verify_mode", tls.verify.bits());
    stat(out, "ssl_keyformat", tls.key_format);
    stat(out, "ssl_ciphers", tls.ciphers.as_deref().unwrap_or("NULL"));
    stat(out, "ssl_ca_cert", file(&tls.ca_cert, "NULL"));
    stat(out, "ssl_wbuf_size", tls.wbuf_size);
    stat(out, "ssl_session_cache", yes_no(tls.session_cache));
    stat(out, "ssl_kernel_tls", yes_no(tls.kernel_tls));
    stat(out, "ssl_min_version", tls.min_version);
}
