//! Where items stand: an arena of slots that grows without moving anything, and the lists through it.

use super::change::Mark;
use super::version::Version;
use bytes::Bytes;

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Values from this size on are shared with the connections that send them instead of copied.
pub const SHARED_FROM: usize = 16 * 1024;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Free,
    /// An item.
    Item,
    /// The memory of a delete that the peer has not acknowledged.
    Tombstone,
    /// The memory of an item that ended by itself before the peer had seen it. Where there is no
    /// room for it, it goes silently: a small node must not make its peer doubt what it holds.
    Trace,
}

/// Key and value.
#[derive(Debug)]
pub(super) enum Data {
    /// Key and value in one piece.
    Packed(Box<[u8]>),
    /// A value that may be referred to by replies on their way out.
    Shared(Box<(Box<[u8]>, Bytes)>),
}

impl Data {
    pub(super) fn new(key: &[u8], value: &[&[u8]]) -> Data {
        let len: usize = value.iter().map(|piece| piece.len()).sum();
        if len >= SHARED_FROM {
            let mut bytes = Vec::with_capacity(len);
            value.iter().for_each(|piece| bytes.extend_from_slice(piece));
            return Data::Shared(Box::new((key.into(), Bytes::from(bytes))));
        }
        let mut packed = Vec::with_capacity(key.len() + len);
        packed.extend_from_slice(key);
        value.iter().for_each(|piece| packed.extend_from_slice(piece));
        Data::Packed(packed.into_boxed_slice())
    }

    /// Replaces key and value, in place where the size stays the same: counters and sessions that are
    /// written again cost no allocation.
    pub(super) fn overwrite(&mut self, key: &[u8], value: &[&[u8]]) {
        let len: usize = key.len() + value.iter().map(|piece| piece.len()).sum::<usize>();
        match self {
            Data::Packed(packed) if packed.len() == len && len < SHARED_FROM => {
                let (place, mut rest) = packed.split_at_mut(key.len());
                place.copy_from_slice(key);
                for piece in value {
                    let (place, after) = rest.split_at_mut(piece.len());
                    place.copy_from_slice(piece);
                    rest = after;
                }
            }
            _ => *self = Data::new(key, value),
        }
    }

    /// Bytes of heap that the allocator spends on it (glibc: a header of 8, steps of 16).
    fn cost(&self) -> u64 {
        match self {
            Data::Packed(packed) => heap_cost(packed.len()),
            Data::Shared(shared) => {
                heap_cost(size_of::<(Box<[u8]>, Bytes)>())
                    + heap_cost(shared.0.len())
                    + heap_cost(shared.1.len())
            }
        }
    }
}

fn heap_cost(len: usize) -> u64 {
    if len == 0 { 0 } else { (len as u64 + 8).next_multiple_of(16).max(32) }
}

/// Read since it was written.
pub(super) const FETCHED: u8 = 1;
/// See [`Mark::stale`].
pub(super) const STALE: u8 = 2;
/// See [`Mark::won`].
pub(super) const WON: u8 = 4;
/// See [`Mark::binary`].
pub(super) const BINARY: u8 = 8;
/// The CAS of [`Mark::cas`] stands between key and value, so that only items that have one pay for it.
pub(super) const DICTATED: u8 = 16;
/// What such a CAS takes, in bytes.
const CAS: usize = size_of::<u64>();

/// One item or tombstone.
#[derive(Debug)]
pub(super) struct Slot {
    pub version: Version,
    pub touched: Version,
    pub hash: u64,
    pub data: Data,
    /// Unix seconds; 0 is never.
    pub exptime: u32,
    /// Unix seconds of the last read or write.
    pub accessed: u32,
    pub flags: u32,
    prev: u32,
    next: u32,
    pub key_len: u8,
    pub state: State,
    /// Read since the eviction hand last passed.
    pub visited: bool,
    /// What else is known of the item: [`FETCHED`] and its neighbours.
    pub marks: u8,
}

/// What an index entry costs: four bytes and a control byte at the emptiest that the table gets.
const INDEX_COST: u64 = 12;

