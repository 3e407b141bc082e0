//! `-o`: memcached's suboptions. A few mean something here, most tune memcached's own insides: those
//! are checked as memcached checks them and listed as without effect.

use super::settings::Settings;
use super::source::Source;
use super::tls;
use super::unused;
use super::value::{Checked, Complaint, in_front};

const USAGE: u8 = 64;

/// Whether a value satisfies memcached, and its words if not.
type Check = fn(&str) -> Result<(), String>;

/// What may follow a suboption's name.
enum Value {
    /// Nothing; memcached ignores what does, and so is it here.
    Unused,
    /// A value or none.
    Optional(Check),
    /// A value; else there is this message.
    Needed(&'static str, Check),
}

struct Spec {
    names: &'static [&'static str],
    value: Value,
    /// Why it has no effect; empty for what has one.
    reason: &'static str,
}

const fn spec(names: &'static [&'static str], value: Value, reason: &'static str) -> Spec {
    Spec { names, value, reason }
}

const INDEX: &str = "the index of keys sizes itself";
const SLABS: &str = "memory is not divided into slab pages";
const LRU: &str = "there is one queue of items, kept in order by the requests themselves";
const EXPIRY: &str = "the search for dead items goes in small steps of its own";
const CIPHERS: &str = "TLS has the cipher suites of rustls, with forward secrecy all of them";
const DEFAULT: &str = "it is the default";

#[rustfmt::skip]
static SPECS: &[Spec] = &[
    spec(&["maxconns_fast", "no_maxconns_fast"], Value::Unused, ""),
    spec(&["idle_timeout"], Value::Needed("Missing numeric argument for idle_timeout", any), ""),
    spec(&["relaxed_privileges"], Value::Unused, ""),
    spec(&["ssl_chain_cert"], Value::Needed("Missing ssl_chain_cert argument", any), ""),
    spec(&["ssl_key"], Value::Needed("Missing ssl_key argument", any), ""),
    spec(&["ssl_verify_mode"], Value::Needed("Missing ssl_verify_mode argument", |text| tls::check_number("ssl_verify_mode", text)), ""),
    spec(&["ssl_keyformat"], Value::Needed("Missing ssl_keyformat argument", |text| tls::check_number("ssl_keyformat", text)), ""),
    spec(&["ssl_ciphers"], Value::Needed("Missing ssl_ciphers argument", any), CIPHERS),
    spec(&["ssl_ca_cert"], Value::Needed("Missing ssl_ca_cert argument", any), ""),
    spec(&["ssl_wbuf_size"], Value::Needed("Missing ssl_wbuf_size argument", |text| tls::check_number("ssl_wbuf_size", text)), "replies are encrypted as they are sent"),
    spec(&["ssl_session_cache"], Value::Unused, ""),
    spec(&["ssl_kernel_tls"], Value::Unused, "the daemon encrypts by itself"),
    spec(&["ssl_min_version"], Value::Needed("Missing ssl_min_version argument", |text| tls::check_number("ssl_min_version", text)), ""),
    spec(&["modern"], Value::Unused, DEFAULT),
    spec(&["no_modern"], Value::Unused, "but for no_maxconns_fast and no_lru_crawler, which it implies"),
    spec(&["hashpower"], Value::Needed("Missing numeric argument for hashpower", hashpower), INDEX),
    spec(&["no_hashexpand"], Value::Unused, INDEX),
    spec(&["hash_algorithm"], Value::Needed("Missing hash_algorithm argument", algorithm), "keys are hashed with a secret seed"),
    spec(&["tail_repair_time"], Value::Needed("Missing numeric argument for tail_repair_time", tail), "no item can be left locked"),
    spec(&["slab_reassign", "no_slab_reassign", "no_slab_automove", "no_chunked_items"], Value::Unused, SLABS),
    spec(&["slab_automove"], Value::Optional(automove), SLABS),
    spec(&["slab_automove_ratio"], Value::Needed("Missing slab_automove_ratio argument", ratio), SLABS),
    spec(&["slab_automove_window"], Value::Needed("Missing slab_automove_window argument", window), SLABS),
    spec(&["slab_automove_freeratio"], Value::Needed("Missing slab_automove_freeratio argument", free_ratio), SLABS),
    spec(&["slab_chunk_max"], Value::Needed("Missing slab_chunk_max argument", chunk_max), "but for -I, which must be a multiple of it"),
    spec(&["slab_sizes"], Value::Needed("Missing slab_sizes argument", sizes), SLABS),
    spec(&["lru_crawler", "no_lru_crawler"], Value::Unused, ""),
    spec(&["lru_crawler_sleep"], Value::Needed("Missing lru_crawler_sleep value", sleep), EXPIRY),
    spec(&["lru_crawler_tocrawl"], Value::Needed("Missing lru_crawler_tocrawl value", tocrawl), EXPIRY),
    spec(&["lru_maintainer", "no_lru_maintainer"], Value::Unused, LRU),
    spec(&["hot_lru_pct"], Value::Needed("Missing hot_lru_pct argument", |text| percent("hot", text)), LRU),
    spec(&["warm_lru_pct"], Value::Needed("Missing warm_lru_pct argument", |text| percent("warm", text)), LRU),
    spec(&["hot_max_factor"], Value::Needed("Missing hot_max_factor argument", |text| factor("hot", text)), LRU),
    spec(&["warm_max_factor"], Value::Needed("Missing warm_max_factor argument", |text| factor("warm", text)), LRU),
    spec(&["temporary_ttl"], Value::Needed("Missing temporary_ttl argument", any), LRU),
    spec(&["watcher_logbuf_size"], Value::Needed("Missing watcher_logbuf_size argument", |text| parsed("watcher_logbuf_size", text)), ""),
    spec(&["worker_logbuf_size"], Value::Needed("Missing worker_logbuf_size argument", |text| parsed("worker_logbuf_size", text)), ""),
    spec(&["sock_cookie_id"], Value::Unused, "no line of watch shows it"),
    spec(&["track_sizes"], Value::Unused, ""),
    spec(&["read_buf_mem_limit"], Value::Needed("Missing read_buf_mem_limit argument", |text| parsed("read_buf_mem_limit", text)), "a worker has one buffer for all its connections"),
    spec(&["resp_obj_mem_limit"], Value::Unused, "memcached has given it up"),
    spec(&["inline_ascii_resp", "no_inline_ascii_resp"], Value::Unused, "memcached has given it up"),
    spec(&["drop_privileges", "no_drop_privileges"], Value::Unused, "system calls are filtered by the systemd unit"),
];

