// SPDX-License-Identifier: MPL-2.0

//! Tests speakers, diarizers and their operating points.

use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, Model, ModelOptions, Progress, Stream,
    StreamOptions,
};
use test_support::{read_wav, tiny_model_options};

use super::{NEWS, events, excerpt, segments, small_options, stream, stream_with};

#[test]
fn speakers_beyond_the_maximum_are_silent() {
    let run = |max_speakers| {
        let mut stream = stream(StreamOptions { max_speakers, ..small_options() });
        let events = events(&mut stream, [excerpt()]);
        segments(&events).iter().map(|s| s.speaker).max().expect("there are segments")
    };
    assert!(run(None) >= 2, "the excerpt has three speakers");
    assert!(run(Some(2)) <= 1);
    assert!(run(Some(100)) >= 2, "a larger maximum has no effect");
}

#[test]
fn one_speaker_without_a_diarizer() {
    let options = ModelOptions { diarization_model: None, ..tiny_model_options() };
    let model = Model::load(&options, &Canceller::new()).expect("loads");
    assert_eq!(model.speakers(), 1);
    let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
    stream.enable_trace();
    let events = events(&mut stream, [excerpt()]);
    assert!(!segments(&events).is_empty());
    assert!(segments(&events).iter().all(|segment| segment.speaker == 0));
    let trace = stream.trace().expect("enabled above");
    assert_eq!(trace.speakers[0].chunks, [0, 1, 2, 3, 4], "the encoder runs on every chunk");
}

#[test]
fn chunks_of_recognizer_and_diarizer_are_independent() {
    for preset in [DiarizationPreset::OneSecond, DiarizationPreset::TenSeconds] {
        for chunk_latency in ChunkLatency::ALL {
            let diarization = preset.operating_point(chunk_latency);
            let options = StreamOptions { chunk_latency, diarization, ..StreamOptions::default() };
            let mut stream = stream(options);
            stream.enable_trace();
            events(&mut stream, [excerpt()]);
            let frames = stream.trace().expect("enabled above").probabilities.len() / 4;
            assert_eq!(frames, 500_usize.div_ceil(8), "{preset:?} at {chunk_latency:?}");
        }
    }
}

#[test]
fn latency_is_the_longest_wait_for_a_chunk() {
    for (preset, chunk_latency) in [
        (DiarizationPreset::Lockstep, ChunkLatency::Ms1120),
        (DiarizationPreset::Lockstep, ChunkLatency::Ms160),
        (DiarizationPreset::OneSecond, ChunkLatency::Ms1120),
        (DiarizationPreset::OneSecond, ChunkLatency::Ms560),
    ] {
        let diarization = preset.operating_point(chunk_latency);
        let mut stream =
            stream(StreamOptions { chunk_latency, diarization, ..StreamOptions::default() });
        let mut worst_ms = 0;
        for (index, piece) in NEWS[..16_000 * 12].chunks(80).enumerate() {
            let waiting = stream.progress().decoded;
            stream.push(piece).expect("inference runs");
            if stream.progress().decoded > waiting {
                let now = (index as u64 + 1) * 80;
                worst_ms = worst_ms.max((now - waiting).div_ceil(16));
            }
        }
        let promised = u64::from(diarization.latency_ms(chunk_latency));
        assert!(worst_ms <= promised + 5, "{preset:?}: {worst_ms} ms, promised {promised}");
        assert!(worst_ms + 5 >= promised, "{preset:?}: {worst_ms} ms, promised {promised}");
    }
}

#[test]
fn diarizer_of_version_3_has_eight_speakers() {
    let mut stream = stream_with("sortformer-v3.onnx");
    stream.enable_trace();
    let events = events(&mut stream, [&NEWS[..], &NEWS[..]]);
    let trace = stream.trace().expect("enabled above");
    assert_eq!(trace.speakers.len(), 8);
    assert_eq!(trace.probabilities.len(), (2 * NEWS.len() / 160).div_ceil(8) * 8);
    let ran = trace.speakers.iter().filter(|speaker| !speaker.chunks.is_empty()).count();
    assert!(ran > 4, "{ran} speakers ran");
    assert!(segments(&events).iter().any(|segment| segment.speaker > 3));
}

/// Returns a stream on the trained models, which recognize speakers again.
fn demo_stream() -> Stream {
    let folder = test_support::data().join("demo-models");
    let options = ModelOptions {
        diarization_model: Some(folder.join("sortformer.onnx")),
        model_dir: folder,
        ..Default::default()
    };
    let model = Model::load(&options, &Canceller::new()).expect("the demo models load");
    Stream::new(model, StreamOptions::default()).expect("options that fit")
}

#[test]
fn speakers_are_recognized_after_a_gap() {
    let audio = read_wav(&test_support::data().join("demo/conversation.wav"));
    // Two people speak before the gap, and the second is the first to speak after it.
    let (before, after) = audio.split_at(30 * 16_000);
    let mut stream = demo_stream();
    let mut speakers = |proceed: fn(&mut Stream)| -> Vec<usize> {
        events(&mut stream, [before]);
        proceed(&mut stream);
        assert_eq!(stream.progress(), Progress::default());
        let events = events(&mut stream, [after]);
        let segments = segments(&events);
        assert!(segments[0].text().ends_with("boston tonight"), "{}", segments[0].text());
        assert!(segments[0].start_sample() < 2 * 16_000, "time starts again at 0");
        stream.reset();
        segments.iter().map(|segment| segment.speaker).collect()
    };
    assert_eq!(speakers(Stream::resume)[..2], [1, 0]);
    assert_eq!(speakers(Stream::reset)[..2], [0, 1]);
}

#[test]
fn degraded_mode_changes_little_of_the_text() {
    let audio = read_wav(&test_support::data().join("demo/conversation.wav"));
    let mut stream = demo_stream();
    let mut texts = || -> Vec<_> {
        let events = events(&mut stream, [&audio[..]]);
        let texts = segments(&events).iter().map(|s| (s.speaker, s.text())).collect();
        stream.reset();
        stream.set_degraded(true);
        texts
    };
    let (all, degraded) = (texts(), texts());
    let same = all.iter().filter(|text| degraded.contains(text)).count();
    assert!(same * 4 >= all.len() * 3, "{same} of {} segments are the same", all.len());
}
