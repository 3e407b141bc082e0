//! What this node has to say, put into frames.

use super::{BATCH, SILENCE_MAX, Sending, Session, SessionError};
use crate::replication::durability::Reached;
use crate::replication::frame::{self, Kind};
use crate::replication::memory::InFlight;
use crate::store::{Change, Flush, LiveStep, Now, SHARDS, Version, Walk};
use bytes::BufMut;

/// Output that is made before the socket is given it.
pub(super) const OUTPUT: usize = 128 * 1024;
/// Why a node is not in sync any more, though its link goes on.
const OVERRUN: &str =
    "more was written at once than is remembered one by one; the rest is looked for";
const FORGOTTEN: &str = "more was deleted than tombstone_memory holds; all is sent anew";
/// Milliseconds between heartbeats.
const PING_EVERY: u64 = 1_000;

impl Session {
    /// Appends what is to be sent now. With `paced` new changes are no reason to send, unless somebody
    /// waits for the peer to have them.
    pub fn produce(
        &mut self,
        out: &mut Vec<u8>,
        now: Now,
        paced: bool,
    ) -> Result<(), SessionError> {
        let silence = now.0.saturating_sub(self.last_heard.0);
        if silence > SILENCE_MAX {
            return Err(SessionError::Silence(silence));
        }
        if out.len() >= OUTPUT {
            return Ok(());
        }
        self.produce_signs_of_life(out, now);
        if self.is_stale() {
            return Ok(());
        }
        if self.answered && self.protocol >= frame::ERRANDS {
            self.produce_errands(out, now);
        }
        if paced && self.is_patient() {
            return Ok(());
        }
        let mut drained = false;
        while self.answered && out.len() < OUTPUT && self.memory.in_flight_bytes < self.window {
            if let Some(floor) = self.doubt.take() {
                frame::write(out, Kind::Doubt, |out| out.put_u64_le(floor.raw()));
                self.doubt_batch = self.memory.sent_batch + 1;
            }
            let more = self.produce_batch(out, now);
            drained = self.dirty == 0;
            if !more {
                break;
            }
        }
        if drained {
            self.produce_behind_live(out);
            if self.checking.due && self.is_in_sync() && self.protocol >= frame::CHECKS {
                self.produce_check(out, now);
            }
        }
        Ok(())
    }

    /// Whether new changes may wait a moment for others to go with them: nobody waits for this node to
    /// send or to hear anything.
    pub fn is_patient(&self) -> bool {
        self.is_in_sync() && self.durability.is_none() && !self.errands.any()
    }

    fn produce_signs_of_life(&mut self, out: &mut Vec<u8>, now: Now) {
        if std::mem::take(&mut self.ack_due) {
            let batch = self.memory.applied_batch;
            frame::write(out, Kind::Ack, |out| out.put_u64_le(batch));
        }
        if let Some(asked) = self.pong_due.take() {
            self.answered = true;
            frame::write(out, Kind::Pong, |out| {
                out.put_u64_le(asked);
                out.put_u64_le(now.0);
            });
        }
        if now.0 >= self.last_ping.0 + PING_EVERY {
            self.last_ping = now;
            self.checking.due = true;
            frame::write(out, Kind::Ping, |out| out.put_u64_le(now.0));
        }
    }

    /// Appends one batch, if there is anything to send; false if there is not.
    fn produce_batch(&mut self, out: &mut Vec<u8>, now: Now) -> bool {
        let number = self.memory.sent_batch + 1;
        let mut batch = Batch::begin(out, number, self.protocol, self.value_max);
        let (start, empty) = (batch.start, batch.out.len());
        self.add_flush(&mut batch);
        let live = self.add_live(&mut batch);
        let walked = self.add_walk(&mut batch);
        self.count_given_back(&mut batch);
        let Batch { ops, reached, confirms, .. } = batch;
        let says_nothing = out.len() == empty && reached.is_empty() && confirms.is_empty();
        if says_nothing && number != self.doubt_batch {
            out.truncate(start);
        } else {
            frame::finish(out, start);
            self.sent += ops;
            self.memory.send(InFlight {
                batch: number,
                bytes: (out.len() - start) as u64,
                ops,
                sent_at: now,
                reached,
                confirms,
            });
        }
        if !self.said_caught_up && !self.shards.iter().any(Sending::is_behind) {
            self.said_caught_up = true;
            self.taken_back = None;
            frame::write(out, Kind::CaughtUp, |_| {});
        }
        live || walked
    }

    fn add_flush(&mut self, batch: &mut Batch<'_>) {
        let flush = self.store.flush_state();
        if self.flush_sent != Some(flush) {
            self.flush_sent = Some(flush);
            if flush != Flush::default() {
                batch.add(&Change::Flush(flush));
                batch.confirms.push(Reached::Flush(flush.issued));
            }
        }
    }

    /// Adds what was just written; true if anything was waiting.
    fn add_live(&mut self, batch: &mut Batch<'_>) -> bool {
        self.dirty |= self.store.take_dirty();
        let any = self.dirty != 0;
        while self.dirty != 0 && batch.room() > 0 {
            let shard = self.dirty.trailing_zeros() as usize;
            match self.store.live_changes(shard, batch.room(), |change| batch.add(&change)) {
                LiveStep::Sent(version) => {
                    let sending = &mut self.shards[shard];
                    sending.sent = version;
                    if sending.walk.is_none() {
                        batch.reached.push((shard, version));
                    }
                }
                LiveStep::Empty => {
                    self.dirty &= !(1 << shard);
                    self.shards[shard].resumes = false;
                    if self.durability.is_some() {
                        // Only now: what was passed over had been written again, and that has gone
                        // out only now.
                        let sent = self.shards[shard].sent;
                        batch.confirms.push(Reached::Drained(shard, sent));
                    }
                }
                LiveStep::Overrun => {
                    self.dirty &= !(1 << shard);
                    if self.walk_again(shard) {
                        batch.reached.clear();
                        batch.confirms.clear();
                    }
                }
            }
        }
        any
    }

