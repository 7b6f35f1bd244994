// SPDX-License-Identifier: MPL-2.0

//! The element behind a live source: latency, delay, and what happens when it cannot keep up.

#![cfg(feature = "element")]

mod common;
#[path = "common/rig.rs"]
mod rig;

use gst::prelude::*;
use rig::*;

const SECOND_NS: u64 = 1_000_000_000;

/// Latency with `lockstep` and the defaults, in milliseconds.
const LATENCY_MS: u64 = 1120 + 3 + 1000 + 500;

/// An element behind a live source, with a clock that stands still.
fn live(properties: &[(&str, &str)], now: gst::ClockTime) -> Rig {
    let mut rig = Rig::new(properties);
    rig.harness.set_live(true);
    let clock = gst_check::TestClock::new();
    clock.set_time(now);
    rig.element.set_clock(Some(&clock)).expect("any clock will do");
    rig.element.set_base_time(gst::ClockTime::ZERO);
    rig
}

fn warnings(messages: &[gst::Message]) -> Vec<gst::message::Warning<gst::Message>> {
    messages
        .iter()
        .filter_map(|message| match message.view() {
            gst::MessageView::Warning(warning) => Some(warning.to_owned()),
            _ => None,
        })
        .collect()
}

fn pts(entries: &[Entry]) -> Vec<u64> {
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Buffer { pts, .. } => Some(*pts),
            _ => None,
        })
        .collect()
}

#[track_caller]
fn latency_of(pad: &gst::Pad) -> (bool, gst::ClockTime, Option<gst::ClockTime>) {
    let mut query = gst::query::Latency::new();
    assert!(pad.query(&mut query), "the query is answered");
    query.result()
}

#[test]
fn text_that_comes_too_late_is_a_warning_that_says_by_how_much() {
    let mut rig = live(&[], gst::ClockTime::from_seconds(60));
    rig.push_all(&audio("jfk.wav"), 1600);
    let entries = rig.finish();
    let first_ms = pts(&entries)[0] / 1_000_000;
    let delay_ms = 60_000 - first_ms;
    assert_eq!(u64::from(rig.element.property::<u32>("max-observed-delay")), delay_ms);

    let messages: Vec<_> = rig.bus.iter().collect();
    // The delay of those after the first is less.
    let [warning] = &warnings(&messages)[..] else { panic!("{messages:#?}") };
    let text = warning.error().message().to_owned();
    for number in [delay_ms - LATENCY_MS, LATENCY_MS, delay_ms] {
        assert!(text.contains(&format!("{number} ms")), "{number} in {text}");
    }
    let details = warning.details().expect("details");
    assert_eq!(details.name(), "multitalkerasr/excessive-delay");
    let delay: gst::ClockTime = details.get("new-observed-max-delay").expect("a time");
    assert_eq!(delay.mseconds(), delay_ms);
}

#[test]
fn text_that_comes_in_time_is_none() {
    // The first text is promised for its running time and the latency.
    let mut rig = live(&[], gst::ClockTime::from_mseconds(LATENCY_MS));
    rig.push_all(&audio("jfk.wav"), 1600);
    let entries = rig.finish();
    let delay_ms = LATENCY_MS - pts(&entries)[0] / 1_000_000;
    assert_eq!(u64::from(rig.element.property::<u32>("max-observed-delay")), delay_ms);
    assert!(warnings(&rig.bus.iter().collect::<Vec<_>>()).is_empty());

    // Lateness is part of the running time.
    let mut rig = live(&[("lateness", "1000")], gst::ClockTime::from_mseconds(LATENCY_MS + 1000));
    rig.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    rig.push_all(&audio("jfk.wav"), 1600);
    rig.finish();
    assert!(warnings(&rig.bus.iter().collect::<Vec<_>>()).is_empty());
    rig.element.set_state(gst::State::Ready).expect("stops");
    rig.element.set_state(gst::State::Playing).expect("starts");
    assert_eq!(rig.element.property::<u32>("max-observed-delay"), 0, "of this run");
}

#[test]
fn files_promise_nothing() {
    let mut rig = live(&[("diarization-preset", "lockstep")], gst::ClockTime::from_seconds(60));
    rig.harness.set_live(false);
    rig.push_all(&audio("jfk.wav"), 1600);
    rig.finish();
    assert!(warnings(&rig.bus.iter().collect::<Vec<_>>()).is_empty());
    assert_eq!(rig.element.property::<u32>("max-observed-delay"), 0);
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
fn desynchronised_text_has_the_time_at_which_it_comes_out() {
    let properties = [("latency", "4294967295")];
    let mut rig = live(&properties, gst::ClockTime::from_seconds(60));
    rig.harness.set_upstream_latency(gst::ClockTime::from_mseconds(70));
    assert_eq!(latency_of(&rig.srcpad()).1, gst::ClockTime::from_mseconds(70), "upstream's");
    rig.push_all(&audio("jfk.wav"), 1600);
    let entries = rig.finish();
    let now = 60 * SECOND_NS - 70_000_000;
    let found = pts(&entries);
    assert!(found.len() > 3 && found.iter().all(|pts| *pts == now), "{found:?}");
    assert_continuous(&entries, 0);
    assert!(warnings(&rig.bus.iter().collect::<Vec<_>>()).is_empty());

    // Without a clock, the end of the audio that was taken.
    let mut rig = Rig::new(&properties);
    rig.harness.set_live(true);
    rig.push_all(&audio("jfk.wav"), 1600);
    let entries = rig.finish();
    assert!(pts(&entries).len() > 3);
    assert_continuous(&entries, 0);
}

#[test]
fn text_of_a_live_source_is_in_time() {
    init_with_runtime();
    // The random model has much to say to a tone. Twenty seconds to compute: others do.
    let description = format!(
        "audiotestsrc is-live=true wave=sine volume=0.8 samplesperbuffer=1600 num-buffers=60 ! \
         audio/x-raw,rate=16000,channels=1 ! audioconvert ! \
         multitalkerasr name=asr model-dir={} chunk-latency=160ms latency=20000 ! \
         fakesink sync=false",
        models()
    );
    let pipeline = gst::parse::launch(&description).expect("a pipeline");
    let pipeline: gst::Pipeline = pipeline.downcast().expect("a pipeline");
    let element = pipeline.by_name("asr").expect("it is there");
    let entries = record(&element);
    let messages = play(&pipeline);
    assert_eq!(messages.last().map(|m| m.type_()), Some(gst::MessageType::Eos));
    let (live, latency, _) = latency_of(&element.static_pad("src").expect("a pad"));
    assert!(live);
    let delay = u64::from(element.property::<u32>("max-observed-delay"));
    pipeline.set_state(gst::State::Null).expect("stops");
    assert!(pts(&entries.try_iter().collect::<Vec<_>>()).len() > 10);
    assert!(0 < delay && delay <= latency.mseconds(), "{delay} ms of {latency}");
    assert!(warnings(&messages).is_empty(), "{:?}", warnings(&messages));
}
