// SPDX-License-Identifier: MPL-2.0

//! Which folders make a model, and what is said of those that do not.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{data, tiny_model_options};
use gstmultitalkerasr::engine::{
    Canceller, ChunkLatency, Error, ExecutionProvider, Model, ModelOptions, Precision,
    RuntimeOptions, Stream, StreamOptions,
};
use serde_json::Value;
use tempfile::TempDir;

/// A copy of the tiny models without a diariser, and with only these files.
fn folder_with(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in files {
        let from = data().join("tiny-models").join(file);
        std::fs::copy(&from, folder.path().join(file)).expect("a copy");
    }
    folder
}

const FP32: [&str; 3] = ["encoder.onnx", "decoder_joint.onnx", "tokenizer.model"];
const CONFIG: &str = "multitalker_config.json";

fn load(folder: &Path, precision: Precision) -> Result<Arc<Model>, Error> {
    let options =
        ModelOptions { model_dir: folder.to_owned(), precision, ..ModelOptions::default() };
    Model::load(&options, &Canceller::new())
}

/// A folder whose config has another value at `pointer`.
fn with_config(pointer: &str, value: Value) -> TempDir {
    let folder = folder_with(&FP32);
    let text = std::fs::read_to_string(data().join("tiny-models").join(CONFIG)).expect("readable");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    *config.pointer_mut(pointer).expect("an entry that there is") = value;
    std::fs::write(folder.path().join(CONFIG), config.to_string()).expect("written");
    folder
}

#[test]
fn graphs_tell_enough_without_a_config() {
    let folder = folder_with(&FP32);
    let model = load(folder.path(), Precision::Auto).expect("loads");
    let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
    let audio = common::read_wav(&data().join("audio/news.wav"));
    assert!(!stream.push(&audio).expect("inference runs").is_empty());
}

#[test]
fn precision_chooses_the_files() {
    let only_fp32 = folder_with(&FP32);
    assert!(load(only_fp32.path(), Precision::Auto).is_ok());
    let error = load(only_fp32.path(), Precision::Int8).err().expect("no such file");
    assert!(error.to_string().contains("decoder_joint.int8.onnx was not found"), "{error}");
    let both = folder_with(&["encoder.int8.onnx", "decoder_joint.int8.onnx", "tokenizer.model"]);
    assert!(load(both.path(), Precision::Auto).is_ok(), "int8 where it is");
    assert!(load(both.path(), Precision::Fp32).is_err());
}

#[test]
fn config_that_differs_is_named() {
    for (pointer, value, entry, expected) in [
        ("/encoder/d_model", 512, "encoder.d_model", "64 by the encoder"),
        ("/encoder/num_layers", 24, "encoder.num_layers", "3 by the encoder"),
        ("/encoder/left_context", 70, "encoder.left_context", "28 by the encoder"),
        ("/encoder/subsampling_factor", 4, "encoder.subsampling_factor", "8 by the features"),
        ("/decoder/vocab_size", 1024, "decoder.vocab_size", "96 by the decoder"),
        ("/decoder/pred_hidden", 640, "decoder.pred_hidden", "48 by the decoder"),
        ("/preprocessor/n_mels", 80, "preprocessor.n_mels", "128 by the encoder"),
        ("/preprocessor/sample_rate", 8000, "preprocessor.sample_rate", "16000 by the features"),
    ] {
        let folder = with_config(pointer, value.into());
        let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
        let found = format!("found {value}");
        for part in [CONFIG, entry, expected, found.as_str()] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
    let folder = with_config("/preprocessor/normalize", "per_feature".into());
    let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
    assert!(error.contains("found per_feature"), "{error}");
}

#[test]
fn prepared_for_no_chunks_is_refused() {
    let folder = folder_with(&FP32);
    let mut graph = std::fs::read(data().join("prepared-models/encoder.onnx")).expect("readable");
    // The entry as protobuf: a key and a value of one character.
    let entry = b"max_chunks\x12\x01";
    let at = graph.windows(entry.len()).position(|bytes| bytes == entry).expect("prepared");
    graph[at + entry.len()] = b'0';
    std::fs::write(folder.path().join(FP32[0]), graph).expect("written");
    let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
    for part in ["encoder.onnx", "max_chunks in the metadata", "expected a number", "found 0 ("] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn chunk_that_the_encoder_does_not_know_is_refused() {
    let folder = with_config("/encoder/att_context_size", serde_json::json!([[28, 13], [28, 0]]));
    let model = load(folder.path(), Precision::Fp32).expect("loads");
    for (chunk_latency, known) in [
        (ChunkLatency::Ms1120, true),
        (ChunkLatency::Ms560, false),
        (ChunkLatency::Ms160, false),
        (ChunkLatency::Ms80, true),
    ] {
        let options = StreamOptions { chunk_latency, ..StreamOptions::default() };
        match Stream::new(model.clone(), options) {
            Ok(_) => assert!(known, "{chunk_latency:?}"),
            Err(error) => {
                assert!(!known, "{chunk_latency:?}: {error}");
                assert!(error.to_string().contains("one of [14, 1] encoded frames"), "{error}");
            }
        }
    }
}

#[test]
fn provider_that_is_not_there_is_an_error_unless_auto() {
    let load = |execution_provider| {
        let runtime = RuntimeOptions { execution_provider, ..RuntimeOptions::default() };
        Model::load(&ModelOptions { runtime, ..tiny_model_options() }, &Canceller::new())
    };
    assert!(load(ExecutionProvider::Auto).is_ok());
    let error = load(ExecutionProvider::CoreMl).err().expect("only on another system").to_string();
    assert!(error.contains("execution provider coreml is not available"), "{error}");
    assert!(error.contains("offers cpu"), "{error}");
}

#[test]
fn number_of_threads_is_bounded() {
    for intra_op_threads in [1025, u32::MAX as usize, usize::MAX] {
        let runtime = RuntimeOptions { intra_op_threads, ..Default::default() };
        let options = ModelOptions { runtime, ..tiny_model_options() };
        let error = Model::load(&options, &Canceller::new()).err().expect("refused");
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
        assert!(error.to_string().contains("at most 1024"), "{error}");
    }
}
