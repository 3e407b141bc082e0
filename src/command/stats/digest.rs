//! `stats replication digest`: what this node holds, in numbers that are the same on its peer if that
//! holds the same.
//!
//! Keys are spread over parts by a hash that both nodes share. Of each part there is a sum over its
//! live items of a hash of key, version and last touch: in whatever order they come, the same items
//! make the same sum, and a version is that of one write in the pair.

use super::super::Cache;
use super::super::dump::Steps;
use super::super::reply::stat;
use crate::protocol::Output;
use crate::store::{Cursor, Now, Version};

/// Parts of the keys.
const PARTS: usize = 64;
/// Places that are looked at under one lock.
const PLACES: u32 = 256;

/// Items of a part, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    items: u64,
    sum: u64,
}

/// The digest under way.
pub(super) struct Digest {
    cursor: Cursor,
    parts: [Part; PARTS],
}

impl Digest {
    pub(super) fn new() -> Digest {
        Digest { cursor: Cursor::default(), parts: [Part::default(); PARTS] }
    }

    fn add(&mut self, key: &[u8], version: Version, touched: Version) {
        let hash = crc32fast::hash(key);
        let part = &mut self.parts[hash as usize % PARTS];
        part.items += 1;
        let item = mix(version.raw() ^ mix(touched.raw() ^ mix(u64::from(hash))));
        part.sum = part.sum.wrapping_add(item);
    }
}

/// The end of SplitMix64: every bit of the input has a say in every bit of the output.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Steps for Digest {
    fn step(&mut self, cache: &Cache, now: Now, out: &mut Output) -> bool {
        let mut cursor = self.cursor;
        let finished = cache.store.inspect(&mut cursor, PLACES, now, |item| {
            self.add(item.key(), item.version(), item.touched());
        });
        self.cursor = cursor;
        if finished {
            for (number, Part { items, sum }) in self.parts.iter().enumerate() {
                stat(out, format_args!("digest:{number}"), format_args!("{items} {sum:016x}"));
            }
            out.push(b"END\r\n");
        }
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(items: &[(&str, u64, u64)]) -> [Part; PARTS] {
        let mut digest = Digest::new();
        for &(key, version, touched) in items {
            digest.add(key.as_bytes(), Version::from_raw(version), Version::from_raw(touched));
        }
        digest.parts
    }

    #[test]
    fn the_same_items_make_the_same_digest_in_any_order_and_other_ones_another() {
        let items = [("one", 5, 0), ("two", 6, 9), ("three", 7, 0)];
        let mut turned = items;
        turned.reverse();
        assert_eq!(digest(&items), digest(&turned));
        for other in [("one", 8, 0), ("one", 5, 8), ("four", 5, 0)] {
            assert_ne!(digest(&items), digest(&[other, items[1], items[2]]), "{other:?}");
        }
        assert_ne!(digest(&items), digest(&items[1..]));
    }

    #[test]
    fn the_parts_are_the_same_on_every_machine_and_in_every_version() {
        let parts = digest(&[("key", 0x0123_4567_89ab_cdef, 0)]);
        let held: Vec<_> = parts.iter().enumerate().filter(|(_, part)| part.items > 0).collect();
        assert_eq!(held, [(41, &Part { items: 1, sum: 0x9825_4da7_2d8c_c1ed })]);
    }
}
