// SPDX-License-Identifier: MPL-2.0

//! Files that are refused, with an error that names the file, what is expected and what was found.

use multitalker_asr::Error;
use prost::encoding::{decode_varint, encode_varint};
use test_support::data;

use super::{folder, load};

/// Number of the metadata among the fields of an ONNX model.
const METADATA_FIELD: u64 = 14;

/// Returns `graph` with `value` under `key` in its metadata, or without the entry.
fn with_metadata(graph: &[u8], key: &str, value: Option<&str>) -> Vec<u8> {
    let text = |field: u8, text: &str| {
        let mut encoded = vec![field << 3 | 2];
        encode_varint(text.len() as u64, &mut encoded);
        encoded.extend(text.as_bytes());
        encoded
    };
    let key = text(1, key);
    let (mut input, mut output) = (graph, Vec::new());
    while !input.is_empty() {
        let start = input;
        let tag = decode_varint(&mut input).expect("a tag");
        let is_entry = match tag & 7 {
            0 => {
                decode_varint(&mut input).expect("a number");
                false
            }
            2 => {
                let length = decode_varint(&mut input).expect("a length") as usize;
                let (content, rest) = input.split_at(length);
                input = rest;
                tag >> 3 == METADATA_FIELD && content.starts_with(&key)
            }
            other => panic!("wire type {other}"),
        };
        if !is_entry {
            output.extend(&start[..start.len() - input.len()]);
        }
    }
    if let Some(value) = value {
        let entry = [key, text(2, value)].concat();
        encode_varint(METADATA_FIELD << 3 | 2, &mut output);
        encode_varint(entry.len() as u64, &mut output);
        output.extend(entry);
    }
    output
}

/// Loads the model `name` with another entry in its metadata.
fn load_with(name: &str, key: &str, value: Option<&str>) -> Result<(), Error> {
    let graph = std::fs::read(folder().join(format!("{name}.onnx"))).expect("readable");
    let changed = tempfile::tempdir().expect("a folder");
    let path = changed.path().join("changed.onnx");
    std::fs::write(&path, with_metadata(&graph, key, value)).expect("written");
    load(&path).map(|_| ())
}

#[test]
fn metadata_out_of_range_is_refused() {
    for (name, key, value, expected) in [
        ("wespeaker", "framework", None, "wespeaker, 3d-speaker, nemo or resemblyzer"),
        ("wespeaker", "framework", Some("speechbrain"), "found speechbrain"),
        ("wespeaker", "sample_rate", Some("8000"), "expected 16000, found 8000"),
        ("wespeaker", "sample_rate", None, "expected 16000, found none"),
        ("wespeaker", "output_dim", Some("0"), "expected a number from 1 to 4096, found 0"),
        ("wespeaker", "output_dim", Some("99999999999999999999"), "a number from 1 to 4096"),
        ("wespeaker", "output_dim", Some("25"), "dimension 1 of embs: expected 25, found 24"),
        ("wespeaker", "normalize_samples", Some("2"), "expected a number from 0 to 1, found 2"),
        ("wespeaker", "normalize_samples", None, "expected a number from 0 to 1, found none"),
        ("3d-speaker", "feature_normalize_type", Some("per_feature"), "global-mean or nothing"),
        ("3d-speaker", "feat_dim", Some("40"), "expected 40 to match feat_dim"),
        ("nemo", "feature_normalize_type", Some("all_features"), "per_feature or nothing"),
        ("nemo", "window_type", Some("blackman"), "expected hann, found blackman"),
        ("nemo", "window_size_ms", Some("33"), "expected a number from 2 to 32, found 33"),
        ("nemo", "window_stride_ms", Some("0"), "expected a number from 1 to 20, found 0"),
        ("nemo", "feat_dim", Some("65"), "dimension 1 of audio_signal: expected 65"),
    ] {
        let error = load_with(name, key, value).expect_err("refused");
        assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
        let error = error.to_string();
        assert!(error.contains("changed.onnx") && error.contains(expected), "{key}: {error}");
    }
}

#[test]
fn entries_that_other_frameworks_need_are_optional() {
    for (name, key) in [
        ("wespeaker", "language"),
        ("3d-speaker", "feature_normalize_type"),
        ("nemo", "feature_normalize_type"),
        ("nemo", "window_type"),
        ("nemo", "feat_dim"),
        ("resemblyzer", "normalize_samples"),
    ] {
        load_with(name, key, None).unwrap_or_else(|error| panic!("{name} without {key}: {error}"));
    }
}

#[test]
fn other_graphs_are_refused() {
    let error = load_with("nemo", "framework", Some("resemblyzer")).expect_err("refused");
    let error = error.to_string();
    for part in ["changed.onnx", "inputs", "found audio_signal of rank 3, length of rank 1"] {
        assert!(error.contains(part), "{error}");
    }
    let sortformer = load(&data().join("tiny-models/sortformer.onnx")).err().expect("refused");
    assert!(sortformer.to_string().contains("framework in the metadata"), "{sortformer}");
}

#[test]
fn files_that_are_no_models_are_refused() {
    let missing = load(&folder().join("missing.onnx")).err().expect("nothing there");
    assert!(matches!(missing, Error::FileNotFound { .. }), "{missing:?}");
    for name in ["expected.json", "LICENSE-APACHE-2.0", ""] {
        let error = load(&folder().join(name)).err().expect("no model");
        assert!(matches!(error, Error::UnreadableFile { .. }), "{error:?}");
        assert!(error.to_string().contains("a speaker-embedding model's ONNX file"), "{error}");
    }
}
