//! The meta commands' meaning and replies.

mod write;

use super::operation::{Context, expiry};
use super::reply::line;
use crate::protocol::meta::{Block, Meta, Options, Shown, Verb};
use crate::protocol::text::Words;
use crate::protocol::{KEY_MAX, Output, base64};
use crate::store::{Entry, Found, Hashed, Item, Mark, Payload};
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
            b'k' => push_key(self.key, out),
            _ => {}
        }
    }

    /// The mark of a new item.
    fn mark(&self) -> Mark {
        Mark { cas: self.options.cas, binary: self.options.has(b'b'), ..Mark::default() }
    }
}

fn push_key(key: &[u8], out: &mut Output) {
    out.push(b" k");
    out.push(key);
}

fn push_flag(letter: u8, number: u64, out: &mut Output) {
    out.push(&[b' ', letter]);
    out.push_number(number);
}

/// Begins a reply that shows an item.
fn push_head(item: Item<'_>, with_value: bool, out: &mut Output) {
    if with_value {
        out.push(b"VA ");
        out.push_number(item.value_len() as u64);
    } else {
        out.push(b"HD");
    }
}

fn push_value(item: Item<'_>, out: &mut Output) {
    match item.payload() {
        Payload::Small(value) => out.push(value),
        Payload::Shared(bytes) => out.push_shared(bytes),
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
        if meta.options.has(b'b') {
            let mut room = [0; KEY_MAX];
            let key = base64::decode(meta.key, &mut room).unwrap_or(meta.key);
            return self.call(meta, key, out);
        }
        self.call(meta, meta.key, out);
    }

    fn call(&self, meta: &Meta<'_>, key: &[u8], out: &mut Output) {
        let call = Call { meta, options: &meta.options, key };
        match meta.verb {
            Verb::Get => self.meta_get(&call, out),
            Verb::Set => match meta.block {
                Block::Value(value) => self.meta_set(&call, value, out),
                Block::Bad => self.meta_bad_chunk(&call, out),
                Block::TooLarge => self.meta_too_large(&call, out),
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

    /// What a flag of this letter shows of an item with that expiry, if it shows any of it.
    fn push_shown(&self, letter: u8, item: Item<'_>, exptime: u32, out: &mut Output) {
        match letter {
            b'c' => push_flag(b'c', self.cache.cas_of(item), out),
            b'f' => push_flag(b'f', item.flags().into(), out),
            b's' => push_flag(b's', item.value_len() as u64, out),
            b'h' => push_flag(b'h', item.fetched().into(), out),
            b'l' => {
                let idle = self.now.seconds().saturating_sub(item.accessed());
                push_flag(b'l', idle.into(), out);
            }
            b't' => self.push_left(exptime, out),
            _ => {}
        }
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

    /// A `mg` with these flags, the shortest way; false, and nothing was done, where that leaves
    /// something out.
    pub(super) fn meta_read(
        &self,
        key: Hashed<'_>,
        flags: Words<'_>,
        shown: Shown,
        out: &mut Output,
    ) -> bool {
        if shown.has(b'u') || self.is_watched(Streams::FETCHERS) {
            return false;
        }
        let found = self.cache.store.get_if(key, self.now, |item| {
            let mark = item.mark();
            if mark.stale || mark.won || mark.binary {
                return None;
            }
            push_head(item, shown.has(b'v'), out);
            for flag in flags {
                match flag[0] {
                    b'k' => push_key(key.key, out),
                    letter => self.push_shown(letter, item, item.exptime(), out),
                }
            }
            out.push(b"\r\n");
            if shown.has(b'v') {
                push_value(item, out);
            }
            Some(())
        });
        match found {
            Found::Hit(Some(())) => {
                self.worker.cmd_get.add(1);
                return true;
            }
            Found::Hit(None) => return false,
            Found::Miss => {}
            Found::Expired => self.worker.get_expired.add(1),
            Found::Flushed => self.worker.get_flushed.add(1),
        }
        self.meta_miss();
        out.push(b"EN");
        if shown.has(b'k') {
            push_key(key.key, out);
        }
        out.push(b"\r\n");
        true
    }

    /// A miss touches nothing, whatever it asks for.
    fn meta_miss(&self) {
        self.worker.cmd_get.add(1);
        self.worker.get_misses.add(1);
    }

    fn meta_get(&self, call: &Call<'_, '_>, out: &mut Output) {
        if call.options.exptime.is_some() {
            self.cache.store.prepare_touch(self.now);
        }
        match self.seek(call.key) {
            Found::Hit(mut entry) => return self.meta_show(call, &mut entry, false, out),
            Found::Miss => {}
            Found::Expired => self.worker.get_expired.add(1),
            Found::Flushed => self.worker.get_flushed.add(1),
        }
        if call.options.vivify.is_none() {
            self.meta_miss();
            return call.quietly("EN", out);
        }
        let Ok(mut entry) = self.cache.store.entry_with_room(call.key, 0, self.now) else {
            return line(out, NO_MEMORY);
        };
        // Another connection may have come first.
        let created = entry.item().is_none();
        if created {
            entry.put_marked(0, self.last_exptime(call, 0, true), &[], call.mark());
        }
        self.meta_show(call, &mut entry, created, out);
    }

    /// Counts a hit; as one counts too what makes its item.
    fn count_shown(&self, call: &Call<'_, '_>, entry: &mut Entry<'_, '_>) {
        let touches = call.options.exptime.is_some();
        let counter = if touches { &self.worker.cmd_touch } else { &self.worker.cmd_get };
        counter.add(1);
        if let Some(stats) = entry.class_stats() {
            let hits = if touches { &mut stats.touch_hits } else { &mut stats.get_hits };
            *hits += 1;
        }
    }

    fn meta_show(
        &self,
        call: &Call<'_, '_>,
        entry: &mut Entry<'_, '_>,
        created: bool,
        out: &mut Output,
    ) {
        self.count_shown(call, entry);
        let Some(item) = entry.item() else { return };
        let mark = item.mark();
        let known = call.options.compare.is_some() && self.matches(call, item);
        let with_value = call.options.has(b'v') && !known;
        push_head(item, with_value, out);
        let mut won = created;
        let mut exptime = if created { 0 } else { item.exptime() };
        for flag in call.meta.flags {
            exptime = self.exptime_after(call, flag, exptime, created);
            match flag[0] {
                b'R' => won |= !mark.won && self.ends_within(exptime, call.options.recache),
                b'O' | b'k' => call.echo(flag, mark.binary, out),
                letter => self.push_shown(letter, item, exptime, out),
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
        if !call.options.has(b'u') {
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