impl Slot {
    fn free() -> Slot {
        Slot {
            version: Version::NONE,
            touched: Version::NONE,
            hash: 0,
            data: Data::Packed(Box::default()),
            exptime: 0,
            accessed: 0,
            flags: 0,
            prev: NIL,
            next: NIL,
            key_len: 0,
            state: State::Free,
            visited: false,
            marks: 0,
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        match &self.data {
            Data::Packed(packed) => &packed[..usize::from(self.key_len)],
            Data::Shared(shared) => &shared.0[..usize::from(self.key_len)],
        }
    }

    fn cas_len(&self) -> usize {
        if self.marks & DICTATED == 0 { 0 } else { CAS }
    }

    /// What the meta commands left on the item.
    pub(super) fn mark(&self) -> Mark {
        let at = usize::from(self.key_len);
        let bytes = match &self.data {
            Data::Packed(packed) => &packed[at..at + self.cas_len()],
            Data::Shared(shared) => &shared.0[at..at + self.cas_len()],
        };
        Mark {
            cas: bytes.try_into().ok().map(u64::from_le_bytes),
            stale: self.marks & STALE != 0,
            won: self.marks & WON != 0,
            binary: self.marks & BINARY != 0,
        }
    }

    /// Writes key, mark and value; nobody has read them yet.
    pub(super) fn write(&mut self, key: &[u8], mark: Mark, value: &[&[u8]]) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        self.marks = bit(mark.stale, STALE) | bit(mark.won, WON) | bit(mark.binary, BINARY);
        match mark.cas {
            None => self.data.overwrite(key, value),
            Some(cas) => {
                self.marks |= DICTATED;
                // A key is never longer than its length, a byte, can say.
                let mut with_cas = [0; u8::MAX as usize + CAS];
                let with_cas = &mut with_cas[..key.len() + CAS];
                with_cas[..key.len()].copy_from_slice(key);
                with_cas[key.len()..].copy_from_slice(&cas.to_le_bytes());
                self.data.overwrite(with_cas, value);
            }
        }
        self.key_len = key.len() as u8;
    }

    pub(super) fn value(&self) -> &[u8] {
        match &self.data {
            Data::Packed(packed) => &packed[usize::from(self.key_len) + self.cas_len()..],
            Data::Shared(shared) => &shared.1,
        }
    }

    /// Everything that this slot costs, in bytes.
    pub(super) fn cost(&self) -> u64 {
        size_of::<Slot>() as u64 + INDEX_COST + self.data.cost()
    }
}

/// What an item with such a key and value will cost at most, in bytes.
pub(super) fn cost_of(key: usize, value: usize) -> u64 {
    let shared = if value >= SHARED_FROM {
        heap_cost(size_of::<(Box<[u8]>, Bytes)>()) + heap_cost(key)
    } else {
        0
    };
    size_of::<Slot>() as u64 + INDEX_COST + heap_cost(key + value) + shared
}

/// The slots of one shard.
#[derive(Debug)]
pub(super) struct Slots {
    chunks: Vec<Box<[Slot]>>,
    free: u32,
}

impl Slots {
    pub(super) fn new() -> Slots {
        Slots { chunks: Vec::new(), free: NIL }
    }

    /// How many slots there are, used or free: positions are below it.
    pub(super) fn len(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    pub(super) fn get(&self, at: u32) -> &Slot {
        &self.chunks[(at >> CHUNK_BITS) as usize][at as usize & (CHUNK - 1)]
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.chunks[(at >> CHUNK_BITS) as usize][at as usize & (CHUNK - 1)]
    }

    /// A free slot, taken.
    pub(super) fn take(&mut self) -> u32 {
        if self.free == NIL {
            self.grow();
        }
        let at = self.free;
        self.free = self.get(at).next;
        self.get_mut(at).next = NIL;
        at
    }

    fn grow(&mut self) {
        let base = self.len();
        let mut chunk: Box<[Slot]> = (0..CHUNK).map(|_| Slot::free()).collect();
        for (offset, slot) in chunk.iter_mut().enumerate() {
            slot.next = if offset + 1 == CHUNK { NIL } else { base + offset as u32 + 1 };
        }
        self.chunks.push(chunk);
        self.free = base;
    }

    /// Gives a slot back; it must be in no list.
    pub(super) fn give(&mut self, at: u32) {
        let next = self.free;
        *self.get_mut(at) = Slot { next, ..Slot::free() };
        self.free = at;
    }
}

/// A list through slots, newest first.
#[derive(Debug)]
pub(super) struct List {
    newest: u32,
    oldest: u32,
}

impl List {
    pub(super) fn new() -> List {
        List { newest: NIL, oldest: NIL }
    }

    pub(super) fn oldest(&self) -> u32 {
        self.oldest
    }

    pub(super) fn push(&mut self, slots: &mut Slots, at: u32) {
        let slot = slots.get_mut(at);
        (slot.prev, slot.next) = (NIL, self.newest);
        match self.newest {
            NIL => self.oldest = at,
            newest => slots.get_mut(newest).prev = at,
        }
        self.newest = at;
    }

    pub(super) fn remove(&mut self, slots: &mut Slots, at: u32) {
        let (newer, older) = (slots.get(at).prev, slots.get(at).next);
        match newer {
            NIL => self.newest = older,
            newer => slots.get_mut(newer).next = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => slots.get_mut(older).prev = newer,
        }
        let slot = slots.get_mut(at);
        (slot.prev, slot.next) = (NIL, NIL);
    }

    /// The neighbour that was added later; [`NIL`] at the end.
    pub(super) fn newer(slots: &Slots, at: u32) -> u32 {
        slots.get(at).prev
    }
}
