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
        let (before, after) = {
            let mut state = guard(&self.flush);
            let before = *state;
            *state = state.merge(flush).advance(now.0);
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

    /// What `flush_all` has done and will do.
    pub fn flush_state(&self) -> Flush {
        *guard(&self.flush)
    }
}
