//! `flush_all`: one horizon, before which everything is gone.

use super::change::Flush;
use super::version::{Now, Version, VersionClock};
use super::written::Written;
use super::{SHARDS, Store, guard};

impl Store {
    /// `flush_all`: everything stored until now is gone.
    pub fn flush(&self, now: Now) {
        let issued = self.version_after_all(now);
        Written::note_flush(issued);
        // A flush that was to come is replaced, as memcached does.
        self.merge_flush(Flush { horizon: issued, issued, at: 0 }, now);
    }

    /// `flush_all` with a delay: at `at` (Unix milliseconds) everything stored before is gone.
    pub fn flush_at(&self, at: u64, now: Now) {
        let issued = self.version_after_all(now);
        Written::note_flush(issued);
        self.merge_flush(Flush { horizon: Version::NONE, issued, at }, now);
    }

    fn version_after_all(&self, now: Now) -> Version {
        let newest = (0..SHARDS).map(|number| self.lock(number).clock.last()).max();
        let mut clock = VersionClock::new(0);
        clock.observe(newest.unwrap_or_default());
        clock.observe(guard(&self.flush).issued);
        clock.next(now, self.node())
    }

    pub(super) fn merge_flush(&self, flush: Flush, now: Now) {
        let ahead = self.ahead_of_a_due_flush(self.flush_state().merge(flush), now);
        let (before, after) = {
            let mut state = guard(&self.flush);
            let before = *state;
            *state = state.merge(flush).advance(now.0);
            state.horizon = state.horizon.max(ahead);
            (before, *state)
        };
        if after.horizon > before.horizon {
            (0..SHARDS).for_each(|number| self.lock(number).flush_before(after.horizon));
            self.crawl_soon();
        }
        if after != before && self.replicated {
            self.wake_sender();
        }
    }

    /// A horizon for what was stored before a flush that is due and is newer than its time, since a
    /// clock that was ahead of this one's made it; none if there is nothing of the kind.
    fn ahead_of_a_due_flush(&self, flush: Flush, now: Now) -> Version {
        if flush.at == 0 || now.0 < flush.at {
            return Version::NONE;
        }
        let after_all = self.version_after_all(now);
        if after_all.milliseconds() > now.0 { after_all } else { Version::NONE }
    }

    /// What `flush_all` has done and will do.
    pub fn flush_state(&self) -> Flush {
        *guard(&self.flush)
    }
}
