// SPDX-License-Identifier: MPL-2.0

//! Errors: each failure posts one clear message, and none hangs.

use std::fs;
use std::path::Path;

use element_rig::*;
use gst::prelude::*;
use test_support::data;

/// Copies the tiny fp32 models and lets a test damage the copy.
fn folder(damage: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(models()).expect("the models") {
        let file = entry.expect("a file");
        if !file.file_name().to_string_lossy().contains("int8") {
            fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
        }
    }
    damage(folder.path());
    folder
}

/// Pushes audio until the element fails, and returns the message of its only error.
#[track_caller]
fn error_of(mut rig: Rig) -> String {
    // The failure may come before or after a push, which must not hang.
    let refused = (0..100).find_map(|index| {
        let samples = [0.0; 8000];
        rig.harness.push(f32_buffer(Some(index * 500_000_000), &samples)).err()
    });
    assert_eq!(refused, Some(gst::FlowError::Error));
    // EOS passes after an error, so that a muxer can finish a file with the text so far.
    rig.finish();
    rig.element.set_state(gst::State::Null).expect("stops");
    one_error(&rig.bus.iter().collect::<Vec<_>>())
}

#[track_caller]
fn one_error(messages: &[gst::Message]) -> String {
    let text = |message: &gst::Message| match message.view() {
        gst::MessageView::Error(error) => Some(error.error().message().to_owned()),
        _ => None,
    };
    let errors: Vec<_> = messages.iter().filter_map(text).collect();
    let [error] = &errors[..] else { panic!("expected one error, found {errors:#?}") };
    error.clone()
}

#[track_caller]
fn error_with(properties: &[(&str, &str)]) -> String {
    error_of(Rig::new(properties))
}

#[track_caller]
fn assert_contains(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is missing in {error:?}");
    }
}

#[test]
fn no_model() {
    assert_contains(&error_with(&[("model-dir", "")]), &["model-dir"]);
}

#[test]
fn wrong_path() {
    let error = error_with(&[("model-dir", "/does/not/exist")]);
    assert_contains(&error, &["/does/not/exist", "not found", "expected"]);
    let error = error_with(&[("diarization-model", "/does/not/exist.onnx")]);
    assert_contains(&error, &["/does/not/exist.onnx", "not found", "expected"]);
}

#[test]
fn error_says_so_in_its_domain() {
    let rig = Rig::new(&[("model-dir", "/does/not/exist")]);
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    assert!(error.error().matches(gst::ResourceError::NotFound), "{error:?}");
    let progress: Vec<_> = rig.bus.iter().collect();
    assert!(
        !progress.iter().any(|message| message.type_() == gst::MessageType::Error),
        "{progress:?}"
    );
}

#[test]
fn truncated_network() {
    for name in ["encoder.onnx", "decoder_joint.onnx"] {
        let folder = folder(|folder| {
            let path = folder.join(name);
            let bytes = fs::read(&path).expect("the network");
            fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
        });
        let path = folder.path().display().to_string();
        let error = error_with(&[("model-dir", &path)]);
        assert_contains(&error, &[name, &path]);
    }
}

#[test]
fn pipe_in_the_place_of_a_file() {
    for name in ["multitalker_config.json", "tokenizer.model", "decoder_joint.int8.onnx"] {
        let folder = folder(|folder| {
            let _ = fs::remove_file(folder.join(name));
            let made = std::process::Command::new("mkfifo").arg(folder.join(name)).status();
            assert!(made.expect("mkfifo").success());
        });
        let path = folder.path().display().to_string();
        let properties = [("model-dir", &*path), ("precision", "auto")];
        assert_contains(&error_with(&properties), &[name, &path, "a named pipe"]);
    }
}

#[test]
fn config_that_cannot_be_read_is_a_warning() {
    let folder = folder(|folder| {
        fs::write(folder.join("multitalker_config.json"), "no JSON").expect("written");
    });
    let path = folder.path().display().to_string();
    let mut rig = Rig::new(&[("model-dir", &path)]);
    rig.push_all(&audio("jfk.wav"), 1600);
    rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    let warnings = warnings(&messages);
    let [warning] = &warnings[..] else { panic!("expected one warning, found {warnings:#?}") };
    let warning = warning.error().message().to_owned();
    assert_contains(&warning, &["multitalker_config.json is ignored", "found"]);
    assert!(!structures(messages.into_iter(), "multitalkerasr/transcript").is_empty());
}

