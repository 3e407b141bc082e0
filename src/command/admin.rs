//! Commands of administrators, that change how the daemon works.

use super::Cache;
use crate::clock::Move;
use crate::protocol::parse_i64;
use crate::protocol::text::Words;
use crate::tls::By;

/// Least and most memory that `cache_memlimit` takes, in megabytes.
const MEGABYTES: (u32, u32) = (8, 1_000_000_000);

/// `cache_memlimit`: changes what the items of this node may cost. What is over it is evicted by
/// and by.
pub(super) fn limit_memory(cache: &Cache, megabytes: u32) -> &'static str {
    if megabytes < MEGABYTES.0 {
        return "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m";
    }
    if megabytes > MEGABYTES.1 {
        return "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes";
    }
    cache.store.set_memory_limit(u64::from(megabytes) << 20);
    if let Some(others) = cache.mentions.memory_limit.due() {
        log::info!(
            "event=memory_limit by=cache_memlimit megabytes={megabytes} unmentioned_before={others}"
        );
    }
    "OK"
}

/// `debugtime`: moves the clock, where the daemon was started so that it can be moved; else there is
/// no such command.
pub(super) fn debug_time(cache: &Cache, mut args: Words<'_>) -> &'static str {
    let by = match args.next() {
        Some(b"p") => Some(Move::Stop),
        Some(b"r") => Some(Move::Run),
        Some(seconds) => parse_i64(seconds).map(Move::By),
        None => None,
    };
    if by.is_some_and(|by| cache.clock.turn(by)) { "OK" } else { "ERROR" }
}

/// `refresh_certs`: loads the certificates again. The error is what the client is told.
pub(super) fn refresh_certificates(cache: &Cache) -> Result<(), String> {
    let Some(tls) = &cache.tls else {
        return Err("Error TLS not enabled".to_owned());
    };
    tls.refresh(By::Client).map_err(|error| error.to_string())
}
