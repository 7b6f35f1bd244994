// SPDX-License-Identifier: MPL-2.0

//! The element behind a live source: latency, delay, and what happens when it cannot keep up.

#![cfg(feature = "element")]

mod common;
#[path = "common/rig.rs"]
mod rig;

use std::sync::mpsc;

use gst::prelude::*;
use gstmultitalkerasr::engine::{
    Canceller, ChunkLatency, DiarizationPreset, Model, ModelOptions, Output, Stream,
};
use rig::*;

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

#[test]
fn text_that_comes_too_late_is_a_warning_that_says_by_how_much() {
    let mut rig = live(&[], gst::ClockTime::from_seconds(60));
    rig.push(0, &audio("jfk.wav"));
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
    rig.push(0, &audio("jfk.wav"));
    let entries = rig.finish();
    let delay_ms = LATENCY_MS - pts(&entries)[0] / 1_000_000;
    assert_eq!(u64::from(rig.element.property::<u32>("max-observed-delay")), delay_ms);
    assert!(warnings(&rig.bus.iter().collect::<Vec<_>>()).is_empty());

    // Lateness is part of the running time.
    let mut rig = live(&[("lateness", "1000")], gst::ClockTime::from_mseconds(LATENCY_MS + 1000));
    rig.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    rig.push(0, &audio("jfk.wav"));
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
    rig.push(0, &audio("jfk.wav"));
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
    rig.push(0, &audio("jfk.wav"));
    let entries = rig.finish();
    let now = 60 * SECOND_NS - 70_000_000;
    let found = pts(&entries);
    assert!(found.len() > 3 && found.iter().all(|pts| *pts == now), "{found:?}");
    assert_continuous(&entries, 0);
    assert!(warnings(&rig.bus.iter().collect::<Vec<_>>()).is_empty());

    // Without a clock, the end of the audio that was taken.
    let mut rig = Rig::new(&properties);
    rig.harness.set_live(true);
    rig.push(0, &audio("jfk.wav"));
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

/// Stops what leaves `src` at the first word, and returns what lets it go on.
fn stop_at_first_word(rig: &Rig) -> (mpsc::Receiver<()>, impl FnOnce() + use<>) {
    let (sender, stopped) = mpsc::channel();
    let pad = rig.srcpad();
    let mask = gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER;
    let id = pad.add_probe(mask, move |_, _| {
        // A test that has seen enough is gone.
        let _ = sender.send(());
        gst::PadProbeReturn::Ok
    });
    let id = id.expect("not called yet");
    (stopped, move || pad.remove_probe(id))
}

/// Start and end in stream time of the audio that was dropped, of which there must be one warning.
#[track_caller]
fn dropped(messages: &[gst::Message]) -> (u64, u64) {
    let dropped: Vec<_> = warnings(messages)
        .iter()
        .filter_map(|warning| {
            let details = warning.details()?;
            let time = |field| details.get::<gst::ClockTime>(field).ok().map(|t| t.nseconds());
            (details.name() == "multitalkerasr/dropped")
                .then(|| (time("start-time").expect("a time"), time("end-time").expect("a time")))
        })
        .collect();
    let [dropped] = dropped[..] else { panic!("{messages:#?}") };
    dropped
}

fn qos(messages: &[gst::Message]) -> Vec<(Option<u64>, u64, u64)> {
    messages
        .iter()
        .filter_map(|message| match message.view() {
            gst::MessageView::Qos(qos) => {
                assert!(qos.live());
                let (processed, dropped) = qos.stats();
                let samples = |value: gst::GenericFormattedValue| value.value() as u64;
                let duration = qos.duration().map(|duration| duration.nseconds());
                Some((duration, samples(processed), samples(dropped)))
            }
            _ => None,
        })
        .collect()
}

fn transcripts(messages: Vec<gst::Message>) -> Vec<Said> {
    structures(messages.into_iter(), "multitalkerasr/transcript").iter().map(said).collect()
}

/// What the engine makes of the audio before and after a hole, with the speakers known again.
fn engine_said_around(samples: &[f32], hole: (u64, u64)) -> Vec<Said> {
    let model = ModelOptions {
        model_dir: models().into(),
        diarization_model: Some(sortformer().into()),
        ..Default::default()
    };
    let model = Model::load(&model, &Canceller::new()).expect("a model");
    let options = with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms1120);
    let mut stream = Stream::new(model, options).expect("valid options");
    let mut all = Vec::new();
    let index = |ns: u64| (ns / SAMPLE_NS) as usize;
    for (audio, base_ns) in [(&samples[..index(hole.0)], 0), (&samples[index(hole.1)..], hole.1)] {
        let mut outputs = stream.push(audio).expect("inference");
        outputs.extend(stream.finish().expect("inference"));
        all.extend(outputs.iter().filter_map(|output| match output {
            Output::Segment(segment) => Some(said_by_engine(segment, base_ns)),
            _ => None,
        }));
        stream.resume();
    }
    all
}