    /// The live stream of a shard is incomplete: what it lost, a walk finds; but for deletes that
    /// were forgotten before they were sent, and then all is in doubt that is older (true).
    fn walk_again(&mut self, shard: usize) -> bool {
        self.taken_back = self.said_caught_up.then_some(OVERRUN).or(self.taken_back);
        self.said_caught_up = false;
        // Always before the look at what was forgotten: what is forgotten later overruns it again.
        self.reopen(shard);
        let in_doubt =
            self.store.forgotten_deletes() > self.forgotten && self.store.doubt().is_some();
        if in_doubt {
            (0..SHARDS).filter(|&other| other != shard).for_each(|other| self.reopen(other));
            self.taken_back = self.taken_back.map(|_| FORGOTTEN);
            self.forgotten = self.store.forgotten_deletes();
            self.doubt = self.store.doubt();
            self.store.forget_acknowledgements();
            // Batches that are under way were for what has just been put in doubt.
            self.memory.forget_reached();
        }
        let walked = if in_doubt { 0..SHARDS } else { shard..shard + 1 };
        for shard in walked {
            let since = self.store.acknowledged(shard);
            self.shards[shard].walk = Some(Walk::since(since));
        }
        in_doubt
    }

    /// Begins the live stream of a shard anew; a walk has to follow.
    fn reopen(&mut self, shard: usize) {
        let opened = self.store.open_stream(shard);
        self.shards[shard] = Sending { resumes: false, sent: opened, opened, walk: None };
        if let Some(durability) = &self.durability {
            durability.reopen(shard, opened);
        }
    }

    /// Adds a step of what the peer missed; true if there is more.
    fn add_walk(&mut self, batch: &mut Batch<'_>) -> bool {
        if self.doubt.is_some() {
            return true;
        }
        if self.is_doubt_unheard() {
            // Until the peer has dropped what is in doubt there comes what it will have dropped then:
            // what is newer here by that must be walked too.
            return false;
        }
        let Some(shard) = self.next_to_walk() else { return false };
        self.next_walk = shard;
        let sending = &mut self.shards[shard];
        let is_hot = sending.walk.is_some_and(|walk| walk.is_hot());
        while let (Some(walk), true) = (&mut sending.walk, batch.room() > 0) {
            if walk.is_hot() != is_hot {
                // The other shards' hot items are to go first.
                break;
            }
            if self.store.walk(shard, walk, batch.room(), |change| batch.add(&change)) {
                sending.walk = None;
                batch.reached.push((shard, sending.sent));
                if self.durability.is_some() {
                    batch.confirms.push(Reached::Walked(shard, sending.opened));
                }
            }
        }
        true
    }

    fn is_doubt_unheard(&self) -> bool {
        self.memory.in_flight.front().is_some_and(|flight| flight.batch <= self.doubt_batch)
    }

    /// The shard whose walk goes on; hot items of all shards come before others.
    fn next_to_walk(&self) -> Option<usize> {
        let walking = || {
            let shards = (0..SHARDS).map(|offset| (self.next_walk + offset) % SHARDS);
            shards.filter_map(|shard| Some((shard, self.shards[shard].walk?)))
        };
        let next = walking().find(|(_, walk)| walk.is_hot()).or_else(|| walking().next());
        next.map(|(shard, _)| shard)
    }

    /// What a node wrote in an earlier life, and was given back, the peer need not be sent after the
    /// next cut: it holds all that is here but what is in the stream.
    fn count_given_back(&mut self, batch: &mut Batch<'_>) {
        if !self.given_back || self.shards_to_walk() > 0 {
            return;
        }
        self.given_back = false;
        let taken = (0..SHARDS).filter_map(|shard| Some((shard, self.store.taken(shard)?)));
        batch.reached.extend(taken);
    }

    /// Milliseconds from `now` until something is to be said even if nothing happens.
    pub fn patience(&self, now: Now) -> u64 {
        if self.dropping.is_some() {
            return 0;
        }
        (self.last_ping.0 + PING_EVERY).saturating_sub(now.0)
    }
}

/// A batch while it is filled.
pub(super) struct Batch<'o> {
    /// Where in the output it begins.
    pub(super) start: usize,
    out: &'o mut Vec<u8>,
    protocol: u8,
    value_max: u64,
    pub(super) ops: u64,
    reached: Vec<(usize, Version)>,
    confirms: Vec<Reached>,
}

impl<'o> Batch<'o> {
    pub(super) fn begin(
        out: &'o mut Vec<u8>,
        number: u64,
        protocol: u8,
        value_max: u64,
    ) -> Batch<'o> {
        let start = frame::begin(out, Kind::Batch);
        out.put_u64_le(number);
        let (reached, confirms) = (Vec::new(), Vec::new());
        Batch { start, out, protocol, value_max, ops: 0, reached, confirms }
    }

    pub(super) fn add(&mut self, change: &Change<'_>) {
        self.ops += 1;
        let change = match *change {
            // It can't be stored there, but it ends what is.
            Change::Set { key, value, version, .. } if value.len() as u64 > self.value_max => {
                &Change::Delete { key, version }
            }
            _ => change,
        };
        frame::write_change(self.out, change, self.protocol);
    }

    /// Bytes that still go in before the batch is as large as batches are.
    fn room(&self) -> usize {
        BATCH.saturating_sub(self.out.len() - self.start)
    }
}
