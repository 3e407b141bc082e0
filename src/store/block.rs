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
/// Free blocks whose pages are kept, at most.
const WARM: usize = 64;
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
    /// Bytes of free pages that may be kept, those of others included.
    most_kept: u64,
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
    /// Free with their pages, of which each would cost a fault to be had again.
    warm: Vec<Warm>,
    vacant: Vec<u32>,
    numbers: u32,
}

/// An address range and how many pages it has.
#[derive(Clone, Copy, Debug)]
struct Warm {
    at: u64,
    pages: usize,
}

impl Blocks {
    /// None yet, in as much as `addresses` bytes of address space. Free ones keep their pages as long
    /// as `most_kept` bytes are kept at most. Huge pages would fill the rest of the address ranges, which no value pays
    /// for.
    pub(super) fn new(addresses: usize, most_kept: u64, budget: Arc<Budget>) -> Blocks {
        let area = Area::reserve(addresses, GROWTH, false);
        Blocks {
            base: area.base(),
            space: Mutex::new(Space {
                area,
                end: 0,
                free: [const { Vec::new() }; CLASSES],
                warm: Vec::with_capacity(WARM + 1),
                vacant: Vec::new(),
                numbers: 0,
            }),
            blocks: Table::new(),
            budget,
            most_kept,
        }
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block for `len` bytes, referred to once. [`block_cost`] was reserved for it.
    pub(super) fn take(&self, len: usize) -> Option<u32> {
        let pages = len.div_ceil(PAGE_SIZE);
        let mut space = self.space();
        let at = space.take(pages, &self.budget)?;
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

    /// Gives up one reference; with the last the pages go back to the system, but for a few that are
    /// not charged to anybody: they are part of what writes leave free.
    pub(super) fn release(&self, number: u32) {
        let block = self.blocks.get(number);
        if !block.references.end_one() {
            return;
        }
        let at = block.at.load(Ordering::Relaxed);
        let pages = block.pages.load(Ordering::Relaxed) as usize;
        self.budget.release(block_cost(pages * PAGE_SIZE));
        let mut space = self.space();
        space.vacant.push(number);
        let bytes = (pages * PAGE_SIZE) as u64;
        let keep =
            |space: &Space| space.warm.len() < WARM && self.budget.keep(bytes, self.most_kept);
        let mut is_kept = keep(&space);
        // The oldest go first, for they may be of a length that nobody asks for any more.
        while !is_kept && bytes <= self.most_kept && !space.warm.is_empty() {
            space.cool_oldest(&self.budget);
            is_kept = keep(&space);
        }
        if is_kept {
            space.warm.push(Warm { at, pages });
        } else {
            space.discard(Warm { at, pages });
        }
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

    /// One more refers to a block that somebody refers to.
    pub(super) fn refer(&self, number: u32) {
        self.blocks.get(number).references.add();
    }

    /// The first `len` bytes of a block, to be written.
    ///
    /// # Safety
    /// They fit, and during `'a` nobody else refers to the block.
    pub(super) unsafe fn bytes_mut<'a>(&self, number: u32, len: usize) -> &'a mut [u8] {
        // SAFETY: by the contract of this function; fresh pages read as zeros.
        unsafe { std::slice::from_raw_parts_mut(self.start(number).as_ptr(), len) }
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
        self.refer(number);
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
    fn take(&mut self, pages: usize, budget: &Budget) -> Option<u64> {
        let class = class_of(pages);
        if let Some(place) = self.warm.iter().rposition(|warm| class_of(warm.pages) == class) {
            let warm = self.warm.remove(place);
            budget.end_keeping((warm.pages * PAGE_SIZE) as u64);
            let at = warm.at as usize;
            // SAFETY: free pages are usable, and nobody's.
            unsafe { self.area.discard(at + pages * PAGE_SIZE, at + warm.pages * PAGE_SIZE) };
            return Some(warm.at);
        }
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

    /// Gives the pages of the oldest warm block back to the system.
    fn cool_oldest(&mut self, budget: &Budget) {
        let oldest = self.warm.remove(0);
        budget.end_keeping((oldest.pages * PAGE_SIZE) as u64);
        self.discard(oldest);
    }

    fn discard(&mut self, Warm { at, pages }: Warm) {
        let start = at as usize;
        // SAFETY: the pages were usable, and free ones are nobody's.
        unsafe { self.area.discard(start, start + pages * PAGE_SIZE) };
        self.free[class_of(pages)].push(at);
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
        let blocks = Arc::new(Blocks::new(1 << 30, 100_000, Arc::clone(&budget)));
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

    #[test]
    fn a_few_free_blocks_keep_their_pages_and_no_more_than_the_next_value_takes() {
        let blocks = Blocks::new(1 << 30, 100_000, Arc::new(Budget::new(1 << 20)));
        let first_byte = |number| {
            // SAFETY: the block was just taken.
            unsafe { blocks.bytes(number, 40_000) }.iter().position(|&byte| byte == 0)
        };
        let kept_pages = || blocks.budget.kept() / PAGE_SIZE as u64;
        let number = stored(&blocks, &[7; 60_000]);
        blocks.release(number);
        assert!(blocks.budget.reserve(block_cost(40_000), 0));
        let number = blocks.take(40_000).unwrap();
        assert_eq!(first_byte(number), None, "the pages were kept");
        blocks.release(number);
        assert_eq!(kept_pages(), 10);
        let numbers = [(); 5].map(|()| stored(&blocks, &[7; 60_000]));
        numbers.into_iter().for_each(|number| blocks.release(number));
        assert_eq!(kept_pages(), 15, "of 24 that may be kept");
        blocks.release(stored(&blocks, &[7; 30_000]));
        blocks.release(stored(&blocks, &[7; 4_000]));
        assert_eq!(kept_pages(), 15 + 8 + 1);
        blocks.release(stored(&blocks, &[7; 5_000]));
        assert_eq!(kept_pages(), 8 + 1 + 2, "the oldest had to go");
    }
}
