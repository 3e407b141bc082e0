//! Virtual slab classes: memcached's table of chunk sizes, which this engine does not allocate by
//! but reports by, so that the tools written for memcached draw true pictures.

/// What memcached adds to key and value: item header, CAS and the key's terminator.
const HEADER: u64 = 48;
const CAS: u64 = 8;
const ALIGN: u64 = 8;
/// Bytes of a slab page.
pub const PAGE: u64 = 1024 * 1024;
/// The largest chunk; larger items are chains of it in memcached.
const CHUNK_MAX: u64 = PAGE / 2;
/// memcached's limit on the number of classes.
const CLASSES_MAX: usize = 63;

/// Item sizes below this find their class by one look at a table; every request asks for one.
const DIRECT_BELOW: u64 = 16 * 1024;

/// The table of chunk sizes that memcached would build from `-f` and `-n`.
#[derive(Clone, Debug)]
pub struct Classes {
    chunks: Vec<u64>,
    /// The class of sizes up to `ALIGN` times the position: chunks are multiples of it.
    direct: Box<[u8]>,
    cas: bool,
}

impl Classes {
    /// `growth` is `-f`, `chunk_size` is `-n` in bytes; without `cas` (`-C`) items are 8 bytes smaller.
    pub fn new(growth: f64, chunk_size: u32, cas: bool) -> Classes {
        let mut chunks = Vec::new();
        let mut size = HEADER + u64::from(chunk_size);
        while chunks.len() < CLASSES_MAX - 1 && (size as f64) < CHUNK_MAX as f64 / growth {
            size = size.next_multiple_of(ALIGN);
            chunks.push(size);
            size = (size as f64 * growth) as u64;
        }
        chunks.push(CHUNK_MAX);
        let direct = (0..=DIRECT_BELOW / ALIGN).map(|step| search(&chunks, step * ALIGN)).collect();
        Classes { chunks, direct, cas }
    }

    /// How many classes there are; valid class numbers are `1..=count()`.
    pub fn count(&self) -> usize {
        self.chunks.len()
    }

    /// Bytes that memcached would count for such an item: the size that `-I` limits.
    pub fn item_size(&self, key: usize, flags: u32, value: usize) -> u64 {
        let fixed = HEADER + if self.cas { CAS } else { 0 };
        fixed + key as u64 + 1 + if flags == 0 { 0 } else { 4 } + value as u64 + 2
    }

    /// The class number (from 1) of an item of that size.
    pub fn class_of(&self, item_size: u64) -> u8 {
        if item_size < DIRECT_BELOW {
            return self.direct[item_size.div_ceil(ALIGN) as usize];
        }
        search(&self.chunks, item_size)
    }

    /// Bytes of a chunk of class `class` (from 1).
    pub fn chunk_size(&self, class: u8) -> u64 {
        self.chunks[usize::from(class) - 1]
    }

    /// Chunks that an item of `item_size` bytes takes in its class: more than one only for items
    /// larger than the largest chunk.
    pub fn chunks_of(&self, item_size: u64) -> u64 {
        item_size.div_ceil(CHUNK_MAX).max(1)
    }
}

/// The class number of the first chunk that holds `item_size` bytes, or of the largest.
fn search(chunks: &[u64], item_size: u64) -> u8 {
    let index = chunks.partition_point(|&chunk| chunk < item_size);
    (index.min(chunks.len() - 1) + 1) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direct_table_says_what_a_search_says_for_every_size() {
        for (growth, chunk_size) in [(1.25, 48), (1.07, 1), (3.0, 700), (1.0001, 48)] {
            let classes = Classes::new(growth, chunk_size, true);
            for size in 0..DIRECT_BELOW + 100 {
                assert_eq!(
                    classes.class_of(size),
                    search(&classes.chunks, size),
                    "{growth} {size}"
                );
            }
        }
    }

    #[test]
    fn the_default_table_is_memcacheds() {
        let classes = Classes::new(1.25, 48, true);
        let table: Vec<u64> = (1..=classes.count() as u8).map(|c| classes.chunk_size(c)).collect();
        let expected = [
            96, 120, 152, 192, 240, 304, 384, 480, 600, 752, 944, 1184, 1480, 1856, 2320, 2904,
            3632, 4544, 5680, 7104, 8880, 11104, 13880, 17352, 21696, 27120, 33904, 42384, 52984,
            66232, 82792, 103496, 129376, 161720, 202152, 252696, 315872, 394840, 524288,
        ];
        assert_eq!(table, expected);
    }

    #[test]
    fn an_item_is_in_the_first_class_whose_chunk_holds_it() {
        let classes = Classes::new(1.25, 48, true);
        assert_eq!(classes.class_of(96), 1);
        assert_eq!(classes.class_of(97), 2);
        assert_eq!(classes.class_of(524_288), 39);
        assert_eq!(classes.class_of(1_048_576), 39);
        assert_eq!(classes.chunks_of(1_048_576), 2);
    }

    #[test]
    fn the_largest_value_of_a_three_byte_key_under_the_default_limit_is_1048514() {
        assert_eq!(Classes::new(1.25, 48, true).item_size(3, 0, 1_048_514), 1_048_576);
    }
}
