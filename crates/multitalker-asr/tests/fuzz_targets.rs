// SPDX-License-Identifier: MPL-2.0

//! Runs the fuzz targets of `fuzz/` on their corpus and on random changes of it, without libFuzzer.
//! `cargo fuzz run config` searches further.

use std::path::Path;

use multitalker_asr::fuzzing;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(paths.len() >= 2, "{target} has a corpus");
    paths.iter().map(|path| std::fs::read(path).expect("readable")).collect()
}

/// Generates changes: a position, a number of bytes, and their replacement.
fn changes() -> impl Strategy<Value = Vec<(Index, usize, Vec<u8>)>> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..8),
        prop::collection::vec(prop::sample::select(b"[]{}\",:-.0123456789eE \\un".to_vec()), 0..8),
        Just(b"\xff\xff\xff\xff\x0f".to_vec()),
        Just(b"18446744073709551615".to_vec()),
    ];
    prop::collection::vec((any::<Index>(), 0..8_usize, content), 0..6)
}

fn run(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    for bytes in &corpus {
        target(bytes);
    }
    let strategy = (any::<Index>(), changes());
    let mut runner = TestRunner::new(Config { cases: 5000, ..Config::default() });
    runner
        .run(&strategy, |(index, changes)| {
            let mut bytes = index.get(&corpus).clone();
            for (at, count, content) in changes {
                let start = at.index(bytes.len() + 1);
                bytes.splice(start..(start + count).min(bytes.len()), content);
            }
            target(&bytes);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn config() {
    run("config", fuzzing::config);
}

#[test]
fn tokenizer() {
    run("tokenizer", fuzzing::tokenizer);
}

#[test]
fn metadata() {
    run("metadata", fuzzing::metadata);
}

#[test]
fn rttm() {
    run("rttm", fuzzing::rttm);
}
