//! `ms`, `md` and `ma`.

use super::super::arithmetic::{DIGITS_MAX, counted, digits, put_number};
use super::super::observe::{Brought, name};
use super::super::operation::{Context, Stored, expiry};
use super::super::reply::line;
use super::{Call, NO_MEMORY, push_flag};
use crate::protocol::Output;
use crate::protocol::meta::Options;
use crate::protocol::text::Verb as Classic;
use crate::store::{Entry, Mark};
use crate::watch::Streams;

impl Context<'_> {
    pub(super) fn meta_set(&self, call: &Call<'_, '_>, value: &[u8], out: &mut Output) {
        let (options, store) = (call.options, &self.cache.store);
        let size = store.item_size(call.key.len(), options.flags, value.len());
        let room = match options.mode {
            Some(b'A' | b'P') => store.entry_to_join(call.key, value.len(), self.now),
            _ => store.entry_with_room(call.key, value.len(), self.now),
        };
        let Ok(mut entry) = room else {
            self.no_room(classic(options), call.key, size);
            self.drop_old(call.key);
            return line(out, "SERVER_ERROR out of memory storing object");
        };
        self.opened(call.key, &entry);
        entry.stats_of_size(size).cmd_set += 1;
        let code = self.meta_store(call, value, &mut entry);
        if self.is_watched(Streams::MUTATIONS) {
            self.tell_meta_stored(call, code, value.len(), &entry);
        }
        let Some(code) = code else {
            return line(out, "SERVER_ERROR object too large for cache");
        };
        if code == "HD" && options.has(b'q') {
            return;
        }
        let stored = entry.item().filter(|_| code == "HD");
        out.push(code.as_bytes());
        for flag in call.meta.flags {
            match flag[0] {
                b'c' => push_flag(b'c', stored.map_or(0, |item| self.cache.cas_of(item)), out),
                b's' => {
                    let length = stored.map_or(value.len(), |item| item.value().len());
                    push_flag(b's', length as u64, out);
                }
                _ => call.echo(flag, options.has(b'b'), out),
            }
        }
        out.push(b"\r\n");
    }

    #[cold]
    fn tell_meta_stored(
        &self,
        call: &Call<'_, '_>,
        code: Option<&str>,
        size: usize,
        entry: &Entry<'_, '_>,
    ) {
        let (options, item) = (call.options, entry.item());
        let stored = match (code, item) {
            (Some("HD"), Some(item)) => Stored::Done(item.version()),
            (Some("EX"), _) => Stored::Exists,
            (Some("NF"), _) => Stored::NotFound,
            (Some(_), _) => Stored::Declined,
            (None, _) => Stored::TooLarge,
        };
        let replaces = matches!(options.mode, None | Some(b'S' | b'R'));
        let compares = options.compare.is_some() && replaces;
        let brought = Brought {
            name: if compares { "cas" } else { name(classic(options)) },
            size,
            exptime: expiry(options.exptime.unwrap_or(0), self.now),
            item_size: self.cache.store.item_size(call.key.len(), options.flags, size),
        };
        self.tell_stored(call.key, stored, &brought, item);
    }

    /// Stores, if it may be; says the reply's code, or nothing if the item would be too large.
    fn meta_store(
        &self,
        call: &Call<'_, '_>,
        value: &[u8],
        entry: &mut Entry<'_, '_>,
    ) -> Option<&'static str> {
        let options = call.options;
        let mode = options.mode.unwrap_or(b'S');
        let joins = matches!(mode, b'A' | b'P');
        let exptime = expiry(options.exptime.unwrap_or(0), self.now);
        let mark = call.mark();
        let Some(item) = entry.item() else {
            match (mode, options.compare, options.vivify) {
                (b'S' | b'R', Some(_), _) => {
                    self.worker.cas_misses.add(1);
                    return Some("NF");
                }
                (b'A' | b'P', _, Some(exptime)) => {
                    entry.put_marked(options.flags, expiry(exptime, self.now), &[value], mark);
                }
                (b'S' | b'E', _, _) => {
                    entry.put_marked(options.flags, exptime, &[value], mark);
                }
                _ => return Some("NS"),
            }
            return Some("HD");
        };
        if mode == b'E' {
            entry.mark_used();
            return Some("NS");
        }
        let matches = self.matches(call, item);
        if joins {
            // To these a CAS of 0 is any.
            if !matches && options.compare != Some(0) {
                return Some("EX");
            }
            let joined = self.put_joined(entry, call.key, value, mode == b'A', mark);
            return joined.map(|_| "HD");
        }
        let is_older = |cas: u64| cas != 0 && cas < item.cas();
        let older = options.has(b'I') && options.compare.is_some_and(is_older);
        let (held, held_mark) = (item.exptime(), item.mark());
        if let (Some(_), Some(stats)) = (options.compare, entry.class_stats()) {
            let stores = matches || older;
            let counter = if stores { &mut stats.cas_hits } else { &mut stats.cas_badval };
            *counter += 1;
        }
        if !matches && !older {
            return Some("EX");
        }
        if matches {
            entry.put_marked(options.flags, exptime, &[value], mark);
        } else {
            // The client wrote from what was already old: others may have it until it is fresh.
            let mark = Mark { stale: true, won: held_mark.won, ..mark };
            entry.put_marked(options.flags, held, &[value], mark);
        }
        Some("HD")
    }

    pub(super) fn meta_delete(&self, call: &Call<'_, '_>, out: &mut Output) {
        let (options, store) = (call.options, &self.cache.store);
        let (stales, empties) = (options.has(b'I'), options.has(b'x'));
        // A CAS of the client's makes the item longer.
        let opened = if stales || empties {
            store.entry_to_join(call.key, 0, self.now)
        } else {
            Ok(store.entry(call.key, self.now))
        };
        let Ok(mut entry) = opened else {
            return line(out, NO_MEMORY);
        };
        self.opened(call.key, &entry);
        let Some(item) = entry.item() else {
            self.worker.delete_misses.add(1);
            return call.answer("NF", out);
        };
        if !self.matches(call, item) {
            self.worker.delete_misses.add(1);
            return call.answer("EX", out);
        }
        let exptime = options.exptime.map(|time| expiry(time, self.now));
        let mut mark = Mark { cas: options.cas, stale: stales, won: false, ..item.mark() };
        if empties {
            // It is a new item in the old one's place. Only with `I` does it get another CAS.
            let kept = (!stales).then(|| item.cas());
            mark.cas = mark.cas.or(kept);
            entry.put_marked(options.flags, exptime.unwrap_or(0), &[], mark);
        } else if stales {
            let (flags, held) = (item.flags(), item.exptime());
            let value = item.value().to_vec();
            entry.amend(flags, exptime.unwrap_or(held), &[&value], mark);
        }
        if !stales {
            if let Some(stats) = entry.class_stats() {
                stats.delete_hits += 1;
            }
            if let Some(item) = entry.item() {
                self.deleting(call.key, item, "md");
            }
            if !empties {
                entry.delete();
            }
        }
        drop(entry);
        call.quietly("HD", out);
    }

    pub(super) fn meta_arithmetic(&self, call: &Call<'_, '_>, out: &mut Output) {
        let (options, store) = (call.options, &self.cache.store);
        let increment = !matches!(options.mode, Some(b'D' | b'-'));
        // Only a number that gets longer needs room: a full cache still counts.
        let room = store.entry_with_room(call.key, DIGITS_MAX, self.now);
        let roomy = room.is_ok();
        let mut entry = room.unwrap_or_else(|_| store.entry(call.key, self.now));
        self.opened(call.key, &entry);
        let Some(item) = entry.item() else {
            if options.vivify.is_none() {
                let misses =
                    if increment { &self.worker.incr_misses } else { &self.worker.decr_misses };
                misses.add(1);
                return call.answer("NF", out);
            }
            if !roomy {
                return line(out, "SERVER_ERROR Out of memory allocating new item");
            }
            let exptime = self.last_exptime(call, 0, true);
            let version = put_number(&mut entry, options.initial, 0, 0, exptime, call.mark());
            self.tell_begun(call.key, version, &entry);
            return self.meta_counted(call, &entry, options.initial, None, out);
        };
        // What is empty is no number, whoever asks. Here too a CAS of 0 is any.
        let empty = item.value().is_empty();
        if !empty && options.compare != Some(0) && !self.matches(call, item) {
            return call.answer("EX", out);
        }
        let Some(new) = counted(item.value(), options.delta.unwrap_or(1), increment) else {
            let reply = "CLIENT_ERROR cannot increment or decrement non-numeric value";
            return line(out, reply);
        };
        let (flags, held, width) = (item.flags(), item.exptime(), item.value().len());
        let grows = digits(new) > width || options.cas.is_some();
        if grows && !roomy {
            return line(out, NO_MEMORY);
        }
        let mark = Mark { cas: options.cas, ..item.mark() };
        if let Some(stats) = entry.class_stats() {
            let counter = if increment { &mut stats.incr_hits } else { &mut stats.decr_hits };
            *counter += 1;
        }
        let exptime = self.last_exptime(call, held, false);
        put_number(&mut entry, new, width, flags, exptime, mark);
        self.meta_counted(call, &entry, new, Some(held), out);
    }

    /// Answers with the number; `held` is the expiry that the item had, if there was one.
    fn meta_counted(
        &self,
        call: &Call<'_, '_>,
        entry: &Entry<'_, '_>,
        number: u64,
        held: Option<u32>,
        out: &mut Output,
    ) {
        // Who makes the item is told so.
        let silent = call.options.has(b'q') && held.is_some();
        let Some(item) = entry.item().filter(|_| !silent) else { return };
        let with_value = call.options.has(b'v');
        if with_value {
            out.push(b"VA ");
            out.push_number(digits(number) as u64);
        } else {
            out.push(b"HD");
        }
        let mut exptime = held.unwrap_or(0);
        for flag in call.meta.flags {
            exptime = self.exptime_after(call, flag, exptime, held.is_none());
            match flag[0] {
                b'c' => push_flag(b'c', self.cache.cas_of(item), out),
                b't' => self.push_left(exptime, out),
                _ => call.echo(flag, call.options.has(b'b'), out),
            }
        }
        out.push(b"\r\n");
        if with_value {
            out.push_number(number);
            out.push(b"\r\n");
        }
    }

    /// A data block of the wrong length was thrown away; memcached counts it as a set.
    pub(super) fn meta_bad_chunk(&self, call: &Call<'_, '_>, out: &mut Output) {
        let store = &self.cache.store;
        let size = store.item_size(call.key.len(), call.options.flags, call.meta.length);
        store.entry(call.key, self.now).stats_of_size(size).cmd_set += 1;
        line(out, "CLIENT_ERROR bad data chunk");
    }

    pub(super) fn meta_too_large(&self, call: &Call<'_, '_>, out: &mut Output) {
        self.too_large(classic(call.options), call.key);
        self.drop_old(call.key);
        line(out, "SERVER_ERROR object too large for cache");
    }

    /// The value of an `ms` was refused before it came: the old one goes, in any mode.
    fn drop_old(&self, key: &[u8]) {
        self.cache.store.entry(key, self.now).delete();
    }
}

/// The classic command that an `ms` is like, for those who watch.
fn classic(options: &Options) -> Classic {
    match options.mode {
        Some(b'E') => Classic::Add,
        Some(b'A') => Classic::Append,
        Some(b'P') => Classic::Prepend,
        Some(b'R') => Classic::Replace,
        _ => Classic::Set,
    }
}
