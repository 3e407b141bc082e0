//! All that must hold of the books, checked after what tests do.

use super::clean::Scan;
use super::log::Position;
use super::record::Stored;
use super::segment::{Kind, NONE};
use super::shard::Shard;
use super::stats::ClassStats;
use super::{SHARDS, Store, guard};
use std::collections::BTreeMap;

impl Store {
    /// Panics if index, records, segments, counters and budget do not agree.
    pub(super) fn check(&self) {
        let _cleaner = guard(&self.cleaner);
        let shards: Vec<_> = (0..SHARDS).map(|number| self.lock(number)).collect();
        let mut charged: u64 = shards.iter().map(|shard| shard.cost()).sum();
        charged += self.log.budget.arriving();
        let mut living: BTreeMap<Position, usize> = BTreeMap::new();
        let mut stats = vec![ClassStats::default(); self.classes.count()];
        for (number, shard) in shards.iter().enumerate() {
            for at in positions(shard) {
                let record = shard.record(at);
                assert!(!record.is_dead(), "the index knows a dead record");
                let hash = self.hash(record.key());
                assert_eq!(Store::shard_of(hash), number);
                assert!(shard.index.holds(hash, at));
                assert!(shard.tombstones.get(hash, record.key()).is_none(), "both here and gone");
                assert!(living.insert(at, record.size()).is_none(), "known twice");
                let (class, size) = shard.size_of(record);
                stats[class].number += 1;
                stats[class].mem_requested += size;
                stats[class].chunks += self.classes.chunks_of(size);
                if let Stored::Block { number, .. } = record.stored() {
                    charged += self.log.blocks.cost(number);
                }
            }
        }
        for (class, sum) in stats.iter().enumerate() {
            let held = |name: fn(&ClassStats) -> u64| -> u64 {
                shards.iter().map(|shard| name(&shard.stats[class])).sum()
            };
            assert_eq!(held(|stats| stats.number), sum.number);
            assert_eq!(held(|stats| stats.mem_requested), sum.mem_requested);
            assert_eq!(held(|stats| stats.chunks), sum.chunks);
        }
        charged += self.check_segments(&shards, &mut living);
        assert!(living.is_empty(), "records outside of all segments");
        assert_eq!(self.memory_used(), charged);
        assert!(charged <= self.memory_limit().max(self.log.budget.bound()) + self.forced());
    }

    /// What may be taken without asking: ghosts, and steps of the index.
    fn forced(&self) -> u64 {
        (0..SHARDS).len() as u64 * 8192
    }

    /// What segments are charged; takes the records it finds out of `living`.
    fn check_segments(
        &self,
        shards: &[super::entry::Locked<'_>],
        living: &mut BTreeMap<Position, usize>,
    ) -> u64 {
        let mut charged = 0;
        let (mut small, mut main) = (Vec::new(), Vec::new());
        for number in 1..self.log.numbers() {
            let books = self.log.segments.get(number);
            let tail = match books.kind() {
                Kind::Vacant => continue,
                Kind::Open => self.reached(number).expect("an open segment has a lane"),
                kind => {
                    match kind {
                        Kind::Small => small.push(number),
                        Kind::Main => main.push(number),
                        _ => {}
                    }
                    books.tail()
                }
            };
            charged += u64::from(books.charged.load(std::sync::atomic::Ordering::Relaxed));
            let mut scan = Scan { segment: number, offset: 0, tail };
            let mut live = 0;
            while let Some((at, hash)) = self.scan_next(&mut scan) {
                let record = shards[Store::shard_of(hash)].record(at);
                scan.offset += record.size();
                assert_eq!(living.remove(&at).is_none(), record.is_dead());
                if !record.is_dead() {
                    live += record.size();
                    let exptime = record.exptime();
                    assert!(exptime == 0 || books.is_due(exptime), "expires unseen");
                }
            }
            assert_eq!((scan.offset, books.live() as usize), (tail, live));
        }
        let pool = self.log.pool();
        for (queue, mut numbers) in [(&pool.small, small), (&pool.main, main)] {
            let (mut queued, mut next) = (Vec::new(), queue.oldest());
            while next != NONE {
                queued.push(next);
                next = self.log.segments.get(next).newer();
            }
            queued.sort_unstable();
            numbers.sort_unstable();
            assert_eq!(queued, numbers);
            let weight: u64 = queued.iter().map(|&n| self.log.segments.get(n).weight()).sum();
            assert_eq!((queue.weight(), queue.len() as usize), (weight, queued.len()));
        }
        charged
    }
}

fn positions(shard: &Shard) -> Vec<Position> {
    let (mut all, mut reached) = (Vec::new(), 0);
    while shard.index.visit(&mut reached, |at| all.push(at)) {}
    assert_eq!(all.len(), shard.index.len());
    all
}
