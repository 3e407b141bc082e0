//! The link's encoding: frames of a length, a kind and a payload, all numbers little endian.
//!
//! | kind | payload |
//! |---|---|
//! | hello | see [`super::hello`] |
//! | refusal | text for the operator |
//! | batch | sequence number (8), then changes |
//! | ack | sequence number (8) up to which all batches were applied |
//! | ping | the sender's clock (8, Unix ms) |
//! | pong | the clock of the ping (8), the replier's clock (8) |
//! | doubt | version (8) up to which deletes were forgotten |
//! | caught up | nothing |
//! | proof | see [`super::secret`] |
//! | fetch | a key that is to be sent now |
//! | fetched | whether it was there (1) and sent, in a batch before this; the key |
//! | request | number (8), whether it is binary (1), a client's request that the receiver decides |
//! | reply | the request's number (8), what the client is told |
//! | check | bits (1: a round begins, 2: it ends), then of some keys: version (8), last touch (8), length (1), key |
//!
//! Changes in a batch: a kind (1; a set that a meta command marked has its own), numbers, then key
//! and value. Marked sets came with [`MARKS`]: to an older peer such an item goes as a delete
//! of the same version, so that it has a miss there and not a value whose mark is lost. Short sets
//! came with [`SHORT`]: they leave out the numbers that most items have not, so that little more
//! than what changed travels. Lengths are checked against what is there before anything is read, so
//! that no input can make the decoder reach too far.

#[cfg(test)]
mod tests;

use crate::protocol::KEY_MAX;
use crate::store::{Change, Flush, Mark, Version};
use bytes::{Buf, BufMut, TryGetError};
use thiserror::Error;

/// Bytes before the payload: length (4, of the payload) and kind (1).
pub const HEADER: usize = 5;

/// The version of the protocol that first knew marked sets.
pub const MARKS: u8 = 2;

/// The version that first knew short sets.
pub const SHORT: u8 = 2;

/// The version that first knew what clients' connections want of the peer.
pub const ERRANDS: u8 = 2;

/// The version that first knew how to compare what both have.
pub const CHECKS: u8 = 2;

const SET: u8 = 1;
const DELETE: u8 = 2;
const TOUCH: u8 = 3;
const FLUSH: u8 = 4;
/// A set with a mark: bits (1) and CAS (8) before what a set has.
const SET_MARKED: u8 = 5;
/// A set without the numbers that are 0: bits (1), version, those numbers that the bits name.
const SET_SHORT: u8 = 6;

const TOUCHED: u8 = 1;
const EXPTIME: u8 = 2;
const FLAGS: u8 = 4;
/// The length of the value has four bytes, not two.
const LONG: u8 = 8;
/// How often it was used.
const USED: u8 = 16;

const STALE: u8 = 1;
const WON: u8 = 2;
const BINARY: u8 = 4;
const DICTATED: u8 = 8;
/// Above these bits: how often it was used.
const HITS_AT: u32 = 4;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the module's table says what each is")]
pub enum Kind {
    Hello = 1,
    Refusal = 2,
    Batch = 3,
    Ack = 4,
    Ping = 5,
    Pong = 6,
    Doubt = 7,
    CaughtUp = 8,
    Proof = 9,
    Fetch = 10,
    Fetched = 11,
    Request = 12,
    Reply = 13,
    Check = 14,
}

/// Bytes that are not what a peer sends.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// A number or text ends too early.
    #[error("a frame ends in the middle")]
    Short,
    /// A kind that does not exist in this version.
    #[error("a frame or change of unknown kind {0}")]
    UnknownKind(u8),
    /// More than a frame may have here.
    #[error("a frame of {0} bytes, more than the {1} expected at most")]
    TooLong(usize, usize),
    /// A key of no length, or more than 250 bytes.
    #[error("a key of {0} bytes")]
    BadKey(usize),
    /// A version that no clock hands out.
    #[error("an impossible version {0}")]
    BadVersion(u64),
}

impl From<TryGetError> for FrameError {
    fn from(_: TryGetError) -> FrameError {
        FrameError::Short
    }
}

impl TryFrom<u8> for Kind {
    type Error = FrameError;

