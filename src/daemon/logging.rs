//! The log: one line per event, to standard error with the journal's levels, or to syslog.

use crate::config::{Facility, Log, LogTarget};
use log::{Level, LevelFilter, Metadata, Record};
use std::io::Write;
use std::os::linux::fs::MetadataExt;
use syslog::{BasicLogger, Formatter3164};

/// Writes lines to standard error.
struct Stderr {
    /// Whether it is the journal that reads them: it takes the level from a prefix.
    journal: bool,
}

impl log::Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let (level, event) = (record.level(), record.args());
        let line = if self.journal {
            format!("<{}>{event}\n", priority(level))
        } else {
            format!("{} {event}\n", level.as_str().to_ascii_lowercase())
        };
        // One write, so that lines of several processes stay whole. Whoever closed our standard
        // error does not want to read this.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// The level as syslog(3) and the journal number it.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Whether standard error is a socket of the journal's (see `JOURNAL_STREAM` in systemd.exec(5)).
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|meta| stream == format!("{}:{}", meta.st_dev(), meta.st_ino()))
}

/// Starts to log. Without a syslog to be had, standard error is used.
pub(super) fn start(config: &Log, detached: bool, verbosity: u8) {
    let to_syslog = match config.target {
        LogTarget::Syslog => true,
        LogTarget::Stderr => false,
        LogTarget::Auto => detached,
    };
    set_level(config, verbosity);
    if to_syslog {
        match syslog::unix(Formatter3164 {
            facility: facility(config.facility),
            hostname: None,
            process: "paircached".to_owned(),
            pid: std::process::id(),
        }) {
            Ok(logger) => {
                // A logger that is already set was set by a test.
                let _ = log::set_boxed_logger(Box::new(BasicLogger::new(logger)));
            }
            Err(error) => {
                start_stderr();
                if detached {
                    // The terminal is on loan until the daemon serves: for warnings only.
                    log::set_max_level(LevelFilter::Warn);
                }
                log::info!("event=syslog_missing error=\"{error}\" log=stderr");
            }
        }
    } else {
        start_stderr();
    }
}

fn start_stderr() {
    let _ = log::set_boxed_logger(Box::new(Stderr { journal: stderr_is_journal() }));
}

/// Sets how much is logged; `-vv` shows connections too.
pub(super) fn set_level(config: &Log, verbosity: u8) {
    let level = if verbosity >= 2 { config.level.max(LevelFilter::Debug) } else { config.level };
    log::set_max_level(level);
}

fn facility(facility: Facility) -> syslog::Facility {
    match facility {
        Facility::User => syslog::Facility::LOG_USER,
        Facility::Daemon => syslog::Facility::LOG_DAEMON,
        Facility::Auth => syslog::Facility::LOG_AUTH,
        Facility::Authpriv => syslog::Facility::LOG_AUTHPRIV,
        Facility::Cron => syslog::Facility::LOG_CRON,
        Facility::Local0 => syslog::Facility::LOG_LOCAL0,
        Facility::Local1 => syslog::Facility::LOG_LOCAL1,
        Facility::Local2 => syslog::Facility::LOG_LOCAL2,
        Facility::Local3 => syslog::Facility::LOG_LOCAL3,
        Facility::Local4 => syslog::Facility::LOG_LOCAL4,
        Facility::Local5 => syslog::Facility::LOG_LOCAL5,
        Facility::Local6 => syslog::Facility::LOG_LOCAL6,
        Facility::Local7 => syslog::Facility::LOG_LOCAL7,
    }
}
