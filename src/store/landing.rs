//! Places for large values that are still on their way from a client: they are read to where they
//! will stand, and not copied again.

use super::Store;
use super::block::block_cost;
use super::log::Log;
use super::version::Now;
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    /// The block whose value is being written, as long as no item has it.
    static OFFERED: Cell<Option<Offer>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Offer {
    number: u32,
    value: *const [u8],
}

/// A place for a value of which not all has come. It belongs to no item yet.
pub struct Landing {
    log: Arc<Log>,
    number: u32,
    length: usize,
    filled: usize,
}

impl Store {
    /// A place for a large value of `length` bytes. There is none for one that is not large, where
    /// too much is on its way already, or where there is no room.
    pub fn landing(&self, length: usize, now: Now) -> Option<Landing> {
        let (log, cost) = (&self.log, block_cost(length));
        if length < log.block_from() || !log.budget.begin_arrival(cost) {
            return None;
        }
        let reserve = || log.budget.reserve(cost, log.spare());
        let reserved = reserve() || self.free_up(cost, now) && reserve();
        let Some(number) = reserved.then(|| log.blocks.take(length)).flatten() else {
            if reserved {
                log.budget.release(cost);
            }
            log.budget.end_arrival(cost);
            return None;
        };
        Some(Landing { log: Arc::clone(log), number, length, filled: 0 })
    }
}

impl Landing {
    /// Where the next bytes belong.
    pub fn spare(&mut self) -> &mut [u8] {
        // SAFETY: nobody else refers to the block, and its pages are there.
        let all = unsafe { self.log.blocks.bytes_mut(self.number, self.length) };
        &mut all[self.filled..]
    }

    /// So many bytes of [`Landing::spare`] have been filled.
    pub fn fill(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.length - self.filled);
        self.filled += bytes;
    }

    /// What has come.
    pub fn value(&self) -> &[u8] {
        // SAFETY: nobody writes to it as long as this is borrowed: whoever makes an item of it finds
        // two that refer to it.
        unsafe { self.log.blocks.bytes(self.number, self.filled as u32) }
    }

    /// Whether all has come.
    pub fn is_full(&self) -> bool {
        self.filled == self.length
    }

    /// Has `write` write the value. If that makes an item of it, the value stays where it is.
    pub fn hand_over<R>(self, write: impl FnOnce(&[u8]) -> R) -> R {
        OFFERED.set(Some(Offer { number: self.number, value: self.value() }));
        let written = write(self.value());
        OFFERED.set(None);
        written
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.log.budget.end_arrival(block_cost(self.length));
        self.log.blocks.release(self.number);
    }
}

/// Whether a value of `length` bytes that is being written stands in a block.
pub(super) fn is_offered(length: usize) -> bool {
    OFFERED.get().is_some_and(|offer| offer.value.len() == length)
}

/// The block in which that value stands; once.
pub(super) fn take_offered(value: &[&[u8]]) -> Option<u32> {
    let offer = OFFERED.get().filter(|offer| match value {
        [value] => std::ptr::eq(offer.value, *value),
        _ => false,
    })?;
    OFFERED.set(None);
    Some(offer.number)
}
