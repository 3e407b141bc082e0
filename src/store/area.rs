//! Address space from the system: reserved once, usable from its beginning as far as it has grown,
//! and given back page by page. Nothing in it ever moves.

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags};
use nix::sys::mman::{madvise, mmap_anonymous, mprotect, munmap};
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that the system gives and takes at once.
pub(super) const PAGE_SIZE: usize = 4096;
/// Bytes of a huge page, which stands at a multiple of them.
pub(super) const HUGE_PAGE: usize = 2 << 20;
/// An area that has so many bytes takes no notice of a huge page more.
const LARGE: usize = 2 * HUGE_PAGE;
/// The least that is worth a reservation.
const LEAST: usize = 16 * PAGE_SIZE;

/// `MADV_DONTNEED_LOCKED`, which has no name in the libraries yet.
const DONTNEED_LOCKED: i32 = 24;

/// A range of addresses.
#[derive(Debug)]
pub(super) struct Area {
    base: NonNull<u8>,
    reserved: usize,
    /// Changed by whoever makes it grow, of whom there is one at a time.
    usable: AtomicUsize,
    /// By how much it grows at least: each growth is a system call.
    step: usize,
}

// SAFETY: an area is only addresses; who reads and writes behind them is for its owner to order.
unsafe impl Send for Area {}
// SAFETY: as above; `&Area` gives out addresses and drops pages, and changes nothing of its own.
unsafe impl Sync for Area {}

impl Area {
    /// Reserves `bytes`, or as much of it as the system allows. None of it takes memory yet; with
    /// `huge_pages` it begins where one can stand.
    pub(super) fn reserve(bytes: usize, step: usize, huge_pages: bool) -> Area {
        let mut length = bytes.next_multiple_of(PAGE_SIZE).max(LEAST);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        while let Some(size) = NonZeroUsize::new(length).filter(|_| length >= LEAST) {
            // SAFETY: an anonymous mapping at an address of the system's choice touches no other.
            if let Ok(base) = unsafe { mmap_anonymous(None, size, ProtFlags::PROT_NONE, flags) } {
                // Left to itself the system may back a few used pages by a huge one, and what the
                // process takes would be more than what is counted.
                let advice = if huge_pages {
                    MmapAdvise::MADV_HUGEPAGE
                } else {
                    MmapAdvise::MADV_NOHUGEPAGE
                };
                // SAFETY: the range is the mapping just made; a kernel without huge pages refuses,
                // which changes nothing.
                let _ = unsafe { madvise(base, length, advice) };
                let usable = AtomicUsize::new(0);
                let mut area = Area { base: base.cast(), reserved: length, usable, step };
                if huge_pages && length > HUGE_PAGE {
                    area.align();
                }
                return area;
            }
            length = (length / 2).next_multiple_of(PAGE_SIZE);
        }
        Area { base: NonNull::dangling(), reserved: 0, usable: AtomicUsize::new(0), step }
    }

    /// Lets go of what is in front of the first place for a huge page.
    fn align(&mut self) {
        let excess = self.base.align_offset(HUGE_PAGE);
        if excess > 0 {
            // SAFETY: the beginning of the mapping that nobody uses yet, in whole pages.
            let gone = unsafe { munmap(self.base.cast(), excess) };
            if gone.is_ok() {
                // SAFETY: less than the mapping has.
                self.base = unsafe { self.base.add(excess) };
                self.reserved -= excess;
            }
        }
    }

    /// Makes at least the first `bytes` usable; false where the reservation or the system ends. For
    /// one thread at a time.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        let usable = self.usable.load(Ordering::Relaxed);
        if bytes <= usable {
            return true;
        }
        if bytes > self.reserved {
            return false;
        }
        // A huge page comes only where all of it is usable when it is first touched.
        let step = if usable < LARGE { self.step } else { self.step.max(HUGE_PAGE) };
        let target = bytes.next_multiple_of(step).min(self.reserved);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the range is inside of the reservation and was not usable before.
        let grown = unsafe { mprotect(self.base.add(usable).cast(), target - usable, protection) };
        if grown.is_ok() {
            self.usable.store(target, Ordering::Relaxed);
        }
        grown.is_ok()
    }

    /// Where the area begins; valid for as many bytes as it has grown to.
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Gives the whole pages of a range back to the system; they read as anything from now on.
    ///
    /// # Safety
    /// The range is usable, and nobody reads or writes it now.
    pub(super) unsafe fn discard(&self, from: usize, to: usize) {
        let (from, to) = (from.next_multiple_of(PAGE_SIZE), to / PAGE_SIZE * PAGE_SIZE);
        if from < to {
            // SAFETY: by the contract of this function.
            let start = unsafe { self.base.add(from) };
            // SAFETY: as above.
            let done = unsafe { madvise(start.cast(), to - from, MmapAdvise::MADV_DONTNEED) };
            if done.is_err() {
                // Memory that is locked (`-k`) has to be asked for in another way, from Linux 5.18 on;
                // before, it stays until it is used again.
                // SAFETY: as above.
                unsafe { nix::libc::madvise(start.as_ptr().cast(), to - from, DONTNEED_LOCKED) };
            }
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if self.reserved > 0 {
            // SAFETY: the mapping is this area's own, and goes with it.
            let _ = unsafe { munmap(self.base.cast(), self.reserved) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_grows_in_place_and_gives_pages_back() {
        let area = Area::reserve(1 << 30, PAGE_SIZE, false);
        assert!(area.grow(3 * PAGE_SIZE));
        let base = area.base();
        // SAFETY: three pages are usable, and this test alone knows of them.
        unsafe {
            base.add(PAGE_SIZE + 5).write(7);
            assert!(area.grow(100 * PAGE_SIZE));
            assert_eq!((area.base(), base.add(PAGE_SIZE + 5).read()), (base, 7));
            area.discard(0, 3 * PAGE_SIZE);
            assert_eq!(base.add(PAGE_SIZE + 5).read(), 0);
        }
        assert!(!area.grow((1 << 30) + 1));
    }

    #[test]
    fn an_area_for_huge_pages_begins_where_one_can_stand_and_grows_by_whole_ones() {
        let area = Area::reserve(1 << 30, PAGE_SIZE, true);
        assert_eq!(area.base().align_offset(HUGE_PAGE), 0);
        assert!(area.grow(PAGE_SIZE) && area.usable.load(Ordering::Relaxed) == PAGE_SIZE);
        assert!(area.grow(LARGE) && area.grow(LARGE + 1));
        assert_eq!(area.usable.load(Ordering::Relaxed), LARGE + HUGE_PAGE);
        // SAFETY: usable, and this test alone knows of it.
        unsafe { area.base().add(LARGE + HUGE_PAGE - 1).write(7) };
    }
}
