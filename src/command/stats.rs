//! `stats`, with memcached's names in memcached's order.

mod cachedump;
mod conns;
mod detail;
mod digest;
mod sizes;

use super::operation::Context;
use super::reply::{line, stat};
use super::{Cache, Dump, MEMCACHED_VERSION, Outcome, settings};
use crate::protocol::Output;
use crate::protocol::text::Words;
use crate::store::{ClassStats, Now, PAGE, StoreStats};
use conns::Connections;
use digest::Digest;
use sizes::Sizes;
use std::sync::atomic::Ordering;

/// Size of memcached's table of keys at the start, as a power of two.
const HASH_POWER: u32 = 16;

/// Does `stats` with these arguments. As in memcached, the beginning of a word is enough but for the
/// tables of the engine.
pub(super) fn run<'a>(context: &Context<'_>, mut args: Words<'_>, out: &mut Output) -> Outcome<'a> {
    let &Context { cache, worker, now } = context;
    match args.next() {
        None => general(cache, now, out),
        Some(word) if b"reset".starts_with(word) => {
            cache.reset_totals();
            line(out, "RESET");
            return Outcome::Continue;
        }
        Some(word) if b"detail".starts_with(word) => return detail::run(context, args, out),
        Some(word) if b"settings".starts_with(word) => settings::write(cache, out),
        Some(word) if b"cachedump".starts_with(word) => {
            return cachedump::run(cache, now, args, out);
        }
        Some(word) if b"conns".starts_with(word) => {
            let asker = worker.client.load(Ordering::Relaxed);
            return Dump::begin(Connections::new(asker), cache, now, out);
        }
        Some(b"items") => items(cache, now, out),
        Some(b"slabs") => slabs(cache, now, out),
        Some(b"sizes") if cache.settings.track_sizes => {
            return Dump::begin(Sizes::default(), cache, now, out);
        }
        Some(b"sizes") => stat(out, "sizes_status", "disabled"),
        Some(b"replication") => match args.next() {
            Some(b"digest") => return Dump::begin(Digest::new(), cache, now, out),
            _ => replication(cache, out),
        },
        Some(_) => {
            line(out, "ERROR");
            return Outcome::Continue;
        }
    }
    out.push(b"END\r\n");
    Outcome::Continue
}

fn general(cache: &Cache, now: Now, out: &mut Output) {
    let store = cache.store.stats(now);
    let total = store.total();
    process(cache, out);
    connections(cache, out);
    commands(cache, &total, out);
    let hash_power = hash_power(cache, total.number);
    stat(out, "threads", cache.settings.threads);
    stat(out, "conn_yields", cache.totals().conn_yields);
    stat(out, "hash_power_level", hash_power);
    stat(out, "hash_bytes", 8u64 << hash_power);
    stat(out, "hash_is_expanding", 0);
    for name in [
        "slab_reassign_rescues",
        "slab_reassign_chunk_rescues",
        "slab_reassign_inline_reclaim",
        "slab_reassign_busy_items",
        "slab_reassign_busy_deletes",
        "slab_reassign_busy_nomem",
        "slab_reassign_last_busy_status",
        "slab_reassign_running",
        "slabs_moved",
        "lru_crawler_running",
        "lru_crawler_starts",
        "lru_maintainer_juggles",
        "malloc_fails",
    ] {
        let value = if name == "lru_crawler_starts" { cache.totals().crawler_starts } else { 0 };
        if is_shown(cache, name) {
            stat(out, name, value);
        }
    }
    let log = cache.watch.stats();
    for (name, value) in [
        ("log_worker_dropped", log.dropped),
        ("log_worker_written", log.written),
        ("log_watcher_skipped", log.skipped),
        ("log_watcher_sent", log.sent),
        ("log_watchers", log.watchers),
    ] {
        stat(out, name, value);
    }
    tls(cache, out);
    stat(out, "unexpected_napi_ids", 0);
    stat(out, "round_robin_fallback", 0);
    held(cache, &store, &total, out);
    if cache.settings.repcached {
        stat(out, "replication", if cache.replication.is_some() { "MASTER" } else { "NONE" });
        stat(out, "repcached_version", env!("CARGO_PKG_VERSION"));
    }
}

/// How large memcached's table of keys would be, as the power of two that it grows to: half as many
/// items again as it has places make it grow.
fn hash_power(cache: &Cache, items: u64) -> u32 {
    let told = cache.settings.unused.get("hashpower_init").and_then(|power| power.parse().ok());
    let least = told.filter(|&power| power != 0).unwrap_or(HASH_POWER);
    least.max(items.saturating_mul(2).div_ceil(3).max(1).next_power_of_two().ilog2())
}

