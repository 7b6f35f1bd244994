// SPDX-License-Identifier: MPL-2.0

//! Tests the forms in which Sortformers are exported: their metadata, and the alignment of their
//! probabilities. `tools/reference/make_fake_sortformers.py` makes the graphs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, DiarizerVersion, Error, Model, ModelOptions,
    Stream, StreamOptions, Trace,
};
use tempfile::TempDir;
use test_support::{data, read_wav, tiny_model_options};

const N_MELS: usize = 128;

/// Hop between mel frames in samples.
const HOP: usize = 160;

static MEETING: LazyLock<Vec<f32>> = LazyLock::new(|| read_wav(&data().join("audio/meeting.wav")));

fn fake(name: &str) -> PathBuf {
    data().join("fake-models").join(format!("sortformer-{name}.onnx"))
}

fn load(diarizer: &Path) -> Result<Arc<Model>, Error> {
    let options =
        ModelOptions { diarization_model: Some(diarizer.to_owned()), ..tiny_model_options() };
    Model::load(&options, &Canceller::new())
}

/// Runs the diarizer on some audio; no speaker reaches the recognizer.
fn diarize(
    model: &Arc<Model>,
    preset: DiarizationPreset,
    chunk_latency: ChunkLatency,
    samples: &[f32],
) -> Trace {
    let options = StreamOptions {
        chunk_latency,
        diarization: model.operating_point(preset, chunk_latency).expect("a supported preset"),
        activity_threshold: 0.999_999,
        ..StreamOptions::default()
    };
    let mut stream = Stream::new(model.clone(), options).expect("options that fit");
    stream.enable_trace();
    stream.push(samples).expect("inference runs");
    stream.finish().expect("inference runs");
    stream.trace().expect("enabled above").clone()
}

/// Computes the probabilities of the fakes, `[frames, speakers]`; features after the end are zeros.
fn expected(features: &[f32], speakers: usize) -> Vec<f32> {
    let mel_frames = features.len() / N_MELS;
    let loudness = |frame: usize, speaker: usize| {
        features.get(frame * N_MELS + 8 * speaker).copied().unwrap_or(0.0)
    };
    let probability = |loudness: f32| 1.0 / (1.0 + (-8.0 - loudness).exp());
    let mut rows = Vec::new();
    for frame in 0..mel_frames.div_ceil(8) {
        for speaker in 0..speakers {
            let fine = (8 * frame..8 * frame + 8).map(|f| probability(loudness(f, speaker)));
            rows.push(fine.sum::<f32>() / 8.0);
        }
    }
    rows
}

/// Returns the features of the diarizer.
fn diarizer_features(trace: &Trace) -> &[f32] {
    match &trace.diarizer_features[..] {
        [] => &trace.features,
        own => own,
    }
}

#[track_caller]
fn assert_in_place(trace: &Trace, speakers: usize, what: &str) {
    let expected = expected(diarizer_features(trace), speakers);
    assert_eq!(trace.probabilities.len(), expected.len(), "{what}");
    for (index, (found, expected)) in trace.probabilities.iter().zip(&expected).enumerate() {
        let (frame, speaker) = (index / speakers, index % speakers);
        let difference = (found - expected).abs();
        assert!(
            difference < 1e-5,
            "{what}, frame {frame}, speaker {speaker}: {found} is not {expected}"
        );
    }
}

/// Returns audio of this many mel frames.
fn audio(mel_frames: usize) -> &'static [f32] {
    &MEETING[..mel_frames * HOP]
}

#[test]
fn shift_by_10_ms_is_detected() {
    let model = load(&fake("v3")).expect("loads");
    let trace = diarize(&model, DiarizationPreset::OneSecond, ChunkLatency::Ms1120, audio(800));
    let moved = expected(&diarizer_features(&trace)[N_MELS..], 8);
    let worst = trace.probabilities.iter().zip(&moved).map(|(a, b)| (a - b).abs());
    assert!(worst.fold(0.0, f32::max) > 0.05);
}

