//! `stats cachedump`: some keys of a class.

use super::super::Cache;
use super::super::dump::{Dump, Steps};
use super::super::reply::line;
use super::super::text::Outcome;
use crate::protocol::text::{BAD_FORMAT, Words};
use crate::protocol::{Output, parse_u32_cut};
use crate::store::{Cursor, Item, Now};

/// Class numbers end before this.
const CLASSES: u32 = 64;
/// Bytes after which memcached's dump ends.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// Places that are looked at under one lock.
const PLACES: u32 = 256;

struct CacheDump {
    class: u8,
    /// Items still to be shown.
    left: u32,
    bytes: usize,
    cursor: Cursor,
}

/// Does `stats cachedump` with these arguments.
pub(super) fn run<'a>(cache: &Cache, now: Now, args: Words<'_>, out: &mut Output) -> Outcome<'a> {
    match parse(cache, args) {
        Ok(dump) => Dump::begin(dump, cache, now, out),
        Err(reply) => {
            line(out, reply);
            Outcome::Continue
        }
    }
}

fn parse(cache: &Cache, mut args: Words<'_>) -> Result<CacheDump, &'static str> {
    if !cache.settings.dump_enabled {
        return Err("CLIENT_ERROR stats cachedump not allowed");
    }
    let (Some(class), Some(limit)) = (args.next(), args.next()) else {
        return Err("CLIENT_ERROR bad command line");
    };
    let (Some(class), Some(limit)) = (parse_u32_cut(class), parse_u32_cut(limit)) else {
        return Err(BAD_FORMAT);
    };
    if class >= CLASSES {
        return Err("CLIENT_ERROR Illegal slab id");
    }
    let left = if limit == 0 { u32::MAX } else { limit };
    Ok(CacheDump { class: class as u8, left, bytes: 0, cursor: Cursor::default() })
}

impl Steps for CacheDump {
    fn step(&mut self, cache: &Cache, now: Now, out: &mut Output) -> bool {
        let before = out.len();
        let (class, left) = (self.class, &mut self.left);
        let all = cache.store.inspect(&mut self.cursor, PLACES, now, |item| {
            if *left > 0 && cache.class_of(&item) == class && is_text(&item) {
                show(&item, out);
                *left -= 1;
            }
        });
        self.bytes += out.len() - before;
        let finished = all || self.left == 0 || self.bytes >= BYTES_MAX;
        if finished {
            out.push(b"END\r\n");
        }
        finished
    }
}

/// Whether a line can show the key as it is.
fn is_text(item: &Item<'_>) -> bool {
    !item.mark().binary && !item.key().iter().any(|byte| b" \n".contains(byte))
}

fn show(item: &Item<'_>, out: &mut Output) {
    out.push(b"ITEM ");
    out.push(item.key());
    out.push(b" [");
    out.push_number(item.value().len() as u64);
    out.push(b" b; ");
    out.push_number(u64::from(item.exptime()));
    out.push(b" s]\r\n");
}
