// SPDX-License-Identifier: MPL-2.0

//! Segments, streams and changes of caps.

use std::process::Command;

use element_rig::*;
use gst::prelude::*;

#[test]
fn times_are_those_of_the_segment() {
    let samples = &audio("jfk.wav");
    let mut rig = Rig::new(&[("lateness", "250")]);
    rig.push_event(gst::event::Segment::new(&segment(100, 7, 3)));
    rig.push(100 * SECOND_NS, samples);
    let entries = rig.finish();

    let messages = rig.posted("multitalkerasr/transcript");
    let posted: Vec<_> = messages.iter().map(transcript).collect();
    assert_eq!(
        posted,
        engine_transcripts(samples, file_options(), 7 * SECOND_NS),
        "posted times are stream times"
    );
    assert!(posted.len() > 3);
    for (message, transcript) in messages.iter().zip(&posted) {
        let running_time: gst::ClockTime = message.get("running-time").expect("a time");
        assert_eq!(running_time.nseconds(), transcript.start - 4 * SECOND_NS);
    }

    let by_pts = engine_transcripts(samples, file_options(), 100 * SECOND_NS);
    let mut starts: Vec<_> = by_pts
        .iter()
        .flat_map(|transcript| &transcript.words)
        .map(|(_, start, _)| *start)
        .collect();
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
    let expected = engine_transcripts(&samples[32_000..96_000], file_options(), 2 * SECOND_NS);
    assert_eq!(rig.transcripts(), expected);
    assert!(!expected.is_empty());
}

/// Runs in its own process because GLib criticals are fatal there.
#[test]
fn durations_that_lie_do_no_harm() {
    if std::env::var_os("G_DEBUG").is_none() {
        let mut alone = Command::new(std::env::current_exe().expect("a path"));
        alone.args(["--exact", "segments::durations_that_lie_do_no_harm", "--nocapture"]);
        let output =
            alone.env("G_DEBUG", "fatal-criticals").output().expect("the test binary runs");
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("1 passed"), "the test did not run: {printed}");
        return;
    }
    let samples = &audio("jfk.wav");
    let expected = engine_transcripts(&samples[32_000..96_000], file_options(), 2 * SECOND_NS);
    for (numerator, denominator) in [(10, 1), (1, 10), (0, 1)] {
        let mut rig = Rig::new(&[]);
        let mut inner = segment(2, 2, 0);
        inner.set_stop(gst::ClockTime::from_seconds(6));
        rig.push_event(gst::event::Segment::new(&inner));
        for (index, piece) in samples.chunks(20_000).enumerate() {
            let mut buffer = f32_buffer(Some(index as u64 * 20_000 * SAMPLE_NS), piece);
            let duration = gst::ClockTime::from_mseconds(1250) * numerator / denominator;
            buffer.make_mut().set_duration(duration);
            rig.harness.push(buffer).expect("accepted");
        }
        rig.finish();
        assert_eq!(rig.transcripts(), expected, "{numerator}/{denominator} of the duration");
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
            let mut parts = engine_transcripts(&samples[..32_000], file_options(), 0);
            parts.extend(engine_transcripts(&samples[32_000..], file_options(), 2 * SECOND_NS));
            parts
        } else {
            engine_transcripts(samples, file_options(), 0)
        };
        assert_eq!(rig.transcripts(), expected, "{second:?}");
    }
    let whole = engine_transcripts(samples, file_options(), 0);
    assert_ne!(
        engine_transcripts(&samples[..32_000], file_options(), 0),
        whole,
        "draining changes no words"
    );
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
    rig.harness.push(second).expect("accepted");
    let entries = rig.finish();
    let mut expected = engine_transcripts(&samples[..32_000], file_options(), 0);
    expected.extend(engine_transcripts(&samples[32_000..], file_options(), 2 * SECOND_NS));
    assert_eq!(rig.transcripts(), expected);
    let caps: Vec<_> = entries.iter().filter(|e| matches!(e, Entry::Caps(_))).collect();
    assert!(!caps.is_empty() && caps.iter().all(|caps| *caps == caps_of_text()), "{caps:?}");
}

fn caps_of_text() -> &'static Entry {
    static CAPS: std::sync::LazyLock<Entry> =
        std::sync::LazyLock::new(|| Entry::Caps("text/x-raw, format=(string)utf8".to_owned()));
    &CAPS
}

#[test]
fn text_comes_out_before_the_next_stream() {
    let samples = &audio("jfk.wav")[..96_000];
    let mut rig = Rig::new(&[]);
    rig.push(0, samples);
    // The next stream starts without EOS before it and with an equal segment.
    rig.push_event(gst::event::StreamStart::new("next"));
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push(0, samples);
    let entries = rig.finish();
    let starts = entries.iter().enumerate().filter_map(|(index, entry)| {
        (*entry == Entry::Other(gst::EventType::StreamStart)).then_some(index)
    });
    let starts: Vec<_> = starts.collect();
    let &[0, next] = &starts[..] else { panic!("expected two streams, found {starts:?}") };
    let (first, second) = entries.split_at(next);
    assert!(buffers(first).len() > 3);
    assert_eq!(buffers(second), buffers(first));
    assert_continuous(first, 0);
    assert_continuous(second, 0);
    let expected = engine_transcripts(samples, file_options(), 0);
    assert_eq!(rig.transcripts(), [&expected[..], &expected].concat());
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
    assert_eq!(rig.transcripts(), engine_transcripts(samples, file_options(), 0));
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
