//! An item as it stands in memory: one record, without padding.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | length of the key; [`PAD`] and [`GAP`] are no records |
//! | 1 | fields: which optional ones follow, and marks |
//! | 2 | length of an inline value |
//! | 1 | heat: hits (4 bits), whether it is dead, whether the key came in base64 |
//! | 3 | Unix seconds of the last use, their low 24 bits |
//! | 8 | version |
//! | | key |
//! | 4, 4, 8, 8 | expiry, flags, last touch, CAS, as far as the item has them |
//! | | the value, or [`Stored::Block`]: number and length |
//!
//! Length of the key and key never change while the record stands, so that a scan can read them
//! without a lock, and learn from them which shard's lock the rest is behind.

mod write;

use super::change::{Change, Mark};
use super::version::Version;
use std::ptr::NonNull;
pub(super) use write::{NewRecord, RecordMut, Value};

/// In the place of a key's length: one byte that is nothing.
pub(super) const PAD: u8 = 0;
/// In the place of a key's length: nothing up to as many bytes on as the next four say.
pub(super) const GAP: u8 = 255;
const GAP_HEADER: usize = 5;
pub(super) const HEADER: usize = 16;
/// All optional fields together.
pub(super) const OPTIONS_MAX: usize = 24;
/// What stands in the place of a value that is in a block.
pub(super) const BLOCK_LEN: usize = 8;
/// Inline values are shorter than this: their length has 14 bits.
pub(super) const INLINE_MAX: usize = 16 * 1024;
/// Where hits stop being counted.
pub(super) const HITS_MAX: u8 = 15;

const EXPTIME: u8 = 1;
const FLAGS: u8 = 2;
const TOUCHED: u8 = 4;
const CAS: u8 = 8;
const OPTIONS: u8 = 15;
const BLOCK: u8 = 16;
const STALE: u8 = 32;
const WON: u8 = 64;
const FETCHED: u8 = 128;

const HITS: u8 = 15;
const DEAD: u8 = 16;
const BINARY: u8 = 32;

/// Bytes that each set of optional fields takes.
const OPTIONS_LEN: [u8; 16] = [0, 4, 4, 8, 8, 12, 12, 16, 8, 12, 12, 16, 16, 20, 20, 24];

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// In the record.
    Inline(&'a [u8]),
    /// In a block of its own.
    Block {
        /// Its number.
        number: u32,
        /// Length of the value.
        len: u32,
    },
}

