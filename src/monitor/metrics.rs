//! `/metrics` in the OpenMetrics format. What memcached has too is named as the Prometheus project's
//! exporter for memcached names it, so that dashboards and alerts made for that one work.

use crate::command::Cache;
use crate::replication::{State, Status};
use crate::store::{ClassStats, PAGE, StoreStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The media type of what [`Metrics::render`] makes.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) struct Metrics(Registry);

impl Metrics {
    pub(super) fn new(cache: &Arc<Cache>) -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Source(Arc::clone(cache))));
        Metrics(registry)
    }

    /// Everything at this moment.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.0);
        text
    }
}

struct Source(Arc<Cache>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Collector for Source {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cache = &*self.0;
        let stats = cache.store.stats(cache.clock.now());
        let mut page = Page(encoder);
        process(cache, &mut page)?;
        connections(cache, &mut page)?;
        commands(cache, &stats.total(), &mut page)?;
        items(cache, &stats, &mut page)?;
        classes(cache, &stats, &mut page)?;
        match &cache.replication {
            Some(status) => replication(cache, status, &mut page),
            None => Ok(()),
        }
    }
}

/// The page being written, a family at a time.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    /// One family with a row for each set of labels.
    fn family<L: EncodeLabelSet>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in rows {
            let row = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(row)?,
                _ => ConstGauge::new(value as f64).encode(row)?,
            }
        }
        Ok(())
    }
}

fn process(cache: &Cache, page: &mut Page<'_>) -> fmt::Result {
    use nix::sys::resource::{UsageWho, getrusage};
    page.gauge("memcached_up", "Whether the cache serves", 1.0)?;
    let version = [([("version", crate::command::MEMCACHED_VERSION)], 1)];
    let help = "Version of memcached whose protocol is spoken";
    page.family(MetricType::Gauge, "memcached_version", help, version)?;
    let version = [([("version", env!("CARGO_PKG_VERSION"))], 1)];
    page.family(MetricType::Gauge, "paircached_version", "Version of the daemon", version)?;
    page.gauge("memcached_uptime_seconds", "Seconds since the start", cache.clock.uptime() as f64)?;
    let time = cache.clock.now().0 as f64 / 1000.0;
    page.gauge("memcached_time_seconds", "The node's clock, in Unix seconds", time)?;
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let seconds = |time: nix::sys::time::TimeVal| {
            time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0
        };
        let (user, system) = (seconds(usage.user_time()), seconds(usage.system_time()));
        page.counter("memcached_process_user_cpu_seconds", "CPU time in user mode", user)?;
        page.counter("memcached_process_system_cpu_seconds", "CPU time in the kernel", system)?;
    }
    Ok(())
}

fn connections(cache: &Cache, page: &mut Page<'_>) -> fmt::Result {
    let connections = &cache.connections;
    let counted = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed) as f64;
    let current = connections.current() as f64;
    page.gauge("memcached_current_connections", "Connections open now", current)?;
    let most = f64::from(cache.settings.max_connections);
    page.gauge("memcached_max_connections", "Connections allowed at a time", most)?;
    let total = counted(&connections.total);
    page.counter("memcached_connections", "Connections accepted", total)?;
    let rejected = counted(&connections.rejected);
    page.counter("memcached_connections_rejected", "Connections sent away, too many", rejected)?;
    let help = "Times that a connection had to let others go first";
    page.counter("memcached_connections_yielded", help, cache.totals().conn_yields as f64)?;
    let help = "Times that clients had to wait because there were too many";
    page.counter("memcached_connections_listener_disabled", help, counted(&connections.held))?;
    let accepting = f64::from(u8::from(connections.holding.load(Ordering::Relaxed) == 0));
    page.gauge("memcached_accepting_connections", "Whether clients are accepted", accepting)?;
    let totals = cache.totals();
    page.counter("memcached_read_bytes", "Bytes from clients", totals.bytes_read as f64)?;
    page.counter("memcached_written_bytes", "Bytes to clients", totals.bytes_written as f64)
}

