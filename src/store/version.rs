//! Versions: the total order of all writes of the pair, and the clock that hands them out.
//!
//! A version is a hybrid logical clock reading (Kulkarni et al., "Logical Physical Clocks", 2014):
//! `milliseconds since 2024-01-01 (41 bits) | counter (15 bits) | shard (6 bits) | node (1 bit)`. It
//! stays below 2^63, so that PHP and Java clients can hold it, and is what clients see as the CAS of
//! an item. Shard and node make it unique in the pair without any clock knowing of another.

use std::fmt;

/// 2024-01-01T00:00:00Z in milliseconds since the Unix epoch.
const EPOCH_MS: u64 = 1_704_067_200_000;
const TIME_SHIFT: u32 = 22;
/// Shard and node: the bits that are the same for all versions of one clock.
const PLACE_BITS: u32 = 7;
const MAX_MS: u64 = (1 << 41) - 1;

/// A moment of the daemon's clock, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

impl Now {
    /// Whole seconds since the Unix epoch: the granularity of expiry, as in memcached.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0 / 1000).unwrap_or(u32::MAX)
    }
}

/// One of the two nodes of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// The node whose versions are even.
    A,
    /// The node whose versions are odd.
    B,
}

impl Node {
    fn bit(self) -> u64 {
        match self {
            Node::A => 0,
            Node::B => 1,
        }
    }

    /// The other node of the pair.
    pub fn other(self) -> Node {
        match self {
            Node::A => Node::B,
            Node::B => Node::A,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Node::A => "a",
            Node::B => "b",
        })
    }
}

/// The place of one write in the order of all writes of the pair. Zero is "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// Older than every write.
    pub const NONE: Version = Version(0);

    /// A version as it came over the wire or from a client.
    pub fn from_raw(raw: u64) -> Version {
        Version(raw)
    }

    /// The number that clients see as CAS.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// Older than every write made at or after `ms` (Unix milliseconds), newer than those before.
    pub fn at(ms: u64) -> Version {
        Version(ms.saturating_sub(EPOCH_MS).min(MAX_MS) << TIME_SHIFT)
    }

    /// The node that made the write.
    pub fn node(self) -> Node {
        if self.0 & 1 == 0 { Node::A } else { Node::B }
    }

    /// The shard whose clock handed it out.
    pub fn shard(self) -> usize {
        (self.0 >> 1) as usize % (1 << (PLACE_BITS - 1))
    }

    /// The wall-clock part, in Unix milliseconds.
    pub fn milliseconds(self) -> u64 {
        (self.0 >> TIME_SHIFT) + EPOCH_MS
    }
}

/// Hands out ever newer versions; one per shard, used under the shard's lock.
#[derive(Debug)]
pub(super) struct VersionClock {
    last: Version,
    shard: u64,
}

impl VersionClock {
    /// The clock of a shard; it has seen nothing yet.
    pub(super) fn new(shard: usize) -> VersionClock {
        VersionClock { last: Version::NONE, shard: shard as u64 }
    }

    /// The next version: newer than all that were handed out or observed.
    pub(super) fn next(&mut self, now: Now, node: Node) -> Version {
        // A clock that stands at or before the epoch still must not hand out zero.
        let place = self.shard << 1 | node.bit();
        let wall = Version::at(now.0.max(EPOCH_MS + 1)).0 | place;
        let after_last = (((self.last.0 >> PLACE_BITS) + 1) << PLACE_BITS) | place;
        self.last = Version(wall.max(after_last));
        self.last
    }

    /// Remembers a version that was made elsewhere, so that the next one is newer.
    pub(super) fn observe(&mut self, seen: Version) {
        self.last = self.last.max(seen);
    }

    /// The newest version handed out or observed.
    pub(super) fn last(&self) -> Version {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_follow_the_wall_clock() {
        let mut clock = VersionClock::new(63);
        let version = clock.next(Now(EPOCH_MS + 5_000), Node::B);
        assert_eq!(version.milliseconds(), EPOCH_MS + 5_000);
        assert_eq!(version.node(), Node::B);
        assert!(version > Version::at(EPOCH_MS + 5_000));
        assert!(version < Version::at(EPOCH_MS + 5_001));
    }

    #[test]
    fn the_first_version_of_a_clock_set_to_1970_is_not_zero() {
        assert_ne!(VersionClock::new(0).next(Now(0), Node::A), Version::NONE);
    }

    proptest! {
        #[test]
        fn versions_always_rise_whatever_the_clock_does(
            steps in proptest::collection::vec((0u64..1 << 42, any::<bool>(), 0u64..1 << 62), 1..200)
        ) {
            let mut clock = VersionClock::new(5);
            let mut previous = Version::NONE;
            for (ms, ours, seen) in steps {
                if !ours {
                    clock.observe(Version::from_raw(seen));
                    previous = previous.max(Version::from_raw(seen));
                }
                let node = if ours { Node::A } else { Node::B };
                let version = clock.next(Now(ms), node);
                prop_assert!(version > previous);
                prop_assert_eq!(version.node(), node);
                prop_assert!(version.raw() < 1 << 63);
                previous = version;
            }
        }
    }
}
