//! The state machine of an established link: what it is told, what it says. No I/O; time is a
//! parameter; bytes in, bytes out.
//!
//! Both sides run the same machine. Everything travels in one ordered stream in each direction, so
//! when a batch is acknowledged, all that the other side had sent before it applied the batch has
//! been received: only that makes it right to forget a delete once it is acknowledged.

use super::frame::{self, FrameError, Kind};
use super::hello::Hello;
use super::memory::{InFlight, Memory};
use crate::store::{Applied, Change, Flush, LiveStep, Now, SHARDS, Store, Version, Walk};
use bytes::{Buf, BufMut, BytesMut};
use std::sync::Arc;
use thiserror::Error;

/// Bytes of one batch, about; a batch with one larger value is as large as that.
const BATCH: usize = 32 * 1024;
/// Output that is made before the socket is given it.
const OUTPUT: usize = 128 * 1024;
/// Milliseconds between heartbeats.
const PING_EVERY: u64 = 1_000;
/// Milliseconds of silence after which the link is given up.
const SILENCE_MAX: u64 = 5_000;
/// Clock offsets below this are noise, in milliseconds; beyond it expiry times are shifted.
const OFFSET_NOISE: u64 = 750;
/// Milliseconds that a version may lie ahead of this node's clock: a day.
const VERSION_AHEAD_MAX: u64 = 24 * 60 * 60 * 1000;
/// No item is larger, whatever a peer says.
const ITEM_SIZE_MAX: u64 = 1 << 30;
/// What a batch may hold beside one value of the largest size.
const BATCH_OVERHEAD: u64 = 64 * 1024;

/// Why a link ends.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// The peer sent something that is no frame of this protocol.
    #[error("the peer sent garbage: {0}")]
    Frame(#[from] FrameError),
    /// A frame that has no place in an established link.
    #[error("the peer sent a {0:?} frame in the middle of a session")]
    Unexpected(Kind),
    /// Nothing was heard for too long.
    #[error("nothing heard from the peer for {0} ms")]
    Silence(u64),
}

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    /// The peer may hold nothing: everything is sent.
    Full,
    /// The peer gets what changed.
    Delta,
}

struct Sending {
    /// Up to where the live stream of the shard was sent.
    sent: Version,
    /// What of the shard's past the peer is still to be sent.
    walk: Option<Walk>,
}

/// An established link.
pub struct Session {
    store: Arc<Store>,
    memory: Memory,
    resync: Resync,
    /// Bytes that may be in flight.
    window: u64,
    /// Longest payload that the peer may send, in bytes.
    frame_max: usize,
    shards: Vec<Sending>,
    /// Shards whose live stream has something, a bit each.
    dirty: u64,
    next_walk: usize,
    flush_sent: Option<Flush>,
    /// What is still to be said of deletes that were forgotten, and how many it speaks of.
    doubt: Option<Version>,
    forgotten: u64,
    said_caught_up: bool,
    peer_caught_up: bool,
    ack_due: bool,
    /// The clock in the last ping that was not answered yet.
    pong_due: Option<u64>,
    /// The peer's first ping was answered: by what it knows of the clocks it can read expiry times,
    /// so changes are sent from then on.
    answered: bool,
    /// What the peer put in doubt: up to where, the next shard, how many have gone.
    dropping: Option<(Version, usize, u64)>,
    /// Bytes of input that are no whole frame yet.
    unread: usize,
    last_heard: Now,
    last_ping: Now,
    clock_offset: i64,
    best_round_trip: u64,
    sent: u64,
    received: u64,
}

