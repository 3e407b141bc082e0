//! Whether nodes can be relied on, for scripts and playbooks.

use std::thread;
use std::time::{Duration, Instant};

use super::Outcome;
use super::client::{ANSWER_TIMEOUT, ask};
use super::server::Server;

/// For a single answer, however little is left of the time.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// For a node that is asked for by what sends clients to it, again and again.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(200);

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

/// How long a node that has just started waits for its peer before it is to do without, in seconds.
const GRACE: u64 = 10;

fn takes_clients(server: &Server) -> Result<String, String> {
    let lines = ask(server, "stats replication", READY_TIMEOUT)?;
    let (state, filled) = (value(&lines, "replication_state"), value(&lines, "replication_filled"));
    match (state, filled) {
        (Some("disabled"), _) => Ok(String::from("replication disabled")),
        _ if value(&lines, "replication_handover") == Some("1") => {
            Err(String::from("it hands over to its peer"))
        }
        (Some(state), Some("1")) => Ok(format!("replication {state}")),
        (Some(state @ ("connecting" | "refused")), _) => {
            let lines = ask(server, "stats", READY_TIMEOUT)?;
            let uptime = value(&lines, "uptime").and_then(|uptime| uptime.parse().ok());
            match uptime.unwrap_or(0) >= GRACE {
                true => Ok(format!("alone, replication {state}")),
                false => {
                    Err(format!("started {} s ago and waits for its peer", uptime.unwrap_or(0)))
                }
            }
        }
        (Some(state), _) => Err(format!("its peer fills it, replication {state}")),
        (None, _) => Err(String::from("it says nothing of replication; is it a paircached?")),
    }
}

fn value<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    let mut words = lines.iter().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    words.find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// The state of a healthy node, or why it is not.
fn check(server: &Server, patience: Duration) -> Result<String, String> {
    let lines = ask(server, "stats replication", patience)?;
    let value = |name: &str| value(&lines, name);
    match (value("replication_state"), value("replication_filled")) {
        (Some("disabled"), _) => Ok(String::from("replication disabled")),
        (Some("in-sync"), Some("1")) => Ok(String::from("in-sync and filled")),
        (Some("in-sync"), _) => Err(String::from("in-sync, but not filled yet")),
        (Some(state), _) => {
            let peer = value("replication_peer").unwrap_or("?");
            let lag = value("replication_lag_ops").unwrap_or("?");
            Err(format!("replication with {peer} is {state}, lag {lag} operations"))
        }
        (None, _) => Err(String::from("it says nothing of replication; is it a paircached?")),
    }
}
