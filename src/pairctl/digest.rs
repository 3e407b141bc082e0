//! Whether two nodes hold the same, by sums over what they hold.
//!
//! Two sums that are equal prove it for their part of the keys. Two that are not prove nothing at
//! once, since a write may be on its way; but where both were the same a while before, nothing is.

use std::thread;
use std::time::Duration;

use super::client::ANSWER_TIMEOUT;
use super::server::Server;
use super::statistics::Statistics;

/// Between two looks: longer than any write is on its way between nodes in sync, and than their
/// clocks' seconds are apart.
const PAUSE: Duration = Duration::from_millis(1200);
/// A write that is on its way for longer makes the two no pair in sync.
const LAG_MAX_MS: f64 = 1000.0;
/// How long a node may take for its digest: it looks at every item.
const PATIENCE: Duration = Duration::from_secs(60);
/// Looks at the most: what changes from each to the next is left open.
const LOOKS: usize = 4;

/// What both hold, as sums.
pub(crate) struct Comparison {
    /// One for all that a node holds.
    pub(crate) sums: [String; 2],
    parts: usize,
    differ: usize,
    open: usize,
}

/// The sums of a node: items and sum of each part, as it says them.
struct Digest(Vec<String>);

/// Compares two nodes that are in sync; nothing if they are not, or do not know digests.
pub(crate) fn compare(servers: [&Server; 2]) -> Result<Option<Comparison>, String> {
    let mut before: Option<[Digest; 2]> = None;
    let mut undecided: Vec<usize> = Vec::new();
    let mut differ = 0;
    for look in 0..LOOKS {
        for server in servers {
            if !is_in_sync(server)? {
                return Ok(None);
            }
        }
        let (one, other) = (look_at(servers[0])?, look_at(servers[1])?);
        if one.0.is_empty() || one.0.len() != other.0.len() {
            return Ok(None);
        }
        if look == 0 {
            undecided = (0..one.0.len()).collect();
        }
        undecided.retain(|&part| one.0[part] != other.0[part]);
        if let Some([one_before, other_before]) = &before {
            let stood = |part: &usize| {
                one.0[*part] == one_before.0[*part] && other.0[*part] == other_before.0[*part]
            };
            let left = undecided.len();
            undecided.retain(|part| !stood(part));
            differ += left - undecided.len();
        }
        let sums = [one.sum(), other.sum()];
        let parts = one.0.len();
        if undecided.is_empty() || look + 1 == LOOKS {
            return Ok(Some(Comparison { sums, parts, differ, open: undecided.len() }));
        }
        before = Some([one, other]);
        thread::sleep(PAUSE);
    }
    Ok(None)
}

/// Whether what was written on a node is on the other a moment later.
fn is_in_sync(server: &Server) -> Result<bool, String> {
    let stats = Statistics::of(server, "stats replication", ANSWER_TIMEOUT)?;
    let in_sync = stats.get("replication_state") == Some("in-sync");
    Ok(in_sync && stats.number("replication_lag_ms") < LAG_MAX_MS)
}

/// The digest of a node; an older one says other things, and has none.
fn look_at(server: &Server) -> Result<Digest, String> {
    let digest = Statistics::of(server, "stats replication digest", PATIENCE)?;
    let parts = (0..).map_while(|part| digest.get(&format!("digest:{part}")).map(String::from));
    Ok(Digest(parts.collect()))
}

impl Digest {
    /// One sum for all.
    fn sum(&self) -> String {
        let sums = self.0.iter().filter_map(|part| {
            let (_, sum) = part.split_once(' ')?;
            u64::from_str_radix(sum, 16).ok()
        });
        format!("{:016x}", sums.fold(0, u64::wrapping_add))
    }
}

impl Comparison {
    /// What it means, in a line.
    pub(crate) fn verdict(&self) -> String {
        let Comparison { parts, differ, open, .. } = self;
        let busy = match open {
            0 => String::new(),
            open => format!("; {open} were written to all the time and are left open"),
        };
        match differ {
            0 if *open == 0 => format!("both hold the same, by the digests of {parts} parts"),
            0 => format!("no difference in {} of {parts} parts{busy}", parts - open),
            differ => format!(
                "{differ} of {parts} parts differ{busy}: a node may have evicted what the other \
                 still has, which is as it should be; 'verify' names the keys"
            ),
        }
    }
}
