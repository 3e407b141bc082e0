//! Those who watch, and the thread that hands them their lines.

use super::queue::Queue;
use super::watcher::{Subscription, Watcher};
use super::{Event, Streams, guard};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Most clients that may watch at once.
const WATCHERS_MAX: usize = 20;
/// Pause after lines were handed out, so that many are handed out at once.
const PAUSE: Duration = Duration::from_millis(1);

/// Why a client may not watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many do already.
    TooMany,
    /// The thread that hands out lines could not be started.
    Failed,
}

/// Where everything is told.
pub struct Log {
    wanted: Wanted,
    /// Number of the last line.
    told: AtomicU64,
    /// A queue per worker, and one for everybody else.
    queues: Box<[Mutex<Queue>]>,
    audience: Mutex<Audience>,
    signal: Signal,
    queue_limit: usize,
    watcher_limit: usize,
    counters: Counters,
}

/// The streams that somebody watches, on a cache line that is written as rarely as that changes:
/// every request looks at it.
#[repr(align(64))]
struct Wanted(AtomicU16);

#[derive(Default)]
struct Audience {
    watchers: Vec<Arc<Watcher>>,
    /// The thread that hands out runs.
    served: bool,
    /// Requests are counted by prefix.
    counted: bool,
}

#[derive(Default)]
struct Counters {
    written: AtomicU64,
    dropped: AtomicU64,
    sent: AtomicU64,
    skipped: AtomicU64,
}

/// What was told, and what was lost on the way; in lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Lost because a thread's queue was full.
    pub dropped: u64,
    /// Told.
    pub written: u64,
    /// Lost because a watcher's buffer was full.
    pub skipped: u64,
    /// Handed to a watcher.
    pub sent: u64,
    /// Clients that watch now.
    pub watchers: u64,
}

impl Log {
    /// A log for `workers` threads, each of which keeps up to `queue_limit` bytes of lines, as does
    /// everybody else together. Up to `watcher_limit` bytes wait for each watcher.
    pub fn new(workers: usize, queue_limit: u64, watcher_limit: u64) -> Log {
        Log {
            wanted: Wanted(AtomicU16::new(0)),
            told: AtomicU64::new(0),
            queues: (0..=workers).map(|_| Mutex::default()).collect(),
            audience: Mutex::default(),
            signal: Signal::default(),
            queue_limit: usize::try_from(queue_limit).unwrap_or(usize::MAX),
            watcher_limit: usize::try_from(watcher_limit).unwrap_or(usize::MAX),
            counters: Counters::default(),
        }
    }

    /// Whether anybody watches one of `streams`.
    #[inline]
    pub fn wants(&self, streams: Streams) -> bool {
        Streams(self.wanted.0.load(Ordering::Relaxed)).has(streams)
    }

    /// Tells an event; `worker` is the number of the worker it happened on, if it was one. Never
    /// waits for those who watch.
    #[cold]
    pub fn tell(&self, worker: Option<usize>, event: &Event<'_>) {
        let number = worker.unwrap_or(self.queues.len() - 1);
        let mut queue = guard(&self.queues[number]);
        if !queue.has_room(self.queue_limit) {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = queue.is_empty();
        queue.push(self.told.fetch_add(1, Ordering::Relaxed) + 1, event);
        drop(queue);
        self.counters.written.fetch_add(1, Ordering::Relaxed);
        if first {
            self.signal.raise();
        }
    }

    /// Has a client watch `streams` until the subscription is dropped.
    pub fn subscribe(self: &Arc<Log>, streams: Streams) -> Result<Subscription, Refusal> {
        let mut audience = guard(&self.audience);
        if audience.watchers.len() >= WATCHERS_MAX {
            return Err(Refusal::TooMany);
        }
        if !audience.served {
            let log = Arc::clone(self);
            let thread = std::thread::Builder::new().name("watch".to_owned());
            thread.spawn(move || log.serve()).map_err(|_| Refusal::Failed)?;
            audience.served = true;
        }
        let watcher = Arc::new(Watcher::new(streams, self.told.load(Ordering::Relaxed)));
        audience.watchers.push(Arc::clone(&watcher));
        self.want(&audience);
        Ok(Subscription { log: Arc::clone(self), watcher })
    }

    pub(super) fn leave(&self, watcher: &Arc<Watcher>) {
        let mut audience = guard(&self.audience);
        audience.watchers.retain(|other| !Arc::ptr_eq(other, watcher));
        self.want(&audience);
        drop(audience);
        self.signal.raise();
    }

    /// Starts or stops the counting by prefix, which is of the same interest to every request as a
    /// watcher is.
    pub fn count_prefixes(&self, on: bool) {
        let mut audience = guard(&self.audience);
        audience.counted = on;
        self.want(&audience);
    }

    /// Whether requests are counted by prefix.
    pub fn counts_prefixes(&self) -> bool {
        self.wants(Streams::PREFIXES)
    }

    fn want(&self, audience: &Audience) {
        let counted = if audience.counted { Streams::PREFIXES } else { Streams(0) };
        let watched = audience.watchers.iter().map(|watcher| watcher.streams);
        let all = watched.fold(counted, Streams::and);
        self.wanted.0.store(all.0, Ordering::Relaxed);
    }

    /// Hands out lines as long as there are watchers.
    fn serve(&self) {
        let mut taken = Queue::default();
        loop {
            self.signal.wait();
            if self.is_left() {
                return;
            }
            for queue in &self.queues {
                std::mem::swap(&mut *guard(queue), &mut taken);
                self.hand_out(&taken);
                taken.clear();
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether nobody watches any more; then the thread that hands out is to end.
    fn is_left(&self) -> bool {
        let mut audience = guard(&self.audience);
        if !audience.watchers.is_empty() {
            return false;
        }
        audience.served = false;
        self.queues.iter().for_each(|queue| *guard(queue) = Queue::default());
        true
    }

    /// Hands lines to those who watch now. It is asked who that is when the lines have been taken:
    /// whoever came before one of them was told is among them then.
    fn hand_out(&self, taken: &Queue) {
        if taken.is_empty() {
            return;
        }
        for watcher in &guard(&self.audience).watchers {
            let (sent, skipped) = watcher.hand(taken.lines(), self.watcher_limit);
            self.counters.sent.fetch_add(sent, Ordering::Relaxed);
            self.counters.skipped.fetch_add(skipped, Ordering::Relaxed);
        }
    }

    /// What was told and lost since the start or the last reset.
    pub fn stats(&self) -> LogStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStats {
            dropped: read(&self.counters.dropped),
            written: read(&self.counters.written),
            skipped: read(&self.counters.skipped),
            sent: read(&self.counters.sent),
            watchers: guard(&self.audience).watchers.len() as u64,
        }
    }

    /// `stats reset`: counts of events start again from zero.
    pub fn reset_stats(&self) {
        let Counters { written, dropped, sent, skipped } = &self.counters;
        for counter in [written, dropped, sent, skipped] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// Wakes the thread that hands out.
#[derive(Default)]
struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn raise(&self) {
        *guard(&self.raised) = true;
        self.changed.notify_one();
    }

    /// Waits until it was raised, and lowers it.
    fn wait(&self) {
        let raised = guard(&self.raised);
        let waited = self.changed.wait_while(raised, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner) = false;
    }
}
