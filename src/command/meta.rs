//! The meta commands' meaning and replies.

use super::observe::{Brought, name};
use super::operation::{Context, DIGITS_MAX, Stored, counted, digits, expiry, put_number};
use super::reply::line;
use crate::protocol::meta::{Block, Meta, Options, Verb};
use crate::protocol::text::Verb as Classic;
use crate::protocol::{KEY_MAX, Output, base64};
use crate::store::{Entry, Found, Item, Mark};
use crate::watch::Streams;

const NO_MEMORY: &str = "SERVER_ERROR out of memory";

/// A meta command with its key as it is stored.
struct Call<'r, 'a> {
    meta: &'r Meta<'a>,
    options: &'r Options,
    key: &'r [u8],
}

impl Call<'_, '_> {
    /// Answers with a code and the flags that every reply shows.
    fn answer(&self, code: &str, out: &mut Output) {
        out.push(code.as_bytes());
        for flag in self.meta.flags {
            self.echo(flag, self.options.has(b'b'), out);
        }
        out.push(b"\r\n");
    }

    /// As [`Call::answer`], but nothing where `q` asks for silence.
    fn quietly(&self, code: &str, out: &mut Output) {
        if !self.options.has(b'q') {
            self.answer(code, out);
        }
    }

    fn echo(&self, flag: &[u8], binary: bool, out: &mut Output) {
        match flag[0] {
            b'O' => {
                out.push(b" ");
                out.push(flag);
            }
            b'k' if binary => {
                out.push(b" k");
                base64::encode(self.key, |digits| out.push(digits));
                out.push(b" b");
            }
            b'k' => {
                out.push(b" k");
                out.push(self.key);
            }
            _ => {}
        }
    }

    /// The mark of a new item.
    fn mark(&self) -> Mark {
        Mark { cas: self.options.cas, binary: self.options.has(b'b'), ..Mark::default() }
    }
}

fn push_flag(letter: u8, number: u64, out: &mut Output) {
    out.push(&[b' ', letter]);
    out.push_number(number);
}

fn push_value(item: Item<'_>, out: &mut Output) {
    match item.shared() {
        Some(bytes) => out.push_shared(bytes.clone()),
        None => out.push(item.value()),
    }
    out.push(b"\r\n");
}

