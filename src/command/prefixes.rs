//! `stats detail`: what is asked of the keys that begin alike.

use super::Cache;
use super::dump::Steps;
use crate::protocol::Output;
use crate::store::Now;
use ahash::RandomState;
use hashbrown::HashTable;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Prefixes that are told apart at most. Clients make them: what comes beyond is not counted.
const PREFIXES_MAX: usize = 65_536;
/// Prefixes that one step of a dump shows.
const PAGE: usize = 128;

/// What was asked of the keys with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To be read, and it was there.
    Hit,
    /// To be read, and it was not there.
    Miss,
    /// To be written.
    Set,
    /// To be deleted.
    Delete,
}

/// The counts of all prefixes.
pub(super) struct Prefixes {
    delimiter: u8,
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    index: HashTable<u32>,
    /// In the order in which they were first met.
    counts: Vec<Counts>,
}

struct Counts {
    prefix: Box<[u8]>,
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

impl Prefixes {
    pub(super) fn new(delimiter: u8) -> Prefixes {
        Prefixes { delimiter, hasher: RandomState::new(), table: Mutex::default() }
    }

    /// Counts a request. A key without the delimiter belongs to no prefix, and one whose prefix no
    /// line could show, as the binary protocol can make it, is not counted.
    pub(super) fn count(&self, key: &[u8], asked: Asked) {
        let Some(end) = key.iter().position(|&byte| byte == self.delimiter) else { return };
        let prefix = &key[..end];
        if prefix.iter().any(|byte| b" \n".contains(byte)) {
            return;
        }
        let hash = self.hasher.hash_one(prefix);
        let mut table = self.lock();
        let Table { index, counts } = &mut *table;
        let found = index.find(hash, |&at| *counts[at as usize].prefix == *prefix).copied();
        let at = match found {
            Some(at) => at,
            None if counts.len() == PREFIXES_MAX => return,
            None => {
                let at = counts.len() as u32;
                let prefix = prefix.into();
                counts.push(Counts { prefix, gets: 0, hits: 0, sets: 0, deletes: 0 });
                let rehash = |&at: &u32| self.hasher.hash_one(&*counts[at as usize].prefix);
                index.insert_unique(hash, at, rehash);
                at
            }
        };
        let counts = &mut counts[at as usize];
        match asked {
            Asked::Hit => {
                counts.gets += 1;
                counts.hits += 1;
            }
            Asked::Miss => counts.gets += 1,
            Asked::Set => counts.sets += 1,
            Asked::Delete => counts.deletes += 1,
        }
    }

    /// Forgets all prefixes.
    pub(super) fn clear(&self) {
        *self.lock() = Table::default();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dump of the counts under way: the prefixes shown so far.
#[derive(Default)]
pub(super) struct PrefixDump(usize);

impl Steps for PrefixDump {
    fn step(&mut self, cache: &Cache, _: Now, out: &mut Output) -> bool {
        let table = cache.prefixes.lock();
        let left = table.counts.get(self.0..).unwrap_or_default();
        for counts in left.iter().take(PAGE) {
            out.push(b"PREFIX ");
            out.push(&counts.prefix);
            for (name, number) in [
                (&b" get "[..], counts.gets),
                (b" hit ", counts.hits),
                (b" set ", counts.sets),
                (b" del ", counts.deletes),
            ] {
                out.push(name);
                out.push_number(number);
            }
            out.push(b"\r\n");
        }
        self.0 += PAGE;
        let finished = left.len() <= PAGE;
        if finished {
            out.push(b"END\r\n");
        }
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_prefixes_take_bounded_memory_and_known_ones_are_counted_on() {
        let prefixes = Prefixes::new(b':');
        for number in 0..PREFIXES_MAX + 1000 {
            prefixes.count(format!("{number}:k").as_bytes(), Asked::Set);
        }
        prefixes.count(b"0:k", Asked::Hit);
        let table = prefixes.lock();
        assert_eq!(table.counts.len(), PREFIXES_MAX);
        assert_eq!((table.counts[0].sets, table.counts[0].gets, table.counts[0].hits), (1, 1, 1));
    }
}
