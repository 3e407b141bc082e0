//! `-e`: the store before it serves and after.

use super::exit::Fatal;
use super::notify;
use crate::clock::Clock;
use crate::config::Config;
use crate::memory_file::{self, Found, Loaded, Profile};
use crate::replication::Lineage;
use crate::store::{self, Store};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often systemd is told how far it is.
const REPORT: Duration = Duration::from_secs(1);

/// A store before it is served.
pub(super) struct Opened {
    pub(super) store: Arc<Store>,
    /// What it was loaded from, if it was.
    pub(super) loaded: Option<Loaded>,
}

/// The store, with what the memory file held if there is one.
pub(super) fn open_store(config: &Config) -> Result<Opened, Fatal> {
    let settings = store::Settings {
        memory: config.memory,
        evictions: config.evictions,
        item_size_max: config.item_size_max,
        growth_factor: config.growth_factor,
        chunk_size: config.chunk_size,
        cas: config.cas,
        huge_pages: config.large_pages,
        tombstone_memory: config
            .replication
            .as_ref()
            .map(|replication| replication.tombstone_memory),
    };
    let store = Store::new(&settings);
    let Some(path) = &config.memory_file else {
        return Ok(Opened { store: Arc::new(store), loaded: None });
    };
    memory_file::probe(path).map_err(|error| {
        let remedy = "name a file in a directory that the daemon's user may write to";
        Fatal::os(format!(
            "failed to write beside the memory file {}: {error}; {remedy}",
            path.display()
        ))
    })?;
    let mut pace = Pace::default();
    let now = Clock::time_of_day();
    let found = memory_file::load(path, &store, &profile(config), now, |done, all| {
        pace.say(|| format!("loading {}: {} %", path.display(), done * 100 / all.max(1)));
    });
    let loaded = found.loaded();
    Ok(Opened { store: Arc::new(take(found, path, store, &settings)?), loaded })
}

/// The store that is to be served after this was found at `path`.
fn take(
    found: Found,
    path: &Path,
    store: Store,
    settings: &store::Settings,
) -> Result<Store, Fatal> {
    match found {
        Found::Nothing => {
            log::info!("event=memory_file_missing path={path:?} next=\"starts empty\"");
            Ok(store)
        }
        Found::Loaded(loaded) => {
            let (records, dropped) = (loaded.records, loaded.dropped);
            let down = Clock::time_of_day().0.saturating_sub(loaded.saved.0) / 1000;
            log::info!(
                "event=memory_file_loaded path={path:?} records={records} without_room={dropped} down_s={down}"
            );
            Ok(store)
        }
        Found::Refused(reason) => {
            let aside = memory_file::put_aside(path).map_err(|error| {
                let path = path.display();
                Fatal::os(format!(
                    "the memory file {path} is not used: {reason}; failed to put it aside: {error}; \
                     move it away by hand"
                ))
            })?;
            log::warn!(
                "event=memory_file_refused path={path:?} reason=\"{reason}\" kept_as={aside:?} \
                 next=\"starts empty\""
            );
            // The first one may hold a part of the file.
            drop(store);
            Ok(Store::new(settings))
        }
    }
}

/// The last step before serving, when what could fail has not: what the file holds will soon be old,
/// and a crash must not bring it back.
pub(super) fn begin_serving(config: &Config, loaded: Option<Loaded>) -> Result<(), Fatal> {
    let (Some(path), Some(_)) = (&config.memory_file, loaded) else { return Ok(()) };
    memory_file::consume(path).map_err(|error| {
        let remedy = "remove it by hand, or let the daemon's user write to its directory";
        let path = path.display();
        Fatal::os(format!("failed to remove the memory file {path}: {error}; {remedy}"))
    })
}

/// Keeps what the store holds for the next start, if that was asked for.
pub(super) fn save(config: &Config, store: &Store, lineage: Lineage) -> Result<(), Fatal> {
    let Some(path) = &config.memory_file else { return Ok(()) };
    let mut pace = Pace::default();
    let began = Instant::now();
    let (profile, now) = (profile(config), Clock::time_of_day());
    let saved = memory_file::save(path, store, &profile, lineage, now, |bytes| {
        pace.say(|| format!("saving to {}: {} MB", path.display(), bytes >> 20));
    });
    match saved {
        Ok(records) => {
            let ms = began.elapsed().as_millis();
            log::info!("event=memory_file_saved path={path:?} records={records} took_ms={ms}");
            Ok(())
        }
        Err(error) => {
            log::error!(
                "event=memory_file_failed path={path:?} error=\"{error}\" lost=\"all items\""
            );
            let remedy = "the next start is with an empty cache; make room there for as much as -m";
            Err(Fatal::os(format!("failed to save to {}: {error}; {remedy}", path.display())))
        }
    }
}

fn profile(config: &Config) -> Profile {
    Profile {
        item_size_max: config.item_size_max,
        cluster: config.replication.as_ref().map(|replication| replication.cluster.clone()),
    }
}

/// Tells systemd how far it is, and to wait on.
#[derive(Default)]
struct Pace {
    last: Option<Instant>,
}

impl Pace {
    fn say(&mut self, status: impl FnOnce() -> String) {
        if self.last.is_none_or(|last| last.elapsed() >= REPORT) {
            self.last = Some(Instant::now());
            notify::busy(&status());
        }
    }
}
