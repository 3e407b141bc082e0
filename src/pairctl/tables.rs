//! What memcached-tool shows, as it shows it, so that scripts made for it go on to work: `display`,
//! `stats`, `settings` and `sizes`.

use std::collections::BTreeMap;

use super::client::{ANSWER_TIMEOUT, ask};
use super::server::Server;
use super::statistics::statistic;
use super::{Outcome, UNREACHABLE};

/// A table of statistics: which, what its columns are called, and how wide they are.
pub(crate) struct Table {
    command: &'static str,
    header: (&'static str, &'static str),
    /// Of the server's name, the second heading's end, name and value.
    widths: (usize, usize, usize, usize),
}

/// `stats`.
pub(crate) const STATS: Table =
    Table { command: "stats", header: ("Field", "Value"), widths: (22, 13, 29, 13) };
/// `stats settings`.
pub(crate) const SETTINGS: Table =
    Table { command: "stats settings", header: ("Field", "Value"), widths: (17, 11, 24, 11) };
/// `stats sizes`.
pub(crate) const SIZES: Table =
    Table { command: "stats sizes", header: ("Size", "Count"), widths: (17, 11, 24, 11) };

/// Shows a table of each server.
pub(crate) fn table(servers: &[Server], table: &Table) -> Outcome {
    of_each(servers, |server| {
        let lines = ask(server, table.command, ANSWER_TIMEOUT)?;
        let rows: BTreeMap<&str, &str> = lines.iter().filter_map(|line| statistic(line)).collect();
        let (address, heading, name, value) = table.widths;
        let (first, second) = table.header;
        let server = server.to_string();
        let mut text = format!("#{server:address$} {first:>5} {second:>heading$}\n");
        for (key, number) in rows {
            text.push_str(&format!("{key:>name$} {number:>value$}\n"));
        }
        Ok(text)
    })
}

/// Shows the slab classes of each server.
pub(crate) fn display(servers: &[Server]) -> Outcome {
    of_each(servers, |server| {
        let items = ask(server, "stats items", ANSWER_TIMEOUT)?;
        let slabs = ask(server, "stats slabs", ANSWER_TIMEOUT)?;
        let mut classes: BTreeMap<u32, BTreeMap<&str, u64>> = BTreeMap::new();
        let items = items
            .iter()
            .filter_map(|line| statistic(line)?.0.strip_prefix("items:").zip(number(line)));
        let slabs = slabs.iter().filter_map(|line| Some(statistic(line)?.0).zip(number(line)));
        for (name, number) in items.chain(slabs) {
            let class =
                name.split_once(':').and_then(|(class, name)| Some((class.parse().ok()?, name)));
            if let Some((class, name)) = class {
                classes.entry(class).or_default().insert(name, number);
            }
        }
        let mut text = String::from(
            "  #  Item_Size  Max_age   Pages   Count   Full?  Evicted Evict_Time OOM\n",
        );
        for (class, counts) in &classes {
            text.push_str(&class_row(*class, |name| counts.get(name).copied().unwrap_or(0)));
        }
        Ok(text)
    })
}

/// A class; nothing if it has no pages.
fn class_row(class: u32, count: impl Fn(&str) -> u64) -> String {
    let (pages, size) = (count("total_pages"), count("chunk_size"));
    if pages == 0 {
        return String::new();
    }
    let size =
        if size < 1024 { format!("{size}B") } else { format!("{:.1}K", size as f64 / 1024.0) };
    let full = if count("used_chunks") == count("total_chunks") { "yes" } else { "no" };
    format!(
        "{class:3} {size:>8} {:>9}s {pages:>7} {:>7} {full:>7} {:>8} {:>8} {:>4}\n",
        count("age"),
        count("number"),
        count("evicted"),
        count("evicted_time"),
        count("outofmemory")
    )
}

fn number(line: &str) -> Option<u64> {
    statistic(line)?.1.parse().ok()
}

/// What `show` makes of each server, or why it could not.
fn of_each(servers: &[Server], show: impl Fn(&Server) -> Result<String, String>) -> Outcome {
    let (mut output, mut errors, mut code) = (String::new(), String::new(), 0);
    for server in servers {
        match show(server) {
            Ok(text) => output.push_str(&text),
            Err(what) => {
                errors.push_str(&format!("pairctl: {what}\n"));
                code = UNREACHABLE;
            }
        }
    }
    (output, errors, code)
}
