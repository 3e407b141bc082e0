//! What a client is told of its write, and when: at once, when the peer has it too, or that the peer
//! does not have it.
//!
//! A write is known to be at the peer when the peer has acknowledged the batch by which the live
//! stream of its shard had been sent to its end, or a walk over the shard that began after it.

use crate::store::{SHARDS, Version, Written};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// When a write is acknowledged to its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// When this node has it.
    #[default]
    Async,
    /// When both have it; without the peer after a time, and from then on at once.
    SemiSync,
    /// When both have it; without the peer it is an error.
    Strict,
}

impl Mode {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Async => "async",
            Mode::SemiSync => "semi-sync",
            Mode::Strict => "strict",
        }
    }
}

/// How far one shard is known to be at the peer.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Everything up to here.
    walked: Version,
    /// The live stream began behind this,
    opened: Version,
    /// and reaches up to here.
    drained: Version,
}

impl Progress {
    fn reaches(&self, version: Version) -> bool {
        version <= self.walked || (version > self.opened && version <= self.drained)
    }
}

/// What the acknowledgement of a batch makes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// The live stream of a shard up to this version.
    Drained(usize, Version),
    /// Everything in a shard up to this version.
    Walked(usize, Version),
    /// The flush that was asked for then.
    Flush(Version),
}

struct Waiter {
    written: Written,
    deadline: Instant,
    confirmed: oneshot::Sender<bool>,
}

struct Inner {
    shards: [Progress; SHARDS],
    flush: Version,
    /// The oldest first.
    waiting: Vec<Waiter>,
}

/// What is waited for, and what is known to have arrived. For the modes other than `async`.
pub struct Durability {
    mode: Mode,
    timeout: Duration,
    inner: Mutex<Inner>,
    /// The fuse: while it is open nobody waits. Open until the two are first in sync.
    open: AtomicBool,
    registered: Notify,
    opened: AtomicU64,
    unconfirmed: AtomicU64,
    refused: AtomicU64,
}

/// The figures that an operator sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurabilityFigures {
    /// When a write is acknowledged.
    pub mode: Mode,
    /// Whether the fuse is open.
    pub open: bool,
    /// How often it opened.
    pub opened: u64,
    /// Writes that were acknowledged without the peer.
    pub unconfirmed: u64,
    /// Writes that were answered by an error for want of the peer.
    pub refused: u64,
    /// Connections that wait for the peer now.
    pub waiting: u64,
}

