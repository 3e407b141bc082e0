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

/// Whether clients should be sent to this node; `pairctl ready` says the same.
pub(super) fn node(cache: &Cache, stopping: bool) -> Result<String, String> {
    if stopping {
        return Err(String::from("stopping"));
    }
    let reason = match &cache.replication {
        Some(replication) => replication.ready()?,
        None => String::from("replication disabled"),
    };
    Ok(format!("ready, {reason}"))
}
