// SPDX-License-Identifier: MPL-2.0

//! Speaker-embedding models: embeddings compared with those of the frameworks, and files that are
//! refused.

mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use multitalker_asr::{Canceller, Error, RuntimeOptions, SpeakerEmbeddingModel};
use ndarray::Array1;
use serde::Deserialize;
use test_support::{data, read_wav};

fn folder() -> PathBuf {
    data().join("speaker-embedding")
}

fn load(path: &Path) -> Result<Arc<SpeakerEmbeddingModel>, Error> {
    let runtime = RuntimeOptions { intra_op_threads: 1, ..Default::default() };
    SpeakerEmbeddingModel::load(path, &runtime, &Canceller::new())
}

fn model(name: &str) -> Arc<SpeakerEmbeddingModel> {
    load(&folder().join(format!("{name}.onnx"))).expect("a fixture, and ORT_DYLIB_PATH")
}

fn embed(model: &SpeakerEmbeddingModel, samples: &[f32]) -> Array1<f32> {
    let embedding = model.embed(samples, &Canceller::new()).expect("inference runs");
    assert_eq!(embedding.len(), model.dimension());
    assert!((embedding.dot(&embedding) - 1.0).abs() < 1e-5, "a length of 1");
    embedding
}

fn jfk() -> Vec<f32> {
    read_wav(&data().join("audio/jfk.wav"))
}

/// The results of `tools/reference/speaker_embeddings.py`.
#[derive(Deserialize)]
struct Expected {
    start: usize,
    recording: usize,
    embeddings: std::collections::BTreeMap<String, Vec<f32>>,
    resemblyzer: Vec<Recording>,
}

#[derive(Deserialize)]
struct Recording {
    gain: f32,
    samples: usize,
    embedding: Vec<f32>,
}

fn expected() -> Expected {
    let text = std::fs::read_to_string(folder().join("expected.json")).expect("readable");
    serde_json::from_str(&text).expect("the layout of the script")
}

#[test]
fn embeddings_equal_those_with_the_features_of_the_frameworks() {
    let Expected { start, recording, embeddings, .. } = expected();
    let audio = &jfk()[start..start + recording];
    assert_eq!(embeddings.len(), 3);
    for (name, expected) in embeddings {
        let cosine = embed(&model(&name), audio).dot(&Array1::from(expected));
        assert!(cosine > 0.999_99, "{name}: {cosine}");
    }
}

#[test]
fn embeddings_of_resemblyzer_equal_those_of_its_package() {
    let (model, audio) = (model("resemblyzer"), jfk());
    let Expected { start, resemblyzer, .. } = expected();
    assert!(resemblyzer.len() > 5 && resemblyzer.iter().any(|recording| recording.gain < 0.1));
    for Recording { gain, samples, embedding } in resemblyzer {
        let audio: Vec<f32> =
            audio[start..start + samples].iter().map(|sample| sample * gain).collect();
        let cosine = embed(&model, &audio).dot(&Array1::from(embedding));
        assert!(cosine > 0.9999, "{samples} samples: {cosine}");
    }
}

#[test]
fn real_model_distinguishes_voices() {
    let model = model("resemblyzer");
    let jfk = jfk();
    let other = read_wav(&data().join("audio/news.wav"));
    let [first, second, other] =
        [&jfk[..80_000], &jfk[80_000..160_000], &other[..80_000]].map(|audio| embed(&model, audio));
    let (same, different) = (first.dot(&second), first.dot(&other));
    assert!(same > different + 0.1, "{same} for the same voice, {different} for another one");
}

#[test]
fn users_of_one_file_share_the_network() {
    let model_1 = model("wespeaker");
    assert!(Arc::ptr_eq(&model_1, &model("wespeaker")));
    assert!(!Arc::ptr_eq(&model_1, &model("3d-speaker")));
}

#[test]
fn fingerprint_is_the_hash_of_the_file() {
    let copy = tempfile::tempdir().expect("a folder");
    let copy = copy.path().join("other-name.onnx");
    std::fs::copy(folder().join("nemo.onnx"), &copy).expect("copied");
    let fingerprint = model("nemo").fingerprint().to_owned();
    assert_eq!(load(&copy).expect("the same model").fingerprint(), fingerprint);
    let sum = std::process::Command::new("sha256sum").arg(&copy).output().expect("coreutils");
    assert!(String::from_utf8_lossy(&sum.stdout).starts_with(&format!("{fingerprint} ")));
    assert_ne!(model("wespeaker").fingerprint(), fingerprint);
}

#[test]
fn long_recordings_are_averaged_over_equal_parts() {
    let model = model("3d-speaker");
    let audio: Vec<f32> = jfk().into_iter().cycle().take(50 * 16_000).collect();
    let third = audio.len().div_ceil(3);
    let sum: Array1<f32> = audio
        .chunks(third)
        .map(|part| embed(&model, part))
        .fold(Array1::zeros(model.dimension()), |sum, part| sum + part);
    let cosine = embed(&model, &audio).dot(&sum) / sum.dot(&sum).sqrt();
    assert!(cosine > 0.999_999, "{cosine}");
}

#[test]
fn too_few_samples_are_an_error() {
    for name in ["wespeaker", "nemo", "resemblyzer"] {
        let model = model(name);
        embed(&model, &jfk()[..model.min_samples()]);
        let error = model.embed(&jfk()[..model.min_samples() - 1], &Canceller::new());
        assert!(matches!(error, Err(Error::InvalidOption { .. })), "{error:?}");
    }
}

#[test]
fn canceled_work_is_an_error() {
    let canceller = Canceller::new();
    canceller.cancel();
    let canceled = model("resemblyzer").embed(&jfk(), &canceller);
    assert!(matches!(canceled, Err(Error::Canceled)), "{canceled:?}");
    // No other test loads this model, so it is not in memory.
    let path = folder().join("zero.onnx");
    let copy = tempfile::tempdir().expect("a folder");
    let copied = copy.path().join("copy.onnx");
    std::fs::copy(path, &copied).expect("copied");
    let load = SpeakerEmbeddingModel::load(&copied, &RuntimeOptions::default(), &canceller);
    assert!(matches!(load, Err(Error::Canceled)));
}

#[test]
fn outputs_without_a_direction_are_errors_that_name_the_file() {
    for (name, length) in [("zero", "a length of 0"), ("infinite", "a length of inf")] {
        let error = model(name).embed(&jfk(), &Canceller::new()).expect_err("no embedding");
        assert!(matches!(error, Error::Inference { .. }));
        let error = error.to_string();
        assert!(error.contains(&format!("{name}.onnx")) && error.contains(length), "{error}");
    }
}