#[test]
fn truncated_diarizer() {
    let folder = folder(|folder| {
        let bytes = fs::read(sortformer()).expect("the network");
        fs::write(folder.join("cut.onnx"), &bytes[..bytes.len() / 2]).expect("written");
    });
    let cut = folder.path().join("cut.onnx").display().to_string();
    assert_contains(&error_with(&[("diarization-model", &cut)]), &["cut.onnx"]);
}

/// Removes the last piece of a SentencePiece model, a protobuf message with the pieces in field 1.
fn without_last_piece(model: &[u8]) -> Vec<u8> {
    fn varint(bytes: &[u8], at: &mut usize) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[*at];
            *at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let (mut at, mut last) = (0, 0..0);
    while at < model.len() {
        let start = at;
        let tag = varint(model, &mut at);
        assert_eq!(tag & 7, 2, "all fields have a length");
        at += varint(model, &mut at);
        if tag >> 3 == 1 {
            last = start..at;
        }
    }
    [&model[..last.start], &model[last.end..]].concat()
}

#[test]
fn tokenizer_of_the_wrong_size() {
    let folder = folder(|folder| {
        let path = folder.join("tokenizer.model");
        let model = without_last_piece(&fs::read(&path).expect("the tokenizer"));
        fs::write(&path, model).expect("written");
    });
    let error = error_with(&[("model-dir", &folder.path().display().to_string())]);
    assert_contains(&error, &["tokenizer.model", "expected", "96", "found", "95"]);
}

#[test]
fn swapped_encoder_and_decoder() {
    let folder = folder(|folder| {
        let path = |name| folder.join(name);
        fs::rename(path("encoder.onnx"), path("swap")).expect("renamed");
        fs::rename(path("decoder_joint.onnx"), path("encoder.onnx")).expect("renamed");
        fs::rename(path("swap"), path("decoder_joint.onnx")).expect("renamed");
    });
    let error = error_with(&[("model-dir", &folder.path().display().to_string())]);
    assert_contains(&error, &[".onnx does not fit", "expected", "found"]);
}

#[test]
fn diarizer_in_place_of_the_encoder() {
    let folder = folder(|folder| {
        fs::copy(sortformer(), folder.join("encoder.onnx")).expect("copied");
    });
    let error = error_with(&[("model-dir", &folder.path().display().to_string())]);
    assert_contains(&error, &["encoder.onnx", "expected", "found"]);
}

#[test]
fn encoder_in_place_of_the_diarizer() {
    let encoder = Path::new(&models()).join("encoder.onnx").display().to_string();
    let error = error_with(&[("diarization-model", &encoder)]);
    assert_contains(&error, &["encoder.onnx", "expected", "found"]);
}

#[test]
fn option_out_of_range() {
    let error = error_with(&[("activity-threshold", "0")]);
    assert_contains(&error, &["activity threshold", "expected", "found 0"]);
}

#[test]
fn gst_launch_sees_the_reason_first() {
    init_with_runtime();
    let file = test_support::data().join("audio/jfk.wav");
    let pipeline = file_pipeline(&file, "model-dir=/does/not/exist");
    let messages = play(&pipeline);
    pipeline.set_state(gst::State::Null).expect("stops");
    let last = messages.last().expect("an error");
    let gst::MessageView::Error(error) = last.view() else { panic!("{last:?}") };
    assert_eq!(last.src().map(|source| source.name()), Some("asr".into()));
    assert_contains(error.error().message(), &["/does/not/exist"]);
}

