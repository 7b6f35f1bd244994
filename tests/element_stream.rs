// SPDX-License-Identifier: MPL-2.0

//! The element in time: segments, holes, gaps and latency.

#![cfg(feature = "element")]

mod common;
#[path = "common/rig.rs"]
mod rig;

use gst::prelude::*;
use gstmultitalkerasr::engine::{ChunkLatency, DiarizationPreset, StreamOptions};
use rig::*;

fn options() -> StreamOptions {
    with_preset(DiarizationPreset::ThirtySeconds, ChunkLatency::Ms1120)
}

#[test]
fn times_are_those_of_the_segment() {
    let samples = &audio("jfk.wav");
    let mut rig = Rig::new(&[("lateness", "250")]);
    rig.push_event(gst::event::Segment::new(&segment(100, 7, 3)));
    rig.push(100 * SECOND_NS, samples);
    let entries = rig.finish();

    let messages = rig.posted("multitalkerasr/transcript");
    let posted: Vec<_> = messages.iter().map(said).collect();
    assert_eq!(posted, engine_said(samples, options(), 7 * SECOND_NS), "in stream time");
    assert!(posted.len() > 3);
    for (message, said) in messages.iter().zip(&posted) {
        let running_time: gst::ClockTime = message.get("running-time").expect("a time");
        assert_eq!(running_time.nseconds(), said.start - 4 * SECOND_NS);
    }

    let by_pts = engine_said(samples, options(), 100 * SECOND_NS);
    let mut starts: Vec<_> =
        by_pts.iter().flat_map(|said| &said.words).map(|(_, start, _)| *start).collect();
    starts.sort();
    let pts: Vec<_> = buffers(&entries).iter().map(|(pts, _)| *pts).collect();
    assert_eq!(pts, starts);

    // Lateness moves the text's running time, and nothing else.
    let out_segment = entries.iter().rev().find_map(|entry| match entry {
        Entry::Segment(segment) => Some(segment),
        _ => None,
    });
    let out_segment = out_segment.expect("a segment");
    assert_eq!(out_segment.base(), Some(gst::ClockTime::from_mseconds(3250)));
    let first_item = entries.iter().find_map(|entry| match entry {
        Entry::NewItem { running_time, .. } => Some(*running_time),
        _ => None,
    });
    assert_eq!(first_item, Some(pts[0] - 97 * SECOND_NS + 250_000_000));
}

#[test]
fn audio_outside_of_the_segment_is_clipped() {
    let samples = &audio("jfk.wav");
    let mut rig = Rig::new(&[]);
    let mut inner = segment(2, 2, 0);
    inner.set_stop(gst::ClockTime::from_seconds(6));
    rig.push_event(gst::event::Segment::new(&inner));
    rig.push_all(samples, 24_000);
    rig.finish();
    let expected = engine_said(&samples[32_000..96_000], options(), 2 * SECOND_NS);
    assert_eq!(rig.said(), expected);
    assert!(!expected.is_empty());
}

#[test]
fn segments_that_differ_in_more_than_their_position_drain() {
    let samples = &audio("jfk.wav")[..64_000];
    let moved = {
        let mut segment = segment(0, 0, 0);
        segment.set_position(gst::ClockTime::from_seconds(2));
        segment
    };
    for (second, drains) in [(moved, false), (segment(0, 0, 5), true)] {
        let mut rig = Rig::new(&[]);
        rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
        rig.push(0, &samples[..32_000]);
        rig.push_event(gst::event::Segment::new(&second));
        rig.push(2 * SECOND_NS, &samples[32_000..]);
        rig.finish();
        let expected = if drains {
            let mut parts = engine_said(&samples[..32_000], options(), 0);
            parts.extend(engine_said(&samples[32_000..], options(), 2 * SECOND_NS));
            parts
        } else {
            engine_said(samples, options(), 0)
        };
        assert_eq!(rig.said(), expected, "{second:?}");
    }
    let whole = engine_said(samples, options(), 0);
    assert_ne!(engine_said(&samples[..32_000], options(), 0), whole, "draining shows");
}

