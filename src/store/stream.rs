//! What the peer is sent: the live stream of each shard, and walks over what it missed.

use super::change::{Change, Mark};
use super::index::Reached;
use super::log::Position;
use super::record::Record;
use super::ring::Written;
use super::shard::Shard;
use super::tombstone::Remains;
use super::version::{Node, Now, Version};
use super::{SHARDS, Store};
use std::sync::atomic::Ordering;

/// Entries that one call takes from a ring at most.
const LIVE_STEP: usize = 256;
/// Items and tombstones that one call of a walk looks at, about: some 100 microseconds under the lock.
const WALK_STEP: usize = 1024;

/// What one step of the live stream did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveStep {
    /// All changes up to this version were emitted or superseded.
    Sent(Version),
    /// Nothing was waiting.
    Empty,
    /// More was written than the ring holds: the shard must be walked.
    Overrun,
}

/// An item that was used as often as this is hot, and goes first to a node that is filled.
const HOT: u8 = 2;

/// Which items a walk shows, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Hot ones.
    Hot,
    /// All but those that were hot already in the first round: not used since, they were shown.
    Others,
    /// All.
    All,
}

/// A walk over one shard, kept between its steps.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    reached: Reached,
    round: Round,
    /// Unix seconds at which the first round began.
    began: u32,
    /// Tombstones seen; `None` as long as there are items to see.
    tombstones: Option<usize>,
    /// The peer holds everything of ours up to here.
    since: Version,
    /// Everything is wanted, not only what this node wrote.
    full: bool,
    /// What ended by itself is shown as an item that has expired, not as a delete: in a store that is
    /// brought back, the memory of the one may go silently where there is no room, that of the other may not.
    ends_as_items: bool,
}

impl Walk {
    /// A walk for a peer that has all of ours up to `since`; nothing at all if that is
    /// [`Version::NONE`], and then what it once wrote itself is wanted too.
    pub fn since(since: Version) -> Walk {
        Walk {
            reached: 0,
            round: Round::All,
            began: 0,
            tombstones: None,
            since,
            full: since == Version::NONE,
            ends_as_items: false,
        }
    }

    /// A walk for a peer that has nothing: what it will be asked for most comes first.
    pub fn to_fill(now: Now) -> Walk {
        Walk { round: Round::Hot, began: now.seconds(), ..Walk::since(Version::NONE) }
    }

    /// Whether it shows hot items still.
    pub fn is_hot(&self) -> bool {
        self.round == Round::Hot
    }

    /// A walk that emits all that [`Store::restore`] needs.
    pub fn to_restore() -> Walk {
        Walk { ends_as_items: true, ..Walk::since(Version::NONE) }
    }
}

impl Store {
    /// Calls `wake` whenever a change is recorded and none was waiting. Only the first call counts.
    pub fn on_change(&self, wake: impl Fn() + Send + Sync + 'static) {
        // A second sender would be a mistake of this program; the first goes on to be served.
        let _ = self.wake.set(Box::new(wake));
    }

    /// Starts the live stream of a shard from nothing; what is older is for a walk.
    /// Returns the version up to which a walk must reach.
    pub fn open_stream(&self, shard: usize) -> Version {
        let mut shard = self.lock(shard);
        let last = shard.clock.last();
        shard.ring.open(last);
        // Not nothing, even if nothing was ever written: to have got that far is to be known.
        last.max(Version::from_raw(1))
    }

    /// Goes on with the live stream of a shard behind what the peer has acknowledged, if all that is
    /// missing to it is in the stream.
    pub fn resume_stream(&self, shard: usize) -> Option<Version> {
        let mut shard = self.lock(shard);
        let acked = shard.acked;
        (acked != Version::NONE && shard.ring.resume(acked)).then_some(acked)
    }

    /// There is no peer to send to for now.
    pub fn pause_streams(&self) {
        (0..SHARDS).for_each(|number| self.lock(number).ring.rewind());
    }

    /// Takes the set of shards whose live stream has something, a bit each.
    pub fn take_dirty(&self) -> u64 {
        self.dirty.swap(0, Ordering::Acquire)
    }