fn commands(cache: &Cache, total: &ClassStats, page: &mut Page<'_>) -> fmt::Result {
    let totals = cache.totals();
    // cmd_set counts every cas too.
    let cas = totals.cas_misses + total.cas_hits + total.cas_badval;
    let rows = [
        ("get", "hit", total.get_hits),
        ("get", "miss", totals.get_misses),
        ("delete", "hit", total.delete_hits),
        ("delete", "miss", totals.delete_misses),
        ("incr", "hit", total.incr_hits),
        ("incr", "miss", totals.incr_misses),
        ("decr", "hit", total.decr_hits),
        ("decr", "miss", totals.decr_misses),
        ("cas", "hit", total.cas_hits),
        ("cas", "miss", totals.cas_misses),
        ("cas", "badval", total.cas_badval),
        ("touch", "hit", total.touch_hits),
        ("touch", "miss", totals.touch_misses),
        ("flush", "hit", totals.cmd_flush),
        ("set", "hit", total.cmd_set.saturating_sub(cas)),
    ];
    let rows = rows.map(|(command, status, n)| ([("command", command), ("status", status)], n));
    let help = "Requests by command and what came of them";
    page.family(MetricType::Counter, "memcached_commands", help, rows)?;
    let help = "Values refused because they were too large";
    page.counter("memcached_item_too_large", help, totals.store_too_large as f64)?;
    let help = "Values refused for lack of memory";
    page.counter("memcached_item_no_memory", help, totals.store_no_memory as f64)
}

fn items(cache: &Cache, stats: &StoreStats, page: &mut Page<'_>) -> fmt::Result {
    let total = stats.total();
    page.gauge("memcached_current_items", "Items held", total.number as f64)?;
    page.counter("memcached_items", "Items stored", stats.total_items as f64)?;
    let help = "Bytes of items as memcached counts them";
    page.gauge("memcached_current_bytes", help, total.mem_requested as f64)?;
    let limit = cache.store.memory_limit() as f64;
    page.gauge("memcached_limit_bytes", "Bytes that items may cost", limit)?;
    let used = cache.store.memory_used() as f64;
    page.gauge("paircached_memory_bytes", "Bytes that items and their index cost", used)?;
    let help = "Live items that had to make room";
    page.counter("memcached_items_evicted", help, total.evicted as f64)?;
    let help = "Dead items whose room was taken back";
    page.counter("memcached_items_reclaimed", help, total.reclaimed as f64)?;
    let help = "Dead items that the background search found";
    page.counter("memcached_lru_crawler_reclaimed", help, total.crawler_reclaimed as f64)?;
    let help = "Items that the background search looked at";
    page.counter("memcached_lru_crawler_items_checked", help, stats.crawler_checked as f64)
}

/// A figure of a virtual slab class: its kind, name, meaning, and where it is.
type ClassFigure = (MetricType, &'static str, &'static str, fn(&ClassStats) -> u64);

const CLASS_FIGURES: [ClassFigure; 10] = {
    use MetricType::{Counter, Gauge};
    [
        (Gauge, "current_items", "Items held", |class| class.number),
        (Gauge, "mem_requested_bytes", "Bytes of items", |class| class.mem_requested),
        (Gauge, "chunks_used", "Chunks that the items would take", |class| class.chunks),
        (
            Gauge,
            "items_evicted_time_seconds",
            "Seconds that the last evicted item was unused",
            |class| class.evicted_time,
        ),
        (Counter, "items_evicted", "Live items that had to make room", |class| class.evicted),
        (Counter, "items_evicted_nonzero", "Those with an expiry", |class| class.evicted_nonzero),
        (Counter, "items_evicted_unfetched", "Those that nobody had read", |class| {
            class.evicted_unfetched
        }),
        (Counter, "items_expired_unfetched", "Expired items that nobody had read", |class| {
            class.expired_unfetched
        }),
        (Counter, "items_outofmemory", "Writes refused for lack of room", |class| {
            class.outofmemory
        }),
        (Counter, "items_reclaimed", "Dead items whose room was taken back", |class| {
            class.reclaimed
        }),
    ]
};

