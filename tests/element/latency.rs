// SPDX-License-Identifier: MPL-2.0

//! Latency queries and their results.

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{ChunkLatency, DiarizationPreset};

/// Latency with `lockstep` and the defaults, in milliseconds.
const LATENCY_MS: u64 = 1120 + 3 + 1000 + 500;

#[test]
fn latency_is_known_without_anything() {
    init();
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("registered");
    let src = element.static_pad("src").expect("a pad");
    let expected = gst::ClockTime::from_mseconds(1120 + 3 + 1000 + 500);
    for _ in 0..2 {
        assert_eq!(latency_of(&src), (true, expected, None));
        // Loading fails because no model is set, but the query still works.
        element.set_state(gst::State::Paused).expect("starts");
        assert_eq!(latency_of(&src), (true, expected, None));
        element.set_state(gst::State::Null).expect("stops");
    }

    // transcriberbin queries the latency of an element that is linked but not started.
    let source = gst::ElementFactory::make("fakesrc").property("is-live", true).build();
    let source = source.expect("fakesrc");
    source.link(&element).expect("links");
    assert_eq!(latency_of(&src), (true, expected, None));
    source.unlink(&element);
}

#[test]
fn latency_adds_up() {
    let mut rig = Rig::new(&[("chunk-latency", "160ms"), ("diarization-preset", "1s")]);
    rig.harness.set_live(true);
    rig.harness.set_upstream_latency(gst::ClockTime::from_mseconds(70));
    let point = DiarizationPreset::OneSecond.operating_point(ChunkLatency::Ms160);
    let algorithm = u64::from(point.latency_ms(ChunkLatency::Ms160));
    let expected = |latency_ms| gst::ClockTime::from_mseconds(70 + algorithm + 1000 + latency_ms);
    // Until the model is loaded, the latency allows for the version with the longer look-ahead.
    rig.wait_for(gst::MessageType::Latency);
    assert_eq!(latency_of(&rig.srcpad()).1, expected(500));

    rig.element.set_property("latency", 4000_u32);
    rig.wait_for(gst::MessageType::Latency);
    assert_eq!(latency_of(&rig.srcpad()), (true, expected(4000), None));
    rig.element.set_property("latency", 4000_u32);
    rig.element.set_property("lateness", 100_u32);
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Latency]).is_none(), "nothing changed");
}

#[test]
fn latency_is_that_of_the_run() {
    let mut rig = Rig::new(&[("diarization-preset", "lockstep")]);
    rig.harness.set_live(true);
    let of_this_run = latency_of(&rig.srcpad()).1;
    // Both properties take effect in the next run.
    rig.element.set_property_from_str("chunk-latency", "160ms");
    rig.element.set_property_from_str("text-unit", "segment");
    assert_eq!(latency_of(&rig.srcpad()).1, of_this_run);
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Latency]).is_none(), "nothing changed");
    rig.element.set_state(gst::State::Ready).expect("stops");
    rig.wait_for(gst::MessageType::Latency);
    rig.element.set_state(gst::State::Playing).expect("starts");
    let expected = gst::ClockTime::from_mseconds(160 + 3 + 10_000 + 800 + 500);
    assert_eq!(latency_of(&rig.srcpad()).1, expected);
}

#[test]
fn latency_of_files_is_upstreams() {
    let mut rig = Rig::new(&[]);
    rig.harness.set_live(false);
    rig.harness.set_upstream_latency(gst::ClockTime::from_mseconds(70));
    let (live, min, _) = latency_of(&rig.srcpad());
    assert_eq!((live, min), (false, gst::ClockTime::from_mseconds(70)));
}

#[test]
fn no_time_to_compute_is_no_latency() {
    let mut rig = Rig::new(&[("latency", "0")]);
    let expect_warning = |found: &str| {
        let message = rig.wait_for(gst::MessageType::Warning);
        let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
        let text = warning.error().message().to_owned();
        assert!(text.contains("expected at least 100 ms") && text.contains(found), "{text}");
    };
    expect_warning("found 0 ms");
    assert_eq!(rig.element.property::<u32>("latency"), 100);
    rig.element.set_property("latency", 99_u32);
    expect_warning("found 99 ms");
    rig.harness.set_live(true);
    assert_eq!(latency_of(&rig.srcpad()).1, gst::ClockTime::from_mseconds(LATENCY_MS - 400));
}

#[test]
fn all_source_pads_know_the_latency() {
    init();
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("registered");
    let expected = (true, gst::ClockTime::from_mseconds(LATENCY_MS), None);
    let speaker = element.request_pad_simple("speaker_%u").expect("a pad");
    let always = |name| element.static_pad(name).expect("an always pad");
    for pad in [always("src"), always("unsynced_src"), speaker] {
        assert_eq!(latency_of(&pad), expected, "{}", pad.name());
    }
}

#[test]
fn text_leaves_once_the_audio_of_its_latency_has_arrived() {
    init_with_runtime();
    // Without spare threads, the engine defers nothing, and an event leaves after all text of the
    // audio before it. So the delay can be counted in audio, whatever the speed of the machine.
    let cores = std::thread::available_parallelism().expect("a number").to_string();
    const PIECE_SAMPLES: usize = 1280;
    for chunk in ["1120ms", "160ms"] {
        let element = demo_element(&[
            ("chunk-latency", chunk),
            ("diarization-preset", "lockstep"),
            ("intra-op-threads", &*cores),
        ]);
        let latency_ms = latency_of(&element.static_pad("src").expect("a pad")).1.mseconds();
        // 500 ms of it are processing time.
        let max_delay_ns = (latency_ms - 500) * 1_000_000 + PIECE_SAMPLES as u64 * SAMPLE_NS;
        let mut rig = Rig::of(element, Some(F32_CAPS));
        rig.harness.set_live(true);
        let mut delays_ns = Vec::new();
        let mut position = 0;
        for piece in conversation().chunks(PIECE_SAMPLES) {
            rig.push(position, piece);
            position += piece.len() as u64 * SAMPLE_NS;
            let event = gst::Structure::new_empty("test");
            rig.push_event(gst::event::CustomDownstream::new(event));
            let entries =
                rig.until(|entry| *entry == Entry::Other(gst::EventType::CustomDownstream));
            delays_ns.extend(buffers(&entries).into_iter().map(|(pts, _)| position - pts));
        }
        assert!(delays_ns.len() > 100, "{}", delays_ns.len());
        let longest_ns = delays_ns.into_iter().max().expect("text");
        assert!(longest_ns <= max_delay_ns, "{chunk}: {longest_ns} of {max_delay_ns} ns");
    }
}
