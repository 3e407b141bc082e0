//! The last minutes, for the page to plot.

use crate::command::Cache;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Samples kept: ten minutes.
const SAMPLES: usize = 600;

/// The node at one moment; counters count from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sample {
    /// Unix milliseconds.
    pub(super) time: u64,
    pub(super) gets: u64,
    pub(super) hits: u64,
    pub(super) sets: u64,
    pub(super) evictions: u64,
    pub(super) items: u64,
    /// Bytes that everything costs, and may.
    pub(super) memory: u64,
    pub(super) memory_limit: u64,
    pub(super) connections: u64,
    /// Changes that the peer has not acknowledged.
    pub(super) lag_ops: u64,
    pub(super) lag_ms: u64,
}

impl Sample {
    pub(super) fn take(cache: &Cache) -> Sample {
        let now = cache.clock.now();
        let store = cache.store.stats(now);
        let total = store.total();
        let (in_flight, lag_ms) = cache.replication.as_ref().map_or((0, 0), |replication| {
            let figures = replication.figures();
            (figures.in_flight_ops, figures.lag_ms)
        });
        Sample {
            time: now.0,
            gets: cache.totals().cmd_get,
            hits: total.get_hits,
            sets: total.cmd_set,
            evictions: total.evicted,
            items: total.number,
            memory: cache.store.memory_used(),
            memory_limit: cache.store.memory_limit(),
            connections: cache.connections.current(),
            lag_ops: store.unsent + in_flight,
            lag_ms,
        }
    }
}

/// Samples, oldest first.
#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<Sample>>);

impl History {
    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how things are now.
    pub(super) fn sample(&self, cache: &Cache) {
        let sample = Sample::take(cache);
        let mut samples = self.samples();
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// All samples as a JSON array.
    pub(super) fn report(&self) -> Vec<u8> {
        // Numbers and names of ours alone: there is nothing in them that cannot be written.
        serde_json::to_vec(&*self.samples()).unwrap_or_default()
    }
}
