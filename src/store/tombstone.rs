//! What is remembered of keys that are gone, until the peer has heard of it.

use super::version::Version;
use hashbrown::HashTable;

const NIL: u32 = u32::MAX;
/// What one costs beyond its key: its slot, and an index entry in a table at its emptiest.
const COST: u64 = size_of::<Tombstone>() as u64 + 12;

/// Why a key is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remains {
    /// A client deleted it.
    Tombstone,
    /// The item ended by itself before the peer had seen its last change. Where there is no room for
    /// this, it goes silently: a small node must not make its peer doubt what it holds.
    Trace,
}

/// One key that is gone.
#[derive(Debug)]
pub(super) struct Tombstone {
    pub key: Box<[u8]>,
    pub hash: u64,
    pub version: Version,
    pub remains: Remains,
    older: u32,
    newer: u32,
}

impl Tombstone {
    fn cost(&self) -> u64 {
        COST + (self.key.len() as u64 + 8).next_multiple_of(16).max(32)
    }
}

/// Those of one shard.
#[derive(Debug)]
pub(super) struct Tombstones {
    index: HashTable<u32>,
    slots: Vec<Option<Tombstone>>,
    vacant: Vec<u32>,
    oldest: u32,
    newest: u32,
    cost: u64,
}

impl Tombstones {
    pub(super) fn new() -> Tombstones {
        Tombstones {
            index: HashTable::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            oldest: NIL,
            newest: NIL,
            cost: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Bytes they take.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    /// Slots that a walk looks at: some may be empty.
    pub(super) fn slots(&self) -> &[Option<Tombstone>] {
        &self.slots
    }

    fn at(&self, at: u32) -> Option<&Tombstone> {
        self.slots.get(at as usize)?.as_ref()
    }

    fn position(&self, hash: u64, same: impl Fn(&Tombstone) -> bool) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        self.index.find(hash, |&at| self.at(at).is_some_and(&same)).copied()
    }

    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<&Tombstone> {
        self.at(self.position(hash, |tombstone| *tombstone.key == *key)?)
    }

    /// The one that a change of this version left.
    pub(super) fn of_version(&self, hash: u64, version: Version) -> Option<&Tombstone> {
        self.at(self.position(hash, |tombstone| tombstone.version == version)?)
    }

    /// Remembers a key, in place of what was remembered of it.
    pub(super) fn insert(&mut self, hash: u64, key: Box<[u8]>, version: Version, remains: Remains) {
        self.remove(hash, &key);
        let tombstone = Tombstone { key, hash, version, remains, older: self.newest, newer: NIL };
        self.cost += tombstone.cost();
        let at = match self.vacant.pop() {
            Some(at) => {
                self.slots[at as usize] = Some(tombstone);
                at
            }
            None => {
                self.slots.push(Some(tombstone));
                self.slots.len() as u32 - 1
            }
        };
        match self.newest {
            NIL => self.oldest = at,
            newest => self.link(newest, |tombstone| tombstone.newer = at),
        }
        self.newest = at;
        let slots = &self.slots;
        let hash_of = |&at: &u32| slots[at as usize].as_ref().map_or(0, |other| other.hash);
        self.index.insert_unique(hash, at, hash_of);
    }

    fn link(&mut self, at: u32, change: impl FnOnce(&mut Tombstone)) {
        if let Some(tombstone) = self.slots.get_mut(at as usize).and_then(Option::as_mut) {
            change(tombstone);
        }
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, hash: u64, key: &[u8]) {
        if let Some(at) = self.position(hash, |tombstone| *tombstone.key == *key) {
            self.take(at);
        }
    }

    /// The one that has been remembered longest.
    pub(super) fn oldest(&self) -> Option<&Tombstone> {
        self.at(self.oldest)
    }

    pub(super) fn take_oldest(&mut self) -> Option<Tombstone> {
        self.take(self.oldest)
    }

    fn take(&mut self, at: u32) -> Option<Tombstone> {
        let tombstone = self.slots.get_mut(at as usize)?.take()?;
        let (older, newer) = (tombstone.older, tombstone.newer);
        match older {
            NIL => self.oldest = newer,
            older => self.link(older, |tombstone| tombstone.newer = newer),
        }
        match newer {
            NIL => self.newest = older,
            newer => self.link(newer, |tombstone| tombstone.older = older),
        }
        if let Ok(entry) = self.index.find_entry(tombstone.hash, |&other| other == at) {
            entry.remove();
        }
        self.vacant.push(at);
        self.cost -= tombstone.cost();
        Some(tombstone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_what_was_removed_is_forgotten() {
        let mut tombstones = Tombstones::new();
        for (hash, key) in [(1, b"a"), (2, b"b"), (1, b"c")] {
            let version = Version::from_raw(u64::from(key[0]));
            tombstones.insert(hash, Box::from(&key[..]), version, Remains::Tombstone);
        }
        let version = |tombstone: Option<&Tombstone>| tombstone.map(|found| found.version.raw());
        assert_eq!(version(tombstones.get(1, b"c")), Some(u64::from(b'c')));
        tombstones.remove(1, b"a");
        assert_eq!(version(tombstones.get(1, b"a")), None);
        assert_eq!(version(tombstones.of_version(2, Version::from_raw(98))), Some(98));
        assert_eq!(tombstones.take_oldest().map(|oldest| oldest.key), Some(Box::from(&b"b"[..])));
        assert_eq!(tombstones.take_oldest().map(|oldest| oldest.key), Some(Box::from(&b"c"[..])));
        assert_eq!((tombstones.len(), tombstones.cost()), (0, 0));
        assert!(tombstones.take_oldest().is_none());
    }
}