impl Session {
    /// A link of this node's `incarnation` to a peer that introduced itself by `peer`. Its streams run from now on.
    pub fn start(
        store: Arc<Store>,
        mut memory: Memory,
        incarnation: u64,
        peer: &Hello,
        window: u64,
        now: Now,
    ) -> Session {
        let same_peer = memory.peer_incarnation == peer.incarnation;
        if same_peer && peer.seen_incarnation == incarnation {
            // Acknowledgements may have been lost with the last connection.
            memory.acknowledge(&store, peer.seen_batch);
        } else if !same_peer {
            store.forget_acknowledgements();
            memory = Memory {
                peer_incarnation: peer.incarnation,
                filled: memory.filled,
                ..Memory::default()
            };
        }
        memory.forget_flight();
        let forgotten = store.forgotten_deletes();
        let doubt = store.doubt();
        if doubt.is_some() {
            store.forget_acknowledgements();
        }
        let shards: Vec<Sending> = (0..SHARDS)
            .map(|shard| {
                let since = store.acknowledged(shard);
                Sending { sent: store.open_stream(shard), walk: Some(Walk::since(since)) }
            })
            .collect();
        let anew = (0..SHARDS).all(|shard| store.acknowledged(shard) == Version::NONE);
        Session {
            resync: if anew { Resync::Full } else { Resync::Delta },
            memory,
            window: window.min(peer.window).max(BATCH as u64),
            // The peer may store larger items than this node does, which then has no place for them.
            frame_max: (peer.item_size_max.min(ITEM_SIZE_MAX) + BATCH_OVERHEAD) as usize,
            shards,
            dirty: 0,
            next_walk: 0,
            flush_sent: None,
            doubt,
            forgotten,
            said_caught_up: false,
            peer_caught_up: false,
            ack_due: false,
            pong_due: None,
            answered: false,
            dropping: None,
            unread: 0,
            last_heard: now,
            last_ping: Now(0),
            clock_offset: 0,
            best_round_trip: u64::MAX,
            sent: 0,
            received: 0,
            store,
        }
    }

    /// Ends the link; what it learnt is for the next one.
    pub fn end(self) -> Memory {
        self.store.close_streams();
        self.memory
    }

    /// Takes in what the peer sent, as far as it is complete.
    pub fn receive(&mut self, input: &mut BytesMut, now: Now) -> Result<(), SessionError> {
        if input.len() > self.unread {
            self.last_heard = now;
        }
        while !self.is_dropping() {
            let Some((kind, payload, length)) = frame::read(input, self.frame_max)? else { break };
            self.handle(kind, payload, now)?;
            input.advance(length);
        }
        self.unread = input.len();
        Ok(())
    }

    /// Goes on with what the peer put in doubt, a shard at a time; true while there is more. What
    /// the peer said after it has to wait.
    fn is_dropping(&mut self) -> bool {
        let Some((floor, shard, dropped)) = self.dropping.take() else { return false };
        let dropped = dropped + self.store.drop_in_doubt(shard, floor);
        if shard + 1 < SHARDS {
            self.dropping = Some((floor, shard + 1, dropped));
            return true;
        }
        let reason = "the peer forgot which keys it deleted";
        log::warn!("event=in_doubt dropped={dropped} reason={reason:?}");
        false
    }

    fn handle(&mut self, kind: Kind, mut payload: &[u8], now: Now) -> Result<(), SessionError> {
        let input = &mut payload;
        match kind {
            Kind::Batch => {
                let batch = input.try_get_u64_le().map_err(FrameError::from)?;
                while !input.is_empty() {
                    let change = frame::read_change(input)?;
                    self.apply(change, now)?;
                }
                self.memory.applied_batch = batch;
                self.ack_due = true;
            }
            Kind::Ack => {
                let batch = input.try_get_u64_le().map_err(FrameError::from)?;
                self.memory.acknowledge(&self.store, batch);
            }
            Kind::Ping => {
                // One answer per ping; a peer that only pings costs itself.
                self.pong_due = Some(input.try_get_u64_le().map_err(FrameError::from)?);
            }
            Kind::Pong => {
                let asked = input.try_get_u64_le().map_err(FrameError::from)?;
                let theirs = input.try_get_u64_le().map_err(FrameError::from)?;
                self.measure_clock(asked, theirs, now);
            }
            Kind::Doubt => {
                self.dropping = Some((frame::version(input)?, 0, 0));
            }
            Kind::CaughtUp => {
                self.peer_caught_up = true;
                self.memory.filled = true;
            }
            Kind::Hello | Kind::Refusal => return Err(SessionError::Unexpected(kind)),
        }
        Ok(())
    }

