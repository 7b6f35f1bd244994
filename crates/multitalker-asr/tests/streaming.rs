// SPDX-License-Identifier: MPL-2.0

//! What holds for any audio: cutting, resetting, sharing, stopping, and samples that are none.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, Error, Event, Model, ModelOptions, Progress,
    RuntimeOptions, Segment, SpeakerTrace, Stream, StreamOptions,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use test_support::{read_wav, tiny_model, tiny_model_options};

static NEWS: LazyLock<Vec<f32>> =
    LazyLock::new(|| read_wav(&test_support::data().join("audio/news.wav")));

/// 5 seconds with a change of speaker.
fn excerpt() -> &'static [f32] {
    &NEWS[7 * 16_000..12 * 16_000]
}

/// Small chunks and caches, so that short audio passes through all states.
fn small_options() -> StreamOptions {
    let mut options =
        StreamOptions { chunk_latency: ChunkLatency::Ms160, ..StreamOptions::default() };
    options.diarization.chunk_frames = 5;
    options.diarization.right_context_frames = 2;
    options.diarization.fifo_frames = 10;
    options.diarization.update_period_frames = 8;
    options.diarization.speaker_cache_frames = 24;
    options
}

fn stream(options: StreamOptions) -> Stream {
    Stream::new(tiny_model(), options).expect("options that fit")
}

/// All that is told of `pieces`, without the partial results.
fn events<'a>(stream: &mut Stream, pieces: impl IntoIterator<Item = &'a [f32]>) -> Vec<Event> {
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(stream.push(piece).expect("inference runs"));
    }
    events.extend(stream.finish().expect("inference runs"));
    events
}

fn segments(events: &[Event]) -> Vec<&Segment> {
    let mut segments = Vec::new();
    for event in events {
        if let Event::Segment(segment) = event {
            segments.push(segment);
        }
    }
    segments
}

#[test]
fn any_split_equals_one_push() {
    let whole = events(&mut stream(small_options()), [excerpt()]);
    assert!(segments(&whole).len() > 3, "the excerpt must say something");
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
        .expect("every split gives the same");
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
fn reset_keeps_what_was_asked_for() {
    let mut options = small_options();
    options.diarization.fifo_frames = 100;
    options.diarization.speaker_cache_frames = 48;
    let mut degraded = stream(options.clone());
    degraded.set_degraded(true);
    let expected = events(&mut degraded, [&NEWS[..]]);
    assert_ne!(expected, events(&mut stream(options), [&NEWS[..]]), "it makes a difference");
    for _ in 0..2 {
        degraded.reset();
        assert_eq!(events(&mut degraded, [&NEWS[..]]), expected);
    }
}

#[test]
fn longest_options_are_no_trouble() {
    let options = StreamOptions {
        segment_pause_ms: u32::MAX,
        max_segment_ms: u32::MAX,
        max_speakers: Some(usize::MAX),
        ..small_options()
    };
    let events = events(&mut stream(options), [excerpt()]);
    // Only sentences end segments, and these models make none.
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
fn ended_stream_takes_no_audio() {
    let mut stream = stream(small_options());
    stream.finish().expect("nothing to decode");
    assert!(matches!(stream.push(&[0.0]), Err(Error::Ended)));
    assert!(matches!(stream.finish(), Err(Error::Ended)));
}

#[test]
fn words_stand_in_their_segments() {
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
                assert_eq!(segment.words, words[segment.speaker], "all words since the last one");
                words[segment.speaker].clear();
            }
            Event::Partial(partial) => assert!(!partial.words.is_empty()),
        }
    }
    assert!(words.iter().all(Vec::is_empty), "every word ends in a segment");
}

