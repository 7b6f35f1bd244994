// SPDX-License-Identifier: MPL-2.0

//! Live sources: observed delay, speakers after a gap, and pauses.

use std::sync::atomic::{AtomicUsize, Ordering};

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{Canceller, Event, Model, ModelOptions, Stream};

/// Latency with `lockstep` and the defaults, in milliseconds.
const LATENCY_MS: u64 = 1120 + 3 + 1000 + 500;

/// Starts an element with a live source and a clock that stands still.
fn live(properties: &[(&str, &str)], now: gst::ClockTime) -> Rig {
    let mut rig = Rig::new(properties);
    rig.harness.set_live(true);
    let clock = gst_check::TestClock::new();
    clock.set_time(now);
    rig.element.set_clock(Some(&clock)).expect("any clock will do");
    rig.element.set_base_time(gst::ClockTime::ZERO);
    rig
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
    // Later texts have a shorter delay, so only the first causes a warning.
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
    // The first text is due at its running time plus the latency.
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
    assert_eq!(
        rig.element.property::<u32>("max-observed-delay"),
        0,
        "the delay is that of the current run"
    );
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
fn desynchronized_text_has_the_time_at_which_it_comes_out() {
    let properties = [("latency", "4294967295")];
    let mut rig = live(&properties, gst::ClockTime::from_seconds(60));
    rig.harness.set_upstream_latency(gst::ClockTime::from_mseconds(70));
    assert_eq!(
        latency_of(&rig.srcpad()).1,
        gst::ClockTime::from_mseconds(70),
        "only the latency of upstream"
    );
    rig.push(0, &audio("jfk.wav"));
    let entries = rig.finish();
    let now = 60 * SECOND_NS - 70_000_000;
    let found = pts(&entries);
    assert!(found.len() > 3 && found.iter().all(|pts| *pts == now), "{found:?}");
    assert_continuous(&entries, 0);
    assert!(warnings(&rig.bus.iter().collect::<Vec<_>>()).is_empty());

    // Without a clock, text has the end time of the accepted audio.
    let mut rig = Rig::new(&properties);
    rig.harness.set_live(true);
    rig.push(0, &audio("jfk.wav"));
    let entries = rig.finish();
    assert!(pts(&entries).len() > 3);
    assert_continuous(&entries, 0);
}

#[test]
fn speakers_are_known_again_after_a_hole_if_wanted() {
    init_with_runtime();
    let samples = conversation();
    // Both speakers have talked before the split, and the second is the first to talk after it.
    let (before, after) = samples.split_at(30 * 16_000);
    for (value, expected) in [("keep", 1), ("reset", 0)] {
        let properties = [("on-discontinuity", value), ("diarization-preset", "lockstep")];
        let mut rig = Rig::of(demo_element(&properties), Some(F32_CAPS));
        rig.push(0, before);
        rig.push(40 * SECOND_NS, after);
        let entries = rig.finish();
        let messages: Vec<_> = rig.bus.iter().collect();
        let found = transcripts(&messages);
        let first =
            found.iter().find(|transcript| transcript.start >= 40 * SECOND_NS).expect("words");
        assert!(first.text.ends_with("boston tonight"), "{first:?}");
        assert_eq!(first.speaker, expected, "{value}");
        assert!(found.iter().all(
            |transcript| transcript.end <= 30 * SECOND_NS || transcript.start >= 40 * SECOND_NS
        ));
        assert_continuous(&entries, 0);

        // A flush restarts the numbering of speakers.
        rig.push_event(gst::event::FlushStart::new());
        rig.push_event(gst::event::FlushStop::new(true));
        rig.push_event(gst::event::StreamStart::new("again"));
        rig.push_event(gst::event::Caps::new(&F32_CAPS.parse::<gst::Caps>().expect("caps")));
        rig.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        rig.push(0, after);
        rig.finish();
        let found = transcripts(&rig.bus.iter().collect::<Vec<_>>());
        assert_eq!(found[0].speaker, 0, "{value}");
    }
}

/// Answers the element's own latency queries with `answers` in turn and repeats the last answer.
/// `None` makes a query fail.
fn answer_latency(rig: &Rig, answers: &'static [Option<bool>]) {
    let asked = AtomicUsize::new(0);
    rig.sinkpad().add_probe(gst::PadProbeType::QUERY_UPSTREAM, move |_, info| {
        let Some(query) = info.query_mut() else { return gst::PadProbeReturn::Ok };
        let gst::QueryViewMut::Latency(latency) = query.view_mut() else {
            return gst::PadProbeReturn::Ok;
        };
        let index = asked.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        let Some(live) = answers[index] else { return gst::PadProbeReturn::Drop };
        latency.set(live, gst::ClockTime::ZERO, gst::ClockTime::NONE);
        gst::PadProbeReturn::Handled
    });
}

#[test]
fn queue_and_engine_agree_on_whether_the_source_is_live() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let mut rig = Rig::new(&[]);
    // A second query would get a different answer.
    answer_latency(&rig, &[Some(false), Some(true)]);
    rig.push_all(samples, 16_000);
    rig.finish();
    let options = file_options();
    let as_file = engine_transcripts(samples, options, 0);
    assert_eq!(rig.transcripts(), as_file, "as a file");
    let options = live_options();
    assert_ne!(engine_transcripts(samples, options, 0), as_file);

    // A new stream may come from a different source.
    rig.push_event(gst::event::StreamStart::new("another"));
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push(0, samples);
    rig.finish();
    let options = live_options();
    assert_eq!(rig.transcripts(), engine_transcripts(samples, options, 0), "live");
}