#[test]
fn probabilities_are_in_place_at_every_end() {
    for (file, version, speakers) in [
        ("v3", DiarizerVersion::V3, 8),
        ("v3-vernacula", DiarizerVersion::V3, 8),
        // This much audio does not fill the FIFO to the point where the graph fails.
        ("fails", DiarizerVersion::V2, 4),
    ] {
        let model = load(&fake(file)).expect("loads");
        assert_eq!(model.diarizer().map(|kind| kind.version), Some(version));
        assert_eq!(model.speakers(), speakers);
        for preset in DiarizationPreset::ALL {
            for chunk_latency in [ChunkLatency::Ms1120, ChunkLatency::Ms160] {
                // The range goes from one whole frame of 80 ms to the next.
                for mel_frames in 312..=320 {
                    let trace = diarize(&model, preset, chunk_latency, audio(mel_frames));
                    let what = format!("{file}, {preset:?}, {mel_frames} mel frames");
                    assert_eq!(trace.features.len(), mel_frames * N_MELS);
                    assert_in_place(&trace, speakers, &what);
                }
            }
        }
        for mel_frames in 0..=9 {
            let preset = DiarizationPreset::Ms320;
            let trace = diarize(&model, preset, ChunkLatency::Ms1120, audio(mel_frames));
            assert_in_place(&trace, speakers, &format!("{file}, {mel_frames} mel frames"));
        }
    }
}

#[test]
fn probabilities_stay_in_place_when_the_speaker_cache_is_full() {
    for name in ["v3", "v3-vernacula"] {
        let model = load(&fake(name)).expect("loads");
        for preset in DiarizationPreset::ALL {
            let trace = diarize(&model, preset, ChunkLatency::Ms1120, audio(8397));
            assert_in_place(&trace, 8, &format!("{name}, {preset:?}"));
        }
    }
}

/// The expected probabilities are from `tools/reference/version_3.py`, which runs NeMo's code for
/// the speaker cache.
#[test]
fn version_3_equals_the_reference() {
    let folder = data().join("version-3");
    let model = load(&folder.join("sortformer.onnx")).expect("loads");
    let text = std::fs::read_to_string(folder.join("expected.json")).expect("readable");
    let expected: BTreeMap<String, Vec<Vec<f32>>> = serde_json::from_str(&text).expect("numbers");
    for (name, preset) in [
        ("320ms", DiarizationPreset::Ms320),
        ("1s", DiarizationPreset::OneSecond),
        ("30s", DiarizationPreset::ThirtySeconds),
    ] {
        let trace = diarize(&model, preset, ChunkLatency::Ms1120, &MEETING);
        let expected = expected[name].concat();
        assert_eq!(trace.probabilities.len(), expected.len(), "{name}");
        let differences = trace.probabilities.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0.0, f32::max);
        assert!(worst < 2e-3, "{name}: {worst}");
    }
}

/// According to NumPy, the features differ by 0.002 in the median and by 3.4 at most.
#[test]
fn version_3_has_features_of_its_own() {
    let model = load(&fake("v3")).expect("loads");
    let trace = diarize(&model, DiarizationPreset::OneSecond, ChunkLatency::Ms1120, audio(800));
    assert_eq!(trace.diarizer_features.len(), trace.features.len());
    let mut differences: Vec<f32> =
        trace.features.iter().zip(&trace.diarizer_features).map(|(a, b)| (a - b).abs()).collect();
    differences.sort_by(f32::total_cmp);
    let (median, largest) =
        (differences[differences.len() / 2], differences[differences.len() - 1]);
    assert!(median > 1e-5 && median < 1e-2, "{median}");
    assert!(largest > 0.1 && largest < 5.0, "{largest}");
    let version_2 = load(&fake("fails")).expect("loads");
    let trace = diarize(&version_2, DiarizationPreset::Ms320, ChunkLatency::Ms1120, audio(300));
    assert!(trace.diarizer_features.is_empty(), "version 2 uses the features of the recognizer");
}

#[test]
fn version_3_has_its_own_numbers() {
    let model = load(&fake("v3")).expect("loads");
    let point =
        |preset| model.operating_point(preset, ChunkLatency::Ms560).expect("axes that are dynamic");
    let one_second = point(DiarizationPreset::OneSecond);
    assert_eq!((one_second.chunk_frames, one_second.right_context_frames), (9, 4));
    assert_eq!((one_second.fifo_frames, one_second.speaker_cache_frames), (264, 264));
    assert_eq!(point(DiarizationPreset::TenSeconds), one_second);
    assert_eq!(point(DiarizationPreset::Lockstep).chunk_frames, 7);
}

#[test]
fn limit_of_speakers_applies_to_eight() {
    let model = load(&fake("v3")).expect("loads");
    let chunks = |max_speakers| {
        let options = StreamOptions { max_speakers, ..StreamOptions::default() };
        let mut stream = Stream::new(model.clone(), options).expect("options that fit");
        stream.enable_trace();
        stream.push(audio(1000)).expect("inference runs");
        stream.finish().expect("inference runs");
        let speakers = &stream.trace().expect("enabled above").speakers;
        speakers.iter().map(|speaker| speaker.chunks.clone()).collect::<Vec<_>>()
    };
    let all = chunks(None);
    assert_eq!(all.len(), 8);
    assert!(all.iter().filter(|chunks| !chunks.is_empty()).count() > 4);
    for limit in [1, 5, 8, 100] {
        let mut expected = all.clone();
        expected.iter_mut().skip(limit).for_each(Vec::clear);
        assert_eq!(chunks(Some(limit)), expected, "at most {limit}");
    }
}

