//! The live stream: what is sent of what was written.

use super::*;

const KEY: &[u8] = b"key";

fn streaming() -> (Store, usize) {
    let store = Store::new(&Settings { tombstone_memory: Some(1 << 20), ..settings(64 << 20) });
    for shard in 0..SHARDS {
        store.open_stream(shard);
    }
    let shard = Store::shard_of(store.hash(KEY));
    (store, shard)
}

/// Writes values of so many bytes over each other, each begun by its number.
fn overwrite(store: &Store, times: u32, size: usize) {
    for number in 0..times {
        let value = format!("{number:size$}");
        set(store, KEY, value.as_bytes(), 0, START).unwrap();
    }
}

/// The numbers of the values that are sent.
fn sent(store: &Store, shard: usize) -> Vec<u32> {
    let mut sent = Vec::new();
    let mut emit = |change: Change<'_>| {
        let Change::Set { value, .. } = change else { panic!("{change:?} was not written") };
        sent.push(std::str::from_utf8(value).unwrap().trim().parse().unwrap());
    };
    while store.live_changes(shard, usize::MAX, &mut emit) != LiveStep::Empty {}
    sent
}

#[test]
fn a_few_small_writes_are_sent_as_they_were_made() {
    let (store, shard) = streaming();
    for round in 0..3 {
        overwrite(&store, 4, 100);
        assert_eq!(sent(&store, shard), [0, 1, 2, 3], "in round {round}");
    }
}

#[test]
fn of_large_writes_and_of_many_that_wait_the_last_is_sent_alone() {
    let (store, shard) = streaming();
    overwrite(&store, 4, 10_000);
    assert_eq!(sent(&store, shard), [3]);
    overwrite(&store, 1_000, 100);
    let some = sent(&store, shard);
    assert!(some.len() < 50 && some.last() == Some(&999), "{some:?}");
}

#[test]
fn what_was_sent_and_not_acknowledged_is_sent_again_after_a_pause_and_nothing_else() {
    let (store, shard) = streaming();
    overwrite(&store, 1, 100);
    sent(&store, shard);
    store.acknowledge(shard, store.progress().newest);
    let acknowledged = store.acknowledged(shard);
    set(&store, KEY, b"7", 0, START).unwrap();
    assert_eq!(sent(&store, shard), [7]);
    store.pause_streams();
    assert_eq!(store.resume_stream(shard), Some(acknowledged));
    assert_eq!(sent(&store, shard), [7]);
    store.acknowledge(shard, store.progress().newest);
    store.pause_streams();
    assert!(store.resume_stream(shard).is_some());
    assert!(sent(&store, shard).is_empty());
}

#[test]
fn a_stream_that_lost_something_is_not_resumed() {
    let (store, shard) = streaming();
    assert_eq!(store.resume_stream(shard), None, "nothing was acknowledged");
    overwrite(&store, 1, 100);
    sent(&store, shard);
    store.acknowledge(shard, store.progress().newest);
    overwrite(&store, 5_000, 1);
    store.pause_streams();
    assert_eq!(store.resume_stream(shard), None);
}