#[test]
fn change_of_caps_drains() {
    let samples = &audio("jfk.wav")[..64_000];
    let integers: Vec<i16> = samples.iter().map(|sample| (sample * 32_768.0) as i16).collect();
    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..32_000]);
    let caps: gst::Caps = S16_CAPS.parse().expect("caps");
    rig.push_event(gst::event::Caps::new(&caps));
    let second = s16_buffer(Some(2 * SECOND_NS), &integers[32_000..]);
    rig.harness.push(second).expect("taken");
    let entries = rig.finish();
    let mut expected = engine_said(&samples[..32_000], options(), 0);
    expected.extend(engine_said(&samples[32_000..], options(), 2 * SECOND_NS));
    assert_eq!(rig.said(), expected);
    let caps: Vec<_> = entries.iter().filter(|e| matches!(e, Entry::Caps(_))).collect();
    assert!(!caps.is_empty() && caps.iter().all(|caps| *caps == caps_of_text()), "{caps:?}");
}

fn caps_of_text() -> &'static Entry {
    static CAPS: std::sync::LazyLock<Entry> =
        std::sync::LazyLock::new(|| Entry::Caps("text/x-raw, format=(string)utf8".to_owned()));
    &CAPS
}

#[test]
fn jitter_and_small_holes_do_not_part_the_audio() {
    let samples = &audio("jfk.wav")[..96_000];
    // 150 ms are missing after three seconds; the next buffers jitter.
    let hole = 2400;
    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..48_000]);
    for (index, piece) in samples[48_000 + hole..].chunks(8000).enumerate() {
        let jitter = if index % 2 == 1 { 30_000_000 } else { 0 };
        rig.push((48_000 + hole + index * 8000) as u64 * SAMPLE_NS + jitter, piece);
    }
    rig.finish();
    let mut filled = samples.to_vec();
    filled[48_000..48_000 + hole].fill(0.0);
    assert_eq!(rig.said(), engine_said(&filled, options(), 0));
    assert!(!engine_said(&filled, options(), 0).is_empty());
}

#[test]
fn small_overlaps_are_cut() {
    let samples = &audio("jfk.wav")[..96_000];
    let overlap = 1600;
    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..48_000]);
    rig.push((48_000 - overlap) as u64 * SAMPLE_NS, &samples[48_000 - overlap..]);
    rig.finish();
    assert_eq!(rig.said(), engine_said(samples, options(), 0));
}

#[test]
fn large_holes_close_the_segments() {
    let samples = &audio("jfk.wav")[..96_000];
    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..48_000]);
    rig.push(13 * SECOND_NS, &samples[48_000..]);
    let entries = rig.finish();
    let mut expected = engine_said(&samples[..48_000], options(), 0);
    let before = expected.len();
    expected.extend(engine_said(&samples[48_000..], options(), 13 * SECOND_NS));
    assert!(0 < before && before < expected.len(), "words on both sides");
    assert_eq!(rig.said(), expected);
    // The hole itself is a gap.
    let covers_hole = |entry: &Entry| match entry {
        Entry::Gap { pts, duration } => *pts <= 4 * SECOND_NS && pts + duration >= 13 * SECOND_NS,
        _ => false,
    };
    assert!(entries.iter().any(covers_hole), "{entries:?}");
}

#[test]
fn time_that_jumps_back_closes_the_segments_and_never_shows() {
    let samples = &audio("jfk.wav")[..96_000];
    let mut rig = Rig::new(&[]);
    let sinks: Vec<_> = (0..4).map(|_| Sink::of_speaker(&rig.element, "speaker_%u")).collect();
    rig.push(20 * SECOND_NS, &first);
    rig.push(19 * SECOND_NS, &samples[48_000..]);
    let entries = rig.finish();
    let mut expected = engine_said(&first, options(), 20 * SECOND_NS);
    let second = engine_said(&samples[48_000..], options(), 19 * SECOND_NS);
    assert!(!expected.is_empty() && !second.is_empty());
    expected.extend(second);
    assert_eq!(rig.said(), expected);
    assert_continuous(&entries, 20 * SECOND_NS);
    for sink in sinks {
        assert_continuous(&sink.until_eos(), 20 * SECOND_NS);
    }
}