fn tls(cache: &Cache, out: &mut Output) {
    let Some(tls) = &cache.tls else { return };
    let counters = tls.counters();
    if tls.has_sessions() {
        stat(out, "ssl_new_sessions", counters.new_sessions.load(Ordering::Relaxed));
    }
    stat(out, "ssl_handshake_errors", counters.handshake_errors.load(Ordering::Relaxed));
    stat(out, "ssl_proto_errors", counters.proto_errors.load(Ordering::Relaxed));
    stat(out, "time_since_server_cert_refresh", tls.age());
}

fn process(cache: &Cache, out: &mut Output) {
    use nix::sys::resource::{UsageWho, getrusage};
    stat(out, "pid", std::process::id());
    stat(out, "uptime", cache.clock.uptime());
    stat(out, "time", cache.clock.now().seconds());
    stat(out, "version", MEMCACHED_VERSION);
    stat(out, "libevent", concat!("none (paircached ", env!("CARGO_PKG_VERSION"), ")"));
    stat(out, "pointer_size", usize::BITS);
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    let time = |time: Option<nix::sys::time::TimeVal>| {
        time.map_or_else(
            || "0.000000".to_owned(),
            |time| format!("{}.{:06}", time.tv_sec(), time.tv_usec()),
        )
    };
    stat(out, "rusage_user", time(usage.map(|usage| usage.user_time())));
    stat(out, "rusage_system", time(usage.map(|usage| usage.system_time())));
}

fn connections(cache: &Cache, out: &mut Output) {
    let connections = &cache.connections;
    stat(out, "max_connections", cache.settings.max_connections);
    let listening = connections.listening.load(Ordering::Relaxed);
    // As in memcached, where one listener is left out of what is open now.
    stat(out, "curr_connections", (connections.current() + listening).saturating_sub(1));
    stat(out, "total_connections", connections.total.load(Ordering::Relaxed));
    if cache.settings.maxconns_fast {
        stat(out, "rejected_connections", connections.rejected.load(Ordering::Relaxed));
    }
    stat(out, "connection_structures", connections.most.load(Ordering::Relaxed) + listening);
    for name in [
        "response_obj_oom",
        "response_obj_count",
        "response_obj_bytes",
        "read_buf_count",
        "read_buf_bytes",
        "read_buf_bytes_free",
        "read_buf_oom",
        "reserved_fds",
    ] {
        stat(out, name, 0);
    }
}

fn commands(cache: &Cache, total: &ClassStats, out: &mut Output) {
    let totals = cache.totals();
    for (name, value) in [
        ("cmd_get", totals.cmd_get),
        ("cmd_set", total.cmd_set),
        ("cmd_flush", totals.cmd_flush),
        ("cmd_touch", totals.cmd_touch),
        ("cmd_meta", totals.cmd_meta),
        ("get_hits", total.get_hits),
        ("get_misses", totals.get_misses),
        ("get_expired", totals.get_expired),
        ("get_flushed", totals.get_flushed),
        ("delete_misses", totals.delete_misses),
        ("delete_hits", total.delete_hits),
        ("incr_misses", totals.incr_misses),
        ("incr_hits", total.incr_hits),
        ("decr_misses", totals.decr_misses),
        ("decr_hits", total.decr_hits),
        ("cas_misses", totals.cas_misses),
        ("cas_hits", total.cas_hits),
        ("cas_badval", total.cas_badval),
        ("touch_hits", total.touch_hits),
        ("touch_misses", totals.touch_misses),
        ("store_too_large", totals.store_too_large),
        ("store_no_memory", totals.store_no_memory),
        ("auth_cmds", totals.auth_cmds),
        ("auth_errors", totals.auth_errors),
    ] {
        stat(out, name, value);
    }
    if cache.settings.idle_timeout > 0 {
        stat(out, "idle_kicks", totals.idle_kicks);
    }
    let connections = &cache.connections;
    for (name, value) in [
        ("bytes_read", totals.bytes_read),
        ("bytes_written", totals.bytes_written),
        ("limit_maxbytes", cache.store.memory_limit()),
        ("accepting_conns", u64::from(connections.holding.load(Ordering::Relaxed) == 0)),
        ("listen_disabled_num", connections.held.load(Ordering::Relaxed)),
        ("time_in_listen_disabled_us", connections.held_us.load(Ordering::Relaxed)),
    ] {
        stat(out, name, value);
    }
}

