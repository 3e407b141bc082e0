//! Writing records.

use super::super::caches::copy_value;
use super::super::change::Mark;
use super::super::version::Version;
use super::{
    BINARY, BLOCK, BLOCK_LEN, CAS, DEAD, EXPTIME, FETCHED, FLAGS, GAP, GAP_HEADER, HEADER, HITS,
    HITS_MAX, PAD, Record, STALE, TOUCHED, WON, option_at, options_len,
};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A record about to be written.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct NewRecord<'a> {
    pub key: &'a [u8],
    pub value: Value<'a>,
    pub flags: u32,
    pub exptime: u32,
    pub version: Version,
    pub touched: Version,
    pub mark: Mark,
    pub hits: u8,
    pub fetched: bool,
    /// Unix seconds.
    pub accessed: u32,
}

/// The value of a record about to be written.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Value<'a> {
    /// Shorter than [`INLINE_MAX`], in pieces that have `len` bytes together.
    Inline {
        /// The pieces.
        pieces: &'a [&'a [u8]],
        /// Their bytes.
        len: usize,
    },
    /// In a block.
    Block {
        /// Its number.
        number: u32,
        /// Length of the value.
        len: u32,
    },
}

impl NewRecord<'_> {
    #[inline]
    fn fields(&self) -> u8 {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        bit(self.exptime != 0, EXPTIME)
            | bit(self.flags != 0, FLAGS)
            | bit(self.touched != Version::NONE, TOUCHED)
            | bit(self.mark.cas.is_some(), CAS)
            | bit(matches!(self.value, Value::Block { .. }), BLOCK)
            | bit(self.mark.stale, STALE)
            | bit(self.mark.won, WON)
            | bit(self.fetched, FETCHED)
    }

    /// Length of the value, wherever it stands.
    #[inline]
    pub(in crate::store) fn value_len(&self) -> usize {
        match self.value {
            Value::Inline { len, .. } => len,
            Value::Block { len, .. } => len as usize,
        }
    }

    #[inline]
    pub(in crate::store) fn size(&self) -> usize {
        let value = match self.value {
            Value::Inline { len, .. } => len,
            Value::Block { .. } => BLOCK_LEN,
        };
        HEADER + self.key.len() + options_len(self.fields()) + value
    }
}

/// The place of a record that may be written: its shard is locked, or nobody knows of it yet.
#[derive(Debug)]
pub(in crate::store) struct RecordMut<'a> {
    start: NonNull<u8>,
    place: PhantomData<&'a mut [u8]>,
}

impl<'a> RecordMut<'a> {
    /// The place that begins at `start`.
    ///
    /// # Safety
    /// As many bytes as will be written there are valid, and nobody else reads or writes them during
    /// `'a`; only the length of the key and the key may be read.
    pub(in crate::store) unsafe fn at(start: NonNull<u8>) -> RecordMut<'a> {
        RecordMut { start, place: PhantomData }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        // SAFETY: by the contract of `RecordMut::at`; `bytes` is another object.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len());
        }
    }

    fn put_value(&mut self, at: usize, bytes: &[u8]) {
        // SAFETY: as in `put`.
        unsafe { copy_value(bytes, self.start.as_ptr().add(at)) }
    }

    fn byte(&self, at: usize) -> u8 {
        // SAFETY: by the contract of `RecordMut::at`; headers are always whole.
        unsafe { self.start.add(at).read() }
    }

    /// Writes a record where none was.
    pub(in crate::store) fn write(&mut self, new: &NewRecord<'_>) {
        self.put(0, &[new.key.len() as u8]);
        self.put(HEADER, new.key);
        self.rewrite(new);
    }

    /// Writes all but the key, which is there already.
    pub(in crate::store) fn rewrite(&mut self, new: &NewRecord<'_>) {
        let fields = new.fields();
        let heat = new.hits.min(HITS_MAX) | if new.mark.binary { BINARY } else { 0 };
        let length = match new.value {
            Value::Inline { len, .. } => len as u64,
            Value::Block { .. } => 0,
        };
        let header =
            u64::from(fields) | length << 8 | u64::from(heat) << 24 | u64::from(new.accessed) << 32;
        // The last byte of this is overwritten by the version's first.
        self.put(1, &header.to_le_bytes());
        self.put(8, &new.version.raw().to_le_bytes());
        let mut at = HEADER + new.key.len();
        let mut add = |bytes: &[u8]| {
            self.put(at, bytes);
            at += bytes.len();
        };
        if fields & EXPTIME != 0 {
            add(&new.exptime.to_le_bytes());
        }
        if fields & FLAGS != 0 {
            add(&new.flags.to_le_bytes());
        }
        if fields & TOUCHED != 0 {
            add(&new.touched.raw().to_le_bytes());
        }
        if let Some(cas) = new.mark.cas {
            add(&cas.to_le_bytes());
        }
        match new.value {
            Value::Inline { pieces, .. } => {
                for piece in pieces {
                    self.put_value(at, piece);
                    at += piece.len();
                }
            }
            Value::Block { number, len } => {
                add(&number.to_le_bytes());
                add(&len.to_le_bytes());
            }
        }
    }

    /// Copies a whole record here.
    pub(in crate::store) fn copy(&mut self, record: Record<'_>) {
        self.put(0, record.bytes());
    }

    /// Says that `len` bytes from `at` on are nothing.
    pub(in crate::store) fn write_gap(&mut self, at: usize, len: usize) {
        if len < GAP_HEADER {
            self.put(at, &[PAD; GAP_HEADER][..len]);
        } else {
            self.put(at, &[GAP]);
            self.put(at + 1, &(len as u32).to_le_bytes());
        }
    }

    /// Sets expiry and touch where the record has the fields that this takes; false if it has not.
    pub(in crate::store) fn touch(&mut self, exptime: u32, touched: Version) -> bool {
        let (key_len, fields) = (self.byte(0), self.byte(1));
        let exptime_at = option_at(key_len, fields, EXPTIME);
        let touched_at = option_at(key_len, fields, TOUCHED);
        if exptime_at.is_none() && exptime != 0 || touched_at.is_none() && touched != Version::NONE
        {
            return false;
        }
        if let Some(at) = exptime_at {
            self.put(at, &exptime.to_le_bytes());
        }
        if let Some(at) = touched_at {
            self.put(at, &touched.raw().to_le_bytes());
        }
        true
    }

    /// Counts a read at `seconds`.
    pub(in crate::store) fn mark_read(&mut self, seconds: u32) {
        self.mark_fetched();
        self.mark_used(seconds);
    }

    pub(in crate::store) fn mark_fetched(&mut self) {
        let fields = self.byte(1) | FETCHED;
        self.put(1, &[fields]);
    }

    /// Counts a use at `seconds`, as which a read counts too.
    pub(in crate::store) fn mark_used(&mut self, seconds: u32) {
        let heat = self.byte(4);
        let heat = if heat & HITS == HITS { heat } else { heat + 1 };
        self.put(4, &(seconds << 8 | u32::from(heat)).to_le_bytes());
    }

    pub(in crate::store) fn mark_won(&mut self) {
        let fields = self.byte(1) | WON;
        self.put(1, &[fields]);
    }

    pub(in crate::store) fn mark_dead(&mut self) {
        let heat = self.byte(4) | DEAD;
        self.put(4, &[heat]);
    }

    pub(in crate::store) fn set_hits(&mut self, hits: u8) {
        let heat = self.byte(4) & !HITS | hits.min(HITS_MAX);
        self.put(4, &[heat]);
    }
}
