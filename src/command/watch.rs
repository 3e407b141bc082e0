//! `watch`: makes a connection one that is shown what happens.

use super::reply::line;
use super::{Cache, Outcome};
use crate::protocol::Output;
use crate::protocol::text::Words;
use crate::watch::{Refusal, Streams, Subscription};

/// Does `watch` with these streams; without any it is the one of look-ups.
pub(super) fn run<'a>(cache: &Cache, args: Words<'_>, out: &mut Output) -> Outcome<'a> {
    match subscribe(cache, args, out) {
        Ok(subscription) => {
            line(out, "OK");
            Outcome::Watching(subscription)
        }
        Err(reply) => {
            line(out, reply);
            Outcome::Continue
        }
    }
}

fn subscribe(cache: &Cache, args: Words<'_>, out: &Output) -> Result<Subscription, &'static str> {
    if !cache.settings.watch_enabled {
        return Err("CLIENT_ERROR watch commands not allowed");
    }
    if !out.is_empty() {
        return Err("ERROR cannot pipeline other commands before watch");
    }
    let streams = args.map(Streams::named).reduce(|some, more| Some(some?.and(more?)));
    let streams = streams.unwrap_or(Some(Streams::FETCHERS)).ok_or("ERROR")?;
    cache.watch.subscribe(streams).map_err(|refusal| match refusal {
        Refusal::TooMany => "WATCHER_TOO_MANY log watcher limit reached",
        Refusal::Failed => "WATCHER_FAILED failed to add log watcher",
    })
}
