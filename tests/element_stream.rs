// SPDX-License-Identifier: MPL-2.0

//! The element in time: segments, holes, gaps and latency.

mod rig;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;
use multitalker_asr::{ChunkLatency, DiarizationPreset, SegLstRow, StreamOptions};
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

/// In a process of its own, which a critical ends.
#[test]
fn durations_that_lie_do_no_harm() {
    if std::env::var_os("G_DEBUG").is_none() {
        let mut alone = Command::new(std::env::current_exe().expect("a path"));
        alone.args(["--exact", "durations_that_lie_do_no_harm", "--nocapture"]);
        let output = alone.env("G_DEBUG", "fatal-criticals").output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let samples = &audio("jfk.wav");
    let expected = engine_said(&samples[32_000..96_000], options(), 2 * SECOND_NS);
    for (numerator, denominator) in [(10, 1), (1, 10), (0, 1)] {
        let mut rig = Rig::new(&[]);
        let mut inner = segment(2, 2, 0);
        inner.set_stop(gst::ClockTime::from_seconds(6));
        rig.push_event(gst::event::Segment::new(&inner));
        for (index, piece) in samples.chunks(20_000).enumerate() {
            let mut buffer = f32_buffer(Some(index as u64 * 20_000 * SAMPLE_NS), piece);
            let duration = gst::ClockTime::from_mseconds(1250) * numerator / denominator;
            buffer.make_mut().set_duration(duration);
            rig.harness.push(buffer).expect("taken");
        }
        rig.finish();
        assert_eq!(rig.said(), expected, "{numerator}/{denominator} of the duration");
    }
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
        let pts = (48_000 + hole + index * 8000) as u64 * SAMPLE_NS + jitter;
        match index {
            0 => rig.harness.push(discont_buffer(pts, piece)).map(drop).expect("taken"),
            _ => rig.push(pts, piece),
        }
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
    let second = (48_000 - overlap) as u64 * SAMPLE_NS;
    rig.harness.push(discont_buffer(second, &samples[48_000 - overlap..])).expect("taken");
    rig.finish();
    assert_eq!(rig.said(), engine_said(samples, options(), 0));
}

/// Pushes buffers of 100 ms, each with the PTS that `pts_ns` gives from the PTS of its samples.
fn push_with_pts(rig: &mut Rig, samples: &[f32], pts_ns: impl Fn(usize, u64) -> u64) {
    for (index, piece) in samples.chunks(1600).enumerate() {
        rig.push(pts_ns(index, (index * 1600) as u64 * SAMPLE_NS), piece);
    }
}

#[test]
fn timestamps_that_alternate_change_no_word() {
    init_with_runtime();
    let samples = conversation();
    let run = |pts_ns: fn(usize, u64) -> u64| {
        let mut rig = Rig::of(demo_element(&[]), Some(F32_CAPS));
        push_with_pts(&mut rig, &samples, pts_ns);
        rig.finish();
        rig.said()
    };
    let even = run(|_, pts| pts + SECOND_NS);
    let words: usize = even.iter().map(|said| said.words.len()).sum();
    assert!(words > 100, "{words} words");
    // From the first buffer on, whose time is then that of the others, or after it.
    let alternating = run(|index, pts| pts + SECOND_NS + [60_000_000, 0][index % 2] - 30_000_000);
    assert_eq!(alternating.len(), even.len());
    for (even, found) in even.iter().zip(&alternating) {
        assert_eq!((&found.text, found.speaker), (&even.text, even.speaker));
        assert_eq!(found.start, even.start + 30_000_000);
    }
    assert_eq!(
        run(|index, pts| match index {
            0 => pts + SECOND_NS,
            _ => pts + SECOND_NS + [120_000_000, 0][index % 2] - 60_000_000,
        }),
        even
    );
}

#[test]
fn timestamps_that_stay_wrong_are_right_after_a_wait() {
    let samples = &audio("jfk.wav");
    let late = |index, pts| if index < 30 { pts } else { pts + 150_000_000 };
    for (properties, wait) in [(&[][..], 16_000), (&[("discont-wait", "500000000")][..], 8000)] {
        let mut rig = Rig::new(properties);
        push_with_pts(&mut rig, samples, late);
        rig.finish();
        // The silence is where the wait is over, and everything after it in its place.
        let (before, after) = samples.split_at(48_000 + wait);
        let filled = [before, &[0.0; 2400], after].concat();
        let expected = engine_said(&filled, options(), 0);
        assert_eq!(rig.said(), expected);
        assert!(expected.last().is_some_and(|said| said.start > 6 * SECOND_NS));
    }
    // With a threshold above it, it is jitter.
    let mut rig = Rig::new(&[("alignment-threshold", "160000000")]);
    push_with_pts(&mut rig, samples, late);
    rig.finish();
    assert_eq!(rig.said(), engine_said(samples, options(), 0));
}

/// The rows of the transcript log.
fn log_of(rig: &Rig) -> Vec<SegLstRow> {
    let seglst: String = rig.element.emit_by_name("get-transcripts", &[]);
    serde_json::from_str(&seglst).expect("SegLST")
}

#[test]
fn speakers_of_a_new_stretch_are_new_in_the_log() {
    let samples = audio("news.wav");
    let mut expected = engine_said(&samples, options(), 0);
    expected.sort_by_key(|said| said.start);
    let speakers = 1 + expected.iter().map(|said| said.speaker).max().expect("someone");
    assert!(speakers > 1);
    let said_at = |rows: &[SegLstRow], start_s: u64| -> Vec<(u32, String)> {
        let start = start_s as f64;
        let rows = rows.iter().filter(|row| (start..start + 100.0).contains(&row.start_time));
        rows.map(|row| (row.speaker.parse().expect("a number"), row.words.clone())).collect()
    };
    let after = |speakers_before: u32| -> Vec<(u32, String)> {
        expected.iter().map(|it| (speakers_before + it.speaker, it.text.clone())).collect()
    };

    let mut rig = Rig::new(&[]);
    rig.push(0, &samples);
    // A hole, another segment, another stream with and without an end before it.
    rig.push(100 * SECOND_NS, &samples);
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 5)));
    rig.push(200 * SECOND_NS, &samples);
    rig.finish();
    for (start_s, id) in [(300, "after the end"), (400, "at once")] {
        rig.push_event(gst::event::StreamStart::new(id));
        rig.push_event(gst::event::Segment::new(&segment(0, 0, 5)));
        rig.push(start_s * SECOND_NS, &samples);
    }
    rig.finish();
    let rows = log_of(&rig);
    for stretch in 0..5 {
        let start_s = 100 * u64::from(stretch);
        assert_eq!(said_at(&rows, start_s), after(stretch * speakers), "at {start_s} s");
    }
    let posted = rig.posted("multitalkerasr/transcripts");
    let last: String = posted.last().expect("at EOS").get("seglst").expect("a string");
    assert_eq!(serde_json::from_str::<Vec<SegLstRow>>(&last).expect("SegLST"), rows);

    // After a flush the log begins anew, and with it the numbers.
    rig.push_event(gst::event::FlushStart::new());
    rig.push_event(gst::event::FlushStop::new(true));
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push(500 * SECOND_NS, &samples);
    rig.finish();
    let rows = log_of(&rig);
    assert_eq!(said_at(&rows, 500), after(0));
    assert_eq!(rows.len(), expected.len());
}