impl Context<'_> {
    /// Whether the item has the CAS that `C` asks for, if it asks; without CAS (`-C`) none has.
    fn matches(&self, call: &Call<'_, '_>, item: Item<'_>) -> bool {
        let same = |cas| self.cache.settings.cas && cas == item.cas();
        call.options.compare.is_none_or(same)
    }

    /// Does a meta command and appends its reply.
    pub(super) fn meta(&self, meta: &Meta<'_>, out: &mut Output) {
        let mut room = [0; KEY_MAX];
        let options = &meta.options;
        let decoded = if options.has(b'b') { base64::decode(meta.key, &mut room) } else { None };
        let call = Call { meta, options, key: decoded.unwrap_or(meta.key) };
        match meta.verb {
            Verb::Get => self.meta_get(&call, out),
            Verb::Set => match meta.block {
                Block::Value(value) => self.meta_set(&call, value, out),
                Block::Bad => line(out, "CLIENT_ERROR bad data chunk"),
                Block::TooLarge => {
                    self.too_large(classic(options), call.key);
                    self.drop_old(call.key);
                    line(out, "SERVER_ERROR object too large for cache");
                }
            },
            Verb::Delete => self.meta_delete(&call, out),
            Verb::Arithmetic => self.meta_arithmetic(&call, out),
            Verb::Debug => self.meta_debug(&call, out),
        }
    }

    /// Seconds that are left until an expiry, for `t`.
    fn push_left(&self, exptime: u32, out: &mut Output) {
        match exptime {
            0 => out.push(b" t-1"),
            exptime => push_flag(b't', exptime.saturating_sub(self.now.seconds()).into(), out),
        }
    }

    /// The value of an `ms` was refused before it came: the old one goes, in any mode.
    fn drop_old(&self, key: &[u8]) {
        self.cache.store.entry(key, self.now).delete();
    }

    /// What this flag makes of an item's expiry; flags take effect one after another.
    fn exptime_after(&self, call: &Call<'_, '_>, flag: &[u8], before: u32, created: bool) -> u32 {
        let set = match flag[0] {
            b'T' => call.options.exptime,
            b'N' if created => call.options.vivify,
            _ => None,
        };
        set.map_or(before, |exptime| expiry(exptime, self.now))
    }

    /// What all flags make of an item's expiry.
    fn last_exptime(&self, call: &Call<'_, '_>, before: u32, created: bool) -> u32 {
        let flags = call.meta.flags;
        { flags }.fold(before, |before, flag| self.exptime_after(call, flag, before, created))
    }

    fn meta_get(&self, call: &Call<'_, '_>, out: &mut Output) {
        let touches = call.options.exptime.is_some();
        let counter = if touches { &self.worker.cmd_touch } else { &self.worker.cmd_get };
        counter.add(1);
        match self.seek(call.key) {
            Found::Hit(mut entry) => {
                if let Some(stats) = entry.class_stats() {
                    let hits = if touches { &mut stats.touch_hits } else { &mut stats.get_hits };
                    *hits += 1;
                }
                return self.meta_show(call, &mut entry, false, out);
            }
            Found::Miss => {}
            Found::Expired => self.worker.get_expired.add(1),
            Found::Flushed => self.worker.get_flushed.add(1),
        }
        let misses = if touches { &self.worker.touch_misses } else { &self.worker.get_misses };
        misses.add(1);
        if call.options.vivify.is_none() {
            return call.quietly("EN", out);
        }
        let Ok(mut entry) = self.cache.store.entry_with_room(call.key, size_of::<u64>(), self.now)
        else {
            return line(out, NO_MEMORY);
        };
        // Another connection may have come first.
        let created = entry.item().is_none();
        if created {
            entry.put_marked(0, self.last_exptime(call, 0, true), &[], call.mark());
        }
        self.meta_show(call, &mut entry, created, out);
    }

    fn meta_show(
        &self,
        call: &Call<'_, '_>,
        entry: &mut Entry<'_, '_>,
        created: bool,
        out: &mut Output,
    ) {
        let Some(item) = entry.item() else { return };
        let mark = item.mark();
        let known = call.options.compare.is_some() && self.matches(call, item);
        let with_value = call.options.has(b'v') && !known;
        if with_value {
            out.push(b"VA ");
            out.push_number(item.value().len() as u64);
        } else {
            out.push(b"HD");
        }
        let mut won = created;
        let mut exptime = if created { 0 } else { item.exptime() };
        for flag in call.meta.flags {
            exptime = self.exptime_after(call, flag, exptime, created);
            match flag[0] {
                b'R' => won |= !mark.won && self.ends_within(exptime, call.options.recache),
                b'c' => push_flag(b'c', self.cache.cas_of(item), out),
                b'f' => push_flag(b'f', item.flags().into(), out),
                b's' => push_flag(b's', item.value().len() as u64, out),
                b'h' => push_flag(b'h', item.fetched().into(), out),
                b'l' => {
                    let idle = self.now.seconds().saturating_sub(item.accessed());
                    push_flag(b'l', idle.into(), out);
                }
                b't' => self.push_left(exptime, out),
                _ => call.echo(flag, mark.binary, out),
            }
        }
        won |= mark.stale && !mark.won;
        for (letter, shown) in [(b" Z", mark.won), (b" X", mark.stale), (b" W", won)] {
            if shown {
                out.push(letter);
            }
        }
        out.push(b"\r\n");
        if !created && call.options.exptime.is_some() {
            entry.touch(exptime);
        }
        if won {
            entry.mark_won();
        }
        if !created && !call.options.has(b'u') {
            entry.mark_read();
        }
        if let Some(item) = entry.item().filter(|_| with_value) {
            push_value(item, out);
        }
    }

    /// Whether an expiry is less than so many seconds away.
    fn ends_within(&self, exptime: u32, seconds: Option<i32>) -> bool {
        let limit = seconds.map_or(0, |seconds| expiry(seconds, self.now));
        exptime != 0 && exptime < limit
    }

    fn meta_set(&self, call: &Call<'_, '_>, value: &[u8], out: &mut Output) {
        let (options, store) = (call.options, &self.cache.store);
        let size = store.item_size(call.key.len(), options.flags, value.len());
        let room = value.len() + size_of::<u64>();
        let Ok(mut entry) = store.entry_with_room(call.key, room, self.now) else {
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
            entry.mark_read();
            return Some("NS");
        }
        let older = options.has(b'I') && options.compare.is_some_and(|cas| cas < item.cas());
        let matches = self.matches(call, item);
        let (held, held_mark) = (item.exptime(), item.mark());
        if let (Some(_), Some(stats)) = (options.compare, entry.class_stats()) {
            let counter = if matches { &mut stats.cas_hits } else { &mut stats.cas_badval };
            *counter += 1;
        }
        if !matches && (joins || !older) {
            return Some("EX");
        }
        if joins {
            let joined = self.put_joined(entry, call.key, value, mode == b'A', mark);
            return joined.map(|_| "HD");
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

    fn meta_delete(&self, call: &Call<'_, '_>, out: &mut Output) {
        let (options, store) = (call.options, &self.cache.store);
        let (stales, empties) = (options.has(b'I'), options.has(b'x'));
        // A CAS of the client's makes the item longer.
        let room = if stales || empties { size_of::<u64>() } else { 0 };
        let opened = match room {
            0 => Ok(store.entry(call.key, self.now)),
            room => store.entry_with_room(call.key, room, self.now),
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
        let mut flags = item.flags();
        let exptime = options.exptime.map_or(item.exptime(), |time| expiry(time, self.now));
        let mut value = Vec::new();
        if empties {
            flags = options.flags;
        } else if stales {
            value = item.value().to_vec();
        }
        let mut mark = Mark { cas: options.cas, ..item.mark() };
        if stales {
            (mark.stale, mark.won) = (true, false);
        } else if let Some(stats) = entry.class_stats() {
            stats.delete_hits += 1;
        }
        if stales || empties {
            entry.put_marked(flags, exptime, &[&value], mark);
        } else {
            if let Some(item) = entry.item() {
                self.deleting(call.key, item, "md");
            }
            entry.delete();
        }
        drop(entry);
        call.quietly("HD", out);
    }

    fn meta_arithmetic(&self, call: &Call<'_, '_>, out: &mut Output) {
        let (options, store) = (call.options, &self.cache.store);
        let increment = !matches!(options.mode, Some(b'D' | b'-'));
        // Only a number that gets longer needs room: a full cache still counts.
        let room = store.entry_with_room(call.key, DIGITS_MAX + size_of::<u64>(), self.now);
        let roomy = room.is_ok();
        let mut entry = room.unwrap_or_else(|_| store.entry(call.key, self.now));
        self.opened(call.key, &entry);
        let Some(item) = entry.item() else {
            let misses =
                if increment { &self.worker.incr_misses } else { &self.worker.decr_misses };
            misses.add(1);
            if options.vivify.is_none() {
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
        // Here, and only here, a CAS of 0 is any.
        if options.compare != Some(0) && !self.matches(call, item) {
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
        let Some(item) = entry.item().filter(|_| !call.options.has(b'q')) else { return };
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

    /// What is known of an item, without reading it.
    fn meta_debug(&self, call: &Call<'_, '_>, out: &mut Output) {
        let store = &self.cache.store;
        self.worker.cmd_meta.add(1);
        let Found::Hit(entry) = self.seek(call.key) else {
            return line(out, "EN");
        };
        let Some(item) = entry.item() else { return };
        let now = self.now.seconds();
        let size = store.item_size(call.key.len(), item.flags(), item.value().len());
        out.push(b"ME ");
        if item.mark().binary {
            base64::encode(call.key, |digits| out.push(digits));
        } else {
            out.push(call.key);
        }
        match item.exptime() {
            0 => out.push(b" exp=-1"),
            exptime => {
                // Seconds since the expiry, as memcached counts them: below zero while it lives.
                out.push(b" exp=-");
                out.push_number(exptime.saturating_sub(now).into());
            }
        }
        for (name, number) in [
            (&b" la="[..], u64::from(now.saturating_sub(item.accessed()))),
            (b" cas=", self.cache.cas_of(item)),
        ] {
            out.push(name);
            out.push_number(number);
        }
        out.push(if item.fetched() { b" fetch=yes cls=" } else { b" fetch=no cls=" });
        out.push_number(store.classes().class_of(size).into());
        out.push(b" size=");
        out.push_number(size);
        out.push(b"\r\n");
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