fn classes(cache: &Cache, stats: &StoreStats, page: &mut Page<'_>) -> fmt::Result {
    let used: Vec<(u8, &ClassStats)> = (1u8..)
        .zip(&stats.classes)
        .filter(|(_, class)| class.number > 0 || class.cmd_set > 0)
        .collect();
    let slab = |number: u8| [("slab", number.to_string())];
    for (kind, name, help, figure) in CLASS_FIGURES {
        let rows = used.iter().map(|&(number, class)| (slab(number), figure(class)));
        page.family(kind, &format!("memcached_slab_{name}"), help, rows)?;
    }
    let size = |number| cache.store.classes().chunk_size(number);
    let rows = used.iter().map(|&(number, _)| (slab(number), size(number)));
    page.family(MetricType::Gauge, "memcached_slab_chunk_size_bytes", "Bytes per chunk", rows)?;
    let rows = used.iter().map(|&(number, _)| (slab(number), PAGE / size(number)));
    page.family(MetricType::Gauge, "memcached_slab_chunks_per_page", "Chunks per page", rows)?;
    let rows = used.iter().flat_map(|&(number, class)| {
        let cas = class.cas_hits + class.cas_badval;
        let rows = [
            ("get", "hit", class.get_hits),
            ("delete", "hit", class.delete_hits),
            ("incr", "hit", class.incr_hits),
            ("decr", "hit", class.decr_hits),
            ("cas", "hit", class.cas_hits),
            ("cas", "badval", class.cas_badval),
            ("touch", "hit", class.touch_hits),
            ("set", "hit", class.cmd_set.saturating_sub(cas)),
        ];
        let slab = number.to_string();
        rows.map(move |(command, status, n)| {
            let labels = [
                ("slab", slab.clone()),
                ("command", String::from(command)),
                ("status", String::from(status)),
            ];
            (labels, n)
        })
    });
    let help = "Requests by class, command and what came of them";
    page.family(MetricType::Counter, "memcached_slab_commands", help, rows)
}

fn replication(cache: &Cache, status: &Status, page: &mut Page<'_>) -> fmt::Result {
    let stats = cache.store.stats(cache.clock.now());
    let figures = status.figures().clone();
    let states =
        [State::Connecting, State::Handshaking, State::CatchingUp, State::InSync, State::Refused];
    let rows =
        states.map(|state| ([("state", state.to_string())], u64::from(state == figures.state)));
    let help = "1 for the state that the link is in";
    page.family(MetricType::Gauge, "paircached_replication_state", help, rows)?;
    let filled = f64::from(u8::from(figures.filled));
    page.gauge("paircached_replication_filled", "Whether the node has got all there was", filled)?;
    let lag = (stats.unsent + figures.in_flight_ops) as f64;
    page.gauge("paircached_replication_lag_operations", "Changes the peer lacks", lag)?;
    let bytes = figures.in_flight_bytes as f64;
    page.gauge("paircached_replication_lag_bytes", "Bytes sent and not acknowledged", bytes)?;
    let help = "Age of the oldest change that the peer has not acknowledged";
    page.gauge("paircached_replication_lag_seconds", help, figures.lag_ms as f64 / 1000.0)?;
    let help = "The peer's clock less this node's";
    let offset = figures.clock_offset_ms as f64 / 1000.0;
    page.gauge("paircached_replication_clock_offset_seconds", help, offset)?;
    let tombstones = stats.tombstones as f64;
    page.gauge("paircached_replication_tombstones", "Deletes remembered", tombstones)?;
    let help = "Keys that both nodes have and not alike, in the last round of comparing";
    let divergent = figures.divergent_keys as f64;
    page.gauge("paircached_replication_divergent_keys", help, divergent)?;
    for (name, help, value) in [
        ("sent", "Changes sent", figures.sent),
        ("received", "Changes received", figures.received),
        ("checked_keys", "Keys compared with the peer's", figures.checked_keys),
        ("conflicts", "Changes on both sides at once", stats.conflicts),
        ("resyncs_full", "Catch-ups from nothing", figures.resyncs_full),
        ("resyncs_delta", "Catch-ups of a difference", figures.resyncs_delta),
    ] {
        page.counter(&format!("paircached_replication_{name}"), help, value as f64)?;
    }
    Ok(())
}
