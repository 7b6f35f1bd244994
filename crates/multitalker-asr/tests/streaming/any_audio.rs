// SPDX-License-Identifier: MPL-2.0

//! Tests properties that hold for any audio and any way of pushing it.

use std::collections::HashSet;

use multitalker_asr::{
    Canceller, Event, Model, ModelOptions, Progress, RuntimeOptions, Stream, StreamOptions,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use test_support::tiny_model_options;

use super::{NEWS, events, excerpt, segments, small_options, stream};

#[test]
fn any_split_equals_one_push() {
    let whole = events(&mut stream(small_options()), [excerpt()]);
    assert!(segments(&whole).len() > 3, "the excerpt has several segments");
    let mut runner =
        TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let lengths =
        prop::collection::vec(prop_oneof![0..3_usize, 1..400_usize, 100..40_000_usize], 1..60);
    runner
        .run(&lengths, |lengths| {
            let mut rest = excerpt();
            let mut pieces = Vec::new();
            for length in lengths {
                let (piece, after) = rest.split_at(length.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(&events(&mut stream(small_options()), pieces), &whole);
            Ok(())
        })
        .expect("every split gives the same events");
}

#[test]
fn single_samples_equal_one_push() {
    let audio = &excerpt()[..16_000];
    let whole = events(&mut stream(small_options()), [audio]);
    assert_eq!(events(&mut stream(small_options()), audio.chunks(1)), whole);
}

#[test]
fn reset_equals_new() {
    let fresh = events(&mut stream(small_options()), [excerpt()]);
    let mut used = stream(small_options());
    used.push(&NEWS[..50_000]).expect("inference runs");
    used.reset();
    assert_eq!(used.progress(), Progress::default());
    assert_eq!(events(&mut used, [excerpt()]), fresh, "after some audio");
    used.reset();
    assert_eq!(events(&mut used, [excerpt()]), fresh, "after the end");
}

#[test]
fn reset_keeps_the_degraded_mode() {
    let mut options = small_options();
    options.diarization.fifo_frames = 100;
    options.diarization.speaker_cache_frames = 48;
    let mut degraded = stream(options.clone());
    degraded.set_degraded(true);
    let expected = events(&mut degraded, [&NEWS[..]]);
    assert_ne!(
        expected,
        events(&mut stream(options), [&NEWS[..]]),
        "the degraded mode changes nothing"
    );
    for _ in 0..2 {
        degraded.reset();
        assert_eq!(events(&mut degraded, [&NEWS[..]]), expected);
    }
}

#[test]
fn longest_options_work() {
    let options = StreamOptions {
        segment_pause_ms: u32::MAX,
        max_segment_ms: u32::MAX,
        max_speakers: Some(usize::MAX),
        ..small_options()
    };
    let events = events(&mut stream(options), [excerpt()]);
    // With these options only the end of a sentence closes a segment, and these models emit none.
    let segments = segments(&events);
    let speakers: HashSet<_> = segments.iter().map(|segment| segment.speaker).collect();
    assert!(segments.len() > 1 && segments.len() == speakers.len(), "{segments:?}");
    let mut longest = StreamOptions::default();
    longest.diarization.chunk_frames = 45_000;
    longest.diarization.right_context_frames = 45_000;
    longest.diarization.fifo_frames = 45_000;
    longest.diarization.update_period_frames = 45_000;
    longest.diarization.speaker_cache_frames = 45_000;
    self::events(&mut stream(longest), [excerpt()]);
}

#[test]
fn words_are_in_their_segments() {
    let events = events(&mut stream(small_options()), [excerpt()]);
    let mut words = vec![Vec::new(); 4];
    for event in &events {
        match event {
            Event::Word { speaker, word } => {
                assert!(word.start_sample < word.end_sample && !word.text.is_empty());
                assert!(word.confidence > 0.0 && word.confidence <= 1.0);
                words[*speaker].push(word.clone());
            }
            Event::Segment(segment) => {
                assert_eq!(
                    segment.words, words[segment.speaker],
                    "all words since the last segment"
                );
                words[segment.speaker].clear();
            }
            Event::Partial(partial) => assert!(!partial.words.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    assert!(words.iter().all(Vec::is_empty), "every word ends in a segment");
}

#[test]
fn nothing_is_emitted_before_the_progress() {
    let mut stream = stream(small_options());
    let mut promised = Progress::default();
    for piece in excerpt().chunks(1600) {
        let events = stream.push(piece).expect("inference runs");
        for event in events {
            match event {
                Event::Word { word, .. } => assert!(word.start_sample >= promised.words),
                Event::Segment(segment) => assert!(segment.start_sample() >= promised.segments),
                _ => {}
            }
        }
        let progress = stream.progress();
        assert!(progress.decoded >= promised.decoded && progress.words >= promised.words);
        assert!(progress.segments <= progress.words && progress.words <= progress.decoded);
        promised = progress;
    }
    assert!(promised.words > 0 && promised.segments > 0);
}

#[test]
fn invalid_samples_have_no_lasting_effect() {
    let noise = |i: usize| if (i * 7919) % 13 < 6 { 1.0 } else { -1.0 };
    let bad: [(&str, Vec<f32>); 5] = [
        ("silence", vec![0.0; 32_000]),
        ("full-scale noise", (0..32_000).map(noise).collect()),
        ("NaN", vec![f32::NAN; 32_000]),
        ("infinity", (0..32_000).map(|i| noise(i) * f32::INFINITY).collect()),
        ("maximum of f32", (0..32_000).map(|i| noise(i) * f32::MAX).collect()),
    ];
    for (name, bad) in bad {
        let mut stream = stream(small_options());
        stream.enable_trace();
        let events = events(&mut stream, [&bad[..], excerpt()]);
        let trace = stream.trace().expect("enabled above");
        assert!(trace.features.iter().all(|v| v.is_finite()), "{name}: features");
        assert!(
            trace.probabilities.iter().all(|p| (0.0..=1.0).contains(p)),
            "{name}: probabilities"
        );
        let spoken = segments(&events).iter().any(|s| s.start_sample() > 32_000);
        assert!(spoken, "{name}: nothing is recognized afterwards");
    }
}

#[test]
fn a_few_samples_are_enough() {
    for samples in [0, 1, 159, 160, 1279, 1280] {
        let audio = &excerpt()[..samples];
        events(&mut stream(StreamOptions::default()), [audio]);
    }
}

#[test]
fn last_partial_chunk_is_decoded() {
    // One and a half chunks: the tokens of the second are emitted at the end.
    let samples = 1120 * 16 + 560 * 16;
    let mut stream = stream(StreamOptions::default());
    stream.enable_trace();
    stream.push(&excerpt()[..samples]).expect("inference runs");
    stream.finish().expect("inference runs");
    let trace = stream.trace().expect("enabled above");
    assert_eq!(trace.probabilities.len(), 21 * 4);
    let late = |token: &multitalker_asr::Token| token.frame >= 14;
    assert!(trace.speakers.iter().any(|speaker| speaker.tokens.iter().any(late)));
}

#[test]
fn streams_on_one_model_are_independent() {
    let alone = events(&mut stream(small_options()), [excerpt()]);
    let together: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(|| events(&mut stream(small_options()), [excerpt()])))
        .collect();
    for thread in together {
        assert_eq!(thread.join().expect("no panic"), alone);
    }
}

#[test]
fn speakers_decoded_in_parallel_have_the_same_text() {
    let [in_turn, in_parallel] = [1, 4].map(|intra_op_threads| {
        let runtime = RuntimeOptions { intra_op_threads, ..Default::default() };
        let options = ModelOptions { runtime, ..tiny_model_options() };
        let model = Model::load(&options, &Canceller::new()).expect("loads");
        let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
        events(&mut stream, [NEWS.as_slice()])
    });
    let speakers: HashSet<_> = segments(&in_turn).iter().map(|segment| segment.speaker).collect();
    assert!(speakers.len() > 1, "{speakers:?}");
    assert_eq!(in_parallel, in_turn);
}

#[test]
fn recognizer_beside_the_diarizer_has_the_same_text() {
    let [beside, after] = [true, false].map(|side_by_side| {
        let mut stream = stream(small_options());
        // This overrides the default, which depends on the number of cores.
        stream.set_side_by_side(side_by_side);
        let mut deferred = 0;
        let mut events = Vec::new();
        for (i, piece) in NEWS.chunks(1000).enumerate() {
            events.extend(stream.push_deferred(piece).expect("inference runs"));
            deferred += usize::from(stream.has_deferred());
            if i % 50 == 0 {
                events.extend(stream.run_deferred().expect("inference runs"));
                assert!(!stream.has_deferred());
            }
        }
        events.extend(stream.finish().expect("inference runs"));
        (deferred, events)
    });
    assert!(beside.0 > 0, "no work was deferred");
    assert_eq!(after.0, 0, "work was deferred");
    assert_eq!(beside.1, after.1);
}
