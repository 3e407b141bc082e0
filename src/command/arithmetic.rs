//! Counting: `incr`, `decr` and what they make of a stored number.

use super::operation::{Context, expiry};
use crate::protocol::parse_u64;
use crate::store::{Entry, Item, Mark, Version};

/// Longest decimal number of 64 bits.
pub(super) const DIGITS_MAX: usize = 20;

/// What became of `incr` and `decr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Value(u64, Version),
    NotFound,
    NotANumber,
    Exists,
    Declined,
    OutOfMemory,
}

/// What `incr` and `decr` are to do.
pub(super) struct Arithmetic {
    pub delta: u64,
    pub increment: bool,
    /// The version to change, if it must be a certain one.
    pub only: Option<u64>,
    /// The number to begin with and its expiry, where there is none.
    pub initial: Option<(u64, i64)>,
}

impl Context<'_> {
    pub(super) fn arithmetic(&self, key: &[u8], change: &Arithmetic) -> Counted {
        let &Arithmetic { delta, increment, only, initial } = change;
        let store = &self.cache.store;
        let calculate = |item: Item<'_>| counted(item.value(), delta, increment);
        let mut entry = store.entry(key, self.now);
        self.opened(key, &entry);
        // Only a number that gets longer needs room: a full cache still counts.
        let grows =
            |item: Item<'_>| calculate(item).is_some_and(|new| digits(new) > item.value().len());
        if entry.item().is_some_and(grows) {
            drop(entry);
            let Ok(with_room) = store.entry_with_room(key, DIGITS_MAX, self.now) else {
                return Counted::OutOfMemory;
            };
            entry = with_room;
        }
        let Some(item) = entry.item() else {
            if let Some((number, exptime)) = initial {
                drop(entry);
                return self.begin(key, number, exptime);
            }
            let misses =
                if increment { &self.worker.incr_misses } else { &self.worker.decr_misses };
            misses.add(1);
            return Counted::NotFound;
        };
        // What is empty is no number, whoever asks.
        if item.value().is_empty() {
            return Counted::NotANumber;
        }
        if self.is_another(item, only) {
            return Counted::Exists;
        }
        let Some(new) = calculate(item) else { return Counted::NotANumber };
        let (flags, exptime, width) = (item.flags(), item.exptime(), item.value().len());
        let mark = Mark { cas: None, ..item.mark() };
        if let Some(stats) = entry.class_stats() {
            let counter = if increment { &mut stats.incr_hits } else { &mut stats.decr_hits };
            *counter += 1;
        }
        Counted::Value(new, put_number(&mut entry, new, width, flags, exptime, mark))
    }

    /// Begins to count; another client may have been faster.
    fn begin(&self, key: &[u8], number: u64, exptime: i64) -> Counted {
        let Ok(mut entry) = self.cache.store.entry_with_room(key, DIGITS_MAX, self.now) else {
            return Counted::OutOfMemory;
        };
        self.opened(key, &entry);
        if entry.item().is_some() {
            return Counted::Declined;
        }
        let exptime = expiry(exptime, self.now);
        let version = put_number(&mut entry, number, 0, 0, exptime, Mark::default());
        self.tell_begun(key, version, &entry);
        Counted::Value(number, version)
    }
}

/// Writes a number. memcached overwrites the digits in place where there is room for them, so one
/// that is shorter than `width` keeps that, and one that is longer makes a new item.
pub(super) fn put_number(
    entry: &mut Entry<'_, '_>,
    number: u64,
    width: usize,
    flags: u32,
    exptime: u32,
    mark: Mark,
) -> Version {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    let padding = [b' '; DIGITS_MAX];
    let padding = &padding[..width.saturating_sub(digits.len()).min(DIGITS_MAX)];
    let value = [digits, padding];
    if digits.len() <= width {
        entry.amend(flags, exptime, &value, mark)
    } else {
        entry.put_marked(flags, exptime, &value, mark)
    }
}

/// What a stored number becomes: up it wraps, down it stops at 0. `None` if it is no number.
pub(super) fn counted(value: &[u8], delta: u64, increment: bool) -> Option<u64> {
    let old = number(value)?;
    Some(if increment { old.wrapping_add(delta) } else { old.saturating_sub(delta) })
}

/// A stored number as memcached reads it, with C's `strtoull`: decimal digits, white space and a plus
/// before them allowed, and after white space or a zero byte anything.
fn number(value: &[u8]) -> Option<u64> {
    if value.len() > DIGITS_MAX {
        return None;
    }
    let is_space = |&byte: &u8| byte.is_ascii_whitespace() || byte == b'\x0b';
    let start = value.iter().position(|byte| !is_space(byte))?;
    let mut words = value[start..].split(|byte| is_space(byte) || *byte == 0);
    words.next().and_then(parse_u64)
}

/// Decimal digits of a number.
pub(super) fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}