#[test]
fn graph_with_fixed_axes_is_padded_at_its_operating_point() {
    let model = load(&fake("fixed")).expect("loads");
    let kind = model.diarizer().expect("a diarizer");
    assert_eq!(kind.version, DiarizerVersion::V2);
    assert_eq!(kind.fixed_preset, Some(DiarizationPreset::ThirtySeconds));
    for mel_frames in [5, 312, 313, 319, 2719, 2720, 2721, 3040, 3041, 8397] {
        let preset = DiarizationPreset::ThirtySeconds;
        let trace = diarize(&model, preset, ChunkLatency::Ms1120, audio(mel_frames));
        assert_in_place(&trace, 4, &format!("{mel_frames} mel frames"));
    }
}

#[track_caller]
fn assert_contains(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(error.len() < 600, "{} characters: {error}", error.len());
}

#[test]
fn fixed_axes_refuse_other_operating_points() {
    let model = load(&fake("fixed")).expect("loads");
    let chunk = ChunkLatency::Ms1120;
    for preset in [DiarizationPreset::Lockstep, DiarizationPreset::OneSecond] {
        let error = model.operating_point(preset, chunk).expect_err("refused").to_string();
        let parts = ["sortformer-fixed.onnx", "dimension 1 of chunk", "fixed to 3048"];
        assert_contains(&error, &parts);
    }
    let mut options = StreamOptions {
        diarization: DiarizationPreset::ThirtySeconds.operating_point(chunk),
        ..StreamOptions::default()
    };
    assert!(Stream::new(model.clone(), options.clone()).is_ok());
    options.diarization.fifo_frames = 41;
    let error = Stream::new(model, options).err().expect("refused").to_string();
    assert_contains(&error, &["dimension 1 of fifo", "41 frames", "fixed to 40"]);
}

#[test]
fn fixed_axes_that_fit_no_operating_point_are_refused_when_loading() {
    let error = load(&fake("fixed-odd")).err().expect("refused").to_string();
    assert_contains(&error, &["sortformer-fixed-odd.onnx", "fifo fixed to 50", "[3048, 188, 40]"]);
}

#[test]
fn contradictory_graph_is_refused_when_loading() {
    for (name, parts) in [
        ("8-of-v2", ["speakers", "expected 1 to 4 of version 2", "found 8"]),
        ("wide", ["dimension 2 of spkcache", "expected from 1 to 8192", "found 2147483648"]),
    ] {
        let error = load(&fake(name)).err().expect("refused").to_string();
        assert_contains(&error, &parts);
        assert_contains(&error, &[&format!("sortformer-{name}.onnx")]);
    }
}

#[test]
fn unexpected_results_are_an_error_that_names_the_graph() {
    let shape = "shape of spkcache_fifo_chunk_preds: expected [1, 14, 4], found [1, 14, 0]";
    for (name, part) in [
        ("no-speakers", shape),
        ("40ms", "chunk_pre_encode_lengths: expected [14], found [28]"),
        ("logits", "probabilities in spkcache_fifo_chunk_preds: expected numbers from 0 to 1"),
    ] {
        let model = load(&fake(name)).expect("loads");
        let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
        let error = stream.push(audio(500)).expect_err("refused").to_string();
        assert_contains(&error, &[part, &format!("sortformer-{name}.onnx")]);
        assert!(matches!(stream.push(&[0.0]), Err(Error::Ended)));
    }
}

