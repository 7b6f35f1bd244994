// SPDX-License-Identifier: MPL-2.0

//! The engine computes what NeMo computes: every file of `expected/` is run again.
//!
//! The expectations are those of `tests/data`, or of the folder in `MULTITALKER_REFERENCE`, which
//! has the same layout: `tiny-models/`, `audio/` and `expected/`.
//!
//! Tolerances: the features differ from PyTorch's by the rounding of another Fourier transform
//! (1e-3 in the logarithm), the probabilities by what that does to them, and by ONNX Runtime's
//! kernels (2e-3, as between PyTorch and ONNX Runtime). Tokens are equal or wrong.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gstmultitalkerasr::engine::{
    Canceller, ChunkLatency, Model, ModelOptions, OperatingPoint, Precision, Stream, StreamOptions,
    TargetMode, Trace,
};
use serde::Deserialize;

const FEATURE_TOLERANCE: f32 = 1e-3;
const PROBABILITY_TOLERANCE: f32 = 2e-3;
/// Every so many-th frame of the features stands in an expected file.
const FEATURE_FRAME_STEP: usize = 97;

#[derive(Deserialize)]
struct Expected {
    audio: String,
    chunk_mel_frames: usize,
    diar_chunk: usize,
    diar_right: usize,
    fifo_len: usize,
    spkcache_len: usize,
    spkcache_update_period: usize,
    mel_shape: [usize; 2],
    mel: Vec<Vec<f32>>,
    preds: Vec<Vec<f32>>,
    speakers: BTreeMap<String, BTreeMap<usize, ExpectedSpeaker>>,
}

#[derive(Deserialize)]
struct ExpectedSpeaker {
    chunks: Vec<u64>,
    tokens: Vec<usize>,
    frames: Vec<u64>,
    text: String,
}

fn reference() -> PathBuf {
    std::env::var_os("MULTITALKER_REFERENCE").map_or_else(common::data, PathBuf::from)
}

fn expected_files() -> Vec<PathBuf> {
    let folder = reference().join("expected");
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no expected results", folder.display());
    files
}

fn load_model(precision: Precision) -> std::sync::Arc<Model> {
    load_model_from(reference().join("tiny-models"), precision)
}

fn load_model_from(folder: PathBuf, precision: Precision) -> std::sync::Arc<Model> {
    let sortformer = match precision {
        Precision::Int8 => "sortformer.int8.onnx",
        Precision::Fp32 | Precision::Auto => "sortformer.onnx",
    };
    let options = ModelOptions {
        diarization_model: Some(folder.join(sortformer)),
        model_dir: folder,
        precision,
        ..Default::default()
    };
    Model::load(&options, &Canceller::new()).expect("the reference models load")
}

fn options(expected: &Expected, target_mode: TargetMode) -> StreamOptions {
    let chunk = ChunkLatency::ALL.into_iter().find(|c| c.mel_frames() == expected.chunk_mel_frames);
    StreamOptions {
        chunk_latency: chunk.expect("a length of chunk that there is"),
        diarization: OperatingPoint {
            chunk_frames: expected.diar_chunk,
            right_context_frames: expected.diar_right,
            fifo_frames: expected.fifo_len,
            update_period_frames: expected.spkcache_update_period,
            speaker_cache_frames: expected.spkcache_len,
        },
        target_mode,
        ..Default::default()
    }
}

fn run(model: &std::sync::Arc<Model>, expected: &Expected, target_mode: TargetMode) -> Trace {
    let samples = common::read_wav(&reference().join("audio").join(&expected.audio));
    let mut stream =
        Stream::new(model.clone(), options(expected, target_mode)).expect("options that fit");
    stream.enable_trace();
    stream.push(&samples).expect("inference runs");
    stream.finish().expect("inference runs");
    stream.trace().expect("enabled above").clone()
}

fn read(path: &Path) -> Expected {
    let text = std::fs::read_to_string(path).expect("a readable file");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance, "{what}, value {index}: {found} is not {expected}");
    }
}

