//! What a store is made from.

/// What a store is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes that items may cost together, everything included.
    pub memory: u64,
    /// Whether old items make room for new ones (`-M` says no).
    pub evictions: bool,
    /// Largest item, in bytes as memcached counts them (`-I`).
    pub item_size_max: u64,
    /// Slab growth factor, for the statistics (`-f`).
    pub growth_factor: f64,
    /// Smallest slab chunk's room for key, value and flags in bytes, for the statistics (`-n`).
    pub chunk_size: u32,
    /// Whether clients see CAS (`-C` says no); items are counted 8 bytes smaller without.
    pub cas: bool,
    /// Bytes that remembered deletes may cost; `None` when there is no peer.
    pub tombstone_memory: Option<u64>,
    /// Whether the memory is to be backed by huge pages where the system has some (`-L`).
    pub huge_pages: bool,
}

impl Default for Settings {
    /// Those of a memcached without options.
    fn default() -> Settings {
        Settings {
            memory: 64 << 20,
            evictions: true,
            item_size_max: 1 << 20,
            growth_factor: 1.25,
            chunk_size: 48,
            cas: true,
            tombstone_memory: None,
            huge_pages: false,
        }
    }
}
