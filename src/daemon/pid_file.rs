//! `-P`: the file with the process id.

use std::fs;
use std::path::{Path, PathBuf};

/// Writes the process id beside `path` and renames it there, so that nobody reads half of it. As
/// for memcached, not being able to is no reason not to serve.
pub(super) fn write(path: &Path) {
    if let Some(pid) = running(path) {
        log::warn!("WARNING: The pid file contained the following (running) pid: {pid}");
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".tmp");
    let unfinished = PathBuf::from(unfinished);
    let written = fs::write(&unfinished, format!("{}\n", std::process::id()));
    if let Err(error) = written.and_then(|()| fs::rename(&unfinished, path)) {
        let name = unfinished.display();
        log::warn!("Could not open the pid file {name} for writing: {error}");
    }
}

/// Removes the file, if the directory still lets us.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        log::warn!("event=pid_file_left path={path:?} error=\"{error}\"");
    }
}

/// The process that an older file names, if it lives.
fn running(path: &Path) -> Option<i32> {
    let pid: i32 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (pid > 1 && Path::new("/proc").join(pid.to_string()).exists()).then_some(pid)
}