/// Parts of memcached that are not there, by the beginning of their suboptions.
static ABSENT: &[(&str, &str)] = &[("ext_", "extstore")];

/// What of memcached's LRU has to suit each other.
#[derive(Clone, Debug)]
pub(super) struct Lru {
    hot: i32,
    warm: i32,
    maintained: bool,
    temporary: bool,
}

impl Default for Lru {
    fn default() -> Lru {
        Lru { hot: 20, warm: 40, maintained: true, temporary: false }
    }
}

impl Lru {
    /// memcached's complaint, if it has one.
    pub(super) fn check(&self) -> Option<Complaint> {
        if self.hot + self.warm > 80 {
            let what = "hot_lru_pct + warm_lru_pct cannot be more than 80% combined";
            return Some(Complaint::new(USAGE, what, "write smaller ones"));
        }
        if self.temporary && !self.maintained {
            let what = "temporary_ttl requires lru_maintainer to be enabled";
            return Some(Complaint::new(USAGE, what, "leave one of them out"));
        }
        None
    }
}

/// Takes over the suboptions of one `-o`.
pub(super) fn apply(list: &str, settings: &mut Settings, source: &Source) -> Checked<()> {
    // As with getsubopt, nothing is missing behind a last comma.
    let list = list.strip_suffix(',').unwrap_or(list);
    for option in list.split(',') {
        one(option, settings, source)?;
    }
    Ok(())
}

fn one(option: &str, settings: &mut Settings, source: &Source) -> Checked<()> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    if let Some((_, what)) = ABSENT.iter().find(|(start, _)| name.starts_with(start)) {
        return Err(Complaint::new(
            USAGE,
            format!("{name} asks for {what}, which is not supported"),
            "leave it out",
        ));
    }
    let Some(spec) = SPECS.iter().find(|spec| spec.names.contains(&name)) else {
        let what = format!("Illegal suboption \"{option}\"");
        return Err(Complaint::new(1, what, "see paircached(8)").on_stdout());
    };
    let checked = match (&spec.value, value) {
        (Value::Needed(missing, _), None) => Err(String::from(*missing)),
        (Value::Needed(_, check) | Value::Optional(check), Some(value)) => check(value),
        (Value::Unused, _) | (Value::Optional(_), None) => Ok(()),
    };
    // memcached reads these only after the whole command line.
    let code = if name == "slab_sizes" && value.is_some() { USAGE } else { 1 };
    checked.map_err(|what| Complaint::new(code, what, "see paircached(8)"))?;
    take(name, value.unwrap_or_default(), settings, source);
    if name == "ssl_min_version" && matches!(value, Some("0" | "1")) {
        let text =
            format!("{source}: -o {option}: TLS below 1.2 is not spoken, so 1.2 is the least");
        settings.no_effect.push(text);
    }
    if !spec.reason.is_empty() {
        settings.no_effect.push(format!("{source}: -o {name}: {}", spec.reason));
    }
    Ok(())
}

