//! Whether nodes can be relied on, for scripts and playbooks.

use std::thread;
use std::time::{Duration, Instant};

use super::Outcome;
use super::client::{ANSWER_TIMEOUT, ask};
use super::server::Server;

/// For a single answer, however little is left of the time.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
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

/// The state of a healthy node, or why it is not.
fn check(server: &Server, patience: Duration) -> Result<String, String> {
    let lines = ask(server, "stats replication", patience)?;
    let value = |name: &str| {
        let mut words = lines.iter().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
        words.find(|(found, _)| *found == name).map(|(_, value)| value)
    };
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