impl Durability {
    /// For `mode`, in which nobody waits longer than `timeout`.
    pub fn new(mode: Mode, timeout: Duration) -> Durability {
        let inner = Inner {
            shards: [Progress::default(); SHARDS],
            flush: Version::NONE,
            waiting: Vec::new(),
        };
        Durability {
            mode,
            timeout,
            inner: Mutex::new(inner),
            open: AtomicBool::new(true),
            registered: Notify::new(),
            opened: AtomicU64::new(0),
            unconfirmed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a write without the peer is an error.
    pub fn is_strict(&self) -> bool {
        self.mode == Mode::Strict
    }

    /// Whether writes are refused before they are done, for it is known that the peer is away.
    pub fn refuses(&self) -> bool {
        self.is_strict() && self.open.load(Ordering::Relaxed)
    }

    /// Counts a write that was refused.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What is to be waited for before replies that speak of `written` go out: whether the peer has
    /// it. Nothing if that is known already, or if the fuse is open and they are to go out anyway.
    pub fn hold(&self, written: Written, now: Instant) -> Option<oneshot::Receiver<bool>> {
        if written.count == 0 {
            return None;
        }
        let (confirmed, receiver) = oneshot::channel();
        let waiter = Waiter { written, deadline: now + self.timeout, confirmed };
        let mut inner = self.inner();
        if inner.has(&waiter.written) {
            return None;
        }
        if self.open.load(Ordering::Relaxed) {
            drop(inner);
            self.give_up(waiter);
            return self.is_strict().then_some(receiver);
        }
        inner.waiting.push(waiter);
        drop(inner);
        self.registered.notify_one();
        Some(receiver)
    }

    fn give_up(&self, waiter: Waiter) {
        let counter = if self.is_strict() { &self.refused } else { &self.unconfirmed };
        counter.fetch_add(waiter.written.count, Ordering::Relaxed);
        // Nobody listens if the client has left.
        let _ = waiter.confirmed.send(false);
    }

    /// A link begins whose live streams start behind these versions, a shard each; where the second
    /// is true the peer has everything before that.
    pub(super) fn begin(&self, streams: impl Iterator<Item = (Version, bool)>) {
        for (progress, (opened, is_known)) in self.inner().shards.iter_mut().zip(streams) {
            let walked = if is_known { opened } else { Version::NONE };
            *progress = Progress { opened, walked, ..Progress::default() };
        }
    }

    /// The live stream of a shard starts anew behind this version.
    pub(super) fn reopen(&self, shard: usize, opened: Version) {
        self.inner().shards[shard].opened = opened;
    }

    /// The peer has all this.
    pub(super) fn reached(&self, reached: impl Iterator<Item = Reached>) {
        let mut inner = self.inner();
        for reached in reached {
            match reached {
                Reached::Drained(shard, version) => inner.shards[shard].drained = version,
                Reached::Walked(shard, version) => inner.shards[shard].walked = version,
                Reached::Flush(issued) => inner.flush = inner.flush.max(issued),
            }
        }
        let mut waiting = std::mem::take(&mut inner.waiting);
        for waiter in waiting.extract_if(.., |waiter| inner.has(&waiter.written)) {
            let _ = waiter.confirmed.send(true);
        }
        inner.waiting = waiting;
    }

    /// Both hold the same but for what has been on its way for `lag`: if that is little, whoever
    /// writes from now on waits again.
    pub fn in_sync(&self, lag: Duration) {
        if lag < self.timeout / 2 && self.open.swap(false, Ordering::Relaxed) {
            let unconfirmed = self.unconfirmed.load(Ordering::Relaxed);
            let refused = self.refused.load(Ordering::Relaxed);
            let mode = self.mode.name();
            log::info!(
                "event=fuse state=closed durability={mode} unconfirmed_writes={unconfirmed} refused_writes={refused}"
            );
        }
    }

    /// Opens the fuse if anybody has waited too long; until when to look again, if anybody waits.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.inner();
        inner.waiting.retain(|waiter| !waiter.confirmed.is_closed());
        let oldest = inner.waiting.first()?.deadline;
        if oldest > now {
            return Some(oldest);
        }
        // Under the lock: whoever comes next sees it.
        self.open.store(true, Ordering::Relaxed);
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        self.opened.fetch_add(1, Ordering::Relaxed);
        log::warn!(
            "event=fuse state=open durability={} waiting={} reason=\"the peer did not confirm within {} ms\"",
            self.mode.name(),
            waiting.len(),
            self.timeout.as_millis()
        );
        waiting.into_iter().for_each(|waiter| self.give_up(waiter));
        None
    }

    /// Keeps the time of those who wait, for ever.
    pub(super) async fn keep_time(&self) {
        loop {
            match self.expire(Instant::now()) {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => self.registered.notified().await,
            }
        }
    }

    /// Everything at this moment.
    pub fn figures(&self) -> DurabilityFigures {
        DurabilityFigures {
            mode: self.mode,
            open: self.open.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
            unconfirmed: self.unconfirmed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            waiting: self.inner().waiting.len() as u64,
        }
    }
}

impl Inner {
    fn has(&self, written: &Written) -> bool {
        written.flush <= self.flush
            && written.newest.iter().all(|version| self.shards[version.shard()].reaches(*version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneshot::error::TryRecvError;

    const TIMEOUT: Duration = Duration::from_secs(1);
    const SHARD: usize = 5;

    /// The version of that number in the shard of these tests.
    fn version(number: u64) -> Version {
        Version::from_raw(number << 7 | (SHARD as u64) << 1)
    }

    fn write(number: u64) -> Written {
        Written { count: 1, newest: vec![version(number)], flush: Version::NONE }
    }

    fn linked(mode: Mode) -> Durability {
        let durability = Durability::new(mode, TIMEOUT);
        durability.begin(std::iter::repeat_n((version(10), false), SHARDS));
        durability.in_sync(Duration::ZERO);
        durability
    }

    #[test]
    fn what_was_written_since_the_link_began_is_confirmed_by_the_live_stream() {
        let durability = linked(Mode::SemiSync);
        let mut waiting = durability.hold(write(12), Instant::now()).unwrap();
        durability.reached([Reached::Drained(SHARD, version(11))].into_iter());
        assert_eq!(waiting.try_recv(), Err(TryRecvError::Empty));
        durability.reached([Reached::Drained(SHARD, version(12))].into_iter());
        assert_eq!(waiting.try_recv(), Ok(true));
        assert_eq!(durability.hold(write(11), Instant::now()).map(drop), None);
    }

    #[test]
    fn what_was_written_before_the_link_began_is_confirmed_only_by_the_walk() {
        let durability = linked(Mode::SemiSync);
        let mut waiting = durability.hold(write(9), Instant::now()).unwrap();
        durability.reached([Reached::Drained(SHARD, version(12))].into_iter());
        assert_eq!(waiting.try_recv(), Err(TryRecvError::Empty));
        durability.reached([Reached::Walked(SHARD, version(10))].into_iter());
        assert_eq!(waiting.try_recv(), Ok(true));
    }

    #[test]
    fn what_was_lost_from_the_live_stream_is_confirmed_only_by_the_walk() {
        let durability = linked(Mode::SemiSync);
        let mut waiting = durability.hold(write(12), Instant::now()).unwrap();
        durability.reopen(SHARD, version(20));
        durability.reached([Reached::Drained(SHARD, version(25))].into_iter());
        assert_eq!(waiting.try_recv(), Err(TryRecvError::Empty));
        durability.reached([Reached::Walked(SHARD, version(20))].into_iter());
        assert_eq!(waiting.try_recv(), Ok(true));
    }

    #[test]
    fn a_flush_is_confirmed_by_itself() {
        let durability = linked(Mode::Strict);
        let flush = Written { count: 1, newest: Vec::new(), flush: version(11) };
        let mut waiting = durability.hold(flush, Instant::now()).unwrap();
        durability.reached([Reached::Flush(version(11))].into_iter());
        assert_eq!(waiting.try_recv(), Ok(true));
    }

    #[test]
    fn the_fuse_opens_for_all_when_one_has_waited_too_long_and_closes_when_in_sync() {
        let durability = linked(Mode::SemiSync);
        let start = Instant::now();
        let mut first = durability.hold(write(11), start).unwrap();
        let mut second = durability.hold(write(12), start + TIMEOUT / 2).unwrap();
        assert_eq!(durability.expire(start), Some(start + TIMEOUT));
        assert_eq!(durability.expire(start + TIMEOUT), None);
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(false), Ok(false)));
        assert!(durability.hold(write(13), start).is_none());
        let figures = durability.figures();
        assert_eq!((figures.open, figures.opened, figures.unconfirmed), (true, 1, 3));
        durability.in_sync(TIMEOUT);
        assert!(durability.hold(write(14), start).is_none(), "the peer does not answer yet");
        durability.in_sync(Duration::ZERO);
        assert!(durability.hold(write(14), start).is_some());
    }

    #[test]
    fn strict_refuses_while_the_fuse_is_open_and_says_so_to_who_came_too_late_for_that() {
        let durability = Durability::new(Mode::Strict, TIMEOUT);
        assert!(durability.refuses());
        durability.count_refused();
        let mut late = durability.hold(write(11), Instant::now()).unwrap();
        assert_eq!(late.try_recv(), Ok(false));
        assert_eq!(durability.figures().refused, 2);
        durability.in_sync(Duration::ZERO);
        assert!(!durability.refuses());
    }
}
