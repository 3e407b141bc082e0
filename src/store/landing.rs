//! Places for large values that are still on their way from a client: they are read to where they
//! will stand, and not copied again.

use super::Store;
use super::block::{Blocks, block_cost};
use super::version::Now;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What part of the memory such places may take together, since nothing in them can be evicted, and
/// what part each of them.
const TOGETHER: u64 = 32;
const ONE: u64 = 128;

thread_local! {
    /// The block whose value is being written, as long as no item has it.
    static OFFERED: Cell<Option<Offer>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Offer {
    number: u32,
    value: *const [u8],
}

/// What landings cost together.
#[derive(Debug, Default)]
pub(super) struct Landings(AtomicU64);

impl Landings {
    fn reserve(&self, cost: u64, limit: u64) -> bool {
        let taken = |sum: u64| (sum + cost <= limit / TOGETHER).then_some(sum + cost);
        cost <= limit / ONE
            && self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// What they cost now.
    #[cfg(test)]
    pub(super) fn cost(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn release(&self, cost: u64) {
        self.0.fetch_sub(cost, Ordering::Relaxed);
    }
}

/// A place for a value of which not all has come. It belongs to no item yet.
pub struct Landing {
    blocks: Arc<Blocks>,
    landings: Arc<Landings>,
    number: u32,
    length: usize,
    filled: usize,
}

impl Store {
    /// A place for a large value of `length` bytes. There is none for one that is not large, where
    /// too much is on its way already, or where there is no room.
    pub fn landing(&self, length: usize, now: Now) -> Option<Landing> {
        let (budget, cost) = (&self.log.budget, block_cost(length));
        if length < self.log.block_from() || !self.landings.reserve(cost, budget.limit()) {
            return None;
        }
        let reserve = || budget.reserve(cost, self.log.spare());
        let reserved = reserve() || self.free_up(cost, now) && reserve();
        let number = reserved.then(|| self.log.blocks.take(length)).flatten();
        let Some(number) = number else {
            if reserved {
                budget.release(cost);
            }
            self.landings.release(cost);
            return None;
        };
        let (blocks, landings) = (Arc::clone(&self.log.blocks), Arc::clone(&self.landings));
        Some(Landing { blocks, landings, number, length, filled: 0 })
    }
}

impl Landing {
    /// Where the next bytes belong.
    pub fn spare(&mut self) -> &mut [u8] {
        // SAFETY: nobody else refers to the block, and its pages are there.
        let all = unsafe { self.blocks.bytes_mut(self.number, self.length) };
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
        unsafe { self.blocks.bytes(self.number, self.filled as u32) }
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
        self.landings.release(block_cost(self.length));
        self.blocks.release(self.number);
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
