// SPDX-License-Identifier: MPL-2.0

//! Timestamps that jitter, drift, jump or leave gaps.

use element_rig::*;

#[test]
fn jitter_and_small_holes_do_not_part_the_audio() {
    let samples = &audio("jfk.wav")[..96_000];
    // 150 ms are missing after three seconds; the next buffers jitter.
    let gap = 2400;
    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..48_000]);
    for (index, piece) in samples[48_000 + gap..].chunks(8000).enumerate() {
        let jitter = if index % 2 == 1 { 30_000_000 } else { 0 };
        let pts = (48_000 + gap + index * 8000) as u64 * SAMPLE_NS + jitter;
        match index {
            0 => rig.harness.push(discont_buffer(pts, piece)).map(drop).expect("accepted"),
            _ => rig.push(pts, piece),
        }
    }
    rig.finish();
    let mut filled = samples.to_vec();
    filled[48_000..48_000 + gap].fill(0.0);
    assert_eq!(rig.transcripts(), engine_transcripts(&filled, file_options(), 0));
    assert!(!engine_transcripts(&filled, file_options(), 0).is_empty());
}

#[test]
fn small_overlaps_are_cut() {
    let samples = &audio("jfk.wav")[..96_000];
    let overlap = 1600;
    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..48_000]);
    let second = (48_000 - overlap) as u64 * SAMPLE_NS;
    rig.harness.push(discont_buffer(second, &samples[48_000 - overlap..])).expect("accepted");
    rig.finish();
    assert_eq!(rig.transcripts(), engine_transcripts(samples, file_options(), 0));
}

/// Pushes buffers of 100 ms. `pts_ns` computes each PTS from the buffer's index and nominal PTS.
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
        rig.transcripts()
    };
    let even = run(|_, pts| pts + SECOND_NS);
    let words: usize = even.iter().map(|transcript| transcript.words.len()).sum();
    assert!(words > 100, "{words} words");
    // PTS that alternate from the first buffer on shift all times; later alternation shifts none.
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
        // Silence is inserted when the wait is over, so all later audio has its correct time.
        let (before, after) = samples.split_at(48_000 + wait);
        let filled = [before, &[0.0; 2400], after].concat();
        let expected = engine_transcripts(&filled, file_options(), 0);
        assert_eq!(rig.transcripts(), expected);
        assert!(expected.last().is_some_and(|transcript| transcript.start > 6 * SECOND_NS));
    }
    // An offset below the threshold counts as jitter.
    let mut rig = Rig::new(&[("alignment-threshold", "160000000")]);
    push_with_pts(&mut rig, samples, late);
    rig.finish();
    assert_eq!(rig.transcripts(), engine_transcripts(samples, file_options(), 0));
}

#[test]
fn large_holes_close_the_segments() {
    let samples = &audio("jfk.wav")[..96_000];
    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..48_000]);
    rig.push(13 * SECOND_NS, &samples[48_000..]);
    let entries = rig.finish();
    let mut expected = engine_transcripts(&samples[..48_000], file_options(), 0);
    let before = expected.len();
    expected.extend(engine_transcripts(&samples[48_000..], file_options(), 13 * SECOND_NS));
    assert!(0 < before && before < expected.len(), "no words on one side");
    assert_eq!(rig.transcripts(), expected);
    // A gap covers the missing audio.
    let covers_gap = |entry: &Entry| match entry {
        Entry::Gap { pts, duration } => *pts <= 4 * SECOND_NS && pts + duration >= 13 * SECOND_NS,
        _ => false,
    };
    assert!(entries.iter().any(covers_gap), "{entries:?}");
}

#[test]
fn time_that_jumps_back_closes_the_segments_and_never_shows() {
    let samples = &audio("jfk.wav")[..96_000];
    // The silence comes out as a gap.
    let first = [&samples[..48_000], &[0.0; 32_000]].concat();
    let mut rig = Rig::new(&[]);
    let sinks: Vec<_> = (0..4).map(|_| Sink::of_speaker(&rig.element, "speaker_%u")).collect();
    rig.push(20 * SECOND_NS, &first);
    rig.push(19 * SECOND_NS, &samples[48_000..]);
    let entries = rig.finish();
    let mut expected = engine_transcripts(&first, file_options(), 20 * SECOND_NS);
    let second = engine_transcripts(&samples[48_000..], file_options(), 19 * SECOND_NS);
    assert!(!expected.is_empty() && !second.is_empty());
    expected.extend(second);
    assert_eq!(rig.transcripts(), expected);
    assert_continuous(&entries, 20 * SECOND_NS);
    for sink in sinks {
        assert_continuous(&sink.until_eos(), 20 * SECOND_NS);
    }
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
    assert_eq!(rig.transcripts(), engine_transcripts(&filled, file_options(), 0));

    let mut rig = Rig::new(&[]);
    rig.push(0, &samples[..48_000]);
    rig.push_event(gap_event(3 * SECOND_NS, 2 * SECOND_NS));
    // The event alone closes the segments and advances time.
    rig.until(|entry| match entry {
        Entry::Gap { pts, duration } => pts + duration == 5 * SECOND_NS,
        _ => false,
    });
    assert_eq!(rig.transcripts(), engine_transcripts(&samples[..48_000], file_options(), 0));
    rig.push(5 * SECOND_NS, &samples[48_000..]);
    rig.finish();
    assert_eq!(
        rig.transcripts(),
        engine_transcripts(&samples[48_000..], file_options(), 5 * SECOND_NS)
    );
}

#[test]
fn gap_event_before_any_audio_moves_time_on() {
    let mut rig = Rig::new(&[]);
    rig.push_event(
        gst::event::Gap::builder(gst::ClockTime::ZERO).duration(gst::ClockTime::SECOND).build(),
    );
    rig.until(|entry| *entry == Entry::Gap { pts: 0, duration: SECOND_NS });
}
