//! What was evicted lately, by fingerprint: a key that comes back soon was worth keeping.

/// Fingerprints that share a bucket; in it they go first in, first out.
const BUCKET: usize = 32;

/// Fingerprints of as many keys as there were items when it was made. No key: 0.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    buckets: Box<[[u16; BUCKET]]>,
}

impl Ghosts {
    /// Bytes it takes.
    pub(super) fn cost(&self) -> u64 {
        size_of_val(&*self.buckets) as u64
    }

    /// Begins anew where there is no room for the ghosts of so many items, or far too much.
    pub(super) fn fit(&mut self, items: usize) {
        let wanted = items / BUCKET + 1;
        if wanted * 2 > self.buckets.len() * 3 || wanted * 4 < self.buckets.len() {
            self.buckets = vec![[0; BUCKET]; wanted].into_boxed_slice();
        }
    }

    fn place(&self, hash: u64) -> (usize, u16) {
        // The lowest bits choose the bucket of the index, the highest the shard.
        let high = u64::from((hash >> 26) as u32);
        let bucket = (high * self.buckets.len() as u64) >> 32;
        (bucket as usize, ((hash >> 6) as u16).max(1))
    }

    pub(super) fn insert(&mut self, hash: u64) {
        let (bucket, fingerprint) = self.place(hash);
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            bucket.copy_within(..BUCKET - 1, 1);
            bucket[0] = fingerprint;
        }
    }

    /// Whether the key is remembered.
    pub(super) fn contains(&self, hash: u64) -> bool {
        let (bucket, fingerprint) = self.place(hash);
        self.buckets.get(bucket).is_some_and(|bucket| bucket.contains(&fingerprint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ahash::RandomState;

    #[test]
    fn the_latest_evicted_are_remembered_and_others_hardly_ever() {
        let hasher = RandomState::new();
        let mut ghosts = Ghosts::default();
        ghosts.insert(7);
        assert!(!ghosts.contains(7), "nothing is remembered before there is room");
        ghosts.fit(10_000);
        (0..50_000).for_each(|key: u64| ghosts.insert(hasher.hash_one(key)));
        let known = |keys: std::ops::Range<u64>| {
            keys.filter(|key| ghosts.contains(hasher.hash_one(key))).count()
        };
        assert!(known(45_000..50_000) > 4_900);
        assert!(known(0..10_000) < 100);
        assert!(known(100_000..110_000) < 100);
    }
}
