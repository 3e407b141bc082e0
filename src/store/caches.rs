//! What is asked of the processor's caches: to take in early what will be read, and to be left alone by
//! what will not.

use std::ptr::NonNull;

/// From this length on a value is written past the caches. It is seldom read again before it would
/// have left them anyway, and no line of its old place has to be fetched to be overwritten: in a
/// memory larger than the caches that halves what the copy costs.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
const PAST_CACHES: usize = 4 * 1024;

/// Bytes of a cache line.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
const LINE: usize = 64;

/// Copies `value` to `to`.
///
/// # Safety
/// As many bytes as the value has are valid for writes at `to`, nobody else reads or writes them
/// meanwhile, and the value is another object.
pub(super) unsafe fn copy_value(value: &[u8], to: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    if value.len() >= PAST_CACHES {
        // SAFETY: by the contract of this function.
        return unsafe { stream(value, to) };
    }
    // SAFETY: by the contract of this function.
    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), to, value.len()) }
}

/// Has so many cache lines at `at` come closer; nothing is read, and any address will do.
pub(super) fn prefetch<const LINES: usize>(at: NonNull<u8>) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..LINES {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = at.as_ptr().wrapping_add(line * LINE);
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// As [`copy_value`], past the caches.
///
/// # Safety
/// That of [`copy_value`].
#[cfg(target_arch = "x86_64")]
unsafe fn stream(value: &[u8], to: *mut u8) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    const PART: usize = size_of::<__m128i>();
    let head = to.align_offset(LINE).min(value.len());
    let (head, rest) = value.split_at(head);
    let lines = rest.chunks_exact(LINE);
    let tail = lines.remainder();
    // SAFETY: by the contract of this function the three parts fit one after another; behind the
    // first one `at` is on a line's begin, which is all that streaming stores ask for.
    unsafe {
        std::ptr::copy_nonoverlapping(head.as_ptr(), to, head.len());
        let mut at = to.add(head.len());
        for line in lines {
            let from = line.as_ptr().cast::<__m128i>();
            let parts = [0, 1, 2, 3].map(|part| _mm_loadu_si128(from.add(part)));
            for (part, bytes) in parts.into_iter().enumerate() {
                _mm_stream_si128(at.add(part * PART).cast(), bytes);
            }
            at = at.add(LINE);
        }
        // Who takes the lock after us must see what was written.
        _mm_sfence();
        std::ptr::copy_nonoverlapping(tail.as_ptr(), at, tail.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_arrives_whole_whatever_its_length_and_place_and_nothing_beside_it_changes() {
        for length in
            [0, 1, 63, PAST_CACHES - 1, PAST_CACHES, PAST_CACHES + 1, 3 * PAST_CACHES + 77]
        {
            for place in [0, 1, 15, 16, 63, 64] {
                let value: Vec<u8> = (0..length).map(|byte| (byte % 251) as u8).collect();
                let mut memory = vec![255; place + length + 100];
                // SAFETY: the memory is this test's own, and large enough.
                unsafe { copy_value(&value, memory.as_mut_ptr().add(place)) };
                assert!(memory[place..place + length] == value, "{length} bytes at {place}");
                assert!(memory[..place].iter().chain(&memory[place + length..]).all(|&b| b == 255));
            }
        }
    }
}
