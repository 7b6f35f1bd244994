// SPDX-License-Identifier: MPL-2.0

//! Tests the loading of models from complete, incomplete and damaged folders.

mod config;
mod damage;
mod graphs;

use std::path::Path;
use std::sync::Arc;

use multitalker_asr::{
    Canceller, Error, ExecutionProvider, Model, ModelOptions, Precision, RuntimeOptions,
};
use tempfile::TempDir;
use test_support::{data, tiny_model_options};

const FP32: [&str; 3] = ["encoder.onnx", "decoder_joint.onnx", "tokenizer.model"];

const CONFIG: &str = "multitalker_config.json";

/// Returns a folder with copies of these files of the tiny models.
fn folder_with(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in files {
        let from = data().join("tiny-models").join(file);
        std::fs::copy(&from, folder.path().join(file)).expect("a copy");
    }
    folder
}

fn load(folder: &Path, precision: Precision) -> Result<Arc<Model>, Error> {
    let options =
        ModelOptions { model_dir: folder.to_owned(), precision, ..ModelOptions::default() };
    Model::load(&options, &Canceller::new())
}

#[track_caller]
fn assert_contains(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn precision_chooses_the_files() {
    let only_fp32 = folder_with(&FP32);
    assert!(load(only_fp32.path(), Precision::Auto).is_ok());
    let error = load(only_fp32.path(), Precision::Int8).err().expect("no such file");
    assert!(error.to_string().contains("decoder_joint.int8.onnx was not found"), "{error}");
    let both = folder_with(&["encoder.int8.onnx", "decoder_joint.int8.onnx", "tokenizer.model"]);
    assert!(load(both.path(), Precision::Auto).is_ok(), "int8 is the only precision");
    assert!(load(both.path(), Precision::Fp32).is_err());
}

#[test]
fn networks_are_shared_by_file() {
    let folder = folder_with(&["encoder.onnx", "decoder_joint.onnx", "tokenizer.model", CONFIG]);
    let path = folder.path();
    let with = |model_dir: &Path, diarization: bool, threads| {
        let options = ModelOptions {
            model_dir: model_dir.to_owned(),
            diarization_model: diarization.then(|| data().join("tiny-models/sortformer.onnx")),
            precision: Precision::Fp32,
            runtime: RuntimeOptions { intra_op_threads: threads, ..Default::default() },
            ..Default::default()
        };
        Model::load(&options, &Canceller::new()).expect("loads")
    };
    let first = with(path, false, 1);
    assert!(first.shares_encoder_with(&with(path, true, 1)), "with and without a diarizer");
    assert!(first.shares_encoder_with(&with(&path.join("."), false, 1)), "by another path");
    assert!(!first.shares_encoder_with(&with(path, false, 2)), "other threads");
    let other = tempfile::tempdir().expect("a folder");
    #[cfg(unix)]
    {
        for name in ["encoder.onnx", "decoder_joint.onnx"] {
            std::os::unix::fs::symlink(path.join(name), other.path().join(name)).expect("linked");
        }
        std::fs::copy(path.join("tokenizer.model"), other.path().join("tokenizer.model"))
            .expect("copied");
        assert!(first.shares_encoder_with(&with(other.path(), false, 1)), "another tokenizer");
    }
    let replacement = path.join("new");
    std::fs::copy(path.join("encoder.onnx"), &replacement).expect("copied");
    std::fs::rename(&replacement, path.join("encoder.onnx")).expect("replaced");
    assert!(!first.shares_encoder_with(&with(path, false, 1)), "a file that was replaced");
}

#[test]
fn missing_provider_is_an_error_unless_auto() {
    let load = |execution_provider| {
        let runtime = RuntimeOptions { execution_provider, ..RuntimeOptions::default() };
        Model::load(&ModelOptions { runtime, ..tiny_model_options() }, &Canceller::new())
    };
    assert!(load(ExecutionProvider::Auto).is_ok());
    let error = load(ExecutionProvider::CoreMl).err().expect("another system has it").to_string();
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