/// Names the first difference instead of printing thousands of numbers.
#[track_caller]
fn assert_equal<T: PartialEq + std::fmt::Debug>(found: &[T], expected: &[T], what: &str) {
    let first = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(first) = first {
        panic!("{what}, number {first}: {:?} is not {:?}", found[first], expected[first]);
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[test]
fn engine_equals_the_reference() {
    assert_equals_reference(&load_model(Precision::Fp32));
}

/// The tiny models with encoder and decoder made by `tools/prepare-models`; the encoder takes
/// several chunks and speakers in one run.
fn prepared_models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for models in ["tiny-models", "prepared-models"] {
        for entry in std::fs::read_dir(reference().join(models)).expect("a readable folder") {
            let entry = entry.expect("a readable folder");
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
        }
    }
    folder
}

#[test]
fn prepared_models_equal_the_reference_in_fewer_runs() {
    let folder = prepared_models();
    let model = load_model_from(folder.path().to_owned(), Precision::Fp32);
    assert_equals_reference(&model);

    let expected = read(&reference().join("expected/meeting-diar-30s.json"));
    let prepared = run(&model, &expected, TargetMode::Probability);
    let published = run(&load_model(Precision::Fp32), &expected, TargetMode::Probability);
    let chunks: usize = published.speakers.iter().map(|speaker| speaker.chunks.len()).sum();
    assert_eq!(published.encoder_runs, chunks);
    assert!(prepared.encoder_runs < chunks / 3, "{} runs", prepared.encoder_runs);
}

#[test]
fn one_speaker_says_the_same_in_full_runs() {
    let folder = prepared_models();
    let options = ModelOptions {
        model_dir: folder.path().to_owned(),
        precision: Precision::Fp32,
        ..Default::default()
    };
    let model = Model::load(&options, &Canceller::new()).expect("the prepared models load");
    let samples = common::read_wav(&reference().join("audio/news.wav"));
    let [one_by_one, full] = [false, true].map(|full_runs| {
        let options = StreamOptions { full_runs, ..Default::default() };
        let mut stream = Stream::new(model.clone(), options).expect("options that fit");
        stream.enable_trace();
        for piece in samples.chunks(8000) {
            stream.push(piece).expect("inference runs");
        }
        stream.finish().expect("inference runs");
        stream.trace().expect("enabled above").clone()
    });
    let chunks = one_by_one.speakers[0].chunks.len();
    assert_eq!((one_by_one.encoder_runs, full.encoder_runs), (chunks, chunks.div_ceil(5)));
    assert!(!full.speakers[0].tokens.is_empty());
    assert_eq!(full.speakers[0].chunks, one_by_one.speakers[0].chunks);
    let spoken = |trace: &Trace| -> Vec<_> {
        trace.speakers[0].tokens.iter().map(|token| (token.frame, token.id)).collect()
    };
    assert_eq!(spoken(&full), spoken(&one_by_one));
}

fn assert_equals_reference(model: &std::sync::Arc<Model>) {
    for path in expected_files() {
        let expected = read(&path);
        let name = path.file_name().expect("a file").to_string_lossy();
        assert!(!expected.speakers.is_empty(), "{name} expects nothing");
        for (mode, speakers) in &expected.speakers {
            let target_mode = match mode.as_str() {
                "probability" => TargetMode::Probability,
                "nemo" => TargetMode::Nemo,
                other => panic!("{name}: unknown target mode {other}"),
            };
            let trace = run(model, &expected, target_mode);

            let [n_mels, mel_frames] = expected.mel_shape;
            assert_eq!(trace.features.len(), n_mels * mel_frames, "{name}: mel frames");
            for (index, row) in expected.mel.iter().enumerate() {
                let frame = index * FEATURE_FRAME_STEP;
                let found = &trace.features[frame * n_mels..][..n_mels];
                assert_near(found, row, FEATURE_TOLERANCE, &format!("{name}: mel frame {frame}"));
            }

            let probabilities = expected.preds.concat();
            let what = format!("{name}: probabilities");
            assert_near(&trace.probabilities, &probabilities, PROBABILITY_TOLERANCE, &what);

            for (index, found) in trace.speakers.iter().enumerate() {
                let what = format!("{name}, {mode}, speaker {index}");
                let Some(speaker) = speakers.get(&index) else {
                    assert!(found.chunks.is_empty(), "{what} should not run");
                    continue;
                };
                let tokens: Vec<usize> = found.tokens.iter().map(|token| token.id).collect();
                let frames: Vec<u64> = found.tokens.iter().map(|token| token.frame).collect();
                assert_equal(&found.chunks, &speaker.chunks, &format!("{what}: chunks"));
                assert_equal(&tokens, &speaker.tokens, &format!("{what}: tokens"));
                assert_equal(&frames, &speaker.frames, &format!("{what}: frames"));
                assert_eq!(
                    model.text(&tokens).expect("known tokens"),
                    speaker.text,
                    "{what}: text"
                );
            }
        }
    }
}

/// The quantised graphs go through the same loop; their tokens are their own.
#[test]
fn quantised_models_run_through_the_same_loop() {
    let model = load_model(Precision::Int8);
    let mut tokens = 0;
    for path in expected_files() {
        let expected = read(&path);
        let trace = run(&model, &expected, TargetMode::Probability);
        assert_eq!(trace.features.len(), expected.mel_shape.iter().product::<usize>());
        assert_eq!(trace.probabilities.len(), expected.preds.concat().len());
        assert!(trace.probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        for speaker in &trace.speakers {
            assert!(speaker.tokens.is_sorted_by_key(|token| token.frame));
            assert!(speaker.tokens.iter().all(|t| t.probability > 0.0 && t.probability <= 1.0));
            tokens += speaker.tokens.len();
        }
    }
    assert!(tokens > 0, "the quantised models recognise nothing at all");
}