#[test]
fn audio_of_another_rate() {
    init_with_runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("8k.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&file, spec).expect("a file");
    (0..8000).for_each(|_| writer.write_sample(0_i16).expect("written"));
    writer.finalize().expect("written");

    let description = format!(
        "filesrc location={} ! wavparse ! multitalkerasr name=asr model-dir={} ! fakesink",
        file.display(),
        models()
    );
    let pipeline = gst::parse::launch(&description).expect("a pipeline");
    let pipeline: gst::Pipeline = pipeline.downcast().expect("a pipeline");
    let messages = play(&pipeline);
    pipeline.set_state(gst::State::Null).expect("stops");
    let last = messages.last().expect("an error");
    let gst::MessageView::Error(error) = last.view() else { panic!("{last:?}") };
    assert_eq!(last.src().map(|source| source.name()), Some("asr".into()));
    assert_contains(error.error().message(), &["expected", "16000", "found", "8000"]);
}

#[test]
fn audio_of_another_kind_is_refused() {
    for (caps, found) in [
        ("audio/x-raw,format=F32LE,rate=48000,channels=1,layout=interleaved", "48000"),
        ("audio/x-raw,format=F32LE,rate=16000,channels=2,layout=interleaved", "(int)2"),
        ("audio/x-raw,format=S32LE,rate=16000,channels=1,layout=interleaved", "S32LE"),
    ] {
        let mut rig = Rig::with_caps(&[], caps);
        let pushed = rig.harness.push(f32_buffer(Some(0), &[0.0; 160]));
        assert_eq!(pushed, Err(gst::FlowError::NotNegotiated), "{caps}");
        let message = rig.wait_for(gst::MessageType::Error);
        let gst::MessageView::Error(error) = message.view() else { unreachable!() };
        assert_contains(error.error().message(), &["expected", "16000", "found", found]);
    }
}

#[test]
fn buffer_without_pts() {
    let mut rig = Rig::new(&[]);
    let pushed = rig.harness.push(f32_buffer(None, &[0.0; 160]));
    assert_eq!(pushed, Err(gst::FlowError::Error));
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    assert_contains(error.error().message(), &["PTS"]);
}

#[test]
fn segment_that_is_not_in_time() {
    let mut rig = Rig::new(&[]);
    let bytes = gst::FormattedSegment::<gst::format::Bytes>::new();
    rig.push_event(gst::event::Segment::new(&bytes));
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    assert_contains(error.error().message(), &["expected", "Time", "found", "Bytes"]);
}

#[test]
fn segment_of_another_rate() {
    let mut rig = Rig::new(&[]);
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_rate(-1.0);
    rig.push_event(gst::event::Segment::new(&segment));
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    assert_contains(error.error().message(), &["expected 1", "found -1"]);
}

/// Pushes audio until an element with these properties refuses it, and returns what left the element,
/// and its messages.
fn run_until_error(properties: &[(&str, &str)]) -> (Vec<Entry>, Vec<gst::Message>) {
    let mut rig = Rig::new(properties);
    let samples = audio("news.wav");
    let refused = samples.chunks(1600).enumerate().find_map(|(index, piece)| {
        rig.harness.push(f32_buffer(Some(index as u64 * 1600 * SAMPLE_NS), piece)).err()
    });
    assert_eq!(refused, Some(gst::FlowError::Error));
    let entries = rig.finish();
    rig.element.set_state(gst::State::Null).expect("stops");
    (entries, rig.bus.iter().collect())
}

#[test]
fn failure_in_the_middle_loses_nothing_recognized_before() {
    let diarizer = data().join("fake-models/sortformer-fails.onnx").display().to_string();
    let properties = [("diarization-model", &*diarizer), ("diarization-preset", "lockstep")];
    let (entries, messages) = run_until_error(&properties);
    let error = one_error(&messages);
    assert_contains(&error, &["inference with", "sortformer-fails.onnx failed"]);

    // Eight chunks were decoded. Each of their words is both posted and pushed.
    let segments: Vec<_> = structures(messages.into_iter(), "multitalkerasr/transcript")
        .iter()
        .map(transcript)
        .collect();
    assert!(segments.iter().all(|segment| segment.end <= 8 * 1_120_000_000));
    assert!(segments.iter().any(|segment| segment.end > 6 * 1_120_000_000));
    let words: usize = segments.iter().map(|segment| segment.words.len()).sum();
    assert_eq!(entries.iter().filter(|entry| entry.is_text()).count(), words);
}

#[test]
fn logits_that_are_no_numbers_are_one_error_and_lose_nothing_recognized_before() {
    let folder = folder(|folder| {
        let decoder = data().join("fake-models/decoder_joint-nan.onnx");
        fs::copy(decoder, folder.join("decoder_joint.onnx")).expect("copied");
    });
    let model_dir = folder.path().display().to_string();
    let properties = [("model-dir", &*model_dir), ("diarization-preset", "lockstep")];
    let (entries, messages) = run_until_error(&properties);
    let error = one_error(&messages);
    assert_contains(&error, &["inference with", "decoder_joint.onnx failed", "found NaN"]);

    // Each word is both posted and pushed, and one speaker has the maximum number of words.
    let segments: Vec<_> = structures(messages.into_iter(), "multitalkerasr/transcript")
        .iter()
        .map(transcript)
        .collect();
    let mut words = [0_usize; 4];
    for segment in &segments {
        words[segment.speaker as usize] += segment.words.len();
    }
    assert_eq!(words.iter().max(), Some(&300), "{words:?}");
    assert_eq!(entries.iter().filter(|entry| entry.is_text()).count(), words.iter().sum::<usize>());
}