    /// The offset of the clocks by the quickest round trip, as NTP does.
    fn measure_clock(&mut self, asked: u64, theirs: u64, now: Now) {
        // An answer to what was not asked measures nothing.
        if self.last_ping.0.checked_sub(asked).is_none_or(|age| age > SILENCE_MAX) {
            return;
        }
        let round_trip = now.0.saturating_sub(asked);
        if round_trip <= self.best_round_trip {
            self.best_round_trip = round_trip;
            let theirs = i64::try_from(theirs).unwrap_or(i64::MAX);
            self.clock_offset = theirs.saturating_sub_unsigned(asked + round_trip / 2);
        } else {
            // Clocks drift: an old measurement is worth less with time.
            self.best_round_trip = self.best_round_trip.saturating_add(1);
        }
    }

    fn apply(&mut self, mut change: Change<'_>, now: Now) -> Result<(), SessionError> {
        self.received += 1;
        // Clocks that differ by more are refused at the handshake; a version from further ahead
        // would drag this node's clock with it for good.
        let newest = change.newest();
        if newest.milliseconds() > now.0 + VERSION_AHEAD_MAX {
            return Err(FrameError::BadVersion(newest.raw()).into());
        }
        let offset =
            if self.clock_offset.unsigned_abs() < OFFSET_NOISE { 0 } else { self.clock_offset };
        match &mut change {
            Change::Set { exptime, .. } | Change::Touch { exptime, .. } if *exptime != 0 => {
                let local = i64::from(*exptime) - (offset as f64 / 1000.0).round() as i64;
                *exptime = local.clamp(1, i64::from(u32::MAX)) as u32;
            }
            Change::Flush(flush) if flush.at != 0 => {
                flush.at = flush.at.saturating_add_signed(-offset).max(1);
            }
            _ => {}
        }
        if self.store.merge(&change, now) == Applied::Dropped {
            log::debug!("event=change_dropped");
        }
        if change == Change::Flush(self.store.flush_state()) {
            // What came from the peer need not go back to it.
            self.flush_sent = Some(self.store.flush_state());
        }
        Ok(())
    }

