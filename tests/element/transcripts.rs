// SPDX-License-Identifier: MPL-2.0

//! Segments on the bus equal the engine's segments.

use std::f32::consts::TAU;

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{
    ChunkLatency, DiarizationPreset, Event, ModelOptions, StreamOptions, TargetMode,
};

#[track_caller]
fn assert_transcripts(rig: &Rig, expected: &[Transcript]) {
    let found = rig.transcripts();
    assert!(!expected.is_empty(), "no transcripts are expected");
    assert_eq!(found, expected);
}

#[test]
fn file_pipelines_give_what_the_engine_gives() {
    init_with_runtime();
    for name in ["jfk.wav", "news.wav", "meeting.wav"] {
        let properties = tiny_models();
        let pipeline = file_pipeline(&test_support::data().join("audio").join(name), &properties);
        let messages = play(&pipeline);
        pipeline.set_state(gst::State::Null).expect("stops");
        assert_eq!(messages.last().map(|m| m.type_()), Some(gst::MessageType::Eos), "{name}");
        let posted = structures(messages.iter().cloned(), "multitalkerasr/transcript");
        let found: Vec<_> = posted.iter().map(transcript).collect();
        assert_eq!(found, engine_transcripts(&audio(name), file_options(), 0), "{name}");
        assert!(found.len() > 3, "{name}");
        for message in posted {
            let start = message.get::<gst::ClockTime>("start-time");
            assert_eq!(message.get("running-time"), start, "{message}");
            let confidence: f64 = message.get("confidence").expect("a double");
            assert!((0.0..=1.0).contains(&confidence), "{message}");
        }
    }
}

#[test]
fn properties_reach_the_engine() {
    let samples = &audio("news.wav");
    let chunk_latency = ChunkLatency::Ms160;
    let base = StreamOptions {
        chunk_latency,
        diarization: DiarizationPreset::OneSecond.operating_point(chunk_latency),
        activity_threshold: 0.3,
        max_speakers: Some(2),
        target_mode: TargetMode::Nemo,
        segment_pause_ms: 240,
        max_segment_ms: 2000,
        fill_batches: false,
    };
    let mut rig = Rig::new(&[
        ("chunk-latency", "160ms"),
        ("diarization-preset", "1s"),
        ("activity-threshold", "0.3"),
        ("max-speakers", "2"),
        ("target-mode", "nemo"),
        ("segment-pause", "240"),
        ("max-segment-duration", "2000"),
    ]);
    rig.push_all(samples, 4096);
    rig.finish();
    let expected = engine_transcripts(samples, base, 0);
    assert_transcripts(&rig, &expected);
    assert!(expected.iter().all(|transcript| transcript.speaker < 2));
}

#[test]
fn without_a_diarizer_there_is_one_speaker() {
    // Without a diarizer, the random model recognizes nothing in speech but many words in a tone.
    let samples: Vec<f32> =
        (0..6 * 16_000).map(|i| 0.8 * (i as f32 * 440.0 * TAU / 16_000.0).sin()).collect();
    let samples = samples.as_slice();
    let mut rig = Rig::new(&[("diarization-model", "")]);
    rig.push_all(samples, 4096);
    rig.finish();
    let model = ModelOptions { diarization_model: None, ..test_support::tiny_model_options() };
    let events = engine_events_of(&model, samples, file_options());
    let expected: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Segment(segment) => Some(engine_transcript(segment, 0)),
            _ => None,
        })
        .collect();
    assert_transcripts(&rig, &expected);
}

#[test]
fn live_sources_get_lockstep() {
    let samples = &audio("news.wav");
    let mut rig = Rig::new(&[]);
    rig.harness.set_live(true);
    rig.push(0, samples);
    rig.finish();
    assert_transcripts(&rig, &engine_transcripts(samples, live_options(), 0));
}

#[test]
fn size_of_buffers_changes_nothing() {
    let samples = &audio("jfk.wav")[..48_000];
    let expected = engine_transcripts(samples, file_options(), 0);
    for size in [1, 159, 1024, 48_000] {
        let mut rig = Rig::new(&[]);
        rig.push_all(samples, size);
        rig.finish();
        assert_transcripts(&rig, &expected);
    }
}

#[test]
fn s16_gives_what_f32_gives() {
    let samples = audio("jfk.wav");
    let integers: Vec<i16> = samples.iter().map(|sample| (sample * 32_768.0) as i16).collect();
    let mut rig = Rig::with_caps(&[], S16_CAPS);
    for (index, piece) in integers.chunks(1600).enumerate() {
        let pts = (index * 1600) as u64 * SAMPLE_NS;
        rig.harness.push(s16_buffer(Some(pts), piece)).expect("accepted");
    }
    let from_s16 = rig.finish();
    assert_transcripts(&rig, &engine_transcripts(&samples, file_options(), 0));

    let mut rig = Rig::new(&[]);
    rig.push_all(&samples, 1600);
    let is_text =
        |entries: Vec<Entry>| -> Vec<_> { entries.into_iter().filter(Entry::is_text).collect() };
    assert_eq!(is_text(rig.finish()), is_text(from_s16));
}

#[test]
fn partials_are_posted_on_request() {
    let samples = &audio("news.wav");
    let mut rig = Rig::new(&[]);
    rig.push_all(samples, 4096);
    rig.finish();
    assert!(rig.posted("multitalkerasr/partial").is_empty());

    let mut rig = Rig::new(&[("post-partials", "true")]);
    rig.push_all(samples, 4096);
    rig.finish();
    let posted: Vec<_> = rig.posted("multitalkerasr/partial").iter().map(transcript).collect();
    let expected: Vec<_> = engine_events(samples, file_options())
        .iter()
        .filter_map(|event| match event {
            Event::Partial(partial) => Some((partial.speaker as u32, partial.text())),
            _ => None,
        })
        .collect();
    let posted: Vec<_> =
        posted.into_iter().map(|transcript| (transcript.speaker, transcript.text)).collect();
    assert_eq!(posted, expected);
    assert!(posted.len() > 3);
}

#[test]
fn eos_decodes_the_last_partial_chunk() {
    // The audio is three and a half chunks long.
    let samples = &audio("jfk.wav")[..16_000 * 112 / 100 * 7 / 2];
    let whole_chunks = &samples[..16_000 * 112 / 100 * 3];
    let expected = engine_transcripts(samples, file_options(), 0);
    assert_ne!(
        expected,
        engine_transcripts(whole_chunks, file_options(), 0),
        "the partial chunk changes no words"
    );
    let mut rig = Rig::new(&[]);
    rig.push_all(samples, 1000);
    rig.finish();
    assert_transcripts(&rig, &expected);
}

#[test]
fn eos_without_audio_goes_through() {
    let mut rig = Rig::new(&[]);
    let entries = rig.finish();
    assert!(!entries.iter().any(Entry::is_text));
    let seglst = rig.posted("multitalkerasr/transcripts")[0].get::<String>("seglst");
    assert_eq!(seglst, Ok("[]".to_owned()));
}

#[test]
fn other_language_is_a_warning() {
    let rig = Rig::new(&[("language-code", "de-DE")]);
    let message = rig.wait_for(gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
    assert!(warning.error().to_string().contains("de-DE"), "{warning:?}");

    let rig = Rig::new(&[("language-code", "en-US")]);
    rig.wait_for(gst::MessageType::Progress);
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Warning]).is_none());
}