    /// Emits waiting changes of a shard until about `limit` bytes of keys and values are reached.
    pub fn live_changes(
        &self,
        shard: usize,
        limit: usize,
        mut emit: impl FnMut(Change<'_>),
    ) -> LiveStep {
        let mut shard = self.lock(shard);
        // Not the guard, whose parts can't be borrowed one by one.
        let shard: &mut Shard = &mut shard;
        if shard.ring.is_overrun() {
            return LiveStep::Overrun;
        }
        let mut step = LiveStep::Empty;
        let mut bytes = 0;
        let mut send = |change: Change<'_>| {
            bytes += change.weight();
            emit(change);
            bytes
        };
        for _ in 0..LIVE_STEP {
            let Some((Written { hash, version }, copy)) = shard.ring.pop() else {
                break;
            };
            step = LiveStep::Sent(version);
            let sent = match copy {
                Some(change) => send(change),
                None => shard.live_change(hash, version).map_or(0, &mut send),
            };
            if sent >= limit {
                break;
            }
        }
        step
    }

    /// Emits what the walk comes across until about `limit` bytes; true when it has seen all.
    pub fn walk(
        &self,
        shard: usize,
        walk: &mut Walk,
        limit: usize,
        mut emit: impl FnMut(Change<'_>),
    ) -> bool {
        let shard = self.lock(shard);
        let node = self.node();
        let (mut bytes, mut seen) = (0, 0);
        let mut send = |change: Change<'_>| {
            bytes += change.weight();
            emit(change);
            bytes
        };
        while walk.tombstones.is_none() {
            if seen >= WALK_STEP {
                return false;
            }
            seen += 1;
            let (is_wanted, mut sent) = (*walk, 0);
            let more = shard.index.visit(&mut walk.reached, |at| {
                seen += 1;
                let record = shard.record(at);
                // What was flushed here is flushed there. What has expired here is sent: the peer may
                // hold the value from before it.
                if record.version() < shard.horizon || !is_wanted.shows(record) {
                } else if is_wanted.wants(record.version(), node) {
                    sent = send(shard.change(record));
                } else if is_wanted.wants(record.touched(), node) {
                    sent = send(touch_change(record));
                }
            });
            if !more && walk.round == Round::Hot {
                (walk.round, walk.reached) = (Round::Others, 0);
                return false;
            }
            if !more {
                walk.tombstones = Some(0);
            }
            if sent >= limit {
                return false;
            }
        }
        let slots = shard.tombstones.slots();
        let from = walk.tombstones.unwrap_or(0).min(slots.len());
        let mut next = from;
        for slot in &slots[from..slots.len().min(from + WALK_STEP)] {
            next += 1;
            let Some(gone) = slot else { continue };
            let change = if walk.ends_as_items && gone.remains == Remains::Trace {
                expired(&gone.key, gone.version)
            } else {
                Change::Delete { key: &gone.key, version: gone.version }
            };
            if gone.version >= shard.horizon
                && walk.wants(gone.version, node)
                && send(change) >= limit
            {
                break;
            }
        }
        walk.tombstones = Some(next);
        next >= slots.len()
    }

    /// Notes that the peer holds everything of this node's in `shard` up to `version`.
    pub fn acknowledge(&self, shard: usize, version: Version) {
        self.lock(shard).acknowledge(version);
    }

    /// Up to where a shard's live stream has been taken, if that is all there is: nothing that this
    /// node wrote there is newer and was not taken.
    pub fn taken(&self, shard: usize) -> Option<Version> {
        let shard = self.lock(shard);
        shard.ring.is_empty().then(|| shard.clock.last())
    }

    /// Up to where the peer holds what this node wrote in `shard`.
    pub fn acknowledged(&self, shard: usize) -> Version {
        self.lock(shard).acked
    }

    /// Forgets what the peer held: it started anew.
    pub fn forget_acknowledgements(&self) {
        (0..SHARDS).for_each(|number| self.lock(number).acked = Version::NONE);
    }

    /// The version up to which deletes may have been forgotten that the peer never heard of, if any.
    pub fn doubt(&self) -> Option<Version> {
        let in_doubt = |number| {
            let shard = self.lock(number);
            (shard.floor > shard.acked).then_some(shard.floor)
        };
        (0..SHARDS).filter_map(in_doubt).max()
    }

    /// How many deletes were forgotten before the peer acknowledged them.
    pub fn forgotten_deletes(&self) -> u64 {
        (0..SHARDS).map(|number| self.lock(number).forgotten).sum()
    }