/// Returns a copy of a graph with other entries in its metadata. Entries are a repeated field of
/// the file, and the last one of a key counts.
fn with_metadata(name: &str, entries: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let field = |tag: u8, value: &[u8]| {
        let mut bytes = vec![tag];
        let mut length = value.len();
        while length > 0x7f {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(value);
        bytes
    };
    let mut graph = std::fs::read(fake(name)).expect("readable");
    for (key, value) in entries {
        let entry = [field(0x0a, key.as_bytes()), field(0x12, value.as_bytes())].concat();
        graph.extend(field(0x72, &entry));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("changed.onnx");
    std::fs::write(&file, graph).expect("written");
    (folder, file)
}

#[test]
fn other_spellings_of_the_metadata_are_read() {
    let list = format!("[{}]", vec!["-1.5"; 64].join(", "));
    for entries in [
        &[("use_learnable_sil_emb", "True"), ("learnable_sil_emb", &*list)][..],
        &[("vernacula.diar.num_speakers", "8")],
        &[("spkcache_sil_frames_per_spk", " 1 "), ("high_resolution", "true")],
        &[("chunk_len", "124"), ("spkcache_len", "188"), ("fifo_len", "a thousand")],
    ] {
        let (_folder, file) = with_metadata("v3", entries);
        let model = load(&file).unwrap_or_else(|error| panic!("{entries:?}: {error}"));
        assert_eq!(model.diarizer().map(|kind| kind.version), Some(DiarizerVersion::V3));
    }
}

#[test]
fn wrong_metadata_is_named() {
    let too_many = "0.5,".repeat(1_000_000);
    let not_finite = format!("inf,{}", "0.5,".repeat(63));
    for (name, key, value, expected, found) in [
        ("v3", "n_spk", "4", "expected 8", "found 4"),
        ("v3", "n_spk", "1000000000000", "expected 8", "found 1000000000000"),
        ("v3", "feat_dim", "80", "expected 128", "found 80"),
        ("v3", "emb_dim", "512", "expected 64", "found 512"),
        ("v3", "subsampling_factor", "4", "expected 8", "found 4"),
        ("v3", "upsample_factor", "0", "a number from 1 to 8", "found 0"),
        ("v3", "spkcache_sil_frames_per_spk", "33", "from 0 to 32", "found 33"),
        ("v3", "spkcache_sil_frames_per_spk", "-1", "from 0 to 32", "found -1"),
        ("v3", "spkcache_sil_frames_per_spk", "1000000000000", "from 0 to 32", "1000000000000"),
        ("v3", "pred_score_threshold", "0", "from 0.000001 to 1", "found 0"),
        ("v3", "sil_threshold", "NaN", "from 0 to 8", "found NaN"),
        ("v3", "weak_boost_rate", "1e99", "from 0 to 100", "found 1e99"),
        ("v3", "strong_boost_rate", "-0.75", "from 0 to 100", "found -0.75"),
        ("v3", "use_learnable_sil_emb", "0", "expected 1 to match learnable_sil_emb", "found 0"),
        ("v3", "use_learnable_sil_emb", "perhaps", "expected 1 or 0", "found perhaps"),
        ("v3", "learnable_sil_emb", "1,2,3", "64 finite numbers", "found 3 numbers"),
        ("v3", "learnable_sil_emb", &too_many, "64 finite numbers", "found more than 64 numbers"),
        ("v3", "learnable_sil_emb", &not_finite, "64 finite numbers", "not finite"),
        ("v3", "learnable_sil_emb", "one,two", "64 finite numbers", "invalid float"),
        ("v3", "vernacula.diar.num_speakers", "4", "expected 8 to match n_spk", "found 4"),
        ("v3-vernacula", "vernacula.diar.contract", "sortformer-hr-2", "sortformer-hr-1", "hr-2"),
        ("v3-vernacula", "vernacula.diar.n_mels", "80", "expected 128", "found 80"),
        ("v3-vernacula", "vernacula.diar.learnable_sil_emb_f32le_b64", "AAAA", "64", "3 bytes"),
        (
            "v3-vernacula",
            "vernacula.diar.learnable_sil_emb_f32le_b64",
            "AAAAAA==",
            "64",
            "1 numbers",
        ),
        (
            "v3-vernacula",
            "vernacula.diar.learnable_sil_emb_f32le_b64",
            "no base64!",
            "64",
            "symbol",
        ),
    ] {
        let (_folder, file) = with_metadata(name, &[(key, value)]);
        let error = load(&file).err().expect("refused").to_string();
        assert_contains(
            &error,
            &["changed.onnx", &format!("{key} in the metadata"), expected, found],
        );
    }
}

#[test]
fn version_3_without_its_silence_is_refused() {
    // Only this entry marks a graph with 4 columns as version 3.
    let (_folder, file) = with_metadata("fails", &[("upsample_factor", "8")]);
    let error = load(&file).err().expect("refused").to_string();
    let expected = "expected 32 numbers, the silence of version 3, found none";
    assert_contains(&error, &["learnable_sil_emb in the metadata", expected]);
    // An entry may state that the model has no learned silence.
    let entries = [("upsample_factor", "8"), ("use_learnable_sil_emb", "0")];
    let (_folder, file) = with_metadata("fails", &entries);
    let model = load(&file).expect("loads");
    assert_eq!(model.diarizer().map(|kind| kind.version), Some(DiarizerVersion::V3));
}