#[test]
fn the_same_segment_again_after_the_end_begins_again() {
    let samples = &audio("jfk.wav")[..96_000];
    let mut rig = Rig::new(&[]);
    let rounds = [0, 1].map(|round| {
        if round > 0 {
            rig.push_event(gst::event::StreamStart::new("again"));
            rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
        }
        rig.push(0, samples);
        rig.finish()
    });
    let [first, second] = rounds.each_ref().map(|entries| buffers(entries));
    assert!(first.len() > 3);
    assert_eq!(second, first);
    assert_continuous(&rounds[1], 0);
}

#[test]
fn short_gap_events_are_silence_and_long_ones_are_holes() {
    let samples = &audio("jfk.wav")[..96_000];
    let gap_event = |start: u64, duration: u64| {
        gst::event::Gap::builder(gst::ClockTime::from_nseconds(start))
            .duration(gst::ClockTime::from_nseconds(duration))
            .build()
    };
    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..48_000]);
    rig.push_event(gap_event(3 * SECOND_NS, 100_000_000));
    rig.push(3_100_000_000, &samples[48_000..]);
    rig.finish();
    let filled = [&samples[..48_000], &[0.0; 1600], &samples[48_000..]].concat();
    assert_eq!(rig.said(), engine_said(&filled, options(), 0));

    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..48_000]);
    rig.push_event(gap_event(3 * SECOND_NS, 2 * SECOND_NS));
    // Already the event closes the segments and moves time on.
    rig.until(|entry| match entry {
        Entry::Gap { pts, duration } => pts + duration == 5 * SECOND_NS,
        _ => false,
    });
    assert_eq!(rig.said(), engine_said(&samples[..48_000], options(), 0));
    rig.push(5 * SECOND_NS, &samples[48_000..]);
    rig.finish();
    assert_eq!(rig.said(), engine_said(&samples[48_000..], options(), 5 * SECOND_NS));
}

#[test]
fn gap_event_before_any_audio_moves_time_on() {
    let mut rig = Rig::new(&[]);
    rig.push_event(
        gst::event::Gap::builder(gst::ClockTime::ZERO).duration(gst::ClockTime::SECOND).build(),
    );
    rig.until(|entry| *entry == Entry::Gap { pts: 0, duration: SECOND_NS });
}

#[test]
fn what_downstream_returns_reaches_upstream() {
    init_with_runtime();
    let element = element(&[("diarization-preset", "lockstep")]);
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(|_, _, _| Err(gst::FlowError::Eos))
        .build();
    sink.set_active(true).expect("activates");
    let source = gst::Pad::new(gst::PadDirection::Src);
    source.set_active(true).expect("activates");
    source.link(&element.static_pad("sink").expect("a pad")).expect("links");
    element.static_pad("src").expect("a pad").link(&sink).expect("links");
    element.set_state(gst::State::Playing).expect("starts");
    source.push_event(gst::event::StreamStart::new("test"));
    source.push_event(gst::event::Caps::new(&F32_CAPS.parse::<gst::Caps>().expect("caps")));
    source.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    let samples = audio("meeting.wav");
    let refused = samples.chunks(1600).enumerate().find_map(|(index, piece)| {
        let pts = (index * 1600) as u64 * SAMPLE_NS;
        source.push(f32_buffer(Some(pts), piece)).err()
    });
    assert_eq!(refused, Some(gst::FlowError::Eos));
    element.set_state(gst::State::Null).expect("stops");
}

#[test]
fn latency_is_known_without_anything() {
    init();
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("registered");
    let src = element.static_pad("src").expect("a pad");
    let expected = gst::ClockTime::from_mseconds(1120 + 3 + 1000 + 500);
    for _ in 0..2 {
        assert_eq!(latency_of(&src), (true, expected, None));
        // Fails to load for want of a model, which is another matter.
        element.set_state(gst::State::Paused).expect("starts");
        assert_eq!(latency_of(&src), (true, expected, None));
        element.set_state(gst::State::Null).expect("stops");
    }

    // As transcriberbin asks.
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
    let of_run = latency_of(&rig.srcpad()).1;
    // Both are for the next.
    rig.element.set_property_from_str("chunk-latency", "160ms");
    rig.element.set_property_from_str("text-unit", "segment");
    assert_eq!(latency_of(&rig.srcpad()).1, of_run);
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
    // With a gap at its end.
    let first = [&samples[..48_000], &[0.0; 32_000]].concat();
