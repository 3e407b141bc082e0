//! A table that grows without moving: an entry stays where it is.

use std::sync::OnceLock;

/// Entries of the first part; each further part has twice as many.
const FIRST: usize = 1024;
const PARTS: usize = 22;

/// Entries by number, made when they are first asked for.
#[derive(Debug)]
pub(super) struct Table<T> {
    parts: [OnceLock<Box<[T]>>; PARTS],
}

impl<T: Default> Table<T> {
    pub(super) fn new() -> Table<T> {
        Table { parts: [const { OnceLock::new() }; PARTS] }
    }

    pub(super) fn get(&self, number: u32) -> &T {
        let place = number as usize + FIRST;
        let part = (place.ilog2() - FIRST.ilog2()) as usize;
        let length = FIRST << part;
        let entries = self.parts[part].get_or_init(|| (0..length).map(|_| T::default()).collect());
        &entries[place - length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_number_has_an_entry_of_its_own() {
        let table: Table<AtomicU32> = Table::new();
        let numbers = || [0, 1, 1023, 1024, 3071, 3072, 100_000];
        numbers().into_iter().for_each(|n| table.get(n).store(n, Ordering::Relaxed));
        assert!(numbers().into_iter().all(|n| table.get(n).load(Ordering::Relaxed) == n));
    }
}