    fn try_from(kind: u8) -> Result<Kind, FrameError> {
        Ok(match kind {
            1 => Kind::Hello,
            2 => Kind::Refusal,
            3 => Kind::Batch,
            4 => Kind::Ack,
            5 => Kind::Ping,
            6 => Kind::Pong,
            7 => Kind::Doubt,
            8 => Kind::CaughtUp,
            9 => Kind::Proof,
            10 => Kind::Fetch,
            11 => Kind::Fetched,
            12 => Kind::Request,
            13 => Kind::Reply,
            14 => Kind::Check,
            other => return Err(FrameError::UnknownKind(other)),
        })
    }
}

/// Appends a frame whose payload `fill` appends.
pub fn write(out: &mut Vec<u8>, kind: Kind, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(out, kind);
    fill(out);
    finish(out, start);
}

/// Appends the header of a frame whose payload follows; [`finish`] is given what this returns.
pub fn begin(out: &mut Vec<u8>, kind: Kind) -> usize {
    let start = out.len();
    out.put_u32_le(0);
    out.put_u8(kind as u8);
    start
}

/// Writes the length of the frame that began at `start`.
pub fn finish(out: &mut [u8], start: usize) {
    let length = (out.len() - start - HEADER) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// A frame at the front of a buffer: kind, payload, and bytes taken.
pub type Framed<'a> = (Kind, &'a [u8], usize);

/// The frame at the front of `input`; `None` if it is not all there.
pub fn read(input: &[u8], longest: usize) -> Result<Option<Framed<'_>>, FrameError> {
    let Some((mut header, rest)) = input.split_at_checked(HEADER) else {
        return Ok(None);
    };
    let length = header.try_get_u32_le()? as usize;
    let kind = Kind::try_from(header.try_get_u8()?)?;
    if length > longest {
        return Err(FrameError::TooLong(length, longest));
    }
    Ok(rest.get(..length).map(|payload| (kind, payload, HEADER + length)))
}

/// Appends a change for a peer with whom that version of the protocol was agreed on.
pub fn write_change(out: &mut Vec<u8>, change: &Change<'_>, protocol: u8) {
    match *change {
        Change::Set { key, version, mark, .. } if protocol < MARKS && mark != Mark::default() => {
            write_change(out, &Change::Delete { key, version }, protocol);
        }
        Change::Set { key, value, flags, exptime, version, touched, mark, hits }
            if protocol >= SHORT && mark == Mark::default() =>
        {
            let bit = |set: bool, bit: u8| if set { bit } else { 0 };
            let bits = bit(touched != Version::NONE, TOUCHED)
                | bit(exptime != 0, EXPTIME)
                | bit(flags != 0, FLAGS)
                | bit(value.len() > usize::from(u16::MAX), LONG)
                | bit(hits != 0, USED);
            out.put_slice(&[SET_SHORT, bits]);
            out.put_u64_le(version.raw());
            if bits & TOUCHED != 0 {
                out.put_u64_le(touched.raw());
            }
            if bits & EXPTIME != 0 {
                out.put_u32_le(exptime);
            }
            if bits & FLAGS != 0 {
                out.put_u32_le(flags);
            }
            if bits & USED != 0 {
                out.put_u8(hits);
            }
            out.put_u8(key.len() as u8);
            match bits & LONG {
                0 => out.put_u16_le(value.len() as u16),
                _ => out.put_u32_le(value.len() as u32),
            }
            out.put_slice(key);
            out.put_slice(value);
        }
        Change::Set { key, value, flags, exptime, version, touched, mark, hits } => {
            write_set(out, mark, hits);
            out.put_u64_le(version.raw());
            out.put_u64_le(touched.raw());
            out.put_u32_le(exptime);
            out.put_u32_le(flags);
            out.put_u8(key.len() as u8);
            out.put_u32_le(value.len() as u32);
            out.put_slice(key);
            out.put_slice(value);
        }
        Change::Delete { key, version } => {
            out.put_u8(DELETE);
            out.put_u64_le(version.raw());
            out.put_u8(key.len() as u8);
            out.put_slice(key);
        }
        Change::Touch { key, version, touched, exptime } => {
            out.put_u8(TOUCH);
            out.put_u64_le(version.raw());
            out.put_u64_le(touched.raw());
            out.put_u32_le(exptime);
            out.put_u8(key.len() as u8);
            out.put_slice(key);
        }
        Change::Flush(Flush { horizon, issued, at }) => {
            out.put_u8(FLUSH);
            out.put_u64_le(horizon.raw());
            out.put_u64_le(issued.raw());
            out.put_u64_le(at);
        }
    }
}

