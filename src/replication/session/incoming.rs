//! What the peer says, taken in.

use super::dropping::Dropping;
use super::{SILENCE_MAX, Session, SessionError};
use crate::replication::frame::{self, FrameError, Kind};
use crate::store::{Applied, Change, Now, Version};
use bytes::{Buf, BytesMut};

/// Clock offsets below this are noise, in milliseconds; beyond it expiry times are shifted.
const OFFSET_NOISE: u64 = 750;
/// Clock offsets that are worth a warning, in milliseconds.
const OFFSET_WARNED: u64 = 500;
/// Milliseconds that a version may lie ahead of this node's clock: a day.
const VERSION_AHEAD_MAX: u64 = 24 * 60 * 60 * 1000;

impl Session {
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

    fn handle(&mut self, kind: Kind, mut payload: &[u8], now: Now) -> Result<(), SessionError> {
        let input = &mut payload;
        match kind {
            Kind::Batch => {
                let batch = input.try_get_u64_le().map_err(FrameError::from)?;
                while !input.is_empty() {
                    let change = frame::read_change(input, self.protocol)?;
                    self.apply(change, now)?;
                }
                self.memory.applied_batch = batch;
                self.ack_due = true;
            }
            Kind::Ack => {
                let batch = input.try_get_u64_le().map_err(FrameError::from)?;
                self.memory.acknowledge(&self.store, self.durability.as_deref(), batch);
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
                let floor = believable(frame::version(input)?, now)?;
                self.dropping = Some(Dropping::in_doubt(floor));
            }
            Kind::CaughtUp => {
                self.peer_caught_up = true;
                self.given_back = true;
                self.memory.filled = true;
            }
            Kind::Fetch | Kind::Fetched | Kind::Request | Kind::Reply
                if self.protocol >= frame::ERRANDS =>
            {
                self.handle_errand(kind, input)?;
            }
            Kind::Check if self.protocol >= frame::CHECKS => self.judge(input, now)?,
            Kind::Fetch | Kind::Fetched | Kind::Request | Kind::Reply | Kind::Check => {
                return Err(FrameError::UnknownKind(kind as u8).into());
            }
            Kind::Hello | Kind::Refusal | Kind::Proof => {
                return Err(SessionError::Unexpected(kind));
            }
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
            self.mention_clock(round_trip / 2);
        } else {
            // Clocks drift: an old measurement is worth less with time.
            self.best_round_trip = self.best_round_trip.saturating_add(1);
        }
    }

    /// Warns once a link of clocks that are apart, and says when they are not any more. What the road
    /// may have added to the offset does not count.
    fn mention_clock(&mut self, uncertain: u64) {
        let (offset, apart) = (self.clock_offset, self.clock_offset.unsigned_abs());
        if !self.clock_mentioned && apart > OFFSET_WARNED.saturating_add(uncertain) {
            self.clock_mentioned = true;
            log::warn!(
                "event=clock_offset offset_ms={offset} reason=\"the peer's clock is {}; of two writes \
                 to one key the newer wins by these clocks\" next=\"set the time on both nodes, and \
                 restart paircached where it was set\"",
                if offset > 0 { "ahead" } else { "behind" }
            );
        } else if self.clock_mentioned && apart.saturating_add(uncertain) < OFFSET_WARNED {
            self.clock_mentioned = false;
            log::info!("event=clock_offset offset_ms={offset} reason=\"the clocks agree again\"");
        }
    }

    fn apply(&mut self, mut change: Change<'_>, now: Now) -> Result<(), SessionError> {
        self.received += 1;
        believable(change.newest(), now)?;
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
}

/// Clocks that differ by more are refused at the handshake; a version from further ahead would drag
/// this node's clock with it for good.
fn believable(version: Version, now: Now) -> Result<Version, FrameError> {
    if version.milliseconds() > now.0 + VERSION_AHEAD_MAX {
        return Err(FrameError::BadVersion(version.raw()));
    }
    Ok(version)
}
