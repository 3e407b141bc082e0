//! Statistics in packets: what `stats` says in lines, one packet each.

use super::super::dump::{Dump, Steps};
use super::super::operation::Context;
use super::super::{Cache, Outcome, stats};
use super::{Reply, Status, write, write_error, write_packet};
use crate::protocol::Output;
use crate::protocol::binary::Frame;
use crate::protocol::text::Words;
use crate::store::Now;

/// Does Stat with this argument: a packet per statistic, and an empty one behind the last.
pub(super) fn run<'a>(
    context: &Context<'_>,
    frame: &Frame<'_>,
    argument: &[u8],
    out: &mut Output,
) -> Outcome<'a> {
    if let Some(word) = argument.strip_prefix(b"detail") {
        return detail(context, frame, word, out);
    }
    // Here more may follow these words, but none can be shortened as in the text protocol.
    let argument = match argument {
        [b'r', b'e', b's', b'e', b't', ..] => &b"reset"[..],
        _ if argument.starts_with(b"settings") => b"settings",
        b"" | b"items" | b"slabs" | b"sizes" | b"replication" | b"replication digest" => argument,
        _ => {
            write_error(frame, Status::NotFound, out);
            return Outcome::Continue;
        }
    };
    let (opcode, opaque) = (frame.opcode, frame.opaque);
    let mut lines = Output::default();
    let under_way = match stats::run(context, Words::of(argument), &mut lines) {
        Outcome::Dumping(dump) => Some(dump),
        _ => None,
    };
    Dump::begin(Packets { opcode, opaque, lines, under_way }, context.cache, context.now, out)
}

/// The counts by prefix come as one statistic, with the text protocol's lines for its value.
fn detail<'a>(
    context: &Context<'_>,
    frame: &Frame<'_>,
    word: &[u8],
    out: &mut Output,
) -> Outcome<'a> {
    let command =
        [b" on", &b" off"[..], b" dump"].into_iter().find(|known| word.starts_with(known));
    let Some(command) = command.filter(|_| context.cache.settings.dump_enabled) else {
        write_error(frame, Status::NotFound, out);
        return Outcome::Continue;
    };
    let line = [b"detail", command].concat();
    let mut text = Output::default();
    let mut outcome = stats::run(context, Words::of(&line), &mut text);
    while let Outcome::Dumping(dump) = outcome {
        outcome = dump.resume(context.cache, context.now, &mut text);
    }
    let (key, value) = (b"detailed", text.copied_since((0, 0)));
    if command == b" dump" {
        write(frame, Status::Ok, &Reply { key, value, ..Reply::default() }, out);
    }
    write(frame, Status::Ok, &Reply::default(), out);
    Outcome::Continue
}

/// Packets made from lines that may still be under way.
struct Packets {
    opcode: u8,
    opaque: [u8; 4],
    lines: Output,
    under_way: Option<Dump>,
}

impl Steps for Packets {
    fn step(&mut self, cache: &Cache, now: Now, out: &mut Output) -> bool {
        let Packets { opcode, opaque, lines, under_way } = self;
        for line in lines.copied_since((0, 0)).split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(statistic) = line.strip_prefix(b"STAT ") else { continue };
            let mut parts = statistic.splitn(2, |&byte| byte == b' ');
            let key = parts.next().unwrap_or_default();
            let value = parts.next().unwrap_or_default();
            let reply = Reply { key, value, ..Reply::default() };
            write_packet(*opcode, *opaque, Status::Ok, &reply, out);
        }
        lines.clear();
        let Some(dump) = under_way.take() else {
            write_packet(*opcode, *opaque, Status::Ok, &Reply::default(), out);
            return true;
        };
        if let Outcome::Dumping(dump) = dump.resume(cache, now, lines) {
            *under_way = Some(dump);
        }
        false
    }
}
