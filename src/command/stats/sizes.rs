//! `stats sizes`: how many items there are of each size.

use super::super::Cache;
use super::super::dump::Steps;
use super::super::reply::stat;
use crate::protocol::Output;
use crate::store::{Cursor, Now};
use std::collections::BTreeMap;

/// Sizes are rounded up to a multiple of this, in bytes.
const STEP: u64 = 32;
/// Places that are looked at under one lock.
const PLACES: u32 = 256;

/// The count under way. memcached keeps its counts with every write; here they are made when they
/// are asked for. There are few of them: items of ever more sizes need ever more memory.
#[derive(Default)]
pub(super) struct Sizes {
    cursor: Cursor,
    counts: BTreeMap<u64, u64>,
}

impl Steps for Sizes {
    fn step(&mut self, cache: &Cache, now: Now, out: &mut Output) -> bool {
        let counts = &mut self.counts;
        let finished = cache.store.inspect(&mut self.cursor, PLACES, now, |item| {
            let size = cache.item_size(&item);
            *counts.entry(size.next_multiple_of(STEP)).or_default() += 1;
        });
        if finished {
            for (size, count) in &self.counts {
                stat(out, size, count);
            }
            out.push(b"END\r\n");
        }
        finished
    }
}
