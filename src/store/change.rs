//! What travels between the two nodes: a change with its version.

use super::version::Version;

/// One change of one key, or of all of them. Borrowed from the store when it is sent, from the
/// network buffer when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The key has this value.
    Set {
        /// The key, 1 to 250 bytes.
        key: &'a [u8],
        /// The value's bytes.
        value: &'a [u8],
        /// The client's flags.
        flags: u32,
        /// Unix seconds at which the item is gone; 0 is never.
        exptime: u32,
        /// When it was written.
        version: Version,
        /// When its expiry was last changed without a write; [`Version::NONE`] if never.
        touched: Version,
        /// What the meta commands left on it.
        mark: Mark,
        /// How often it was used, as far as that is counted: 0 to 15. What is sent as it is written
        /// has not been used.
        hits: u8,
    },
    /// The key was deleted.
    Delete {
        /// The key.
        key: &'a [u8],
        /// When it was deleted.
        version: Version,
    },
    /// The expiry of the value of this version was changed.
    Touch {
        /// The key.
        key: &'a [u8],
        /// The value it holds for.
        version: Version,
        /// When it was touched.
        touched: Version,
        /// Unix seconds; 0 is never.
        exptime: u32,
    },
    /// Everything before a horizon is gone.
    Flush(Flush),
}

/// What only the meta commands leave on an item. All of it ends with the next write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The CAS that a client gave it, in place of its version.
    pub cas: Option<u64>,
    /// It was invalidated, and may be served until somebody has written it anew.
    pub stale: bool,
    /// One client has been told to write it anew.
    pub won: bool,
    /// Its key came in base64.
    pub binary: bool,
}

impl<'a> Change<'a> {
    /// The same of an item that was written just now.
    pub(super) fn of_a_write(self) -> Change<'a> {
        match self {
            Change::Set { key, value, flags, exptime, version, touched, mark, .. } => {
                Change::Set { key, value, flags, exptime, version, touched, mark, hits: 0 }
            }
            other => other,
        }
    }
}

impl Change<'_> {
    /// The newest version it speaks of.
    pub fn newest(&self) -> Version {
        match *self {
            Change::Set { version, touched, .. } | Change::Touch { version, touched, .. } => {
                version.max(touched)
            }
            Change::Delete { version, .. } => version,
            Change::Flush(Flush { horizon, issued, .. }) => horizon.max(issued),
        }
    }
}

/// The state of `flush_all`: one horizon that holds, and one that will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// Items older than this are gone.
    pub horizon: Version,
    /// When the delayed flush was asked for; [`Version::NONE`] if none ever was.
    pub issued: Version,
    /// Unix milliseconds at which the delayed flush takes effect; 0 if none is pending.
    pub at: u64,
}

impl Flush {
    /// Merges two states: commutative, associative and idempotent.
    pub fn merge(self, other: Flush) -> Flush {
        let newest = (self.issued, self.at).max((other.issued, other.at));
        Flush { horizon: self.horizon.max(other.horizon), issued: newest.0, at: newest.1 }
    }

    /// Turns a pending flush whose time has come into a horizon. That is not before the flush was asked
    /// for, which a clock may have been that is slower than those whose writes were there.
    pub fn advance(self, now_ms: u64) -> Flush {
        if self.at == 0 || now_ms < self.at {
            return self;
        }
        Flush { horizon: self.horizon.max(Version::at(self.at)).max(self.issued), at: 0, ..self }
    }
}

/// What became of a change that came from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was newer than what was here.
    Accepted,
    /// What is here is as new or newer.
    Stale,
    /// There is no room for it, or it can't be known whether it was deleted here: a cache may forget.
    Dropped,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flush() -> impl Strategy<Value = Flush> {
        (0u64..4, 0u64..4, 0u64..4).prop_map(|(horizon, issued, at)| Flush {
            horizon: Version::from_raw(horizon),
            issued: Version::from_raw(issued),
            at,
        })
    }

    proptest! {
        #[test]
        fn merging_flushes_commutes_associates_and_repeats(a in flush(), b in flush(), c in flush()) {
            prop_assert_eq!(a.merge(b), b.merge(a));
            prop_assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)));
            prop_assert_eq!(a.merge(b).merge(b), a.merge(b));
        }
    }

    #[test]
    fn a_pending_flush_becomes_a_horizon_when_its_time_comes() {
        let at = 1_800_000_000_000;
        let pending = Flush { issued: Version::from_raw(7), at, ..Flush::default() };
        assert_eq!(pending.advance(at - 1), pending);
        assert_eq!(pending.advance(at).horizon, Version::at(at));
        assert_eq!(pending.advance(at).at, 0);
        let issued = Version::at(at + 1);
        assert_eq!(Flush { issued, ..pending }.advance(at).horizon, issued);
    }
}