#[test]
fn speakers_that_are_kept_keep_their_numbers_in_the_log() {
    let samples = audio("news.wav");
    let mut rig = Rig::new(&[("on-discontinuity", "keep")]);
    for stretch in 0..3 {
        rig.push(100 * stretch * SECOND_NS, &samples);
    }
    rig.finish();
    let mut said = rig.said();
    said.sort_by_key(|said| said.start);
    let rows: Vec<_> = log_of(&rig).into_iter().map(|row| (row.speaker, row.words)).collect();
    let said: Vec<_> = said.into_iter().map(|it| (it.speaker.to_string(), it.text)).collect();
    assert_eq!(rows, said);
}

#[test]
fn text_comes_out_before_the_next_stream() {
    let samples = &audio("jfk.wav")[..96_000];
    let mut rig = Rig::new(&[]);
    rig.push(0, samples);
    // Without an end before it, and with an equal segment.
    rig.push_event(gst::event::StreamStart::new("next"));
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push(0, samples);
    let entries = rig.finish();
    let starts = entries.iter().enumerate().filter_map(|(index, entry)| {
        (*entry == Entry::Other(gst::EventType::StreamStart)).then_some(index)
    });
    let starts: Vec<_> = starts.collect();
    let &[0, next] = &starts[..] else { panic!("two streams: {starts:?}") };
    let (first, second) = entries.split_at(next);
    assert!(buffers(first).len() > 3);
    assert_eq!(buffers(second), buffers(first));
    assert_continuous(first, 0);
    assert_continuous(second, 0);
    let expected = engine_said(samples, options(), 0);
    assert_eq!(rig.said(), [&expected[..], &expected].concat());
}

