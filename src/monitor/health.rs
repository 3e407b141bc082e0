//! Two questions, each answered with yes or no and the reason in words.

use crate::command::Cache;
use crate::replication::State;

/// Whether the pair is whole: both nodes there, both holding everything. For people, alerts and
/// rolling updates; `pairctl health` says the same.
pub(super) fn pair(cache: &Cache, stopping: bool) -> Result<String, String> {
    if stopping {
        return Err(String::from("stopping"));
    }
    let Some(replication) = &cache.replication else {
        return Ok(String::from("replication disabled"));
    };
    let figures = replication.figures();
    match (figures.state, figures.filled) {
        (State::InSync, true) => Ok(String::from("in-sync and filled")),
        (State::InSync, false) => Err(String::from("in-sync, but not filled yet")),
        (state, _) => Err(format!("replication with {} is {state}", replication.peer())),
    }
}

/// How long a node that has just started waits for its peer before it takes clients without.
const GRACE: u64 = 10;

/// Whether clients should be sent to this node. One that lost its peer serves on; one that is being
/// filled, or is about to be, can wait while the peer serves.
pub(super) fn node(cache: &Cache, stopping: bool) -> Result<String, String> {
    if stopping {
        return Err(String::from("stopping"));
    }
    let Some(replication) = &cache.replication else {
        return Ok(String::from("ready, replication disabled"));
    };
    if replication.hands_over() {
        return Err(format!("handing over to {}", replication.peer()));
    }
    let figures = replication.figures();
    let alone = matches!(figures.state, State::Connecting | State::Refused);
    match (figures.filled, alone) {
        (false, false) => Err(format!("being filled by {}", replication.peer())),
        (false, true) if cache.clock.uptime() < GRACE => {
            Err(format!("waiting for {} to fill it", replication.peer()))
        }
        _ => Ok(format!("ready, replication {}", figures.state)),
    }
}
