//! Commands that tune slabs and LRU lists. There are none here to tune: the words are checked as
//! memcached checks them, and what they would change stays as it is.

use super::Cache;
use crate::protocol::text::{BAD_FORMAT, Words};
use crate::protocol::{parse_i64, parse_u32_cut};

/// Share of memory that the hot and the warm list may have together, in percent.
const HOT_AND_WARM_MAX: u64 = 80;
/// Words that any of these commands looks at.
const WORDS: usize = 5;

/// `slabs`.
pub(super) fn slabs(cache: &Cache, args: Words<'_>) -> &'static str {
    let args: Vec<&[u8]> = args.take(WORDS).collect();
    match args[..] {
        [word, source, target] if b"reassign".starts_with(word) => reassign(cache, source, target),
        [word, ref args @ ..] if b"automove".starts_with(word) => automove(args),
        _ => "ERROR",
    }
}

/// No class has pages of its own, so none has any to spare.
fn reassign(cache: &Cache, source: &[u8], target: &[u8]) -> &'static str {
    if cache.settings.is_off("slab_reassign") {
        return "CLIENT_ERROR slab reassignment disabled";
    }
    let (Some(source), Some(target)) = (parse_i64(source), parse_i64(target)) else {
        return BAD_FORMAT;
    };
    if source == target {
        return "SAME src and dst class are identical";
    }
    let classes = 0..=cache.store.classes().count() as i64;
    if classes.contains(&source) && classes.contains(&target) {
        "NOSPARE source class has no spare pages"
    } else {
        "BADCLASS invalid src or dst class id"
    }
}

fn automove(args: &[&[u8]]) -> &'static str {
    match *args {
        [] => "ERROR",
        [word, ratio, ..] if b"ratio".starts_with(word) || b"freeratio".starts_with(word) => {
            decimal(ratio).map_or("ERROR", |_| "OK")
        }
        [word, window, ..] if b"window".starts_with(word) => match parse_u32_cut(window) {
            Some(3..=1800) => "OK",
            Some(_) => "CLIENT_ERROR automove window too low or too high",
            None => "ERROR",
        },
        [word]
            if [&b"ratio"[..], b"freeratio", b"window"]
                .iter()
                .any(|known| known.starts_with(word)) =>
        {
            "ERROR"
        }
        [level, ..] => match parse_u32_cut(level) {
            Some(0..=2) => "OK",
            Some(_) => "ERROR",
            None => BAD_FORMAT,
        },
    }
}

/// `lru`.
pub(super) fn lru(cache: &Cache, args: Words<'_>) -> &'static str {
    let maintained = !cache.settings.is_off("lru_maintainer_thread");
    let args: Vec<&[u8]> = args.take(WORDS).collect();
    match args[..] {
        [word, hot, warm, hot_factor, warm_factor] if b"tune".starts_with(word) => {
            tune([hot, warm], [hot_factor, warm_factor])
        }
        [word, mode, ..] if b"mode".starts_with(word) && maintained => {
            let known = b"flat".starts_with(mode) || b"segmented".starts_with(mode);
            if known { "OK" } else { "ERROR" }
        }
        [word, seconds, ..] if b"temp_ttl".starts_with(word) && maintained => {
            parse_i64(seconds).map_or("ERROR", |_| "OK")
        }
        _ => "ERROR",
    }
}

fn tune(shares: [&[u8]; 2], factors: [&[u8]; 2]) -> &'static str {
    let [Some(hot), Some(warm)] = shares.map(parse_u32_cut) else {
        return "ERROR";
    };
    let [Some(hot_factor), Some(warm_factor)] = factors.map(decimal) else {
        return "ERROR";
    };
    if u64::from(hot) + u64::from(warm) > HOT_AND_WARM_MAX {
        "ERROR hot and warm pcts must not exceed 80"
    } else if hot_factor <= 0.0 || warm_factor <= 0.0 {
        "ERROR hot/warm age factors must be greater than 0"
    } else {
        "OK"
    }
}

fn decimal(word: &[u8]) -> Option<f64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}
