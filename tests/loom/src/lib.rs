//! Runs what the store orders without a lock through every order in which its steps may happen: of
//! two threads, and with all that the memory model allows each to see.

#![cfg(test)]

use loom::cell::UnsafeCell;
use loom::sync::{Arc, atomic};
use loom::thread;

#[path = "../../../src/store/references.rs"]
mod references;
use references::References;

/// A large value: loom fails where a write and another access are not one after the other.
#[derive(Default)]
struct Block {
    references: References,
    value: UnsafeCell<u32>,
}

fn shared() -> (Arc<Block>, Arc<Block>) {
    let block = Arc::new(Block::default());
    block.references.begin();
    block.references.add();
    (Arc::clone(&block), block)
}

/// Reads the value, as a reply does that sends it, and is done with it.
fn reply(block: &Block) -> bool {
    // SAFETY: loom checks it.
    block.value.with(|value| unsafe { assert!(*value < 2) });
    block.references.end_one()
}

#[test]
fn an_item_is_written_over_only_when_no_reply_reads_it() {
    loom::model(|| {
        let (sent, item) = shared();
        let sender = thread::spawn(move || reply(&sent));
        if item.references.is_only() {
            // SAFETY: loom checks it.
            item.value.with_mut(|value| unsafe { *value = 1 });
        }
        assert!(!sender.join().unwrap(), "the item still refers to it");
    });
}

#[test]
fn exactly_one_frees_the_memory_and_after_all_reads() {
    loom::model(|| {
        let (sent, item) = shared();
        let free = |block: &Block| {
            // SAFETY: loom checks it.
            block.value.with_mut(|value| unsafe { *value = 1 });
        };
        let sender = thread::spawn(move || {
            let last = reply(&sent);
            if last {
                free(&sent);
            }
            last
        });
        let last = item.references.end_one();
        if last {
            free(&item);
        }
        assert!(last != sender.join().unwrap());
    });
}
