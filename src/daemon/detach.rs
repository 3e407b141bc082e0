//! `-d`: leaving the terminal. The parent stays until the child serves, so that whoever started it
//! can connect as soon as the command returns, and sees the message if it fails.

use super::exit::Fatal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe, setsid};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

/// The child's end: dropped without [`Detached::serving`], the parent reports failure.
pub(super) struct Detached {
    ready: File,
    keep_output: bool,
}

/// Forks. The parent never returns: it ends with the child's success or exit code. Must be called
/// before any thread exists. `keep_output` leaves standard output and error open, as `-v` asks.
pub(super) fn detach(keep_output: bool, keep_directory: bool) -> Result<Detached, Fatal> {
    let failed = |what: &str, error: std::io::Error| {
        Fatal::os(format!("failed to daemonize: {what}: {error}"))
    };
    let (parents, childs) = pipe().map_err(|error| failed("pipe", error.into()))?;
    // SAFETY: no thread has been started yet, so the child may run any code.
    match unsafe { fork() }.map_err(|error| failed("fork", error.into()))? {
        ForkResult::Parent { child } => {
            drop(childs);
            let served = File::from(parents).read(&mut [0]).unwrap_or(0) == 1;
            let code = if served {
                0
            } else {
                match waitpid(child, None) {
                    Ok(WaitStatus::Exited(_, code)) => code,
                    _ => 1,
                }
            };
            std::process::exit(code);
        }
        ForkResult::Child => drop(parents),
    }
    setsid().map_err(|error| failed("setsid", error.into()))?;
    if !keep_directory {
        std::env::set_current_dir("/").map_err(|error| failed("chdir", error))?;
    }
    Ok(Detached { ready: childs.into(), keep_output })
}

impl Detached {
    /// The daemon serves: lets the parent go and closes the way to the terminal.
    pub(super) fn serving(mut self) {
        if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
            // What can't be closed stays open: not worth dying for.
            let _ = dup2_stdin(&null);
            if !self.keep_output {
                let _ = dup2_stdout(&null);
                let _ = dup2_stderr(&null);
            }
        }
        // A parent that was killed needs no word.
        let _ = self.ready.write_all(b"1");
    }
}
