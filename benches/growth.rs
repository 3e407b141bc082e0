//! The longest that storing one item takes while 20 million come, so that the index grows all the
//! time. It is by the thread's CPU time: what else the machine does has no part in it.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use nix::time::{ClockId, clock_gettime};
use paircached::store::{Now, Settings, Store};
use std::time::Duration;

const ITEMS: u64 = 20_000_000;
const NOW: Now = Now(1_800_000_000_000);

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn main() {
    let store = Store::new(&Settings { memory: 4 << 30, ..Settings::default() });
    let (mut longest, mut above) = (Duration::ZERO, 0);
    for number in 0..ITEMS {
        let key = format!("key-{number:010}");
        let began = cpu();
        store.entry_with_room(key.as_bytes(), 32, NOW).unwrap().put(0, 0, &[&[b'x'; 32]]);
        let took = cpu() - began;
        longest = longest.max(took);
        above += u64::from(took > Duration::from_micros(100));
    }
    let held = store.stats(NOW).total().number;
    println!("{held} items: the longest step took {longest:?}, {above} more than 100 us");
}
