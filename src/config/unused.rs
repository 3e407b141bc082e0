//! Suboptions that tune what is not here: all that is left of them is what other checks of memcached's
//! and `stats settings` make of them.

use super::settings::Settings;
use super::source::Source;
use super::suboption::leading;
use super::value::in_front;
use crate::store::PAGE;

/// memcached's largest chunk, unless it is told otherwise, in bytes.
pub(super) const CHUNK_MAX: u64 = PAGE / 2;

/// How large a piece of an item may be in memcached, which the sizes of `-I` are multiples of.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkMax {
    /// In bytes.
    pub(super) bytes: u64,
    /// As a number of its own, and not as what another suboption implies.
    pub(super) given: bool,
}

/// Takes over what of a suboption is checked or shown only.
pub(super) fn take(name: &str, value: &str, settings: &mut Settings, source: &Source) {
    settings.unused.extend(shown(name, value));
    let ChunkMax { given, .. } = settings.chunk_max.value;
    let new = match name {
        "slab_chunk_max" => {
            ChunkMax { bytes: value.trim().parse().unwrap_or(CHUNK_MAX), given: true }
        }
        "no_chunked_items" => ChunkMax { bytes: PAGE, given },
        "no_modern" if !given => ChunkMax { bytes: PAGE, given },
        _ => return,
    };
    settings.chunk_max.put(new, source);
}

/// What `stats settings` shows for options without effect, by memcached's names there.
fn shown(name: &str, value: &str) -> Vec<(&'static str, String)> {
    let number = || leading(value).to_string();
    let unsigned = |unit: u64| (value.trim().parse().unwrap_or(0) * unit).to_string();
    let decimal = |places| {
        let number = in_front(value, true).0.trim().parse().unwrap_or(0.0);
        format!("{number:.places$}")
    };
    let text = String::from;
    match name {
        "hashpower" => vec![("hashpower_init", number())],
        "hash_algorithm" => vec![("hash_algorithm", text(value))],
        "tail_repair_time" => vec![("tail_repair_time", number())],
        "slab_reassign" => vec![("slab_reassign", text("yes"))],
        "no_slab_reassign" => vec![("slab_reassign", text("no"))],
        "slab_automove" if value.is_empty() => vec![("slab_automove", text("1"))],
        "slab_automove" => vec![("slab_automove", number())],
        "no_slab_automove" => vec![("slab_automove", text("0"))],
        "slab_automove_ratio" => vec![("slab_automove_ratio", decimal(2))],
        "slab_automove_window" => vec![("slab_automove_window", number())],
        "lru_crawler_sleep" => vec![("lru_crawler_sleep", number())],
        "lru_crawler_tocrawl" => vec![("lru_crawler_tocrawl", unsigned(1))],
        "lru_maintainer" => {
            vec![("lru_maintainer_thread", text("yes")), ("lru_segmented", text("yes"))]
        }
        "no_lru_maintainer" => {
            vec![("lru_maintainer_thread", text("no")), ("lru_segmented", text("no"))]
        }
        "hot_lru_pct" => vec![("hot_lru_pct", number())],
        "warm_lru_pct" => vec![("warm_lru_pct", number())],
        "hot_max_factor" => vec![("hot_max_factor", decimal(2))],
        "warm_max_factor" => vec![("warm_max_factor", decimal(2))],
        // memcached keeps it without a sign.
        "temporary_ttl" => vec![
            ("temp_lru", text("yes")),
            ("temporary_ttl", leading(value).cast_unsigned().to_string()),
        ],
        "read_buf_mem_limit" => vec![("read_buf_mem_limit", unsigned(1 << 20))],
        "no_modern" => ["no_slab_reassign", "no_slab_automove", "no_lru_maintainer"]
            .iter()
            .flat_map(|implied| shown(implied, ""))
            .chain([("hash_algorithm", text("jenkins"))])
            .collect(),
        _ => Vec::new(),
    }
}
