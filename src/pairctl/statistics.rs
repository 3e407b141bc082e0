//! What a node says of itself: names, each with a value.

use std::collections::HashMap;
use std::time::Duration;

use super::client::ask;
use super::server::Server;

/// Values by their names.
#[derive(Default)]
pub(crate) struct Statistics(HashMap<String, String>);

impl Statistics {
    /// What the node answers to `command`. Errors say what was tried, on what, and what to do.
    pub(crate) fn of(
        server: &Server,
        command: &str,
        patience: Duration,
    ) -> Result<Statistics, String> {
        let lines = ask(server, command, patience)?;
        let pairs = lines.iter().filter_map(|line| statistic(line));
        Ok(Statistics(pairs.map(|(name, value)| (name.into(), value.into())).collect()))
    }

    /// With those of `more` too.
    pub(crate) fn and(mut self, more: Statistics) -> Statistics {
        self.0.extend(more.0);
        self
    }

    /// Adds one.
    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of this name, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// As [`Statistics::get`], as a number; 0 if it is none.
    pub(crate) fn number(&self, name: &str) -> f64 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Name and value of a line.
pub(crate) fn statistic(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
    Some((name, value.trim_start()))
}
