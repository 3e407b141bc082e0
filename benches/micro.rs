//! What single steps cost: reading a request, looking a key up, storing, and storing where another
//! item has to go.

#![allow(missing_docs, clippy::unwrap_used)]

use divan::{Bencher, black_box};
use paircached::protocol::text;
use paircached::store::{Now, Settings, Store};
use std::cell::Cell;

const NOW: Now = Now(1_800_000_000_000);
const KEYS: u64 = 1_000_000;
const VALUE: [u8; 100] = [b'x'; 100];

fn main() {
    divan::main();
}

/// An empty store of so many megabytes.
fn store(megabytes: u64) -> Store {
    Store::new(&Settings { memory: megabytes << 20, ..Settings::default() })
}

fn put(store: &Store, number: u64) {
    let key = format!("key-{number:010}");
    let mut entry = store.entry_with_room(key.as_bytes(), VALUE.len(), NOW).unwrap();
    entry.put(0, 0, &[&VALUE]);
}

fn filled(megabytes: u64) -> Store {
    let store = store(megabytes);
    (0..KEYS).for_each(|number| put(&store, number));
    store
}

/// Numbers below [`KEYS`] in an order that no cache foresees.
fn scattered() -> impl Fn() -> u64 {
    let last = Cell::new(1u64);
    move || {
        last.set(last.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        (last.get() >> 33) % KEYS
    }
}

#[divan::bench(args = ["get key-0000000001\r\n", "set key-0000000001 0 0 10\r\n0123456789\r\n"])]
fn parse(bencher: Bencher<'_, '_>, line: &str) {
    bencher.bench(|| {
        black_box(text::parse(black_box(line.as_bytes()), |_, _, _| true));
    });
}

#[divan::bench]
fn look_up(bencher: Bencher<'_, '_>) {
    let (store, next) = (filled(1024), scattered());
    bencher.with_inputs(|| format!("key-{:010}", next())).bench_local_refs(|key| {
        black_box(store.get(key.as_bytes(), NOW, |item| item.value().len()));
    });
}

#[divan::bench]
fn store_over(bencher: Bencher<'_, '_>) {
    let (store, next) = (filled(1024), scattered());
    bencher.with_inputs(next).bench_local_values(|number| put(&store, number));
}

#[divan::bench]
fn store_and_evict(bencher: Bencher<'_, '_>) {
    let (store, next) = (filled(64), Cell::new(KEYS));
    bencher.bench_local(|| put(&store, next.replace(next.get() + 1)));
}