    /// Appends what is to be sent now.
    pub fn produce(&mut self, out: &mut Vec<u8>, now: Now) -> Result<(), SessionError> {
        let silence = now.0.saturating_sub(self.last_heard.0);
        if silence > SILENCE_MAX {
            return Err(SessionError::Silence(silence));
        }
        if out.len() >= OUTPUT {
            return Ok(());
        }
        self.produce_signs_of_life(out, now);
        while self.answered && out.len() < OUTPUT && self.memory.in_flight_bytes < self.window {
            if let Some(floor) = self.doubt.take() {
                frame::write(out, Kind::Doubt, |out| out.put_u64_le(floor.raw()));
            }
            if !self.produce_batch(out, now) {
                break;
            }
        }
        Ok(())
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
            frame::write(out, Kind::Ping, |out| out.put_u64_le(now.0));
        }
    }

    /// Appends one batch, if there is anything to send; false if there is not.
    fn produce_batch(&mut self, out: &mut Vec<u8>, now: Now) -> bool {
        let start = frame::begin(out, Kind::Batch);
        out.put_u64_le(self.memory.sent_batch + 1);
        let empty = out.len();
        let mut batch = Batch { start, out, ops: 0, reached: Vec::new() };
        self.add_flush(&mut batch);
        let live = self.add_live(&mut batch);
        let walked = self.add_walk(&mut batch);
        let Batch { ops, reached, .. } = batch;
        if out.len() == empty && reached.is_empty() {
            out.truncate(start);
        } else {
            frame::finish(out, start);
            self.sent += ops;
            self.memory.send(InFlight {
                batch: self.memory.sent_batch + 1,
                bytes: (out.len() - start) as u64,
                ops,
                sent_at: now,
                reached,
            });
        }
        if !self.said_caught_up && self.shards_to_walk() == 0 {
            self.said_caught_up = true;
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
                LiveStep::Empty => self.dirty &= !(1 << shard),
                LiveStep::Overrun => {
                    self.dirty &= !(1 << shard);
                    if self.walk_again(shard) {
                        batch.reached.clear();
                    }
                }
            }
        }
        any
    }

    /// The live stream of a shard is incomplete: what it lost, a walk finds; but for deletes that
    /// were forgotten before they were sent, and then all is in doubt that is older (true).
    fn walk_again(&mut self, shard: usize) -> bool {
        self.said_caught_up = false;
        let forgotten = self.store.forgotten_deletes();
        let doubt = self.store.doubt().filter(|_| forgotten > self.forgotten);
        let shards = if let Some(floor) = doubt {
            self.doubt = Some(floor);
            self.forgotten = forgotten;
            self.store.forget_acknowledgements();
            // Batches that are under way were for what has just been put in doubt.
            self.memory.forget_reached();
            0..SHARDS
        } else {
            shard..shard + 1
        };
        for shard in shards {
            let since = self.store.acknowledged(shard);
            let sent = self.store.open_stream(shard);
            self.shards[shard] = Sending { sent, walk: Some(Walk::since(since)) };
        }
        doubt.is_some()
    }

    /// Adds a step of what the peer missed; true if there is more.
    fn add_walk(&mut self, batch: &mut Batch<'_>) -> bool {
        if self.doubt.is_some() {
            // The doubt goes first: what is walked comes after it.
            return true;
        }
        let Some(shard) = (0..SHARDS)
            .map(|offset| (self.next_walk + offset) % SHARDS)
            .find(|&shard| self.shards[shard].walk.is_some())
        else {
            return false;
        };
        self.next_walk = shard;
        let sending = &mut self.shards[shard];
        while let (Some(walk), true) = (&mut sending.walk, batch.room() > 0) {
            if self.store.walk(shard, walk, batch.room(), |change| batch.add(&change)) {
                sending.walk = None;
                batch.reached.push((shard, sending.sent));
            }
        }
        true
    }

    /// Shards of which the peer still misses something old.
    pub fn shards_to_walk(&self) -> u64 {
        self.shards.iter().filter(|sending| sending.walk.is_some()).count() as u64
    }

    /// Whether both sides hold the same but for what is on its way.
    pub fn is_in_sync(&self) -> bool {
        self.peer_caught_up && self.said_caught_up
    }

    /// Whether everything that was written here has been acknowledged.
    pub fn is_drained(&self) -> bool {
        self.said_caught_up && self.dirty == 0 && self.memory.in_flight.is_empty()
    }

    /// Milliseconds from `now` until something is to be said even if nothing happens.
    pub fn patience(&self, now: Now) -> u64 {
        if self.dropping.is_some() {
            return 0;
        }
        (self.last_ping.0 + PING_EVERY).saturating_sub(now.0)
    }

    /// How the session began.
    pub fn resync(&self) -> Resync {
        self.resync
    }

    /// Writes the figures that an operator sees.
    pub fn describe(&self, figures: &mut super::status::Figures, now: Now) {
        figures.in_flight_ops = self.memory.in_flight_ops;
        figures.in_flight_bytes = self.memory.in_flight_bytes;
        figures.lag_ms = self
            .memory
            .in_flight
            .front()
            .map_or(0, |oldest| now.0.saturating_sub(oldest.sent_at.0));
        figures.shards_to_walk = self.shards_to_walk();
        figures.clock_offset_ms = self.clock_offset;
        figures.filled = self.memory.filled;
    }

    /// Changes sent and received since the last call.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.sent), std::mem::take(&mut self.received))
    }
}

/// A batch while it is filled.
struct Batch<'o> {
    /// Where in the output it begins.
    start: usize,
    out: &'o mut Vec<u8>,
    ops: u64,
    reached: Vec<(usize, Version)>,
}

impl Batch<'_> {
    fn add(&mut self, change: &Change<'_>) {
        self.ops += 1;
        frame::write_change(self.out, change);
    }

    /// Bytes that still go in before the batch is as large as batches are.
    fn room(&self) -> usize {
        BATCH.saturating_sub(self.out.len() - self.start)
    }
}
