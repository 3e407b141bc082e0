//! `-e`: the file that a store is kept in while no daemon runs.
//!
//! It is written when the daemon stops gracefully and used once: [`load`] leaves it in place, and the
//! daemon calls [`consume`] before it serves, so that a crash later on can't bring old items back. A
//! file that can't be used is put aside, never overwritten.
//!
//! [`format`] is the encoding; here are the files.

pub mod format;

use crate::replication::Lineage;
use crate::store::{Now, Store};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub use format::{Loaded, Profile, Refusal};

/// Bytes that one read takes.
const READ: usize = 256 * 1024;
/// Bytes after which the disk is to have them.
const SYNC: usize = 64 << 20;

/// What came of looking for a file.
#[derive(Debug)]
pub enum Found {
    /// It was loaded.
    Loaded(Loaded),
    /// There is none.
    Nothing,
    /// It can't be used, and the store holds a part of it: it has to be thrown away.
    Refused(Refusal),
}

/// Makes sure that a file can be written at `path` when the time comes.
///
/// # Errors
/// What the system said.
pub fn probe(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    drop(create(&unfinished(path))?);
    fs::remove_file(unfinished(path))
}

/// Fills an empty store from the file; `progress` is called with the bytes read so far and all.
pub fn load(
    path: &Path,
    store: &Store,
    profile: &Profile,
    now: Now,
    mut progress: impl FnMut(u64, u64),
) -> Found {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Refused(error.into()),
    };
    let size = file.metadata().map_or(0, |meta| meta.len());
    let input = BufReader::with_capacity(READ, file);
    match format::read(input, store, profile, now, |done| progress(done, size)) {
        Ok(loaded) => Found::Loaded(loaded),
        Err(refusal) => Found::Refused(refusal),
    }
}

/// Removes the file for good: from now on the store is ahead of it.
///
/// # Errors
/// What the system said; then the store must not be served.
pub fn consume(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_directory(path)
}

/// Puts a file that can't be used aside, and returns where.
///
/// # Errors
/// What the system said.
pub fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, ".refused");
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Writes the store to the file, for its owner only: beside it first, so that an older one stays
/// until this one is complete and on the disk. Returns how many items and deletes were written.
///
/// # Errors
/// What the system said; nothing is left of the new file then.
pub fn save(
    path: &Path,
    store: &Store,
    profile: &Profile,
    lineage: Lineage,
    now: Now,
    progress: impl FnMut(u64),
) -> io::Result<u64> {
    let new = unfinished(path);
    let written = create(&new).and_then(|file| {
        let mut out = Steady { file, unsynced: 0 };
        let records = format::write(&mut out, store, profile, lineage, now, progress)?;
        out.file.sync_all()?;
        fs::rename(&new, path)?;
        sync_directory(path)?;
        Ok(records)
    });
    if written.is_err() {
        // That it can't be written is the news; what is left of it may be.
        let _ = fs::remove_file(&new);
    }
    written
}

impl Found {
    /// What was loaded, if it was.
    pub fn loaded(&self) -> Option<Loaded> {
        match self {
            Found::Loaded(loaded) => Some(*loaded),
            Found::Nothing | Found::Refused(_) => None,
        }
    }
}

/// Has the disk take what is written now and then, so that at the end it has not all to take at once:
/// nobody could be told meanwhile that something goes on.
struct Steady {
    file: File,
    unsynced: usize,
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= SYNC {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A new file that only its owner may read. What was left behind under its name goes.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn unfinished(path: &Path) -> PathBuf {
    beside(path, ".new")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Has the disk remember which names the directory has.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
