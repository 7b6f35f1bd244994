// SPDX-License-Identifier: MPL-2.0

//! Tests diarization without recognition, and RTTM files in the place of a diarizer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use multitalker_asr::{
    Activity, Canceller, ChunkLatency, DiarizationPreset, ENCODED_FRAME_SAMPLES, Event, Model,
    ModelOptions, Progress, SegLstRow, Stream, StreamOptions, Turn,
};
use test_support::{data, read_wav, tiny_model_options};

use super::{NEWS, events, segments, small_options};

const THRESHOLD: f32 = 0.5;

fn load(options: &ModelOptions) -> std::sync::Arc<Model> {
    Model::load(options, &Canceller::new()).expect("loads")
}

/// Returns options for diarization alone.
fn alone(diarization_model: PathBuf) -> ModelOptions {
    ModelOptions {
        diarization_model: Some(diarization_model),
        recognize: false,
        ..ModelOptions::default()
    }
}

fn turns(events: &[Event]) -> Vec<Turn> {
    let turns = events.iter().filter_map(|event| match event {
        Event::Turn(turn) => Some(*turn),
        _ => None,
    });
    turns.collect()
}

/// Computes the turns of the probabilities, `[frames, speakers]`, in audio of `samples`.
fn expected_turns(probabilities: &[f32], speakers: usize, samples: u64) -> Vec<Turn> {
    let frames: Vec<&[f32]> = probabilities.chunks_exact(speakers).collect();
    let mut turns = Vec::new();
    for speaker in 0..speakers {
        let mut start = 0;
        for run in frames.chunk_by(|a, b| (a[speaker] > THRESHOLD) == (b[speaker] > THRESHOLD)) {
            let end = start + run.len() as u64;
            if run[0][speaker] > THRESHOLD {
                turns.push(Turn {
                    speaker,
                    start_sample: start * ENCODED_FRAME_SAMPLES,
                    end_sample: (end * ENCODED_FRAME_SAMPLES).min(samples),
                });
            }
            start = end;
        }
    }
    turns.sort_by_key(|turn| (turn.end_sample, turn.speaker));
    turns
}

/// Asserts that the changes of activity are those of the turns.
#[track_caller]
fn assert_activity(events: &[Event], turns: &[Turn]) {
    let mut changes: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for sample in turns.iter().flat_map(|turn| [turn.start_sample, turn.end_sample]) {
        let active = turns.iter().filter(|t| (t.start_sample..t.end_sample).contains(&sample));
        let mut active: Vec<_> = active.map(|turn| turn.speaker).collect();
        active.sort();
        changes.insert(sample, active);
    }
    let found = events.iter().filter_map(|event| match event {
        Event::Activity(Activity { start_sample, speakers }) => Some((*start_sample, speakers)),
        _ => None,
    });
    assert!(found.eq(changes.iter().map(|(&sample, active)| (sample, active))), "{events:?}");
}

#[test]
fn turns_are_those_of_the_probabilities_with_a_recognizer() {
    let fake = |name: &str| data().join("fake-models").join(name);
    let tiny = data().join("tiny-models/sortformer.onnx");
    for (diarizer, options) in [
        (tiny.clone(), small_options()),
        (tiny, StreamOptions::default()),
        (fake("sortformer-v3.onnx"), StreamOptions::default()),
    ] {
        let with =
            ModelOptions { diarization_model: Some(diarizer.clone()), ..tiny_model_options() };
        let mut stream = Stream::new(load(&with), options.clone()).expect("options that fit");
        stream.enable_trace();
        events(&mut stream, [&NEWS[..]]);
        let trace = stream.trace().expect("enabled above");
        let speakers = trace.speakers.len();
        let expected = expected_turns(&trace.probabilities, speakers, NEWS.len() as u64);
        assert!(expected.len() > 10, "{expected:?}");

        let model = load(&alone(diarizer));
        assert!(!model.recognizes());
        let mut stream = Stream::new(model, options).expect("options that fit");
        for piece in [NEWS.len(), 16_001, 1600] {
            let found = events(&mut stream, NEWS.chunks(piece));
            assert_eq!(turns(&found), expected, "pieces of {piece}");
            assert_activity(&found, &expected);
            let end = NEWS.len() as u64;
            let progress = Progress { decoded: end, words: end, segments: end };
            assert_eq!(stream.progress(), progress);
            stream.reset();
        }
    }
}

