//! `stats detail`: turns the counting by prefix on and off, and shows the counts.

use super::super::dump::Dump;
use super::super::operation::Context;
use super::super::prefixes::PrefixDump;
use super::super::reply::line;
use super::super::text::Outcome;
use crate::protocol::Output;
use crate::protocol::text::Words;

/// Does `stats detail` with these arguments.
pub(super) fn run<'a>(context: &Context<'_>, mut args: Words<'_>, out: &mut Output) -> Outcome<'a> {
    let cache = context.cache;
    let reply = match args.next() {
        _ if !cache.settings.dump_enabled => "CLIENT_ERROR stats detail not allowed",
        Some(b"on") => {
            cache.watch.count_prefixes(true);
            "OK"
        }
        Some(b"off") => {
            cache.watch.count_prefixes(false);
            "OK"
        }
        Some(b"dump") => return Dump::begin(PrefixDump::default(), cache, context.now, out),
        _ => "CLIENT_ERROR usage: stats detail on|off|dump",
    };
    line(out, reply);
    Outcome::Continue
}