/// The kind of a set, with its mark if it has one: most have none, and pay nothing for it.
fn write_set(out: &mut Vec<u8>, mark: Mark, hits: u8) {
    if mark == Mark::default() {
        out.put_u8(SET);
        return;
    }
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    out.put_u8(SET_MARKED);
    out.put_u8(
        bit(mark.stale, STALE)
            | bit(mark.won, WON)
            | bit(mark.binary, BINARY)
            | bit(mark.cas.is_some(), DICTATED)
            | hits << HITS_AT,
    );
    out.put_u64_le(mark.cas.unwrap_or(0));
}

/// Takes a mark, and how often the item was used.
fn read_mark(input: &mut &[u8]) -> Result<(Mark, u8), FrameError> {
    let (bits, cas) = (input.try_get_u8()?, input.try_get_u64_le()?);
    let mark = Mark {
        cas: (bits & DICTATED != 0).then_some(cas),
        stale: bits & STALE != 0,
        won: bits & WON != 0,
        binary: bits & BINARY != 0,
    };
    Ok((mark, bits >> HITS_AT))
}

/// Takes the change at the front of `input`, which is of that version of the protocol.
pub fn read_change<'a>(input: &mut &'a [u8], protocol: u8) -> Result<Change<'a>, FrameError> {
    Ok(match input.try_get_u8()? {
        SET_MARKED if protocol < MARKS => return Err(FrameError::UnknownKind(SET_MARKED)),
        kind @ (SET | SET_MARKED) => {
            let (mark, hits) = if kind == SET { Default::default() } else { read_mark(input)? };
            let (version, touched) = (version(input)?, version(input)?);
            let (exptime, flags) = (input.try_get_u32_le()?, input.try_get_u32_le()?);
            let key_len = usize::from(input.try_get_u8()?);
            let value_len = input.try_get_u32_le()? as usize;
            let key = key(input, key_len)?;
            let value = take(input, value_len)?;
            Change::Set { key, value, flags, exptime, version, touched, mark, hits }
        }
        SET_SHORT if protocol < SHORT => return Err(FrameError::UnknownKind(SET_SHORT)),
        SET_SHORT => {
            let bits = input.try_get_u8()?;
            let has = |bit: u8| bits & bit != 0;
            let set_at = version(input)?;
            let touched = if has(TOUCHED) { version(input)? } else { Version::NONE };
            let exptime = if has(EXPTIME) { input.try_get_u32_le()? } else { 0 };
            let flags = if has(FLAGS) { input.try_get_u32_le()? } else { 0 };
            let hits = if has(USED) { input.try_get_u8()? } else { 0 };
            let key_len = usize::from(input.try_get_u8()?);
            let value_len = match has(LONG) {
                true => input.try_get_u32_le()? as usize,
                false => usize::from(input.try_get_u16_le()?),
            };
            let (key, value) = (key(input, key_len)?, take(input, value_len)?);
            let mark = Mark::default();
            Change::Set { key, value, flags, exptime, version: set_at, touched, mark, hits }
        }
        DELETE => {
            let version = version(input)?;
            let key_len = usize::from(input.try_get_u8()?);
            Change::Delete { key: key(input, key_len)?, version }
        }
        TOUCH => {
            let (version, touched) = (version(input)?, version(input)?);
            let exptime = input.try_get_u32_le()?;
            let key_len = usize::from(input.try_get_u8()?);
            Change::Touch { key: key(input, key_len)?, version, touched, exptime }
        }
        FLUSH => {
            let (horizon, issued) = (version(input)?, version(input)?);
            Change::Flush(Flush { horizon, issued, at: input.try_get_u64_le()? })
        }
        other => return Err(FrameError::UnknownKind(other)),
    })
}

/// Takes a version.
pub fn version(input: &mut &[u8]) -> Result<Version, FrameError> {
    let raw = input.try_get_u64_le()?;
    if raw >> 63 != 0 {
        return Err(FrameError::BadVersion(raw));
    }
    Ok(Version::from_raw(raw))
}

fn key<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], FrameError> {
    if length == 0 || length > KEY_MAX {
        return Err(FrameError::BadKey(length));
    }
    take(input, length)
}

/// Takes `length` bytes.
pub fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8], FrameError> {
    let (taken, rest) = input.split_at_checked(length).ok_or(FrameError::Short)?;
    *input = rest;
    Ok(taken)
}