#[test]
fn progress_without_a_recognizer_follows_the_diarizer() {
    let model = load(&alone(data().join("tiny-models/sortformer.onnx")));
    let chunk_latency = ChunkLatency::Ms1120;
    let diarization = DiarizationPreset::OneSecond.operating_point(chunk_latency);
    let options = StreamOptions { chunk_latency, diarization, ..StreamOptions::default() };
    let mut stream = Stream::new(model, options).expect("options that fit");
    let mut worst_ms = 0;
    for (index, piece) in NEWS[..16_000 * 12].chunks(80).enumerate() {
        let waiting = stream.progress().words;
        stream.push(piece).expect("inference runs");
        if stream.progress().words > waiting {
            worst_ms = worst_ms.max(((index as u64 + 1) * 80 - waiting).div_ceil(16));
        }
    }
    let promised = u64::from(diarization.diarizer_latency_ms());
    assert!((worst_ms - 5..=worst_ms + 5).contains(&promised), "{worst_ms} ms, not {promised}");
}

#[test]
fn rttm_alone_needs_neither_networks_nor_a_runtime() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns.rttm");
    let lines = "SPEAKER talk 1 1.6 0.84 <NA> <NA> Ada\nSPEAKER talk 1 0.8 1.64 <NA> <NA> Bob\n";
    std::fs::write(&path, lines).expect("written");
    let runtime = multitalker_asr::RuntimeOptions {
        library: Some("/nowhere.so".into()),
        ..Default::default()
    };
    let model = load(&ModelOptions { runtime, ..alone(path) });
    assert_eq!((model.speakers(), model.diarizer()), (2, None));
    assert_eq!(model.annotated_speakers(), Some(vec!["Bob", "Ada"]));
    let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
    let found = events(&mut stream, [&[0.0; 32_000][..]]);
    let turn = |speaker, start_sample, end_sample| Turn { speaker, start_sample, end_sample };
    let expected = [turn(0, 12_800, 32_000), turn(1, 25_600, 32_000)];
    assert_eq!(turns(&found), expected, "turns end with the audio");
    assert_activity(&found, &expected);

    // After a gap of a second, the file continues.
    stream.resume();
    stream.set_offset(48_000);
    let found = events(&mut stream, [&[0.0; 32_000][..]]);
    assert_eq!(turns(&found), []);
    stream.resume();
    stream.set_offset(33_280);
    let found = events(&mut stream, [&[0.0; 32_000][..]]);
    assert_eq!(turns(&found), [turn(0, 0, 5120), turn(1, 0, 5120)]);
}

#[test]
fn without_recognizer_and_diarizer_there_is_nothing_to_do() {
    let options = ModelOptions { recognize: false, ..ModelOptions::default() };
    let error = Model::load(&options, &Canceller::new()).map(|_| ()).expect_err("no files");
    let expected = "diarization model: expected a Sortformer or RTTM file, since no words are \
                    recognized, found none";
    assert_eq!(error.to_string(), expected);
}

/// Returns the number of words to insert, delete or replace between two texts.
fn word_errors(a: &[&str], b: &[&str]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[test]
fn true_turns_give_at_least_the_words_of_the_diarizer() {
    let folder = data().join("demo-models");
    let demo = |file: &str| data().join("demo").join(file);
    let audio = read_wav(&demo("conversation.wav"));
    let reference = std::fs::read(demo("conversation.json")).expect("the transcript");
    let reference: Vec<SegLstRow> = serde_json::from_slice(&reference).expect("SegLST");
    let errors = |diarization_model: PathBuf, fill_batches| -> usize {
        let model = ModelOptions {
            diarization_model: Some(diarization_model),
            model_dir: folder.clone(),
            ..Default::default()
        };
        // The operating point for files.
        let diarization = DiarizationPreset::ThirtySeconds.operating_point(ChunkLatency::Ms1120);
        let options = StreamOptions { diarization, fill_batches, ..StreamOptions::default() };
        let mut stream = Stream::new(load(&model), options).expect("options that fit");
        let events = events(&mut stream, [&audio[..]]);
        let words = |speaker: usize| {
            let segments = segments(&events).into_iter().filter(|s| s.speaker == speaker);
            segments.map(|segment| segment.text()).collect::<Vec<_>>().join(" ")
        };
        let spoken = |speaker: &str| {
            let rows = reference.iter().filter(|row| row.speaker == speaker);
            rows.map(|row| row.words.as_str()).collect::<Vec<_>>().join(" ")
        };
        let count = |speaker: usize| {
            let (found, spoken) = (words(speaker), spoken(&speaker.to_string()));
            let [found, spoken] = [&found, &spoken].map(|text| text.split(' ').collect::<Vec<_>>());
            word_errors(&spoken, &found)
        };
        count(0) + count(1)
    };
    let of_sortformer = errors(folder.join("sortformer.onnx"), false);
    let of_rttm = errors(demo("conversation.rttm"), false);
    assert!(of_rttm <= of_sortformer, "{of_rttm} errors, {of_sortformer} with the diarizer");
    println!("{of_rttm} errors, {of_sortformer} with the diarizer");
    assert!(of_rttm < 10, "{of_rttm} errors in 134 words");
    assert_eq!(errors(demo("conversation.rttm"), true), of_rttm);
}
