// SPDX-License-Identifier: MPL-2.0

//! Compares the engine with NeMo's results in `expected/`.
//!
//! The models are in `testdata`, or in the folder that `MULTITALKER_REFERENCE` names. That folder
//! has either the same layout (`tiny-models/`, `audio/`, `expected/`) or the files of a model.
//! `testdata` supplies the audio, the expected results and the diarizer if they are missing there.
//!
//! Tolerances: the features differ from PyTorch's by the rounding of another Fourier transform
//! (1e-3 in the logarithm); the probabilities differ by the effect of that and by ONNX Runtime's
//! kernels (2e-3, as between PyTorch and ONNX Runtime). Tokens must be equal.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use multitalker_asr::{
    Canceller, ChunkLatency, Error, Model, ModelOptions, OperatingPoint, Precision, Stream,
    StreamOptions, TargetMode, Trace,
};
use serde::Deserialize;

const FEATURE_TOLERANCE: f32 = 1e-3;
const PROBABILITY_TOLERANCE: f32 = 2e-3;
/// Step between the feature frames in an expected file.
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

/// Models, audio, and the results to compare with.
struct Reference {
    models: PathBuf,
    audio: PathBuf,
    expected: PathBuf,
}

impl Reference {
    /// Returns the models of the tests.
    fn own() -> Self {
        Self::new(&test_support::data())
    }

    /// Returns the models in `MULTITALKER_REFERENCE`, or by default the models of the tests.
    fn chosen() -> Self {
        let folder = std::env::var_os("MULTITALKER_REFERENCE");
        folder.map_or_else(Self::own, |folder| Self::new(Path::new(&folder)))
    }

    fn new(folder: &Path) -> Self {
        let own = |name: &str| {
            let own = folder.join(name);
            if own.is_dir() { own } else { test_support::data().join(name) }
        };
        let models = folder.join("tiny-models");
        Self {
            models: if models.is_dir() { models } else { folder.to_owned() },
            audio: own("audio"),
            expected: own("expected"),
        }
    }

    /// Replaces the models.
    fn with_models(self, models: &Path) -> Self {
        Self { models: models.to_owned(), ..self }
    }

    fn expected_files(&self) -> Vec<PathBuf> {
        let folder = &self.expected;
        let entries =
            std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.expect("a readable folder").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no expected results", folder.display());
        files
    }

    fn has(&self, precision: Precision) -> bool {
        let name = if precision == Precision::Int8 { "encoder.int8.onnx" } else { "encoder.onnx" };
        self.models.join(name).exists()
    }

    fn load(&self, precision: Precision) -> Result<Arc<Model>, Error> {
        let name = match precision {
            Precision::Int8 => "sortformer.int8.onnx",
            Precision::Fp32 | Precision::Auto => "sortformer.onnx",
        };
        let own = self.models.join(name);
        let tiny = test_support::data().join("tiny-models").join(name);
        let options = ModelOptions {
            diarization_model: Some(if own.exists() { own } else { tiny }),
            model_dir: self.models.clone(),
            precision,
            ..Default::default()
        };
        Model::load(&options, &Canceller::new())
    }
}

