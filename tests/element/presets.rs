// SPDX-License-Identifier: MPL-2.0

//! Diarizer presets with each version of the model: warnings, latency, errors.

use element_rig::*;
use gst::prelude::*;
use test_support::data;

fn fake(name: &str) -> String {
    data().join(format!("fake-models/sortformer-{name}.onnx")).display().to_string()
}

/// Latency in addition to chunks and look-ahead, in milliseconds.
const REST_MS: u64 = 3 + 1000 + 500;

#[track_caller]
fn warning(bus: &gst::Bus) -> String {
    let message = wait_for(bus, gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
    warning.error().message().to_owned()
}

#[test]
fn preset_that_the_version_does_not_offer_is_replaced_with_a_warning() {
    for (model, preset, version, used) in [
        (fake("v3"), "10s", "version 3", "found 10s; using 1s instead"),
        (sortformer(), "640ms", "version 2", "found 640ms; using 320ms instead"),
    ] {
        let properties = [("diarization-model", &*model), ("diarization-preset", preset)];
        let mut rig = Rig::new(&properties);
        let text = warning(&rig.bus);
        for part in ["diarization-preset", version, used] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert_eq!(
            rig.element.property_value("diarization-preset").serialize().expect("a nick"),
            preset
        );
        rig.push_all(&audio("jfk.wav"), 8000);
        let entries = rig.finish();
        assert!(entries.iter().any(Entry::is_text), "no text comes out");
        assert!(rig.transcripts().iter().all(|transcript| transcript.end <= 12 * SECOND_NS));
    }
}

#[test]
fn preset_that_the_version_offers_is_no_warning() {
    for (model, presets) in [
        (fake("v3"), ["auto", "320ms", "640ms", "1s"]),
        (sortformer(), ["auto", "320ms", "10s", "1s"]),
    ] {
        for preset in presets {
            let properties = [("diarization-model", &*model), ("diarization-preset", preset)];
            let mut rig = Rig::new(&properties);
            rig.push_all(&audio("jfk.wav")[..32_000], 8000);
            rig.finish();
            let messages: Vec<_> = rig.bus.iter().map(|message| message.type_()).collect();
            for unwanted in [gst::MessageType::Warning, gst::MessageType::Error] {
                assert!(!messages.contains(&unwanted), "{preset}: {messages:?}");
            }
        }
    }
}

/// Returns the latency of an element before and after it loads the model, in milliseconds. The
/// element is not linked and answers as if its source were live.
#[track_caller]
fn latency_before_and_after_loading(model: &str, preset: &str) -> (u64, u64) {
    init_with_runtime();
    let element = element(&[("diarization-model", model), ("diarization-preset", preset)]);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let pad = element.static_pad("src").expect("an always pad");
    let before = latency_of(&pad).1;
    element.set_state(gst::State::Paused).expect("starts");
    let is_loaded = |message: &gst::Message| match message.view() {
        gst::MessageView::Progress(progress) => progress.get().0 == gst::ProgressType::Complete,
        gst::MessageView::Error(error) => panic!("{error:?}"),
        _ => false,
    };
    let mut announced = false;
    loop {
        let timeout = gst::ClockTime::try_from(TIMEOUT).expect("in range");
        let message = bus.timed_pop(timeout).expect("the model to be loaded");
        announced |= message.type_() == gst::MessageType::Latency;
        if is_loaded(&message) {
            break;
        }
    }
    let after = latency_of(&pad).1;
    assert_eq!(announced, before != after, "a latency message is posted only for a change");
    element.set_state(gst::State::Null).expect("stops");
    (before.mseconds(), after.mseconds())
}

#[test]
fn latency_is_that_of_the_version_once_it_is_known() {
    let frames = |frames: u64| 80 * frames + REST_MS;
    let version_3 = fake("v3");
    let version_2 = sortformer();
    for (model, preset, before, after) in [
        // Each sum is recognizer chunk + diarizer chunk - greatest common divisor + look-ahead.
        (&version_2, "1s", 14 + 9 - 1 + 4, 14 + 6 - 2 + 7),
        (&version_3, "1s", 14 + 9 - 1 + 4, 14 + 9 - 1 + 4),
        (&version_2, "10s", 14 + 124 - 2 + 1, 14 + 124 - 2 + 1),
        (&version_3, "10s", 14 + 124 - 2 + 1, 14 + 9 - 1 + 4),
        (&version_2, "640ms", 14 + 6 - 2 + 2, 14 + 3 - 1 + 1),
        (&version_3, "640ms", 14 + 6 - 2 + 2, 14 + 6 - 2 + 2),
        (&version_3, "auto", 14, 14),
    ] {
        let found = latency_before_and_after_loading(model, preset);
        assert_eq!(found, (frames(before), frames(after)), "{model}, {preset}");
    }
}

#[test]
fn diarizer_with_fixed_axes_runs_at_its_own_operating_point() {
    let model = fake("fixed");
    let found = latency_before_and_after_loading(&model, "auto");
    assert_eq!(found, (80 * 14 + REST_MS, 80 * (14 + 340 - 2 + 40) + REST_MS));

    let mut rig = Rig::new(&[("diarization-model", &*model)]);
    rig.harness.set_live(true);
    rig.push_all(&audio("news.wav"), 8000);
    assert!(rig.finish().iter().any(Entry::is_text));
    assert!(!rig.transcripts().is_empty());
}

#[test]
fn preset_that_fixed_axes_do_not_allow_is_an_error_that_names_the_axis() {
    let model = fake("fixed");
    for preset in ["lockstep", "1s"] {
        let rig = Rig::new(&[("diarization-model", &*model), ("diarization-preset", preset)]);
        let message = rig.wait_for(gst::MessageType::Error);
        let gst::MessageView::Error(error) = message.view() else { unreachable!() };
        let text = error.error().message().to_owned();
        for part in ["sortformer-fixed.onnx", "dimension 1 of chunk", "fixed to 3048"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}

#[test]
fn eight_speakers_have_eight_pads() {
    init_with_runtime();
    let element =
        element(&[("diarization-model", &fake("v3")), ("diarization-preset", "lockstep")]);
    let sinks: Vec<Sink> =
        (0..8).map(|speaker| Sink::of_speaker(&element, &format!("speaker_{speaker}"))).collect();
    let mut rig = Rig::of(element, Some(F32_CAPS));
    rig.push_all(&audio("news.wav"), 16_000);
    rig.finish();
    let with_text = |sink: &&Sink| sink.until_eos().iter().any(Entry::is_text);
    let late = sinks.iter().skip(4).filter(with_text).count();
    assert!(late > 0, "speakers 4 to 7 have no text");
    let warnings = rig.bus.iter().filter(|m| m.type_() == gst::MessageType::Warning).count();
    assert_eq!(warnings, 0);
}
