//! The room that a write takes.

use super::block::block_cost;
use super::landing;
use super::log::{Lane, Log, Purpose};
use super::record::{BLOCK_LEN, HEADER, OPTIONS_MAX};
use std::sync::MutexGuard;

/// What a write may take: a place at the end of the log, and a block for a large value.
pub(super) struct Room<'s> {
    log: &'s Log,
    shard: usize,
    lane: Option<MutexGuard<'s, Lane>>,
    block: Option<u32>,
}

impl<'s> Room<'s> {
    /// None; where a record moves nevertheless, it takes what can be had without evicting.
    pub(super) fn none(log: &'s Log, shard: usize) -> Room<'s> {
        Room { log, shard, lane: None, block: None }
    }

    /// Reserves what a record of a key and a value of these lengths takes at most. `to_main` if the
    /// key has come back soon after it was evicted; `held` is the block of its old value. Where there
    /// is no room, says how many bytes must be free for it.
    pub(super) fn reserve(
        &mut self,
        key: usize,
        value: usize,
        to_main: bool,
        held: Option<u32>,
    ) -> Result<(), u64> {
        let log = self.log;
        let mut wanted = log.segment_size() as u64;
        let mut size = HEADER + key + OPTIONS_MAX + value;
        if value >= log.block_from() {
            size = HEADER + key + OPTIONS_MAX + BLOCK_LEN;
            let is_held = held.is_some_and(|number| log.blocks.can_overwrite(number, value));
            if !is_held && !landing::is_offered(value) {
                wanted += block_cost(value);
                self.block = self.new_block(value, log.spare());
                self.block.ok_or(wanted)?;
            }
        }
        let lane = if to_main { log.main_lane() } else { log.lane(self.shard) };
        let lane = self.lane.insert(lane);
        if log.room(lane, size, Purpose::Write) { Ok(()) } else { Err(wanted) }
    }

    fn new_block(&self, value: usize, spare: u64) -> Option<u32> {
        let cost = block_cost(value);
        if !self.log.budget.reserve(cost, spare) {
            return None;
        }
        let taken = self.log.blocks.take(value);
        if taken.is_none() {
            self.log.budget.release(cost);
        }
        taken
    }

    pub(super) fn has_lane(&self) -> bool {
        self.lane.is_some()
    }

    pub(super) fn lane(&mut self) -> &mut Lane {
        self.lane.get_or_insert_with(|| self.log.lane(self.shard))
    }

    /// A block for a value of `len` bytes: the reserved one, or one that can be had as it is.
    pub(super) fn take_block(&mut self, len: usize) -> Option<u32> {
        match self.block {
            Some(number) if self.log.blocks.holds(number, len) => self.block.take(),
            _ => self.new_block(len, 0),
        }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.block {
            self.log.blocks.release(number);
        }
    }
}
