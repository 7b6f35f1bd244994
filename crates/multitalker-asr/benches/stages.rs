// SPDX-License-Identifier: MPL-2.0

//! Measures the time of each stage for 20 s of audio on the tiny models. Run it with `cargo bench`.
//!
//! Only the ratios of the times are meaningful; `benches/versus` measures real models.

use std::sync::Arc;

use divan::{Bencher, black_box};
use multitalker_asr::{
    BoostingOptions, Canceller, ChunkLatency, DiarizationPreset, Model, ModelOptions, Phrase,
    PhraseBoosting, Precision, RuntimeOptions, SpeakerEmbeddingModel, Stream, StreamOptions,
};
use test_support::{data, read_wav};

fn main() {
    divan::main();
}

fn news() -> Vec<f32> {
    read_wav(&data().join("audio/news.wav"))
}

fn model_options(diarization: bool) -> ModelOptions {
    let folder = data().join("tiny-models");
    ModelOptions {
        diarization_model: diarization.then(|| folder.join("sortformer.onnx")),
        model_dir: folder,
        precision: Precision::Fp32,
        runtime: RuntimeOptions { intra_op_threads: 1, ..Default::default() },
        ..Default::default()
    }
}

fn load(options: &ModelOptions) -> Arc<Model> {
    Model::load(options, &Canceller::new()).expect("the tiny models load")
}

fn transcribe(model: &Arc<Model>, audio: &[f32], preset: DiarizationPreset, threshold: f32) {
    transcribe_with(model, audio, preset, threshold, None);
}

fn transcribe_with(
    model: &Arc<Model>,
    audio: &[f32],
    preset: DiarizationPreset,
    threshold: f32,
    phrases: Option<PhraseBoosting>,
) {
    let diarization = preset.operating_point(ChunkLatency::default());
    let options =
        StreamOptions { diarization, activity_threshold: threshold, ..Default::default() };
    let mut stream = Stream::new(model.clone(), options).expect("options that fit");
    stream.set_phrase_boosting(phrases);
    black_box(stream.push(audio).expect("inference runs"));
    black_box(stream.finish().expect("inference runs"));
}

/// Activity threshold that no speaker exceeds, so that only features and diarizer run.
const NOBODY: f32 = 0.999_999;

#[divan::bench]
fn loading(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| load(&model_options(true)));
}

#[divan::bench(args = [DiarizationPreset::Lockstep, DiarizationPreset::ThirtySeconds])]
fn features_and_diarizer(bencher: Bencher<'_, '_>, preset: DiarizationPreset) {
    let (model, audio) = (load(&model_options(true)), news());
    bencher.bench_local(|| transcribe(&model, &audio, preset, NOBODY));
}

#[divan::bench]
fn features_encoder_and_decoder_of_one_speaker(bencher: Bencher<'_, '_>) {
    let (model, audio) = (load(&model_options(false)), news());
    bencher.bench_local(|| transcribe(&model, &audio, DiarizationPreset::Lockstep, 0.5));
}

#[divan::bench(args = [DiarizationPreset::Lockstep, DiarizationPreset::ThirtySeconds])]
fn all(bencher: Bencher<'_, '_>, preset: DiarizationPreset) {
    let (model, audio) = (load(&model_options(true)), news());
    bencher.bench_local(|| transcribe(&model, &audio, preset, 0.5));
}

#[divan::bench(args = [DiarizationPreset::Lockstep, DiarizationPreset::ThirtySeconds])]
fn all_with_a_prepared_encoder(bencher: Bencher<'_, '_>, preset: DiarizationPreset) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["decoder_joint.onnx", "tokenizer.model", "multitalker_config.json"] {
        std::fs::copy(data().join("tiny-models").join(name), folder.path().join(name))
            .expect("copied");
    }
    std::fs::copy(data().join("prepared-models/encoder.onnx"), folder.path().join("encoder.onnx"))
        .expect("copied");
    let model = load(&ModelOptions { model_dir: folder.path().to_owned(), ..model_options(true) });
    let audio = news();
    bencher.bench_local(|| transcribe(&model, &audio, preset, 0.5));
}

/// The embedding of Resemblyzer of this many tenths of a second of speech, on one thread.
#[divan::bench(args = [16, 30])]
fn speaker_embedding(bencher: Bencher<'_, '_>, tenths: usize) {
    let path = data().join("speaker-embedding/resemblyzer.onnx");
    let runtime = model_options(false).runtime;
    let canceller = Canceller::new();
    let model = SpeakerEmbeddingModel::load(&path, &runtime, &canceller).expect("the model loads");
    let audio = &news()[..tenths * 1600];
    bencher.bench_local(|| black_box(model.embed(audio, &canceller).expect("inference runs")));
}

/// The strength is too small to change a token, so that both cases decode the same tokens.
#[divan::bench(args = [0, 1000])]
fn all_with_boosted_phrases(bencher: Bencher<'_, '_>, count: usize) {
    let (model, audio) = (load(&model_options(true)), news());
    let mut random = fastrand::Rng::with_seed(1);
    let mut letters = |length| std::iter::repeat_with(|| random.lowercase()).take(length).collect();
    let phrases: Vec<_> = (0..count).map(|_| Phrase { text: letters(12), score: None }).collect();
    let (boosting, _) =
        model.phrase_boosting(&phrases, BoostingOptions::default(), 1e-6).expect("finite scores");
    let boosting = (count > 0).then_some(boosting);
    bencher.bench_local(|| {
        transcribe_with(&model, &audio, DiarizationPreset::Lockstep, 0.5, boosting.clone());
    });
}
