//! Whether nodes can be relied on, for scripts and playbooks.

use std::thread;
use std::time::{Duration, Instant};

use super::Outcome;
use super::client::ANSWER_TIMEOUT;
use super::server::Server;
use super::statistics::Statistics;

/// For a single answer, however little is left of the time.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// For a node that is asked for by what sends clients to it, again and again.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);
/// Of a server that does not answer as a paircached does.
const SILENT: &str = "it says nothing of replication; is it a paircached?";

/// Waits until all are healthy, for at most `timeout`.
pub(crate) fn health(servers: &[Server], timeout: Duration) -> Outcome {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Cut shorter, the last question would hide the reason behind a timeout of its own.
        let patience = match timeout.is_zero() {
            true => ANSWER_TIMEOUT,
            false => left.clamp(LEAST_PATIENCE, ANSWER_TIMEOUT),
        };
        let answers: Vec<_> =
            servers.iter().map(|server| (server, check(server, patience))).collect();
        let fine = answers.iter().all(|(_, answer)| answer.is_ok());
        if !fine && Instant::now() + PAUSE < deadline {
            thread::sleep(PAUSE);
            continue;
        }
        let (mut output, mut errors) = (String::new(), String::new());
        for (server, answer) in answers {
            match answer {
                Ok(state) => output.push_str(&format!("{server}: healthy, {state}\n")),
                Err(reason) => errors.push_str(&format!("{server}: not healthy: {reason}\n")),
            }
        }
        return (output, errors, u8::from(!fine));
    }
}

/// Says whether clients may be sent to each of them now; `/readyz` says the same.
pub(crate) fn ready(servers: &[Server]) -> Outcome {
    let (mut output, mut errors) = (String::new(), String::new());
    for server in servers {
        match takes_clients(server) {
            Ok(state) => output.push_str(&format!("{server}: ready, {state}\n")),
            Err(reason) => errors.push_str(&format!("{server}: not ready: {reason}\n")),
        }
    }
    let code = u8::from(!errors.is_empty());
    (output, errors, code)
}

fn takes_clients(server: &Server) -> Result<String, String> {
    let stats = Statistics::of(server, "stats replication", READY_TIMEOUT)?;
    if stats.get("replication_state") == Some("disabled") {
        return Ok(String::from("replication disabled"));
    }
    let reason = stats.get("replication_ready_reason").map(String::from).ok_or(SILENT)?;
    match stats.get("replication_ready") {
        Some("1") => Ok(reason),
        _ => Err(reason),
    }
}

/// The state of a healthy node, or why it is not.
fn check(server: &Server, patience: Duration) -> Result<String, String> {
    let stats = Statistics::of(server, "stats replication", patience)?;
    match (stats.get("replication_state"), stats.get("replication_filled")) {
        (Some("disabled"), _) => Ok(String::from("replication disabled")),
        (Some("in-sync"), Some("1")) => Ok(String::from("in-sync and filled")),
        (Some("in-sync"), _) => Err(String::from("in-sync, but not filled yet")),
        (Some(state), _) => {
            let peer = stats.get("replication_peer").unwrap_or("?");
            let lag = stats.get("replication_lag_ops").unwrap_or("?");
            Err(format!("replication with {peer} is {state}, lag {lag} operations"))
        }
        (None, _) => Err(String::from(SILENT)),
    }
}
