//! Logging in to nodes that want a password.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::Args;

/// What every connection begins with: one run logs in everywhere alike.
static LOGIN: OnceLock<Vec<u8>> = OnceLock::new();
/// Longest answer to it.
pub(crate) const ANSWER_MAX: usize = 256;

/// How to log in.
#[derive(Args)]
#[group(id = "login")]
pub(crate) struct Options {
    /// File whose first line, user:password, logs in to nodes started with -Y
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
}

impl Options {
    /// Has all connections log in, if they are to. The error says why the file is of no use.
    pub(crate) fn take(&self) -> Result<(), String> {
        if let Some(path) = &self.auth_file {
            // Nothing was set before: the command line is read once.
            let _ = LOGIN.set(read(path)?);
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.display();
    let text = std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let line = text.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default();
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err(format!("{name} does not begin with a line user:password"));
    };
    let (user, password) = (&line[..colon], &line[colon + 1..]);
    // A node that wants no password takes this for an item: one that is gone at once.
    let mut words = format!("set pairctl-login 0 -1 {}\r\n", line.len()).into_bytes();
    words.extend_from_slice(&[user, b" ", password, b"\r\n"].concat());
    Ok(words)
}

/// What a connection sends first, if it is to log in; [`check`] takes the answer.
pub(crate) fn words() -> Option<&'static [u8]> {
    LOGIN.get().map(Vec::as_slice)
}

/// Whether the node let us in, by the line that it answered.
pub(crate) fn check(answer: &[u8]) -> io::Result<()> {
    if answer.trim_ascii() == b"STORED" {
        return Ok(());
    }
    let what = "it does not take the password";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}