#[test]
fn stream_that_was_only_linked_anew_goes_on() {
    let samples = &audio("jfk.wav")[..96_000];
    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..32_000]);
    let source = rig.sinkpad().peer().expect("linked");
    source.unlink(&rig.sinkpad()).expect("unlinks");
    source.link(&rig.sinkpad()).expect("links");
    rig.push(2 * SECOND_NS, &samples[32_000..]);
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
    // With a gap at its end.
    let first = [&samples[..48_000], &[0.0; 32_000]].concat();
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

/// Pushes audio until it is refused.
fn refusal(rig: &mut Rig, samples: &[f32]) -> Option<gst::FlowError> {
    samples.chunks(1600).enumerate().find_map(|(index, piece)| {
        rig.harness.push(f32_buffer(Some((index * 1600) as u64 * SAMPLE_NS), piece)).err()
    })
}

#[test]
fn another_stream_is_taken_after_the_end_of_one() {
    init_with_runtime();
    let samples = audio("news.wav");
    let mut rig = Rig::without_sink(element(&[("diarization-preset", "lockstep")]));
    let has_enough = Arc::new(AtomicBool::new(true));
    let of_sink = has_enough.clone();
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, _| match of_sink.load(Ordering::SeqCst) {
            true => Err(gst::FlowError::Eos),
            false => Ok(gst::FlowSuccess::Ok),
        })
        .build();
    sink.set_active(true).expect("activates");
    rig.srcpad().link(&sink).expect("links");
    assert_eq!(refusal(&mut rig, &samples), Some(gst::FlowError::Eos));
    assert_eq!(rig.harness.push(f32_buffer(Some(0), &samples)), Err(gst::FlowError::Eos));

    has_enough.store(false, Ordering::SeqCst);
    rig.until(Entry::is_text);
    rig.push_event(gst::event::StreamStart::new("next"));
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push_all(&samples, 1600);
    let entries = rig.finish();
    let is_start = |entry: &Entry| *entry == Entry::Other(gst::EventType::StreamStart);
    let next = entries.iter().position(is_start).expect("the next stream");
    let lockstep = with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms1120);
    assert_eq!(buffers(&entries[next..]).len(), engine_words(&samples, lockstep).len());
}

#[test]
fn audio_is_taken_again_once_someone_is_linked() {
    init_with_runtime();
    let samples = audio("news.wav");
    let mut rig = Rig::without_sink(element(&[("diarization-preset", "lockstep")]));
    assert_eq!(refusal(&mut rig, &samples), Some(gst::FlowError::NotLinked));
    let sink = Sink::on(rig.srcpad(), "ANY", Ok(gst::FlowSuccess::Ok));
    rig.push(100 * SECOND_NS, &samples);
    rig.push_event(gst::event::Eos::new());
    let lockstep = with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms1120);
    let entries = sink.until_eos();
    let texts = buffers(&entries).into_iter().filter(|(pts, _)| *pts >= 100 * SECOND_NS);
    assert_eq!(texts.count(), engine_words(&samples, lockstep).len());
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
    // Before it is loaded the model may be of the version that looks further ahead.
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