#[test]
fn progress_promises_what_is_not_told_later() {
    let mut stream = stream(small_options());
    let mut promised = Progress::default();
    for piece in excerpt().chunks(1600) {
        let events = stream.push(piece).expect("inference runs");
        for event in events {
            match event {
                Event::Word { word, .. } => assert!(word.start_sample >= promised.words),
                Event::Segment(segment) => assert!(segment.start_sample() >= promised.segments),
                Event::Partial(_) => {}
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
fn strange_samples_do_no_lasting_harm() {
    let noise = |i: usize| if (i * 7919) % 13 < 6 { 1.0 } else { -1.0 };
    let bad: [(&str, Vec<f32>); 5] = [
        ("silence", vec![0.0; 32_000]),
        ("full-scale noise", (0..32_000).map(noise).collect()),
        ("NaN", vec![f32::NAN; 32_000]),
        ("infinity", (0..32_000).map(|i| noise(i) * f32::INFINITY).collect()),
        ("beyond all scale", (0..32_000).map(|i| noise(i) * f32::MAX).collect()),
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
fn nothing_but_a_few_samples() {
    for samples in [0, 1, 159, 160, 1279, 1280] {
        let audio = &excerpt()[..samples];
        events(&mut stream(StreamOptions::default()), [audio]);
    }
}

#[test]
fn last_partial_chunk_is_decoded() {
    // Half a chunk more than one: what is recognized there comes with the end alone.
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
fn speakers_beyond_the_maximum_are_silent() {
    let run = |max_speakers| {
        let mut stream = stream(StreamOptions { max_speakers, ..small_options() });
        let events = events(&mut stream, [excerpt()]);
        segments(&events).iter().map(|s| s.speaker).max().expect("somebody speaks")
    };
    assert!(run(None) >= 2, "the excerpt must have three speakers");
    assert!(run(Some(2)) <= 1);
    assert!(run(Some(100)) >= 2, "more than there are is all");
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
    assert_eq!(trace.speakers[0].chunks, [0, 1, 2, 3, 4], "it runs on every chunk");
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
fn latency_is_when_a_chunk_can_be_computed() {
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
fn options_are_checked() {
    let refused = |change: fn(&mut StreamOptions)| {
        let mut options = StreamOptions::default();
        change(&mut options);
        let error = Stream::new(tiny_model(), options).err().expect("refused");
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(|o| o.activity_threshold = 1.0).contains("found 1"));
    assert!(refused(|o| o.max_speakers = Some(0)).contains("at least 1"));
    assert!(refused(|o| o.diarization.chunk_frames = 0).contains("chunk"));
    assert!(refused(|o| o.diarization.chunk_frames = usize::MAX).contains("1 to 45000 frames"));
    assert!(refused(|o| o.diarization.update_period_frames = 0).contains("update period"));
    assert!(refused(|o| o.diarization.speaker_cache_frames = 15).contains("16 frames for 4"));
    assert!(refused(|o| o.max_segment_ms = 10).contains("found 10 ms"));
}

#[test]
fn model_is_loaded_once_and_freed_with_the_last_stream() {
    let options = ModelOptions { diarization_model: None, ..tiny_model_options() };
    // Other options than any other test, so that nobody else holds this model.
    let options = ModelOptions { precision: multitalker_asr::Precision::Int8, ..options };
    let loaders: Vec<_> = (0..4)
        .map(|_| {
            let options = options.clone();
            std::thread::spawn(move || Model::load(&options, &Canceller::new()).expect("loads"))
        })
        .collect();
    let models: Vec<Arc<Model>> =
        loaders.into_iter().map(|l| l.join().expect("no panic")).collect();
    assert!(models.iter().all(|model| model.shares_encoder_with(&models[0])));
}

#[test]
fn streams_on_one_model_do_not_disturb_each_other() {
    let alone = events(&mut stream(small_options()), [excerpt()]);
    let together: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(|| events(&mut stream(small_options()), [excerpt()])))
        .collect();
    for thread in together {
        assert_eq!(thread.join().expect("no panic"), alone);
    }
}

#[test]
fn speakers_decoded_side_by_side_say_what_they_say_in_turn() {
    let [in_turn, side_by_side] = [1, 4].map(|intra_op_threads| {
        let runtime = RuntimeOptions { intra_op_threads, ..Default::default() };
        let options = ModelOptions { runtime, ..tiny_model_options() };
        let model = Model::load(&options, &Canceller::new()).expect("loads");
        let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
        events(&mut stream, [NEWS.as_slice()])
    });
    let speakers: HashSet<_> = segments(&in_turn).iter().map(|segment| segment.speaker).collect();
    assert!(speakers.len() > 1, "{speakers:?}");
    assert_eq!(side_by_side, in_turn);
}

#[test]
fn recognizer_beside_the_diarizer_says_what_it_says_after_it() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // With threads to spare, where there is more than one core, and without.
    let [beside, after] = [1, cores].map(|intra_op_threads| {
        let runtime = RuntimeOptions { intra_op_threads, ..Default::default() };
        let options = ModelOptions { runtime, ..tiny_model_options() };
        let model = Model::load(&options, &Canceller::new()).expect("loads");
        let mut stream = Stream::new(model, small_options()).expect("options that fit");
        let mut put_off = 0;
        let mut events = Vec::new();
        for (i, piece) in NEWS.chunks(1000).enumerate() {
            events.extend(stream.push_deferred(piece).expect("inference runs"));
            put_off += usize::from(stream.has_deferred());
            if i % 50 == 0 {
                events.extend(stream.run_deferred().expect("inference runs"));
                assert!(!stream.has_deferred());
            }
        }
        events.extend(stream.finish().expect("inference runs"));
        (put_off > 0, events)
    });
    assert_eq!((beside.0, after.0), (cores > 1, false), "something was put off");
    assert_eq!(beside.1, after.1);
}

#[test]
fn canceling_stops_an_inference_and_keeps_what_was_recognized() {
    let mut stream = stream(StreamOptions::default());
    let canceller = stream.canceller();
    let (sender, receiver) = std::sync::mpsc::channel();
    // Long enough that the push cannot end before it is canceled.
    let audio = NEWS.repeat(20);
    let worker = std::thread::spawn(move || {
        let mut told = stream.push(&NEWS[..16_000 * 8]).expect("inference runs");
        sender.send(()).expect("the test waits");
        let result = stream.push(&audio);
        let stopped = Instant::now();
        told.extend(stream.take_remaining());
        (stream, result, told, stopped)
    });
    receiver.recv().expect("the first push ends");
    let canceled = Instant::now();
    canceller.cancel();
    let (mut stream, result, told, stopped) = worker.join().expect("no panic");
    assert!(matches!(result, Err(Error::Canceled)), "{:?}", result.map(|o| o.len()));
    // One operator may be in work, on a machine that does other things too.
    assert!(stopped.duration_since(canceled) < Duration::from_secs(5));
    assert!(stream.received_samples() < NEWS.len() as u64 * 20, "it stopped before the end");
    assert!(!segments(&told).is_empty());
    assert!(matches!(stream.push(&[0.0]), Err(Error::Ended)));
    stream.reset();
    assert!(!events(&mut stream, [excerpt()]).is_empty(), "it works again");
}

#[test]
fn canceled_loading_says_so() {
    let canceller = Canceller::new();
    canceller.cancel();
    let options = ModelOptions {
        runtime: RuntimeOptions { intra_op_threads: 3, ..Default::default() },
        ..tiny_model_options()
    };
    assert!(matches!(Model::load(&options, &canceller), Err(Error::Canceled)));
    canceller.rearm();
    assert!(Model::load(&options, &canceller).is_ok());
}

/// A stream with a diarizer that stands in for one that cannot be had.
fn stream_with(sortformer: &str) -> Stream {
    let diarization_model = test_support::data().join("fake-models").join(sortformer);
    let options =
        ModelOptions { diarization_model: Some(diarization_model), ..tiny_model_options() };
    let model = Model::load(&options, &Canceller::new()).expect("loads");
    Stream::new(model, StreamOptions::default()).expect("options that fit")
}

/// Pushes the news second by second up to an error; gives this and all that was recognized.
fn until_failure(stream: &mut Stream) -> (String, Vec<Event>) {
    let mut emitted = Vec::new();
    for second in NEWS.chunks(16_000) {
        match stream.push(second) {
            Ok(events) => emitted.extend(events),
            Err(error) => {
                emitted.extend(stream.take_remaining());
                assert!(matches!(stream.push(&[0.0]), Err(Error::Ended)));
                assert!(matches!(stream.finish(), Err(Error::Ended)));
                return (error.to_string(), emitted);
            }
        }
    }
    panic!("it does not fail");
}

#[test]
fn failing_network_loses_nothing_recognized_before() {
    for (file, reason) in [
        ("sortformer-fails.onnx", "sortformer-fails.onnx failed"),
        ("sortformer-nan.onnx", "found NaN"),
    ] {
        let mut failing = stream_with(file);
        failing.enable_trace();
        let (error, emitted) = until_failure(&mut failing);
        assert!(error.contains(file) && error.contains(reason), "{error}");
        let frames = failing.trace().expect("enabled above").probabilities.len() / 4;
        assert_eq!(frames, 112, "eight chunks of 14 frames, then the FIFO holds 100");

        // The window of the last frame reaches 40 samples beyond it.
        let before = &NEWS[..frames * 1280 + 40];
        let expected = events(&mut stream_with(file), [before]);
        assert!(!segments(&expected).is_empty());
        assert_eq!(segments(&emitted), segments(&expected));
        failing.reset();
        assert!(!events(&mut failing, [excerpt()]).is_empty(), "it works again");
    }
}

#[test]
fn logits_that_are_no_numbers_lose_nothing_recognized_before() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["encoder.onnx", "tokenizer.model"] {
        let from = test_support::data().join("tiny-models").join(name);
        std::fs::copy(from, folder.path().join(name)).expect("copied");
    }
    let decoder = test_support::data().join("fake-models/decoder_joint-nan.onnx");
    std::fs::copy(decoder, folder.path().join("decoder_joint.onnx")).expect("copied");
    let options = ModelOptions { model_dir: folder.path().to_owned(), ..tiny_model_options() };
    let model = Model::load(&options, &Canceller::new()).expect("loads");
    let mut stream = Stream::new(model, small_options()).expect("options that fit");
    stream.enable_trace();
    let (error, emitted) = until_failure(&mut stream);
    let reason = "decoder_joint.onnx failed: expected numbers as logits, found NaN";
    assert!(error.contains(reason), "{error}");
    // One speaker has as many tokens as it can have, and each is a word.
    let tokens = |speaker: &SpeakerTrace| speaker.tokens.len();
    let trace = stream.trace().expect("enabled above");
    assert_eq!(trace.speakers.iter().map(tokens).max(), Some(300));
    let words: usize = segments(&emitted).iter().map(|segment| segment.words.len()).sum();
    assert_eq!(words, trace.speakers.iter().map(tokens).sum::<usize>());
}

#[test]
fn diarizer_with_other_frames_is_refused() {
    let error = stream_with("sortformer-40ms.onnx").push(&NEWS).expect_err("refused").to_string();
    for part in ["sortformer-40ms.onnx", "chunk_pre_encode_lengths: expected [14], found [28]"] {
        assert!(error.contains(part), "{part} is not in: {error}");
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

/// The trained models, which know people again.
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
fn speakers_are_known_again_after_a_hole() {
    let audio = read_wav(&test_support::data().join("demo/conversation.wav"));
    // Two people have spoken; the second is the first to go on.
    let (before, after) = audio.split_at(30 * 16_000);
    let mut stream = demo_stream();
    let mut speakers = |go_on: fn(&mut Stream)| -> Vec<usize> {
        events(&mut stream, [before]);
        go_on(&mut stream);
        assert_eq!(stream.progress(), Progress::default());
        let events = events(&mut stream, [after]);
        let segments = segments(&events);
        assert!(segments[0].text().ends_with("boston tonight"), "{}", segments[0].text());
        assert!(segments[0].start_sample() < 2 * 16_000, "time begins anew");
        stream.reset();
        segments.iter().map(|segment| segment.speaker).collect()
    };
    assert_eq!(speakers(Stream::resume)[..2], [1, 0]);
    assert_eq!(speakers(Stream::reset)[..2], [0, 1]);
}

#[test]
fn degrading_changes_little_of_what_is_understood() {
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