#[test]
fn live_audio_never_waits_and_what_is_dropped_is_told() {
    let mut rig = Rig::new(&[("overload-policy", "drop")]);
    rig.harness.set_live(true);
    let (stopped, go_on) = stop_at_first_word(&rig);
    let samples = &audio("meeting.wav")[..60 * 16_000];
    // One buffer goes to the worker at once.
    let (before, after) = samples.split_at(10 * 16_000);
    rig.push(0, before);
    stopped.recv_timeout(TIMEOUT).expect("a word");
    // Nothing is recognised any more, and all of it is taken.
    for (index, piece) in after.chunks(1600).enumerate() {
        rig.push((before.len() + index * 1600) as u64 * SAMPLE_NS, piece);
    }
    go_on();
    let entries = rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    let (start, end) = dropped(&messages);
    // The queue holds the chunk and 2 s; at least half of it is left.
    let audio_end = 60 * SECOND_NS;
    let left = audio_end - end;
    assert!((1_500_000_000..=3_120_000_000).contains(&left), "{left} ns were left");
    assert!(start < 12 * SECOND_NS, "{start}");

    let [(Some(duration), processed, samples_dropped)] = qos(&messages)[..] else {
        panic!("{messages:#?}")
    };
    assert_eq!(duration, end - start);
    assert_eq!((processed * SAMPLE_NS, samples_dropped * SAMPLE_NS), (start, end - start));

    // Nothing before or after is lost, and the gap is told.
    let expected = engine_said_around(samples, (start, end));
    assert_eq!(transcripts(messages), expected);
    let covers = |entry: &Entry| matches!(entry, Entry::Gap { pts, duration } if *pts <= start + 80_000_000 && pts + duration >= end);
    assert!(entries.iter().any(covers), "{start} to {end}: {entries:?}");
    assert_continuous(&entries, 0);
}

#[test]
fn overload_is_relieved_before_audio_is_dropped() {
    let mut rig = Rig::new(&[]);
    rig.harness.set_live(true);
    let (stopped, go_on) = stop_at_first_word(&rig);
    let samples = &audio("meeting.wav")[..15 * 16_000];
    // More than a quarter of the queue waits, and less than all.
    let (before, after) = samples.split_at(13 * 16_000);
    rig.push(0, before);
    stopped.recv_timeout(TIMEOUT).expect("a word");
    for (index, piece) in after.chunks(1600).enumerate() {
        rig.push((before.len() + index * 1600) as u64 * SAMPLE_NS, piece);
    }
    go_on();
    rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    let qos = qos(&messages);
    assert!(!qos.is_empty());
    assert!(
        qos.iter().all(|(duration, _, dropped)| duration.is_none() && *dropped == 0),
        "{qos:?}"
    );
    assert!(transcripts(messages).last().is_some_and(|said| said.end > 13 * SECOND_NS));
}

#[test]
fn live_audio_does_not_wait_for_the_model() {
    init_with_runtime();
    let models = HeldModels::new();
    let element = element(&[("model-dir", &models.path()), ("overload-policy", "drop")]);
    let mut rig = Rig::of(element, Some(F32_CAPS));
    rig.harness.set_live(true);
    let samples = &audio("meeting.wav")[..30 * 16_000];
    rig.push_all(samples, 1600);
    models.release();
    let entries = rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    let (start, end) = dropped(&messages);
    assert_eq!(start, 0);
    assert!(end > 26 * SECOND_NS, "{end}");
    assert_eq!(transcripts(messages), engine_said_around(samples, (start, end)));
    assert_continuous(&entries, 0);
}

#[test]
fn files_wait() {
    // A live source would lose audio here.
    let mut rig = Rig::new(&[("overload-policy", "drop"), ("diarization-preset", "lockstep")]);
    let (stopped, go_on) = stop_at_first_word(&rig);
    let source = rig.sinkpad().peer().expect("linked");
    let samples = audio("meeting.wav")[..30 * 16_000].to_vec();
    let all = samples.clone();
    let (sender, last) = mpsc::channel();
    let pushing = std::thread::spawn(move || {
        for (index, piece) in samples.chunks(1600).enumerate() {
            let pts = (index * 1600) as u64 * SAMPLE_NS;
            source.push(f32_buffer(Some(pts), piece)).expect("taken");
            let _ = sender.send(pts);
        }
    });
    stopped.recv_timeout(TIMEOUT).expect("a word");
    go_on();
    pushing.join().expect("no panic");
    rig.finish();
    assert_eq!(last.try_iter().count(), 300);
    let messages: Vec<_> = rig.bus.iter().collect();
    assert!(warnings(&messages).is_empty() && qos(&messages).is_empty());
    let options = with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms1120);
    assert_eq!(transcripts(messages), engine_said(&all, options, 0));
}

#[test]
fn speakers_are_known_again_after_a_hole_if_wanted() {
    init_with_runtime();
    let samples = conversation();
    // Two people have spoken; the second is the first to go on.
    let (before, after) = samples.split_at(30 * 16_000);
    for (value, expected) in [("keep", 1), ("reset", 0)] {
        let properties = [("on-discontinuity", value), ("diarization-preset", "lockstep")];
        let mut rig = Rig::of(demo_element(&properties), Some(F32_CAPS));
        rig.push(0, before);
        rig.push(40 * SECOND_NS, after);
        let entries = rig.finish();
        let messages: Vec<_> = rig.bus.iter().collect();
        let said = transcripts(messages);
        let first = said.iter().find(|said| said.start >= 40 * SECOND_NS).expect("words");
        assert!(first.text.ends_with("boston tonight"), "{first:?}");
        assert_eq!(first.speaker, expected, "{value}");
        assert!(said.iter().all(|said| said.end <= 30 * SECOND_NS || said.start >= 40 * SECOND_NS));
        assert_continuous(&entries, 0);

        // A flush begins another conversation.
        rig.push_event(gst::event::FlushStart::new());
        rig.push_event(gst::event::FlushStop::new(true));
        rig.push_event(gst::event::StreamStart::new("again"));
        rig.push_event(gst::event::Caps::new(&F32_CAPS.parse::<gst::Caps>().expect("caps")));
        rig.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        rig.push(0, after);
        rig.finish();
        let said = transcripts(rig.bus.iter().collect());
        assert_eq!(said[0].speaker, 0, "{value}");
    }
}
