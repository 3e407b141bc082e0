//! `lru_crawler`: the search for dead items, and dumps of those that live.

use super::Cache;
use super::dump::{Dump, Steps};
use super::operation::Context;
use super::reply::line;
use super::text::Outcome;
use crate::protocol::text::{BAD_FORMAT, Words};
use crate::protocol::{Output, base64, parse_u32_cut, parse_u64, uri};
use crate::store::{Cursor, Item, Now};

const DISABLED: &str = "CLIENT_ERROR lru crawler disabled";
/// Longest sleep between items, in microseconds.
const SLEEP_MAX: u32 = 1_000_000;
/// Classes that memcached can have at most, the one of pages without a class counted.
const CLASSES: u64 = 64;
/// Places that a dump looks at under one lock.
const STEP: u32 = 256;

/// What a dump says of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// All that is known but its value.
    Meta,
    /// The command that reads it.
    Get,
}

/// A dump of items under way.
struct Items {
    kind: Kind,
    classes: u64,
    cursor: Cursor,
}

/// Does `lru_crawler` with these arguments.
pub(super) fn run<'a>(context: &Context<'_>, args: Words<'_>, out: &mut Output) -> Outcome<'a> {
    let &Context { cache, .. } = context;
    let args: Vec<&[u8]> = args.take(3).collect();
    let reply = match args[..] {
        [word, classes] if b"crawl".starts_with(word) => crawl(context, classes),
        [word, classes] if b"metadump".starts_with(word) => {
            return dump(context, Kind::Meta, classes, out);
        }
        [word, classes] if b"mgdump".starts_with(word) => {
            return dump(context, Kind::Get, classes, out);
        }
        [word, items] if b"tocrawl".starts_with(word) => {
            parse_u32_cut(items).map_or(BAD_FORMAT, |_| "OK")
        }
        [word, micros] if b"sleep".starts_with(word) => match parse_u32_cut(micros) {
            None => BAD_FORMAT,
            Some(micros) if micros > SLEEP_MAX => "CLIENT_ERROR sleep must be one second or less",
            Some(_) => "OK",
        },
        [word] if b"enable".starts_with(word) => {
            let was_on = cache.store.set_crawling(true);
            if was_on { "ERROR failed to start lru crawler thread" } else { "OK" }
        }
        [word] if b"disable".starts_with(word) => {
            cache.store.set_crawling(false);
            "OK"
        }
        _ => "ERROR",
    };
    line(out, reply);
    Outcome::Continue
}

/// The search goes through all classes at once, so any class stands for all.
fn crawl(context: &Context<'_>, classes: &[u8]) -> &'static str {
    let &Context { cache, worker, .. } = context;
    if !cache.store.crawling() {
        return DISABLED;
    }
    if classes == b"hash" {
        return "ERROR an unknown error happened";
    }
    match class_set(classes) {
        Ok(_) => {
            worker.crawler_starts.add(1);
            cache.store.crawl_soon();
            "OK"
        }
        Err(reply) => reply,
    }
}

fn dump<'a>(context: &Context<'_>, kind: Kind, classes: &[u8], out: &mut Output) -> Outcome<'a> {
    let &Context { cache, worker, now } = context;
    match items(cache, kind, classes) {
        Ok(items) => {
            worker.crawler_starts.add(1);
            line(out, "OK");
            Dump::begin(items, cache, now, out)
        }
        Err(reply) => {
            line(out, reply);
            Outcome::Continue
        }
    }
}

fn items(cache: &Cache, kind: Kind, classes: &[u8]) -> Result<Items, &'static str> {
    if !cache.settings.dump_enabled {
        return Err(match kind {
            Kind::Meta => "ERROR metadump not allowed",
            Kind::Get => "ERROR key dump not allowed",
        });
    }
    if !cache.store.crawling() {
        return Err(DISABLED);
    }
    let classes = if classes == b"hash" { u64::MAX } else { class_set(classes)? };
    Ok(Items { kind, classes, cursor: Cursor::default() })
}

/// A list of classes, a bit each.
fn class_set(list: &[u8]) -> Result<u64, &'static str> {
    if list == b"all" {
        return Ok(u64::MAX);
    }
    let mut set = 0;
    for word in list.split(|&byte| byte == b',').filter(|word| !word.is_empty()) {
        match parse_u64(word) {
            Some(class) if (1..CLASSES).contains(&class) => set |= 1 << class,
            _ => return Err("BADCLASS invalid class id"),
        }
    }
    if set == 0 { Err("NOTSTARTED no items to crawl") } else { Ok(set) }
}

impl Steps for Items {
    fn step(&mut self, cache: &Cache, now: Now, out: &mut Output) -> bool {
        let (kind, classes) = (self.kind, self.classes);
        let finished = cache.store.inspect(&mut self.cursor, STEP, now, |item| {
            if classes & (1 << cache.class_of(&item)) == 0 {
                return;
            }
            match kind {
                Kind::Meta => meta_line(cache, &item, out),
                Kind::Get => get_line(&item, out),
            }
        });
        if finished {
            line(out, if kind == Kind::Meta { "END" } else { "EN" });
        }
        finished
    }
}

/// The command that reads the item. A key that came in base64 is shown so, and so is one that no
/// line can hold: the binary protocol takes any bytes, and a dump is made to be sent back.
fn get_line(item: &Item<'_>, out: &mut Output) {
    out.push(b"mg ");
    if item.mark().binary || item.key().iter().any(|byte| b" \n".contains(byte)) {
        base64::encode(item.key(), |digits| out.push(digits));
        out.push(b" b");
    } else {
        out.push(item.key());
    }
    out.push(b"\r\n");
}

fn meta_line(cache: &Cache, item: &Item<'_>, out: &mut Output) {
    out.push(b"key=");
    uri::encode(item.key(), |bytes| out.push(bytes));
    out.push(b" exp=");
    match item.exptime() {
        0 => out.push(b"-1"),
        exptime => out.push_number(u64::from(exptime)),
    }
    for (name, number) in [(" la=", u64::from(item.accessed())), (" cas=", cache.cas_of(*item))] {
        out.push(name.as_bytes());
        out.push_number(number);
    }
    out.push(if item.fetched() { b" fetch=yes" } else { b" fetch=no" });
    for (name, number) in [
        (" cls=", u64::from(cache.class_of(item))),
        (" size=", cache.item_size(item)),
        (" flags=", u64::from(item.flags())),
    ] {
        out.push(name.as_bytes());
        out.push_number(number);
    }
    out.push(b" \n");
}
