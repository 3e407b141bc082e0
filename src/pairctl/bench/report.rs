//! What happened, in figures.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

/// Longer than any answer is waited for, in nanoseconds; later ones of an open loop count as this.
const LONGEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// Counts of one thread, or of all.
pub(super) struct Totals {
    pub(super) sets: Histogram<u64>,
    pub(super) gets: Histogram<u64>,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) errors: u64,
    pub(super) wrong_values: u64,
    /// What the first error was.
    pub(super) reason: Option<String>,
    pub(super) elapsed: Duration,
}

impl Totals {
    pub(super) fn new() -> Result<Totals, CreationError> {
        Ok(Totals {
            sets: Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)?,
            gets: Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)?,
            hits: 0,
            misses: 0,
            errors: 0,
            wrong_values: 0,
            reason: None,
            elapsed: Duration::ZERO,
        })
    }

    /// Counts an error and keeps the first one's reason.
    pub(super) fn fail(&mut self, reason: impl FnOnce() -> String) {
        self.errors += 1;
        self.reason.get_or_insert_with(reason);
    }

    /// Counts a value that its key cannot have.
    pub(super) fn wrong(&mut self, key: u64) {
        self.wrong_values += 1;
        self.fail(|| format!("key {key} has a value that it was not given by these options"));
    }

    /// Adds those of another thread, which ran at the same time.
    pub(super) fn add(&mut self, other: Totals) {
        // Made alike, so they always fit.
        let _ = (self.sets.add(&other.sets), self.gets.add(&other.gets));
        self.hits += other.hits;
        self.misses += other.misses;
        self.errors += other.errors;
        self.wrong_values += other.wrong_values;
        self.reason = self.reason.take().or(other.reason);
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    /// Answered requests, whatever the answer.
    pub(super) fn requests(&self) -> u64 {
        self.sets.len() + self.gets.len()
    }

    fn per_second(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn latencies(&self) -> [(&'static str, Histogram<u64>); 3] {
        let mut all = self.sets.clone();
        let _ = all.add(&self.gets);
        [("all", all), ("sets", self.sets.clone()), ("gets", self.gets.clone())]
    }

    pub(super) fn human(&self) -> String {
        let mut text = format!(
            "requests   {} in {:.3} s, {:.0} per second\nsets       {}\n\
             gets       {}, keys found {}, not found {}\nerrors     {}, wrong values {}\n\n\
             latency, us {:>12}{:>12}{:>12}{:>12}\n",
            self.requests(),
            self.elapsed.as_secs_f64(),
            self.per_second(),
            self.sets.len(),
            self.gets.len(),
            self.hits,
            self.misses,
            self.errors,
            self.wrong_values,
            "p50",
            "p99",
            "p99.9",
            "max",
        );
        for (name, histogram) in self.latencies() {
            text.push_str(&format!("{name:11} "));
            for (_, value) in figures(&histogram) {
                text.push_str(&format!("{value:>12.1}"));
            }
            text.push('\n');
        }
        text
    }

    /// One object; only numbers, so nothing needs to be quoted.
    pub(super) fn json(&self) -> String {
        let latencies = self.latencies().map(|(name, histogram)| {
            let figures = figures(&histogram).map(|(name, value)| format!("\"{name}\":{value:.3}"));
            format!("\"{name}\":{{{}}}", figures.join(","))
        });
        format!(
            "{{\"requests\":{},\"sets\":{},\"gets\":{},\"hits\":{},\"misses\":{},\"errors\":{},\
             \"wrong_values\":{},\"seconds\":{:.6},\"requests_per_second\":{:.1},\
             \"latency_us\":{{{}}}}}\n",
            self.requests(),
            self.sets.len(),
            self.gets.len(),
            self.hits,
            self.misses,
            self.errors,
            self.wrong_values,
            self.elapsed.as_secs_f64(),
            self.per_second(),
            latencies.join(","),
        )
    }
}

/// In microseconds.
fn figures(histogram: &Histogram<u64>) -> [(&'static str, f64); 4] {
    let us = |ns: u64| ns as f64 / 1000.0;
    [
        ("p50", us(histogram.value_at_quantile(0.5))),
        ("p99", us(histogram.value_at_quantile(0.99))),
        ("p99.9", us(histogram.value_at_quantile(0.999))),
        ("max", us(histogram.max())),
    ]
}
