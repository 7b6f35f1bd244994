// SPDX-License-Identifier: MPL-2.0

//! Tests invalid options, cancellation, and failing networks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use multitalker_asr::{
    Canceller, Error, Event, Model, ModelOptions, RuntimeOptions, SpeakerTrace, Stream,
    StreamOptions,
};
use test_support::{tiny_model, tiny_model_options};

use super::{NEWS, events, excerpt, segments, small_options, stream, stream_with};

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
fn ended_stream_accepts_no_audio() {
    let mut stream = stream(small_options());
    stream.finish().expect("nothing to decode");
    assert!(matches!(stream.push(&[0.0]), Err(Error::Ended)));
    assert!(matches!(stream.finish(), Err(Error::Ended)));
}

#[test]
fn model_is_loaded_once_for_all_threads() {
    let options = ModelOptions { diarization_model: None, ..tiny_model_options() };
    // No other test uses these options, so none holds this model.
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
fn canceling_stops_an_inference_and_keeps_what_was_recognized() {
    let mut stream = stream(StreamOptions::default());
    let canceller = stream.canceller();
    let (sender, receiver) = std::sync::mpsc::channel();
    // The audio is so long that the push cannot end before it is canceled.
    let audio = NEWS.repeat(20);
    let worker = std::thread::spawn(move || {
        let mut emitted = stream.push(&NEWS[..16_000 * 8]).expect("inference runs");
        sender.send(()).expect("the test waits");
        let result = stream.push(&audio);
        emitted.extend(stream.take_remaining());
        (stream, result, emitted)
    });
    receiver.recv().expect("the first push ends");
    canceller.cancel();
    let (mut stream, result, emitted) = worker.join().expect("no panic");
    assert!(matches!(result, Err(Error::Canceled)), "{:?}", result.map(|o| o.len()));
    assert!(stream.received_samples() < NEWS.len() as u64 * 20, "the push was not interrupted");
    assert!(!segments(&emitted).is_empty());
    assert!(matches!(stream.push(&[0.0]), Err(Error::Ended)));
    stream.reset();
    assert!(!events(&mut stream, [excerpt()]).is_empty(), "the stream works again");
}

#[test]
fn canceling_interrupts_a_run_of_a_network() {
    let folder = tempfile::tempdir().expect("a folder");
    // One run takes minutes.
    let diarizer = test_support::slow_diarizer(folder.path(), 20_000_000);
    let options = ModelOptions { diarization_model: Some(diarizer), ..tiny_model_options() };
    let model = Model::load(&options, &Canceller::new()).expect("loads");
    let mut stream = Stream::new(model, small_options()).expect("options that fit");
    let canceller = stream.canceller();
    let started = Instant::now();
    let worker = std::thread::spawn(move || stream.push(excerpt()));
    // The run has most likely begun after this.
    std::thread::sleep(Duration::from_millis(100));
    canceller.cancel();
    assert!(matches!(worker.join().expect("no panic"), Err(Error::Canceled)));
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn canceled_loading_is_an_error() {
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

/// Pushes the news second by second up to an error; returns the error and all events.
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
    panic!("no push failed");
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
        assert_eq!(
            frames, 112,
            "the graph fails after eight chunks of 14 frames, when the FIFO holds 100"
        );

        // The window of the last frame reaches 40 samples beyond it.
        let before = &NEWS[..frames * 1280 + 40];
        let expected = events(&mut stream_with(file), [before]);
        assert!(!segments(&expected).is_empty());
        assert_eq!(segments(&emitted), segments(&expected));
        failing.reset();
        assert!(!events(&mut failing, [excerpt()]).is_empty(), "the stream works again");
    }
}

#[test]
fn invalid_logits_lose_nothing_recognized_before() {
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
    // One speaker reaches the number of tokens at which the decoder fails, and each is a word.
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
