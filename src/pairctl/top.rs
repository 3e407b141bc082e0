//! `top`: the nodes side by side, live.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use console::{Term, pad_str, style};

use super::client::ANSWER_TIMEOUT;
use super::server::Server;
use super::statistics::Statistics;
use super::{Outcome, UNREACHABLE};

/// Classes shown, the busiest ones.
const CLASSES: usize = 5;
/// Width of the names of the rows, and of a node's column.
const WIDTHS: (usize, usize) = (22, 26);

/// What to show.
#[derive(Args)]
pub(crate) struct Top {
    /// Time between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = super::seconds)]
    interval: Duration,
    /// End after so many looks; without it, on Ctrl-C
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// A node at one moment.
struct Look {
    when: Instant,
    /// How long the answer took.
    answered_in: Duration,
    stats: Statistics,
    slabs: Statistics,
}

impl Look {
    fn take(server: &Server) -> Result<Look, String> {
        let when = Instant::now();
        let stats = Statistics::of(server, "stats", ANSWER_TIMEOUT)?;
        let answered_in = when.elapsed();
        // A memcached knows nothing of it.
        let replication = Statistics::of(server, "stats replication", ANSWER_TIMEOUT);
        let stats = stats.and(replication.unwrap_or_default());
        let slabs = Statistics::of(server, "stats slabs", ANSWER_TIMEOUT)?;
        Ok(Look { when, answered_in, stats, slabs })
    }

    /// Requests of each class since the start.
    fn classes(&self) -> HashMap<u32, f64> {
        let mut classes = HashMap::new();
        for (name, value) in self.slabs.iter() {
            let Some((class, "get_hits" | "cmd_set" | "delete_hits" | "touch_hits")) =
                name.split_once(':')
            else {
                continue;
            };
            if let (Ok(class), Ok(count)) = (class.parse(), value.parse::<f64>()) {
                *classes.entry(class).or_default() += count;
            }
        }
        classes
    }
}

/// Two looks at a node, one after the other; what happened between them are its rates.
struct Node<'a> {
    server: &'a Server,
    before: Option<Look>,
    now: Result<Look, String>,
}

impl Node<'_> {
    fn look(&mut self) {
        let now = Look::take(self.server);
        self.before = std::mem::replace(&mut self.now, now).ok();
    }

    /// Per second. A node that started anew counts from nothing.
    fn rate(&self, name: &str) -> Option<f64> {
        let (now, before) = (self.now.as_ref().ok()?, self.before.as_ref()?);
        let seconds = now.when.duration_since(before.when).as_secs_f64();
        Some((now.stats.number(name) - before.stats.number(name)).max(0.0) / seconds.max(1e-3))
    }

    fn cell(&self, row: &Row) -> String {
        let Ok(now) = &self.now else { return String::from("-") };
        let text = |name: &str| now.stats.get(name).map(String::from);
        let cell = match *row {
            Row::Text(name) => text(name),
            Row::Count(name) => text(name).map(|_| grouped(now.stats.number(name))),
            Row::Rate(name) => self.rate(name).map(grouped),
            Row::Bytes(name) => self.rate(name).map(|rate| format!("{}/s", bytes(rate))),
            Row::HitRatio => {
                self.rate("get_hits").zip(self.rate("cmd_get")).and_then(|(hits, gets)| {
                    (gets > 0.0).then(|| format!("{:.1} %", 100.0 * hits / gets))
                })
            }
            Row::Memory => {
                let (used, limit) = (now.stats.number("bytes"), now.stats.number("limit_maxbytes"));
                Some(format!("{} of {}", bytes(used), bytes(limit)))
            }
            Row::Latency => Some(format!("{:.1} ms", now.answered_in.as_secs_f64() * 1e3)),
            Row::Class(rank) => self.busiest().get(rank).map(|(class, rate)| {
                let size = now.slabs.get(&format!("{class}:chunk_size"));
                format!("{} B: {}", size.unwrap_or("?"), grouped(*rate))
            }),
        };
        cell.unwrap_or_else(|| String::from("-"))
    }

    /// Classes by requests per second, busiest first.
    fn busiest(&self) -> Vec<(u32, f64)> {
        let (Ok(now), Some(before)) = (&self.now, &self.before) else { return Vec::new() };
        let seconds = now.when.duration_since(before.when).as_secs_f64().max(1e-3);
        let earlier = before.classes();
        let rate = |(class, count): (u32, f64)| {
            (class, (count - earlier.get(&class).unwrap_or(&0.0)).max(0.0) / seconds)
        };
        let mut rates: Vec<_> = now.classes().into_iter().map(rate).collect();
        rates.retain(|(_, rate)| *rate > 0.0);
        rates.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        rates
    }
}