/// A record whose shard is locked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record that begins at `start`.
    ///
    /// # Safety
    /// A whole record stands there, and nobody writes it during `'a`.
    pub(super) unsafe fn at(start: NonNull<u8>) -> Record<'a> {
        // SAFETY: every record has a header.
        let header: &[u8; HEADER] = unsafe { start.cast().as_ref() };
        let size = size_by_header(header);
        // SAFETY: by the contract of this function.
        Record { bytes: unsafe { std::slice::from_raw_parts(start.as_ptr(), size) } }
    }

    /// A whole record that stands elsewhere.
    pub(super) fn copied(bytes: &'a [u8]) -> Record<'a> {
        Record { bytes }
    }

    /// All of it.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn size(self) -> usize {
        self.bytes.len()
    }

    fn key_len(self) -> usize {
        usize::from(self.bytes[0])
    }

    fn fields(self) -> u8 {
        self.bytes[1]
    }

    fn heat(self) -> u8 {
        self.bytes[4]
    }

    pub(super) fn key(self) -> &'a [u8] {
        &self.bytes[HEADER..HEADER + self.key_len()]
    }

    pub(super) fn version(self) -> Version {
        Version::from_raw(self.number::<8>(8))
    }

    /// Little-endian number of `N` bytes at `at`.
    fn number<const N: usize>(self, at: usize) -> u64 {
        let mut number = [0; 8];
        number[..N].copy_from_slice(&self.bytes[at..at + N]);
        u64::from_le_bytes(number)
    }

    /// The optional field, 0 if it has none.
    fn option<const N: usize>(self, field: u8) -> u64 {
        option_at(self.bytes[0], self.fields(), field).map_or(0, |at| self.number::<N>(at))
    }

    /// Unix seconds; 0 is never.
    pub(super) fn exptime(self) -> u32 {
        self.option::<4>(EXPTIME) as u32
    }

    pub(super) fn flags(self) -> u32 {
        self.option::<4>(FLAGS) as u32
    }

    pub(super) fn touched(self) -> Version {
        Version::from_raw(self.option::<8>(TOUCHED))
    }

    pub(super) fn mark(self) -> Mark {
        let fields = self.fields();
        Mark {
            cas: (fields & CAS != 0).then(|| self.option::<8>(CAS)),
            stale: fields & STALE != 0,
            won: fields & WON != 0,
            binary: self.heat() & BINARY != 0,
        }
    }

    #[inline]
    pub(super) fn stored(self) -> Stored<'a> {
        let at = HEADER + self.key_len() + options_len(self.fields());
        if self.fields() & BLOCK == 0 {
            return Stored::Inline(&self.bytes[at..]);
        }
        Stored::Block { number: self.number::<4>(at) as u32, len: self.number::<4>(at + 4) as u32 }
    }

    /// Whether its value stands in it.
    pub(super) fn is_inline(self) -> bool {
        self.fields() & BLOCK == 0
    }

    pub(super) fn value_len(self) -> usize {
        if self.fields() & BLOCK == 0 {
            return self.number::<2>(2) as usize;
        }
        let at = HEADER + self.key_len() + options_len(self.fields());
        self.number::<4>(at + 4) as usize
    }

    /// The change that made it what it is; its value is `value`, wherever that stands.
    pub(super) fn change(self, value: &'a [u8]) -> Change<'a> {
        Change::Set {
            key: self.key(),
            value,
            flags: self.flags(),
            exptime: self.exptime(),
            version: self.version(),
            touched: self.touched(),
            mark: self.mark(),
            hits: self.hits(),
        }
    }

    /// Whether the index knows it no more.
    pub(super) fn is_dead(self) -> bool {
        self.heat() & DEAD != 0
    }

    pub(super) fn hits(self) -> u8 {
        self.heat() & HITS
    }

    /// Whether it was read since it was written.
    pub(super) fn fetched(self) -> bool {
        self.fields() & FETCHED != 0
    }

    /// Unix seconds of the last use, as seen at `now`.
    pub(super) fn accessed(self, now: u32) -> u32 {
        now.wrapping_sub(now.wrapping_sub(self.accessed_low()) & 0xff_ffff)
    }

    /// Whether it was used in the second `start` or later, as seen within some months.
    pub(super) fn used_since(self, start: u32) -> bool {
        self.accessed_low().wrapping_sub(start) & 0xff_ffff < 1 << 23
    }

    /// The low bits of that, which are all that is kept.
    pub(super) fn accessed_low(self) -> u32 {
        self.number::<3>(5) as u32
    }
}

/// The key of the record that begins at `start`, without anything else of it.
///
/// # Safety
/// A record with a key of this length stands there during `'a`.
pub(super) unsafe fn key_at<'a>(start: NonNull<u8>, len: u8) -> &'a [u8] {
    // SAFETY: by the contract of this function.
    unsafe { std::slice::from_raw_parts(start.as_ptr().add(HEADER), usize::from(len)) }
}

/// Bytes that the optional fields of an item with these take.
pub(super) fn options_of(flags: u32, exptime: u32, mark: Mark) -> usize {
    let lengths = [(exptime != 0, 4), (flags != 0, 4), (mark.cas.is_some(), 8)];
    lengths.into_iter().map(|(is, length)| if is { length } else { 0 }).sum()
}

fn options_len(fields: u8) -> usize {
    usize::from(OPTIONS_LEN[usize::from(fields & OPTIONS)])
}

fn option_at(key_len: u8, fields: u8, field: u8) -> Option<usize> {
    let before = options_len(fields & (field - 1));
    (fields & field != 0).then(|| HEADER + usize::from(key_len) + before)
}

fn size_by_header(header: &[u8; HEADER]) -> usize {
    let [key_len, fields, low, high, ..] = *header;
    let value = usize::from(u16::from_le_bytes([low, high]));
    let value = if fields & BLOCK == 0 { value } else { BLOCK_LEN };
    HEADER + usize::from(key_len) + options_len(fields) + value
}
