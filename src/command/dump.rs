//! Replies that take more than one turn.

use super::Cache;
use super::text::{Outcome, PAUSE_AT};
use crate::protocol::Output;
use crate::store::Now;
use std::fmt;

/// Steps that a dump takes before others have their turn.
const STEPS_PER_TURN: usize = 16;

/// A long reply, made in short steps.
pub(super) trait Steps {
    /// Appends the next part of the reply; true when it was the last. A step takes locks for some
    /// hundred microseconds at most, and appends some kilobytes as a rule.
    fn step(&mut self, cache: &Cache, now: Now, out: &mut Output) -> bool;
}

/// A reply under way.
pub struct Dump(Box<dyn Steps + Send>);

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dump")
    }
}

impl Dump {
    /// Does the first turn of a reply.
    pub(super) fn begin<'a>(
        steps: impl Steps + Send + 'static,
        cache: &Cache,
        now: Now,
        out: &mut Output,
    ) -> Outcome<'a> {
        Dump(Box::new(steps)).resume(cache, now, out)
    }

    /// Goes on for one turn, or less if the client is to take what there is first.
    pub fn resume<'a>(mut self, cache: &Cache, now: Now, out: &mut Output) -> Outcome<'a> {
        for _ in 0..STEPS_PER_TURN {
            if out.len() >= PAUSE_AT {
                break;
            }
            if self.0.step(cache, now, out) {
                return Outcome::Continue;
            }
        }
        Outcome::Dumping(self)
    }
}
