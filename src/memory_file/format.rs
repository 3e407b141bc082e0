//! The encoding of a memory file. All numbers are little endian.
//!
//! The file is [`MAGIC`], the version of the format (4), then frames. A frame is the length of its
//! payload (4), the payload, and the CRC-32 (4) of the whole file up to there, so that nothing can be
//! missing, doubled or exchanged. The first byte of a payload tells its kind:
//!
//! | kind | payload |
//! |---|---|
//! | head (1), first | when it was saved (8, Unix ms), largest item (8, bytes), node (1, 0 is a), newest version (8), floor (8), flush: horizon (8), issued (8), at (8, Unix ms); whether replicated (1), length (1) and name of the cluster; incarnation (8) up to which it holds everything, that of the peer it last heard (8), whether that one had acknowledged everything (1) |
//! | changes (2), any number | changes as version 2 of the link's protocol encodes them |
//! | end (3), last | how many changes there were (8) |
//!
//! The changes are those of a full walk: items, expired ones too, and deletes that the peer may not
//! have heard of.

use crate::replication::Lineage;
use crate::replication::frame::{self, FrameError};
use crate::store::{Change, Flush, Node, Now, Progress, SHARDS, Store, Version, Walk};
use bytes::{Buf, BufMut};
use crc32fast::Hasher;
use std::io::{self, Read, Write};
use thiserror::Error;

/// How a memory file begins.
pub const MAGIC: &[u8; 8] = b"pairsave";
/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// The version of the link's protocol that has the changes as this format has them.
const LINK: u8 = 2;

const HEAD: u8 = 1;
const CHANGES: u8 = 2;
const END: u8 = 3;

/// Bytes of changes in a frame, about; a frame with one larger value is as large as that.
const FRAME: usize = 256 * 1024;
/// What a frame may hold beside one value of the largest size.
const FRAME_OVERHEAD: u64 = 2 * FRAME as u64;
/// Milliseconds that the clock may have been set back since the file was saved.
const BACK_MAX: u64 = 60 * 1000;
/// Milliseconds that a version may lie ahead of the clock, as on the link to the peer: a day.
const VERSION_AHEAD_MAX: u64 = 24 * 60 * 60 * 1000;

/// The settings that decide whether one daemon can use what another saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Largest item, in bytes as memcached counts them: not to be smaller than it was.
    pub item_size_max: u64,
    /// Name of the cluster, if there is a peer; data of one cluster has no place in another.
    pub cluster: Option<String>,
}

/// What a file brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Which node it was.
    pub node: Node,
    /// Who saved it, and whom that one knew.
    pub lineage: Lineage,
    /// Nothing in it is newer.
    pub newest: Version,
    /// When it was saved.
    pub saved: Now,
    /// Items and deletes in the file.
    pub records: u64,
    /// Those there was no room for.
    pub dropped: u64,
}

