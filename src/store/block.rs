//! Large values: each in pages of its own, which replies on their way out refer to.

use super::area::{Area, PAGE_SIZE};
use super::budget::Budget;
use super::caches::copy_value;
use super::references::References;
use super::table::Table;
use bytes::Bytes;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is spent on a block beyond its pages.
const ENTRY_COST: u64 = 32;
/// Address ranges for blocks are powers of two of a page, up to 2 GB.
const CLASSES: usize = 20;
/// Addresses are made usable in such steps.
const GROWTH: usize = 16 << 20;

/// What a block for a value of `len` bytes costs.
pub(super) fn block_cost(len: usize) -> u64 {
    len.next_multiple_of(PAGE_SIZE) as u64 + ENTRY_COST
}

/// One block.
#[derive(Debug, Default)]
struct Block {
    /// The item and the replies that refer to it.
    references: References,
    pages: AtomicU32,
    at: AtomicU64,
}

/// All blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    space: Mutex<Space>,
    base: NonNull<u8>,
    blocks: Table<Block>,
    budget: Arc<Budget>,
}

// SAFETY: the addresses behind `base` are read and written by the contracts of `bytes` and `write`.
unsafe impl Send for Blocks {}
// SAFETY: as above; everything else is atomic or behind the mutex.
unsafe impl Sync for Blocks {}

/// Which addresses and numbers are taken. An address range goes back to others of its class only:
/// addresses are plenty, and what is not used of them has no pages.
#[derive(Debug)]
struct Space {
    area: Area,
    end: usize,
    free: [Vec<u64>; CLASSES],
    vacant: Vec<u32>,
    numbers: u32,
}

impl Blocks {
    /// None yet, in as much as `addresses` bytes of address space. Huge pages would fill the rest of
    /// the address ranges, which no value pays for.
    pub(super) fn new(addresses: usize, budget: Arc<Budget>) -> Blocks {
        let area = Area::reserve(addresses, GROWTH, false);
        Blocks {
            base: area.base(),
            space: Mutex::new(Space {
                area,
                end: 0,
                free: [const { Vec::new() }; CLASSES],
                vacant: Vec::new(),
                numbers: 0,
            }),
            blocks: Table::new(),
            budget,
        }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block for `len` bytes, referred to once. [`block_cost`] was reserved for it.
    pub(super) fn take(&self, len: usize) -> Option<u32> {
        let pages = len.div_ceil(PAGE_SIZE);
        let mut space = self.space();
        let at = space.take(pages)?;
        let number = space.vacant.pop().unwrap_or_else(|| {
            space.numbers += 1;
            space.numbers - 1
        });
        drop(space);
        let block = self.blocks.get(number);
        block.references.begin();
        block.pages.store(pages as u32, Ordering::Relaxed);
        block.at.store(at, Ordering::Relaxed);
        Some(number)
    }

    /// Gives up one reference; with the last the pages go back to the system.
    pub(super) fn release(&self, number: u32) {
        let block = self.blocks.get(number);
        if !block.references.end_one() {
            return;
        }
        let at = block.at.load(Ordering::Relaxed);
        let pages = block.pages.load(Ordering::Relaxed) as usize;
        let mut space = self.space();
        // SAFETY: the pages were usable, and nobody refers to them any more.
        unsafe { space.area.discard(at as usize, at as usize + pages * PAGE_SIZE) };
        space.free[class_of(pages)].push(at);
        space.vacant.push(number);
        drop(space);
        self.budget.release(block_cost(pages * PAGE_SIZE));
    }

    /// What the block costs.
    pub(super) fn cost(&self, number: u32) -> u64 {
        block_cost(self.blocks.get(number).pages.load(Ordering::Relaxed) as usize * PAGE_SIZE)
    }

    /// Whether a value of `len` bytes can be written over what the block holds: it takes as many
    /// pages, and no reply is on its way out.
    pub(super) fn can_overwrite(&self, number: u32, len: usize) -> bool {
        let block = self.blocks.get(number);
        block.references.is_only()
            && block.pages.load(Ordering::Relaxed) as usize == len.div_ceil(PAGE_SIZE)
    }

    /// Whether a value of `len` bytes fits.
    pub(super) fn holds(&self, number: u32, len: usize) -> bool {
        len <= self.blocks.get(number).pages.load(Ordering::Relaxed) as usize * PAGE_SIZE
    }

    fn start(&self, number: u32) -> NonNull<u8> {
        let at = self.blocks.get(number).at.load(Ordering::Relaxed);
        // SAFETY: where a block begins is inside of the area.
        unsafe { self.base.add(at as usize) }
    }

    /// The first `len` bytes of a block.
    ///
    /// # Safety
    /// They are written, and the block is referred to and not overwritten during `'a`.
    pub(super) unsafe fn bytes<'a>(&self, number: u32, len: u32) -> &'a [u8] {
        // SAFETY: by the contract of this function; the pages stay as long as they are referred to.
        unsafe { std::slice::from_raw_parts(self.start(number).as_ptr(), len as usize) }
    }

    /// Writes a value.
    ///
    /// # Safety
    /// The caller holds the only reference, and the pieces fit.
    pub(super) unsafe fn write(&self, number: u32, pieces: &[&[u8]]) {
        let mut to = self.start(number).as_ptr();
        for piece in pieces {
            // SAFETY: by the contract of this function; pieces are other objects.
            unsafe {
                copy_value(piece, to);
                to = to.add(piece.len());
            }
        }
    }

    /// A value by reference; the item may go meanwhile.
    pub(super) fn share(self: &Arc<Blocks>, number: u32, len: u32) -> Bytes {
        self.blocks.get(number).references.add();
        Bytes::from_owner(Reference { blocks: Arc::clone(self), number, len })
    }
}

/// A reply's reference to a block.
struct Reference {
    blocks: Arc<Blocks>,
    number: u32,
    len: u32,
}

impl AsRef<[u8]> for Reference {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: this is a reference, and where there is a second one nobody overwrites.
        unsafe { self.blocks.bytes(self.number, self.len) }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.blocks.release(self.number);
    }
}

