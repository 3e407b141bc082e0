//! The file of passwords: read at the start, and again when the configuration is.

use super::exit::Fatal;
use crate::command::{Cache, Passwords};
use crate::config::Config;
use std::sync::PoisonError;

/// Reads the file, if clients have to log in.
pub(super) fn read(config: &Config) -> Result<Option<Passwords>, Fatal> {
    let Some(file) = &config.password_file else {
        return Ok(None);
    };
    match file.read(&config.sources.directory) {
        Ok((passwords, warnings)) => {
            for warning in warnings {
                log::warn!("event=config warning={warning:?}");
            }
            Ok(Some(passwords))
        }
        Err(exit) => Err(Fatal { message: exit.stderr.trim_end().to_owned(), code: exit.code }),
    }
}

/// Reads the file again. If it can't be, those who could log in before still can; who has logged in
/// stays so in any case.
pub(super) fn reload(config: &Config, cache: &Cache) {
    match read(config) {
        Ok(Some(new)) => {
            let Some(passwords) = &cache.passwords else { return };
            let mut passwords = passwords.write().unwrap_or_else(PoisonError::into_inner);
            if *passwords != new {
                *passwords = new;
                log::info!("event=reload setting=passwords");
            }
        }
        Ok(None) => {}
        Err(fatal) => {
            let fault = fatal.message.replace('\n', "; ");
            log::error!("event=reload_failed fault={fault:?} kept=\"the passwords from before\"");
        }
    }
}