/// Why a file is not used.
#[derive(Debug, Error)]
pub enum Refusal {
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
    /// Something else's file.
    #[error("it is no memory file of paircached")]
    Foreign,
    /// Of a version that this program does not read.
    #[error("its format is version {0}, and this program reads {VERSION}")]
    Version(u32),
    /// A part is missing or was changed.
    #[error("it is damaged: {0}")]
    Torn(&'static str),
    /// The bytes are as they were written, and still make no sense.
    #[error("it is damaged: {0}")]
    Record(#[from] FrameError),
    /// Larger items were allowed.
    #[error("it may hold items of {0} bytes, more than the {1} that -I allows")]
    ItemSize(u64, u64),
    /// It is of another pair.
    #[error("it is of cluster \"{0}\", this node belongs to \"{1}\"")]
    Cluster(String, String),
    /// Time runs backwards.
    #[error("it was saved {0} s after what the clock says now; is the clock right?")]
    Clock(u64),
}

/// Writes everything that `store` holds; `progress` is called with the bytes written so far.
/// Returns how many changes were written.
///
/// # Errors
/// What `out` said.
pub fn write(
    out: impl Write,
    store: &Store,
    profile: &Profile,
    lineage: Lineage,
    now: Now,
    mut progress: impl FnMut(u64),
) -> io::Result<u64> {
    let mut out = Frames { out, hasher: Hasher::new(), bytes: 0 };
    out.raw(MAGIC)?;
    out.raw(&VERSION.to_le_bytes())?;
    let mut payload = vec![HEAD];
    write_head(&mut payload, &store.progress(), profile, lineage, now);
    out.frame(&payload)?;
    let mut records = 0u64;
    payload.clear();
    payload.push(CHANGES);
    for shard in 0..SHARDS {
        let mut walk = Walk::to_restore();
        let mut over = false;
        while !over {
            let room = FRAME.saturating_sub(payload.len());
            over = store.walk(shard, &mut walk, room, |change| {
                frame::write_change(&mut payload, &change, LINK);
                records += 1;
            });
            if payload.len() >= FRAME {
                out.frame(&payload)?;
                progress(out.bytes);
                payload.truncate(1);
                // One large value need not cost its room until the end.
                payload.shrink_to(2 * FRAME);
            }
        }
    }
    out.frame(&payload)?;
    payload.clear();
    payload.push(END);
    payload.put_u64_le(records);
    out.frame(&payload)?;
    Ok(records)
}

fn write_head(
    out: &mut Vec<u8>,
    progress: &Progress,
    profile: &Profile,
    lineage: Lineage,
    now: Now,
) {
    out.put_u64_le(now.0);
    out.put_u64_le(profile.item_size_max);
    out.put_u8(u8::from(progress.node == Node::B));
    let Flush { horizon, issued, at } = progress.flush;
    for version in [progress.newest, progress.floor, horizon, issued] {
        out.put_u64_le(version.raw());
    }
    out.put_u64_le(at);
    let cluster = profile.cluster.as_deref().unwrap_or_default();
    out.put_u8(u8::from(profile.cluster.is_some()));
    out.put_u8(cluster.len() as u8);
    out.put_slice(cluster.as_bytes());
    out.put_u64_le(lineage.incarnation);
    out.put_u64_le(lineage.peer);
    out.put_u8(u8::from(lineage.acknowledged));
}

/// Fills the empty `store` with what `input` holds; `progress` is called with the bytes read so far.
///
/// # Errors
/// Why it can't be used; `store` may hold a part of it then.
pub fn read(
    input: impl Read,
    store: &Store,
    profile: &Profile,
    now: Now,
    mut progress: impl FnMut(u64),
) -> Result<Loaded, Refusal> {
    let mut input = Input { input, hasher: Hasher::new(), bytes: 0, payload: Vec::new() };
    input.begin()?;
    // Nothing longer is asked of a head, whoever wrote it.
    let head = read_head(input.frame(FRAME_OVERHEAD)?, profile, now)?;
    store.resume(&head.progress, now);
    let longest = profile.item_size_max + FRAME_OVERHEAD;
    let Head { saved, lineage, progress: Progress { node, newest, .. } } = head;
    let mut loaded = Loaded { node, lineage, newest, saved, records: 0, dropped: 0 };
    loop {
        let mut payload = input.frame(longest)?;
        match payload.try_get_u8().map_err(FrameError::from)? {
            CHANGES => {}
            END if payload.try_get_u64_le().map_err(FrameError::from)? == loaded.records => break,
            END => return Err(Refusal::Torn("it has not as many items as it says")),
            kind => return Err(FrameError::UnknownKind(kind).into()),
        }
        while !payload.is_empty() {
            let change = frame::read_change(&mut payload, LINK)?;
            check(&change, newest)?;
            loaded.records += 1;
            loaded.dropped += u64::from(!store.restore(&change, now));
        }
        progress(input.bytes);
    }
    input.end()?;
    if lineage.acknowledged {
        (0..SHARDS).for_each(|shard| store.acknowledge(shard, newest));
    }
    Ok(loaded)
}

fn check(change: &Change<'_>, newest: Version) -> Result<(), Refusal> {
    match change {
        Change::Set { .. } | Change::Delete { .. } if change.newest() <= newest => Ok(()),
        Change::Set { .. } | Change::Delete { .. } => {
            Err(FrameError::BadVersion(change.newest().raw()).into())
        }
        Change::Touch { .. } | Change::Flush(_) => {
            Err(Refusal::Torn("it has a change that no item is made of"))
        }
    }
}

struct Head {
    saved: Now,
    lineage: Lineage,
    progress: Progress,
}

fn read_head(mut payload: &[u8], profile: &Profile, now: Now) -> Result<Head, Refusal> {
    let input = &mut payload;
    let mut numbers = || -> Result<(Head, u64, Option<String>), FrameError> {
        let kind = input.try_get_u8()?;
        if kind != HEAD {
            return Err(FrameError::UnknownKind(kind));
        }
        let saved = Now(input.try_get_u64_le()?);
        let item_size_max = input.try_get_u64_le()?;
        let node = if input.try_get_u8()? == 0 { Node::A } else { Node::B };
        let (newest, floor) = (frame::version(input)?, frame::version(input)?);
        let (horizon, issued) = (frame::version(input)?, frame::version(input)?);
        let flush = Flush { horizon, issued, at: input.try_get_u64_le()? };
        let (replicated, length) = (input.try_get_u8()? != 0, usize::from(input.try_get_u8()?));
        let cluster = String::from_utf8_lossy(frame::take(input, length)?).into_owned();
        // Whoever did not write this is nobody that the peer can know.
        let mut lineage = || input.try_get_u64_le().unwrap_or_default();
        let (incarnation, peer) = (lineage(), lineage());
        let acknowledged = input.try_get_u8().is_ok_and(|said| said != 0);
        let lineage = Lineage { incarnation, peer, acknowledged };
        let progress = Progress { node, newest, floor, flush };
        Ok((Head { saved, lineage, progress }, item_size_max, replicated.then_some(cluster)))
    };
    let (head, item_size_max, cluster) = numbers()?;
    if item_size_max > profile.item_size_max {
        return Err(Refusal::ItemSize(item_size_max, profile.item_size_max));
    }
    match (cluster, &profile.cluster) {
        (Some(theirs), Some(ours)) if theirs != *ours => {
            return Err(Refusal::Cluster(theirs, ours.clone()));
        }
        _ => {}
    }
    if head.saved.0 > now.0 + BACK_MAX {
        return Err(Refusal::Clock((head.saved.0 - now.0) / 1000));
    }
    let Progress { newest, floor, flush, .. } = head.progress;
    for version in [newest, floor, flush.horizon, flush.issued] {
        if version.milliseconds() > now.0.saturating_add(VERSION_AHEAD_MAX) {
            return Err(FrameError::BadVersion(version.raw()).into());
        }
    }
    Ok(head)
}

/// Writes frames.
struct Frames<W> {
    out: W,
    hasher: Hasher,
    bytes: u64,
}

impl<W: Write> Frames<W> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn frame(&mut self, payload: &[u8]) -> io::Result<()> {
        self.raw(&(payload.len() as u32).to_le_bytes())?;
        self.raw(payload)?;
        let checksum = self.hasher.clone().finalize();
        self.raw(&checksum.to_le_bytes())
    }
}

/// Reads frames.
struct Input<R> {
    input: R,
    hasher: Hasher,
    bytes: u64,
    payload: Vec<u8>,
}

impl<R: Read> Input<R> {
    fn begin(&mut self) -> Result<(), Refusal> {
        let mut magic = [0; MAGIC.len()];
        match self.exactly(&mut magic) {
            Err(Refusal::Torn(_)) => return Err(Refusal::Foreign),
            read => read?,
        }
        if magic != *MAGIC {
            return Err(Refusal::Foreign);
        }
        match self.number()? {
            VERSION => Ok(()),
            other => Err(Refusal::Version(other)),
        }
    }

    /// The payload of the next frame. What it claims to be long takes memory only as far as it is
    /// there.
    fn frame(&mut self, longest: u64) -> Result<&[u8], Refusal> {
        let length = u64::from(self.number()?);
        if length > longest {
            return Err(Refusal::Torn("a part of it is too long"));
        }
        self.payload.clear();
        let read = self.input.by_ref().take(length).read_to_end(&mut self.payload)?;
        if read as u64 != length {
            return Err(Refusal::Torn("it ends too early"));
        }
        self.bytes += length;
        self.hasher.update(&self.payload);
        let expected = self.hasher.clone().finalize();
        if self.number()? != expected {
            return Err(Refusal::Torn("a checksum is wrong"));
        }
        Ok(&self.payload)
    }

    /// Nothing may follow.
    fn end(&mut self) -> Result<(), Refusal> {
        match self.input.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(Refusal::Torn("something follows its end")),
        }
    }

    fn number(&mut self) -> Result<u32, Refusal> {
        let mut bytes = [0; 4];
        self.exactly(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        match self.input.read_exact(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Refusal::Torn("it ends too early"));
            }
            Err(error) => return Err(error.into()),
        }
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