fn options(expected: &Expected, target_mode: TargetMode) -> StreamOptions {
    let chunk = ChunkLatency::ALL.into_iter().find(|c| c.mel_frames() == expected.chunk_mel_frames);
    StreamOptions {
        chunk_latency: chunk.expect("a supported length"),
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

fn run(
    reference: &Reference,
    model: &Arc<Model>,
    expected: &Expected,
    target_mode: TargetMode,
) -> Trace {
    let samples = test_support::read_wav(&reference.audio.join(&expected.audio));
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

/// Reports the first difference instead of printing thousands of numbers.
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
    let reference = Reference::chosen();
    if reference.has(Precision::Fp32) {
        assert_equals_reference(&reference);
    } else {
        let error = reference.load(Precision::Fp32).err().expect("no fp32 files");
        assert!(matches!(error, Error::FileNotFound { .. }), "{error}");
    }
}

/// Returns the folders in the forms that publishers' exporters write.
fn published() -> Vec<PathBuf> {
    let folder = test_support::data().join("published");
    let entries = std::fs::read_dir(&folder).expect("a readable folder");
    let mut forms: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    forms.retain(|path| path.is_dir());
    forms.sort();
    assert_eq!(forms.len(), 2, "{forms:?}");
    forms
}

#[test]
fn published_forms_equal_the_reference() {
    for form in published() {
        let reference = Reference::own().with_models(&form);
        let model = reference.load(Precision::Fp32).expect("loads");
        assert_eq!(model.warnings(), [], "{}", form.display());
        assert_equals_reference(&reference);
    }
}

#[test]
fn published_forms_without_a_config_equal_the_reference() {
    for form in published() {
        let folder = copy_of(&[&form], |name| name != "multitalker_config.json");
        assert_equals_reference(&Reference::own().with_models(folder.path()));
    }
}

#[test]
fn published_int8_forms_run_through_the_same_loop() {
    for form in published() {
        assert_runs_through(&Reference::own().with_models(&form));
    }
}

/// The client of the Hugging Face Hub stores files as links to blobs named by their hashes.
#[cfg(unix)]
#[test]
fn published_forms_run_from_a_cache_of_the_hub() {
    for form in published() {
        let cache = tempfile::tempdir().expect("a folder");
        let [blobs, snapshot] = ["blobs", "snapshots/4d2a8bc7"].map(|name| cache.path().join(name));
        for folder in [&blobs, &snapshot] {
            std::fs::create_dir_all(folder).expect("made");
        }
        for (index, entry) in std::fs::read_dir(&form).expect("readable").enumerate() {
            let entry = entry.expect("readable");
            let blob = format!("{index:064x}");
            std::fs::copy(entry.path(), blobs.join(&blob)).expect("copied");
            let target = Path::new("../../blobs").join(&blob);
            std::os::unix::fs::symlink(target, snapshot.join(entry.file_name())).expect("linked");
        }
        let reference = Reference::own().with_models(&snapshot);
        let model = reference.load(Precision::Fp32).expect("loads");
        assert_equals_expected(&reference, &model, &reference.expected.join("news-160ms.json"));
    }
}

/// Returns a folder with the `wanted` files of these folders; later folders override earlier ones.
fn copy_of(folders: &[&Path], wanted: impl Fn(&str) -> bool) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for folder in folders {
        for entry in std::fs::read_dir(folder).expect("a readable folder") {
            let entry = entry.expect("a readable folder");
            if wanted(&entry.file_name().to_string_lossy()) {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
            }
        }
    }
    copy
}

/// Returns the tiny models with encoder and decoder from `tools/prepare-models`; one run of the
/// encoder takes several chunks and speakers.
fn prepared_models() -> tempfile::TempDir {
    let data = test_support::data();
    copy_of(&[&data.join("tiny-models"), &data.join("prepared-models")], |_| true)
}

#[test]
fn prepared_models_equal_the_reference_in_fewer_runs() {
    let folder = prepared_models();
    let reference = Reference::own().with_models(folder.path());
    assert_equals_reference(&reference);

    let expected = read(&reference.expected.join("meeting-diar-30s.json"));
    let trace = |reference: &Reference| {
        let model = reference.load(Precision::Fp32).expect("loads");
        run(reference, &model, &expected, TargetMode::Probability)
    };
    let prepared = trace(&reference);
    let published = trace(&Reference::own());
    let chunks: usize = published.speakers.iter().map(|speaker| speaker.chunks.len()).sum();
    assert_eq!(published.encoder_runs, chunks);
    assert!(prepared.encoder_runs < chunks / 3, "{} runs", prepared.encoder_runs);
}

#[test]
fn full_batches_give_the_same_tokens() {
    let folder = prepared_models();
    let options = ModelOptions {
        model_dir: folder.path().to_owned(),
        precision: Precision::Fp32,
        ..Default::default()
    };
    let model = Model::load(&options, &Canceller::new()).expect("the prepared models load");
    let samples = test_support::read_wav(&test_support::data().join("audio/news.wav"));
    let [one_by_one, full] = [false, true].map(|fill_batches| {
        let options = StreamOptions { fill_batches, ..Default::default() };
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
    let tokens = |trace: &Trace| -> Vec<_> {
        trace.speakers[0].tokens.iter().map(|token| (token.frame, token.id)).collect()
    };
    assert_eq!(tokens(&full), tokens(&one_by_one));
}

fn assert_equals_reference(reference: &Reference) {
    let model = reference.load(Precision::Fp32).expect("the reference models load");
    for path in reference.expected_files() {
        assert_equals_expected(reference, &model, &path);
    }
}

fn assert_equals_expected(reference: &Reference, model: &Arc<Model>, path: &Path) {
    let expected = read(path);
    let name = path.file_name().expect("a file").to_string_lossy();
    assert!(!expected.speakers.is_empty(), "{name} expects nothing");
    for (mode, speakers) in &expected.speakers {
        let target_mode = match mode.as_str() {
            "probability" => TargetMode::Probability,
            "nemo" => TargetMode::Nemo,
            other => panic!("{name}: unknown target mode {other}"),
        };
        let trace = run(reference, model, &expected, target_mode);

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
            assert_eq!(model.text(&tokens).expect("known tokens"), speaker.text, "{what}: text");
        }
    }
}

#[test]
fn quantized_models_run_through_the_same_loop() {
    let reference = Reference::chosen();
    if reference.has(Precision::Int8) {
        assert_runs_through(&reference);
    } else {
        let error = reference.load(Precision::Int8).err().expect("no int8 files");
        assert!(matches!(error, Error::FileNotFound { .. }), "{error}");
    }
}

/// Quantized graphs run through the same loop; their output differs, but resembles the reference.
fn assert_runs_through(reference: &Reference) {
    let model = reference.load(Precision::Int8).expect("the reference models load");
    let (mut same_activity, mut all_activity, mut same_tokens, mut all_tokens) = (0, 0, 0, 0);
    for path in reference.expected_files() {
        let expected = read(&path);
        let trace = run(reference, &model, &expected, TargetMode::Probability);
        assert_eq!(trace.features.len(), expected.mel_shape.iter().product::<usize>());
        assert_eq!(trace.probabilities.len(), expected.preds.concat().len());
        assert!(trace.probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        let probabilities = expected.preds.concat();
        let active = trace.probabilities.iter().zip(&probabilities);
        same_activity += active.filter(|(a, b)| (**a >= 0.5) == (**b >= 0.5)).count();
        all_activity += probabilities.len();
        for (&index, speaker) in &expected.speakers["probability"] {
            let found: HashSet<_> =
                trace.speakers[index].tokens.iter().map(|t| (t.id, t.frame)).collect();
            let tokens = speaker.tokens.iter().copied().zip(speaker.frames.iter().copied());
            same_tokens += tokens.filter(|token| found.contains(token)).count();
            all_tokens += speaker.tokens.len();
        }
        for speaker in &trace.speakers {
            assert!(speaker.tokens.is_sorted_by_key(|token| token.frame));
            assert!(speaker.tokens.iter().all(|t| t.probability > 0.0 && t.probability <= 1.0));
        }
    }
    println!("{same_activity} of {all_activity} active, {same_tokens} of {all_tokens} tokens");
    assert!(same_activity * 10 >= all_activity * 8, "{same_activity} of {all_activity} active");
    // Random weights exaggerate each difference; the decoder still follows the encoder.
    assert!(same_tokens * 4 >= all_tokens, "{same_tokens} of {all_tokens} tokens");
}