fn class_of(pages: usize) -> usize {
    pages.next_power_of_two().ilog2() as usize
}

impl Space {
    fn take(&mut self, pages: usize) -> Option<u64> {
        let class = class_of(pages);
        if let Some(at) = self.free.get_mut(class)?.pop() {
            return Some(at);
        }
        let at = self.end;
        if !self.area.grow(at + (PAGE_SIZE << class)) {
            return None;
        }
        self.end = at + (PAGE_SIZE << class);
        Some(at as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(blocks: &Blocks, value: &[u8]) -> u32 {
        assert!(blocks.budget.reserve(block_cost(value.len()), 0));
        let number = blocks.take(value.len()).unwrap();
        // SAFETY: nobody else knows of the block yet.
        unsafe { blocks.write(number, &[value]) };
        number
    }

    #[test]
    fn a_reply_keeps_the_value_that_it_refers_to_and_its_memory() {
        let budget = Arc::new(Budget::new(1 << 20));
        let blocks = Arc::new(Blocks::new(1 << 30, Arc::clone(&budget)));
        let number = stored(&blocks, &[7; 20_000]);
        let reply = blocks.share(number, 20_000);
        assert!(!blocks.can_overwrite(number, 20_000));
        blocks.release(number);
        let other = stored(&blocks, &[8; 20_000]);
        assert_eq!(&reply[..], &[7; 20_000]);
        assert_eq!(budget.used(), 2 * block_cost(20_000));
        drop(reply);
        assert_eq!(budget.used(), block_cost(20_000));
        assert!(blocks.can_overwrite(other, 20_001) && !blocks.can_overwrite(other, 20_481));
        blocks.release(other);
        assert_eq!(budget.used(), 0);
    }
}