#[test]
fn liveness_that_is_not_known_yet_is_asked_again() {
    let samples = &audio("meeting.wav")[..20 * 16_000];
    let mut rig = Rig::new(&[]);
    answer_latency(&rig, &[None, None, Some(true), Some(false)]);
    let (before, after) = samples.split_at(2 * 160);
    rig.push_all(before, 160);
    let start = before.len() as u64 * SAMPLE_NS;
    rig.push(start, after);
    rig.finish();
    let options = live_options();
    let expected = engine_transcripts(after, options, start);
    assert!(expected.len() > 3);
    assert_eq!(rig.transcripts(), expected);
}

/// Returns the engine's segments for audio that ends after `before` and resumes with `after`.
fn engine_transcripts_with_pause(
    before: &[f32],
    after: &[f32],
    after_ns: u64,
    keep: bool,
) -> Vec<Transcript> {
    let folder = test_support::data().join("demo-models");
    let model = ModelOptions {
        diarization_model: Some(folder.join("sortformer.onnx")),
        model_dir: folder,
        ..Default::default()
    };
    let model = Model::load(&model, &Canceller::new()).expect("a model");
    let options = live_options();
    let mut stream = Stream::new(model, options).expect("valid options");
    let mut found = Vec::new();
    for (audio, base_ns) in [(before, 0), (after, after_ns)] {
        let mut events = stream.push(audio).expect("inference");
        events.extend(stream.finish().expect("inference"));
        found.extend(events.iter().filter_map(|event| match event {
            Event::Segment(segment) => Some(engine_transcript(segment, base_ns)),
            _ => None,
        }));
        match keep {
            true => stream.resume(),
            false => stream.reset(),
        }
    }
    found
}

#[test]
fn last_words_of_a_live_source_come_out_when_it_falls_silent() {
    init_with_runtime();
    let samples = conversation();
    // The split falls within a turn of the second speaker.
    let (before, after) = samples[..40 * 16_000].split_at(30 * 16_000);
    for (policy, resumes_at_s, keep) in
        [("reset", 30, true), ("reset", 40, false), ("keep", 40, true)]
    {
        let properties =
            [("on-discontinuity", policy), ("diarization-preset", "lockstep"), ("latency", "100")];
        let mut rig = Rig::of(demo_element(&properties), Some(F32_CAPS));
        rig.harness.set_live(true);
        let resumes_at = resumes_at_s * SECOND_NS;
        let expected = engine_transcripts_with_pause(before, after, resumes_at, keep);
        let in_time =
            expected.iter().filter(|transcript| transcript.start < 30 * SECOND_NS).count();
        assert!((2..expected.len()).contains(&in_time), "{expected:?}");
        // The first buffer exceeds the queue, so the worker must take it before the next push.
        let (first, last) = before.split_at(before.len() - 16_000);
        rig.push(0, first);
        rig.until(Entry::is_text);
        for (index, piece) in last.chunks(1600).enumerate() {
            rig.push((first.len() + index * 1600) as u64 * SAMPLE_NS, piece);
        }
        let mut found = Vec::new();
        while found.len() < in_time {
            found.extend(transcripts(&[rig.wait_for(gst::MessageType::Element)]));
        }
        assert_eq!(found, expected[..in_time], "before the audio resumes");
        rig.push(resumes_at, after);
        let entries = rig.finish();
        found.extend(rig.transcripts());
        assert_eq!(found, expected, "{policy}, {resumes_at_s} s");
        // The wait for the first text has already removed the entries before it.
        let start = entries.iter().find_map(|entry| match entry {
            Entry::Gap { pts, .. } | Entry::Buffer { pts, .. } => Some(*pts),
            _ => None,
        });
        assert_continuous(&entries, start.expect("text"));
    }
}

#[test]
fn files_that_pause_are_not_drained() {
    init_with_runtime();
    let samples = &audio("jfk.wav");
    let mut rig = Rig::new(&[("latency", "100"), ("diarization-preset", "lockstep")]);
    rig.push(0, &samples[..48_000]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    rig.push(3 * SECOND_NS, &samples[48_000..]);
    rig.finish();
    let options = live_options();
    assert_eq!(rig.transcripts(), engine_transcripts(samples, options, 0));
}