    /// The newest version of a delete that was forgotten before the peer acknowledged it.
    pub fn tombstone_floor(&self) -> Version {
        (0..SHARDS).map(|number| self.lock(number).floor).max().unwrap_or_default()
    }

    /// Forgets that deletes were forgotten: what they were of is worth nothing.
    pub fn forget_doubt(&self) {
        (0..SHARDS).for_each(|number| self.lock(number).floor = Version::NONE);
    }

    /// Drops every item and every remembered delete of a shard up to `newest` without a trace: they
    /// are from a past that has been overtaken. Returns how many items went.
    pub fn drop_stale(&self, shard: usize, newest: Version) -> u64 {
        let mut dropped = 0;
        self.sweep(shard, newest, |shard, hash, at| {
            shard.forget(hash, at);
            dropped += 1;
        });
        let mut shard = self.lock(shard);
        while shard.tombstones.oldest().is_some_and(|oldest| oldest.version <= newest) {
            shard.tombstones.take_oldest();
        }
        dropped
    }

    /// Drops every item of a shard up to `floor`, which the peer may have deleted and forgotten; it
    /// sends what it still has. Returns how many went.
    pub fn drop_in_doubt(&self, shard: usize, floor: Version) -> u64 {
        // By a slow clock what is written from now on would be older, and the peer would not take it.
        self.lock(shard).clock.observe(floor);
        let mut dropped = 0;
        self.sweep(shard, floor, |shard, hash, at| {
            shard.end(hash, at, Remains::Tombstone);
            dropped += 1;
        });
        dropped
    }

    /// Calls `each` with every item of a shard up to a version, in steps. What it ends is not to be
    /// sent any more.
    fn sweep(&self, shard: usize, upto: Version, mut each: impl FnMut(&mut Shard, u64, Position)) {
        let (mut reached, mut more) = (0, true);
        while more {
            let mut shard = self.lock(shard);
            shard.ring.forget_copies();
            let mut found = Vec::new();
            let mut seen = 0;
            while more && seen < WALK_STEP {
                seen += 1;
                more = shard.index.visit(&mut reached, |at| {
                    seen += 1;
                    if shard.record(at).version() <= upto {
                        found.push(at);
                    }
                });
            }
            for at in found {
                let hash = self.hash(shard.record(at).key());
                each(&mut shard, hash, at);
            }
        }
    }
}

impl Shard {
    /// What a write that was recorded made, unless it was superseded.
    fn live_change(&self, hash: u64, version: Version) -> Option<Change<'_>> {
        let is_of = |record: Record<'_>| [record.version(), record.touched()].contains(&version);
        if let Some(at) = self.index.find(hash, |at| is_of(self.record(at))) {
            let record = self.record(at);
            return Some(if record.version() == version {
                self.change(record).of_a_write()
            } else {
                touch_change(record)
            });
        }
        let gone = self.tombstones.of_version(hash, version)?;
        Some(Change::Delete { key: &gone.key, version })
    }
}

/// An item that was over long ago.
fn expired(key: &[u8], version: Version) -> Change<'_> {
    let (touched, mark) = (Version::NONE, Mark::default());
    Change::Set { key, value: &[], flags: 0, exptime: 1, version, touched, mark, hits: 0 }
}

/// The touch that an item last had.
fn touch_change(record: Record<'_>) -> Change<'_> {
    Change::Touch {
        key: record.key(),
        version: record.version(),
        touched: record.touched(),
        exptime: record.exptime(),
    }
}

impl Walk {
    /// Whether it is this round's turn to show the item.
    fn shows(&self, record: Record<'_>) -> bool {
        let is_hot = record.hits() >= HOT;
        match self.round {
            Round::Hot => is_hot,
            Round::Others => !is_hot || record.used_since(self.began),
            Round::All => true,
        }
    }

    fn wants(&self, version: Version, node: Node) -> bool {
        version > self.since && (self.full || version.node() == node)
    }
}

impl Change<'_> {
    /// About how many bytes it takes to send.
    fn weight(&self) -> usize {
        const RECORD: usize = 40;
        RECORD
            + match self {
                Change::Set { key, value, .. } => key.len() + value.len(),
                Change::Delete { key, .. } | Change::Touch { key, .. } => key.len(),
                Change::Flush(_) => 0,
            }
    }
}
