//! SIGHUP: reading the configuration again, and taking from it what can change while serving.

use super::{logging, passwords};
use crate::command::Cache;
use crate::config::Config;
use crate::tls::By;
use std::sync::atomic::Ordering;

/// Reads the certificates, the secret, the passwords and the files again. What can't change without losing the
/// cache is named in the log and stays.
pub(super) fn reload(config: &mut Box<Config>, cache: &Cache) {
    if let Some(tls) = &cache.tls {
        // A failure is in the log.
        let _ = tls.refresh(By::Signal);
    }
    if let Some(tls) = config.seal.certificates() {
        let _ = tls.refresh("SIGHUP");
    }
    reload_secret(config);
    passwords::reload(config, cache);
    let new = match config.reload() {
        Ok(new) => new,
        Err(exit) => {
            for fault in exit.stderr.lines() {
                log::error!(
                    "event=reload_failed fault={fault:?} kept=\"the configuration from before\""
                );
            }
            return;
        }
    };
    if new.memory != config.memory {
        cache.store.set_memory_limit(new.memory);
        log::info!("event=reload setting=memory from={} to={}", config.memory, new.memory);
        config.memory = new.memory;
    }
    if new.verbosity != config.verbosity || new.log.level != config.log.level {
        cache.verbosity.store(new.verbosity, Ordering::Relaxed);
        logging::set_level(&new.log, new.verbosity);
        log::info!("event=reload setting=log level={} verbosity={}", new.log.level, new.verbosity);
        config.verbosity = new.verbosity;
        config.log.level = new.log.level;
    }
    for name in needing_restart(config, &new) {
        log::warn!(
            "event=reload setting={name} kept=\"as it was\" remedy=\"systemctl restart applies it\""
        );
    }
    log::info!("event=reloaded");
}

/// Reads the secret of the pair again, for links to come.
fn reload_secret(config: &Config) {
    let Some(current) = config.seal.secret() else { return };
    match config.reread_secret() {
        Ok(Some(secret)) => {
            if current.replace(secret) {
                let next = "for links to come; the peer needs it, too, before the next one begins";
                log::info!("event=reload setting=secret next={next:?}");
            }
        }
        Ok(None) => {}
        Err(fault) => {
            log::error!("event=reload_failed fault={fault:?} kept=\"the secret from before\"");
        }
    }
}

/// Names of the settings that differ and that a running daemon can't change.
fn needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let differs = [
        ("port", old.tcp_port != new.tcp_port),
        ("udp_port", old.udp_port != new.udp_port),
        ("listen", old.listen != new.listen),
        ("unix_socket", old.unix_socket != new.unix_socket || old.unix_mask != new.unix_mask),
        ("user", old.user != new.user),
        ("evictions", old.evictions != new.evictions),
        ("threads", old.threads != new.threads),
        ("item_size_max", old.item_size_max != new.item_size_max),
        ("requests_per_event", old.requests_per_event != new.requests_per_event),
        ("protocol", old.protocol != new.protocol),
        ("auth", old.password_file != new.password_file || old.sasl != new.sasl),
        ("idle_timeout", old.idle_timeout != new.idle_timeout),
        ("lru_crawler", old.lru_crawler != new.lru_crawler),
        ("maxconns_fast", old.maxconns_fast != new.maxconns_fast),
        ("backlog", old.backlog != new.backlog),
        ("cas", old.cas != new.cas),
        ("flush_enabled", old.flush_enabled != new.flush_enabled),
        ("shutdown_command", old.shutdown_command != new.shutdown_command),
        ("dump_enabled", old.dump_enabled != new.dump_enabled),
        ("memory_file", old.memory_file != new.memory_file),
        ("relaxed_privileges", old.relaxed_privileges != new.relaxed_privileges),
        ("monitor", old.monitor != new.monitor),
        ("watch_enabled", old.watch_enabled != new.watch_enabled),
        ("watcher_buffer", old.watcher_buffer != new.watcher_buffer),
        ("worker_buffer", old.worker_buffer != new.worker_buffer),
        (
            "prefix_delimiter",
            old.prefix_delimiter != new.prefix_delimiter
                || old.detail_enabled != new.detail_enabled,
        ),
        ("track_sizes", old.track_sizes != new.track_sizes),
        ("tls", old.tls != new.tls),
        ("replication", old.replication != new.replication),
        ("log.target", old.log.target != new.log.target || old.log.facility != new.log.facility),
        ("max_connections", old.max_connections != new.max_connections),
        ("lock_memory", old.lock_memory != new.lock_memory),
        ("large_pages", old.large_pages != new.large_pages),
        ("growth_factor", old.growth_factor.total_cmp(&new.growth_factor).is_ne()),
        ("chunk_size", old.chunk_size != new.chunk_size),
        ("pid_file", old.pid_file != new.pid_file),
        ("detach", old.detach != new.detach),
        ("coredumps", old.coredumps != new.coredumps),
    ];
    differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Action, load};

    fn config(options: &str) -> Config {
        let line = "paircached --sysconfig=-/nonexistent --config=-/nonexistent";
        let words = line.split(' ').chain(options.split(' ')).map(Into::into);
        match load(words) {
            Ok(Action::Run(config)) => *config,
            other => panic!("{options} does not run: {other:?}"),
        }
    }

    #[test]
    fn what_a_running_daemon_cannot_change_is_named() {
        let before = config("-u nobody");
        for (options, name) in [
            ("-p 11311", "port"),
            ("-B ascii", "protocol"),
            ("-o idle_timeout=9", "idle_timeout"),
            ("-o no_maxconns_fast", "maxconns_fast"),
            ("-R 7", "requests_per_event"),
            ("-c 1023", "max_connections"),
            ("-c 1025", "max_connections"),
            ("-k", "lock_memory"),
            ("-L", "large_pages"),
            ("-f 1.5", "growth_factor"),
            ("-n 64", "chunk_size"),
            ("-P /nonexistent/pid", "pid_file"),
            ("-d", "detach"),
            ("-r", "coredumps"),
            ("-M", "evictions"),
            ("-C", "cas"),
            ("-F", "flush_enabled"),
            ("-A", "shutdown_command"),
            ("-X", "dump_enabled"),
            ("-W", "watch_enabled"),
            ("-t 7", "threads"),
            ("-b 7", "backlog"),
            ("-I 2m", "item_size_max"),
            ("-p 11211 -U 11999", "udp_port"),
            ("-l 127.0.0.2", "listen"),
            ("-s /nonexistent/socket", "unix_socket"),
            ("-e /nonexistent/memory", "memory_file"),
            ("-D :", "prefix_delimiter"),
            ("-o track_sizes", "track_sizes"),
            ("-x 192.0.2.2", "replication"),
        ] {
            let after = config(&format!("-u nobody {options}"));
            assert_eq!(needing_restart(&before, &after), [name]);
        }
        assert!(needing_restart(&before, &config("-u nobody -m 99 -v")).is_empty());
    }
}