/// Whether memcached, told the same, has the part that this statistic speaks of.
fn is_shown(cache: &Cache, name: &str) -> bool {
    match name {
        "lru_crawler_running" | "lru_crawler_starts" => cache.store.crawling(),
        "lru_maintainer_juggles"
        | "evicted_active"
        | "direct_reclaims"
        | "lru_bumps_dropped"
        | "number_hot"
        | "number_warm"
        | "number_cold"
        | "age_hot"
        | "age_warm" => !cache.settings.is_off("lru_maintainer_thread"),
        _ if name.starts_with("moves_") || name.starts_with("hits_to_") => {
            !cache.settings.is_off("lru_maintainer_thread")
        }
        _ if name.starts_with("slab_reassign_") || name == "slabs_moved" => {
            !cache.settings.is_off("slab_reassign")
        }
        _ => true,
    }
}

fn held(cache: &Cache, store: &StoreStats, total: &ClassStats, out: &mut Output) {
    for (name, value) in [
        ("bytes", total.mem_requested),
        ("curr_items", total.number),
        ("total_items", store.total_items),
        ("slab_global_page_pool", 0),
        ("expired_unfetched", total.expired_unfetched),
        ("evicted_unfetched", total.evicted_unfetched),
        ("evicted_active", total.evicted_active),
        ("evictions", total.evicted),
        ("reclaimed", total.reclaimed),
        ("crawler_reclaimed", total.crawler_reclaimed),
        ("crawler_items_checked", store.crawler_checked),
        ("lrutail_reflocked", 0),
        ("moves_to_cold", 0),
        ("moves_to_warm", 0),
        ("moves_within_lru", 0),
        ("direct_reclaims", 0),
        ("lru_bumps_dropped", 0),
    ] {
        if is_shown(cache, name) {
            stat(out, name, value);
        }
    }
}

fn items(cache: &Cache, now: Now, out: &mut Output) {
    let stats = cache.store.stats(now);
    for (class, (items, age)) in (1..).zip(stats.classes.iter().zip(&stats.ages)) {
        if items.number == 0 {
            continue;
        }
        for (name, value) in [
            ("number", items.number),
            ("number_hot", 0),
            ("number_warm", 0),
            ("number_cold", items.number),
            ("age_hot", 0),
            ("age_warm", 0),
            ("age", *age),
            ("mem_requested", items.mem_requested),
            ("evicted", items.evicted),
            ("evicted_nonzero", items.evicted_nonzero),
            ("evicted_time", items.evicted_time),
            ("outofmemory", items.outofmemory),
            ("tailrepairs", 0),
            ("reclaimed", items.reclaimed),
            ("expired_unfetched", items.expired_unfetched),
            ("evicted_unfetched", items.evicted_unfetched),
            ("evicted_active", items.evicted_active),
            ("crawler_reclaimed", items.crawler_reclaimed),
            ("crawler_items_checked", 0),
            ("lrutail_reflocked", 0),
            ("moves_to_cold", 0),
            ("moves_to_warm", 0),
            ("moves_within_lru", 0),
            ("direct_reclaims", 0),
            ("hits_to_hot", 0),
            ("hits_to_warm", 0),
            ("hits_to_cold", items.get_hits),
            ("hits_to_temp", 0),
        ] {
            if is_shown(cache, name) {
                stat(out, format_args!("items:{class}:{name}"), value);
            }
        }
    }
}

fn slabs(cache: &Cache, now: Now, out: &mut Output) {
    let stats = cache.store.stats(now);
    let mut active = 0;
    let mut malloced = 0;
    for (class, slab) in (1u8..).zip(&stats.classes) {
        let used = slab.chunks;
        if used == 0 && slab.cmd_set == 0 {
            continue;
        }
        let chunk_size = cache.store.classes().chunk_size(class);
        let per_page = PAGE / chunk_size;
        let pages = used.div_ceil(per_page).max(1);
        active += 1;
        malloced += pages * PAGE;
        for (name, value) in [
            ("chunk_size", chunk_size),
            ("chunks_per_page", per_page),
            ("total_pages", pages),
            ("total_chunks", pages * per_page),
            ("used_chunks", used),
            ("free_chunks", pages * per_page - used),
            ("free_chunks_end", 0),
            ("get_hits", slab.get_hits),
            ("cmd_set", slab.cmd_set),
            ("delete_hits", slab.delete_hits),
            ("incr_hits", slab.incr_hits),
            ("decr_hits", slab.decr_hits),
            ("cas_hits", slab.cas_hits),
            ("cas_badval", slab.cas_badval),
            ("touch_hits", slab.touch_hits),
        ] {
            stat(out, format_args!("{class}:{name}"), value);
        }
    }
    stat(out, "active_slabs", active);
    stat(out, "total_malloced", malloced);
}

fn replication(cache: &Cache, out: &mut Output) {
    let Some(status) = &cache.replication else {
        return stat(out, "replication_state", "disabled");
    };
    for (name, value) in status.report(&cache.store, cache.clock.now()).fields() {
        stat(out, format_args!("replication_{name}"), value);
    }
}
