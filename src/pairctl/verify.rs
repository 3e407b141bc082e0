//! Whether two nodes hold the same, key by key, while they serve.
//!
//! Both have an item of one write with the same CAS, so that is what is compared, and when it
//! expires. `me` shows both and leaves no trace on the item. What differs at the first look may
//! just be on its way, so it is looked at again for a while.

use std::thread;
use std::time::Duration;

use super::client::Conversation;
use super::server::Server;
use super::{Outcome, UNREACHABLE, USAGE};

/// How long a node may be silent: it walks past much that it does not show.
const PATIENCE: Duration = Duration::from_secs(60);
/// Keys that both are asked for at once.
const BATCH: usize = 200;
/// How often what differs is looked at again, and the pause between.
const LOOKS: usize = 10;
const PAUSE: Duration = Duration::from_millis(300);
/// Differences that are kept: with more, something else is wrong than keys.
const KEPT: usize = 100_000;
/// Seconds that the same expiry may seem to differ, and a life too short to compare.
const TOLERANCE: i64 = 2;

/// What to verify.
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// Count keys that only one of the two holds as fine: evictions are each node's own
    #[arg(long)]
    missing_ok: bool,
}

/// What a node says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sight {
    cas: u64,
    /// Seconds that are left; -1 is for ever.
    left: i64,
}

/// What both say.
type Pair = [Option<Sight>; 2];

/// Compares the two nodes.
pub(crate) fn verify(servers: &[Server], options: &Verify) -> Outcome {
    let [one, other] = servers else {
        let what = "pairctl: verify takes two nodes: -s HOST -s HOST\n";
        return (String::new(), String::from(what), USAGE);
    };
    match compare(one, other) {
        Ok(found) => found.report([one, other], options),
        Err(what) => (String::new(), format!("pairctl: {what}\n"), UNREACHABLE),
    }
}

#[derive(Default)]
struct Found {
    compared: u64,
    /// The command that asks for the key, and what both said last.
    differing: Vec<(String, Pair)>,
    overflow: bool,
}

impl Found {
    fn report(&self, servers: [&Server; 2], options: &Verify) -> Outcome {
        let (mut output, mut values, mut missing) = (String::new(), 0, [0, 0]);
        for (key, pair) in &self.differing {
            let key = key.trim_end_matches(" b");
            match pair {
                [Some(one), Some(other)] => {
                    values += 1;
                    let (one, other) = (one.show(), other.show());
                    output.push_str(&format!("{key}: {one} here, {other} there\n"));
                }
                [held, _] => {
                    let holder = usize::from(held.is_none());
                    missing[1 - holder] += 1;
                    output.push_str(&format!("{key}: only on {}\n", servers[holder]));
                }
            }
        }
        let more = if self.overflow { ", and more" } else { "" };
        output.push_str(&format!(
            "{} keys compared; {values} differ, {} missing on {}, {} missing on {}{more}\n",
            self.compared, missing[0], servers[0], missing[1], servers[1]
        ));
        let wrong = values > 0 || self.overflow || (!options.missing_ok && missing != [0, 0]);
        (output, String::new(), u8::from(wrong))
    }
}

impl Sight {
    fn show(&self) -> String {
        match self.left {
            -1 => format!("cas {}", self.cas),
            left => format!("cas {} for {left} s", self.cas),
        }
    }
}

fn compare(one: &Server, other: &Server) -> Result<Found, String> {
    let mut found = Found::default();
    let open = |server| Conversation::open(server, PATIENCE);
    let mut nodes = [open(one)?, open(other)?];
    for (holder, server) in [one, other].into_iter().enumerate() {
        let mut dump = Conversation::open(server, PATIENCE)?;
        dump.send(b"lru_crawler mgdump all\r\n")?;
        let mut keys = Vec::new();
        loop {
            let line = dump.line()?;
            let key = line.strip_prefix(b"mg ").and_then(|key| std::str::from_utf8(key).ok());
            keys.extend(key.map(|key| key.trim_end().to_owned()));
            let end = line == b"EN" || line == b"END";
            if !end && key.is_none() && line != b"OK" {
                return Err(dump.surprised(&line));
            }
            if end || keys.len() >= BATCH {
                let asked = look(&mut nodes, std::mem::take(&mut keys))?;
                found.note(asked, holder);
            }
            if end {
                break;
            }
        }
    }
    for _ in 0..LOOKS {
        if found.differing.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
        let keys: Vec<String> = found.differing.drain(..).map(|(key, _)| key).collect();
        for batch in keys.chunks(BATCH) {
            let asked = look(&mut nodes, batch.to_vec())?;
            found.differing.extend(asked.into_iter().filter(|(_, pair)| !is_same(pair)));
        }
    }
    Ok(found)
}

impl Found {
    /// Takes in what was seen of keys of the dump of `holder`. The second dump is only for what the
    /// first node does not have.
    fn note(&mut self, asked: Vec<(String, Pair)>, holder: usize) {
        for (key, pair) in asked {
            if holder == 1 && pair[0].is_some() {
                continue;
            }
            self.compared += 1;
            if is_same(&pair) {
                continue;
            }
            if self.differing.len() < KEPT {
                self.differing.push((key, pair));
            } else {
                self.overflow = true;
            }
        }
    }
}

/// Whether both hold it alike, or soon neither does.
fn is_same(pair: &Pair) -> bool {
    let ends =
        |sight: &Option<Sight>| sight.is_none_or(|sight| (0..=TOLERANCE).contains(&sight.left));
    match pair {
        [Some(one), Some(other)] => {
            let forever = (one.left == -1) == (other.left == -1);
            one.cas == other.cas && forever && (one.left - other.left).abs() <= TOLERANCE
        }
        _ => pair.iter().all(ends),
    }
}

/// Asks both for these keys.
fn look(
    nodes: &mut [Conversation<'_>; 2],
    keys: Vec<String>,
) -> Result<Vec<(String, Pair)>, String> {
    let request: String = keys.iter().map(|key| format!("me {key}\r\n")).collect();
    for node in nodes.iter_mut() {
        node.send(request.as_bytes())?;
    }
    let mut asked = Vec::with_capacity(keys.len());
    for key in keys {
        let [one, other] = nodes;
        let pair = [sight(one)?, sight(other)?];
        asked.push((key, pair));
    }
    Ok(asked)
}

fn sight(node: &mut Conversation<'_>) -> Result<Option<Sight>, String> {
    let line = node.line()?;
    if line == b"EN" {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line);
    // A key may look like anything, so what is said of it is read from the end.
    let value =
        |name: &str| text.rsplit(' ').find_map(|word| word.strip_prefix(name)?.parse::<i64>().ok());
    match (text.starts_with("ME "), value("exp="), value("cas=")) {
        (true, Some(exp), Some(cas)) => {
            // Seconds since the end of its life.
            let left = if exp == -1 { -1 } else { -exp };
            Ok(Some(Sight { cas: cas as u64, left }))
        }
        _ => Err(node.surprised(&line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_from_what_differs() {
        let sight = |cas, left| Some(Sight { cas, left });
        for (pair, same) in [
            ([sight(1, -1), sight(1, -1)], true),
            ([sight(1, -1), sight(2, -1)], false),
            ([sight(1, 100), sight(1, 98)], true),
            ([sight(1, 100), sight(1, 90)], false),
            ([sight(1, 100), sight(1, -1)], false),
            ([sight(1, 1), None], true),
            ([sight(1, 100), None], false),
            ([None, sight(1, -1)], false),
            ([None, None], true),
        ] {
            assert_eq!(is_same(&pair), same, "{pair:?}");
        }
    }
}
