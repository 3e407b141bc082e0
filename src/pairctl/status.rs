//! The nodes side by side.

use super::client::ANSWER_TIMEOUT;
use super::digest::{self, Comparison};
use super::server::Server;
use super::statistics::Statistics;
use super::{Outcome, UNREACHABLE};

/// What each row is called, and the statistic it shows.
static ROWS: &[(&str, &str)] = &[
    ("state", "replication_state"),
    ("peer", "replication_peer"),
    ("role", "replication_role"),
    ("sealed by", "replication_sealed_by"),
    ("filled", "replication_filled"),
    ("handing over", "replication_handover"),
    ("durability", "replication_durability"),
    ("fuse", "replication_fuse"),
    ("unconfirmed writes", "replication_unconfirmed_writes"),
    ("refused writes", "replication_refused_writes"),
    ("lag, operations", "replication_lag_ops"),
    ("lag, bytes", "replication_lag_bytes"),
    ("lag, ms", "replication_lag_ms"),
    ("clock offset, ms", "replication_clock_offset_ms"),
    ("conflicts", "replication_conflicts"),
    ("resyncs, full", "replication_resyncs_full"),
    ("resyncs, delta", "replication_resyncs_delta"),
    ("tombstones", "replication_tombstones"),
    ("items", "curr_items"),
    ("digest of items", DIGEST),
    ("memory, bytes", "bytes"),
    ("memory limit", "limit_maxbytes"),
    ("connections", "curr_connections"),
    ("uptime, s", "uptime"),
    ("version", "version"),
];

/// The statistic that is made here.
const DIGEST: &str = "digest";

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Status {
    /// Do without the digests of two nodes in sync: for them each node looks at every item
    #[arg(long)]
    quick: bool,
}

/// A table, and who could not be asked.
pub(crate) fn status(servers: &[Server], options: &Status) -> Outcome {
    let (mut errors, mut code) = (String::new(), 0);
    let mut columns = Vec::new();
    let compared = match servers {
        [one, other] if !options.quick => digest::compare([one, other]),
        _ => Ok(None),
    };
    for (number, server) in servers.iter().enumerate() {
        let mut column = vec![server.to_string()];
        match collect(server) {
            Ok((mut stats, complaint)) => {
                if let Ok(Some(Comparison { sums, .. })) = &compared {
                    stats.put(DIGEST, &sums[number]);
                }
                column.extend(ROWS.iter().map(|(_, name)| get(&stats, name)));
                errors.extend(complaint.map(|what| format!("pairctl: {what}\n")));
            }
            Err(what) => {
                column.push(String::from("no answer"));
                column.resize(1 + ROWS.len(), String::from("-"));
                errors.push_str(&format!("pairctl: {what}\n"));
                code = UNREACHABLE;
            }
        }
        columns.push(column);
    }
    let mut output = table(&columns);
    match compared {
        Ok(Some(compared)) => output.push_str(&format!("\n{}\n", compared.verdict())),
        // Of a node that does not answer at all this was said before.
        Err(what) if code == 0 => {
            errors.push_str(&format!("pairctl: {what}\n"));
            code = UNREACHABLE;
        }
        Ok(None) | Err(_) => {}
    }
    (output, errors, code)
}

/// All statistics, and what is amiss when the node answers, but not about replication.
fn collect(server: &Server) -> Result<(Statistics, Option<String>), String> {
    let stats = Statistics::of(server, "stats", ANSWER_TIMEOUT)?;
    Ok(match Statistics::of(server, "stats replication", ANSWER_TIMEOUT) {
        Ok(more) => (stats.and(more), None),
        Err(what) => (stats, Some(what)),
    })
}

fn get(stats: &Statistics, name: &str) -> String {
    let value = stats.get(name).unwrap_or_default();
    let shown = match (name, value) {
        (_, "") => "-",
        ("replication_filled" | "replication_handover", flag) => match flag {
            "0" => "no",
            _ => "yes",
        },
        _ => value,
    };
    String::from(shown)
}

/// One column for the names of the rows and one for each node.
fn table(columns: &[Vec<String>]) -> String {
    let mut names = vec![String::from("node")];
    names.extend(ROWS.iter().map(|(name, _)| String::from(*name)));
    let mut text = vec![String::new(); names.len()];
    for column in [&names].into_iter().chain(columns) {
        let width = column.iter().map(|cell| cell.chars().count()).max().unwrap_or_default();
        for (line, cell) in text.iter_mut().zip(column) {
            line.push_str(&format!("{cell:width$}  "));
        }
    }
    text.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}