fn take(name: &str, value: &str, settings: &mut Settings, source: &Source) {
    if settings.tls.take(name, value, source) {
        return;
    }
    match name {
        "relaxed_privileges" => settings.relaxed_privileges.put(true, source),
        "maxconns_fast" => settings.maxconns_fast.put(true, source),
        "no_maxconns_fast" => settings.maxconns_fast.put(false, source),
        "no_modern" => {
            settings.maxconns_fast.put(false, source);
            settings.lru_crawler.put(false, source);
        }
        "lru_crawler" => settings.lru_crawler.put(true, source),
        "no_lru_crawler" => settings.lru_crawler.put(false, source),
        "watcher_logbuf_size" => settings.watcher_buffer.put(kilobytes(value), source),
        "worker_logbuf_size" => settings.worker_buffer.put(kilobytes(value), source),
        "track_sizes" => settings.track_sizes.put(true, source),
        // Below 1 it is off, as in memcached.
        "idle_timeout" => {
            settings.idle_timeout.put(u32::try_from(leading(value)).unwrap_or(0), source);
        }
        _ => {}
    }
    unused::take(name, value, settings, source);
    let lru = &mut settings.lru;
    match name {
        "lru_maintainer" => lru.value.maintained = true,
        "no_lru_maintainer" | "no_modern" => lru.value.maintained = false,
        "hot_lru_pct" => lru.value.hot = leading(value),
        "warm_lru_pct" => lru.value.warm = leading(value),
        "temporary_ttl" => lru.value.temporary = true,
        _ => return,
    }
    settings.lru.source = source.clone();
}

/// Bytes of a checked number of kilobytes.
fn kilobytes(text: &str) -> u64 {
    text.trim().parse::<u64>().unwrap_or(0) << 10
}

/// The number that `text` begins with, else 0: memcached reads these by `atoi`.
pub(super) fn leading(text: &str) -> i32 {
    let text = text.trim_start();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let number = digits[..end].parse().unwrap_or(if end == 0 { 0 } else { i32::MAX });
    if text.starts_with('-') { -number } else { number }
}

/// `Err` with `message` unless `holds`.
fn ensure(holds: bool, message: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message.into()) }
}

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn parsed(name: &str, text: &str) -> Result<(), String> {
    let number: Result<u32, _> = text.trim().parse();
    ensure(number.is_ok(), format!("could not parse argument to {name}"))
}

fn chunk_max(text: &str) -> Result<(), String> {
    parsed("slab_chunk_max", text)?;
    // memcached divides by it, and dies.
    ensure(leading(text) != 0, "slab_chunk_max must be greater than 0")
}

fn hashpower(text: &str) -> Result<(), String> {
    match leading(text) {
        power @ ..12 => Err(format!("Initial hashtable multiplier of {power} is too low")),
        power @ 33.. => Err(format!(
            "Initial hashtable multiplier of {power} is too high\n\
             Choose a value based on \"STAT hash_power_level\" from a running instance"
        )),
        _ => Ok(()),
    }
}

fn algorithm(text: &str) -> Result<(), String> {
    let known = ["jenkins", "murmur3", "xxh3"].contains(&text);
    ensure(known, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)")
}

fn tail(text: &str) -> Result<(), String> {
    ensure(leading(text) >= 10, "Cannot set tail_repair_time to less than 10 seconds")
}

fn automove(text: &str) -> Result<(), String> {
    ensure((0..=2).contains(&leading(text)), "slab_automove must be between 0 and 2")
}

fn ratio(text: &str) -> Result<(), String> {
    let fits = text.trim().parse().is_ok_and(|ratio: f64| ratio > 0.0 && ratio <= 1.0);
    ensure(fits, "slab_automove_ratio must be > 0 and < 1")
}

fn free_ratio(text: &str) -> Result<(), String> {
    let number: Result<f64, _> = text.trim().parse();
    ensure(number.is_ok(), "could not parse argument to slab_automove_freeratio")
}

fn window(text: &str) -> Result<(), String> {
    ensure(leading(text) > 2, "slab_automove_window must be > 2")
}

fn sizes(text: &str) -> Result<(), String> {
    let mut before = 0;
    for part in text.split('-') {
        let size = leading(part);
        ensure(
            (48..=512 << 10).contains(&size),
            format!("slab size {size} is out of valid range"),
        )?;
        let message = "cannot be lower than or equal to a previous class size";
        ensure(size > before, format!("slab size {size} {message}"))?;
        before = size;
    }
    Ok(())
}

fn sleep(text: &str) -> Result<(), String> {
    let fits = (0..=1_000_000).contains(&leading(text));
    ensure(fits, "LRU crawler sleep must be between 0 and 1 second")
}

fn tocrawl(text: &str) -> Result<(), String> {
    let number: Result<u32, _> = text.trim().parse();
    ensure(number.is_ok(), "lru_crawler_tocrawl takes a numeric 32bit value")
}

fn percent(which: &str, text: &str) -> Result<(), String> {
    let fits = (1..80).contains(&leading(text));
    ensure(fits, format!("{which}_lru_pct must be > 1 and < 80"))
}

fn factor(which: &str, text: &str) -> Result<(), String> {
    let fits = in_front(text, true).0.trim().parse().is_ok_and(|factor: f64| factor > 0.0);
    ensure(fits, format!("{which}_max_factor must be > 0"))
}