/// What a row shows of a node.
enum Row {
    /// A statistic as it is.
    Text(&'static str),
    /// A number.
    Count(&'static str),
    /// A counter, per second.
    Rate(&'static str),
    /// A counter of bytes, per second.
    Bytes(&'static str),
    HitRatio,
    Memory,
    /// How long `stats` takes.
    Latency,
    /// One of the classes with most requests.
    Class(usize),
}

static ROWS: [(&str, Row); 17] = [
    ("replication", Row::Text("replication_state")),
    ("lag, operations", Row::Count("replication_lag_ops")),
    ("lag, ms", Row::Count("replication_lag_ms")),
    ("conflicts", Row::Count("replication_conflicts")),
    ("get/s", Row::Rate("cmd_get")),
    ("hit ratio", Row::HitRatio),
    ("set/s", Row::Rate("cmd_set")),
    ("delete/s", Row::Rate("delete_hits")),
    ("touch/s", Row::Rate("cmd_touch")),
    ("evicted/s", Row::Rate("evictions")),
    ("in", Row::Bytes("bytes_read")),
    ("out", Row::Bytes("bytes_written")),
    ("items", Row::Count("curr_items")),
    ("items' memory", Row::Memory),
    ("connections", Row::Count("curr_connections")),
    ("answers stats in", Row::Latency),
    ("up, s", Row::Count("uptime")),
];

/// Shows the nodes until Ctrl-C or `count` looks.
pub(crate) fn top(servers: &[Server], top: &Top) -> Outcome {
    let term = Term::stdout();
    let mut nodes: Vec<Node<'_>> = servers
        .iter()
        .map(|server| Node { server, before: None, now: Err(String::from("not asked yet")) })
        .collect();
    let mut left = top.count.unwrap_or(u64::MAX);
    loop {
        let began = Instant::now();
        nodes.iter_mut().for_each(Node::look);
        // Nobody looks any more when it cannot be written.
        if draw(&term, &nodes).is_err() {
            break;
        }
        left -= 1;
        if left == 0 {
            break;
        }
        std::thread::sleep(top.interval.saturating_sub(began.elapsed()));
    }
    let failed = nodes.iter().all(|node| node.now.is_err());
    (String::new(), String::new(), if failed { UNREACHABLE } else { 0 })
}

fn draw(term: &Term, nodes: &[Node<'_>]) -> io::Result<()> {
    if term.is_term() {
        term.clear_screen()?;
    }
    term.write_str(&frame(nodes))?;
    term.flush()
}

fn frame(nodes: &[Node<'_>]) -> String {
    let mut text = line("", nodes.iter().map(|node| style(node.server).bold().to_string()));
    for (name, row) in &ROWS {
        text += &line(name, nodes.iter().map(|node| coloured(name, node.cell(row))));
    }
    text += &line("busiest classes, 1/s", nodes.iter().map(|node| node.cell(&Row::Class(0))));
    for rank in 1..CLASSES {
        text += &line("", nodes.iter().map(|node| node.cell(&Row::Class(rank))));
    }
    for node in nodes {
        if let Err(what) = &node.now {
            let _ = writeln!(text, "{}", style(what).red());
        }
    }
    text
}

fn line(name: &str, cells: impl Iterator<Item = String>) -> String {
    let mut text = pad_str(name, WIDTHS.0, console::Alignment::Left, None).into_owned();
    for cell in cells {
        text += &pad_str(&cell, WIDTHS.1, console::Alignment::Right, Some("…"));
    }
    format!("{}\n", text.trim_end())
}

fn coloured(name: &str, cell: String) -> String {
    match (name, cell.as_str()) {
        ("replication", "in-sync") => style(cell).green().to_string(),
        ("replication", "refused" | "connecting") => style(cell).red().to_string(),
        ("replication", "catching-up" | "handshaking") => style(cell).yellow().to_string(),
        _ => cell,
    }
}

/// Digits in groups of three.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn bytes(number: f64) -> String {
    indicatif::HumanBytes(number as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_come_in_groups_of_three() {
        for (number, text) in
            [(0.0, "0"), (999.4, "999"), (1000.0, "1 000"), (1_234_567.0, "1 234 567")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
