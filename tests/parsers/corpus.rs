//! What fuzzing left behind, played again: see `tests/fuzz`.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use crate::dialogue::{bytewise, converse, whole};
use crate::targets;
use paircached::protocol::Protocol;
use std::fs;
use std::path::PathBuf;

/// The files of a target's corpus.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from("tests/fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn nothing_in_the_corpus_makes_a_target_fail() {
    for (name, target) in targets::TARGETS {
        for (path, bytes) in corpus(name) {
            println!("{}", path.display()); // shown where the target fails
            target(&bytes);
        }
    }
}

#[test]
fn every_conversation_of_the_corpus_may_be_cut_anywhere() {
    for (name, protocol) in
        [("text", Protocol::Ascii), ("meta", Protocol::Ascii), ("binary", Protocol::Binary)]
    {
        for (path, bytes) in corpus(name) {
            println!("{}", path.display());
            let answer = converse(protocol, &bytes, whole());
            assert_eq!(converse(protocol, &bytes, bytewise()), answer);
            for cut in 1..bytes.len() {
                let pieces = [cut, usize::MAX].into_iter();
                assert_eq!(converse(protocol, &bytes, pieces), answer, "cut at {cut}");
            }
        }
    }
}
