// SPDX-License-Identifier: MPL-2.0

//! Documents in time: segments, gaps, flushes, seeks, and latency.

use element_rig::{Entry, Rig, latency_of};

use crate::rig::*;

const ONE_SECOND: (&str, &str) = ("segment-duration", "1000000000");

/// Start and end in ms, and lines.
type ShownCue = (u64, u64, Vec<String>);

/// What the readers show of each document: start and end of the document, and rows.
#[track_caller]
fn shown_by_document(entries: &[Entry]) -> Vec<(u64, u64, Vec<ShownCue>)> {
    let documents = documents(entries).into_iter();
    documents.map(|(start, end, document)| (start, end, shown(&document))).collect()
}

#[test]
fn a_cue_is_clipped_to_each_document_in_which_it_is_shown() {
    let mut rig = rig(JSON, &[ONE_SECOND]);
    rig.harness.push(buffer(&speech(0, "long"), 500, 2500)).expect("accepted");
    rig.harness.push(buffer(&speech(1, "short"), 1200, 1700)).expect("accepted");
    assert_eq!(
        shown_by_document(&rig.finish()),
        [
            (0, 1000, vec![row(500, 1000, &["long"])]),
            (
                1000,
                2000,
                vec![
                    row(1000, 1200, &["long"]),
                    row(1200, 1700, &["short", "long"]),
                    row(1700, 2000, &["long"]),
                ]
            ),
            (2000, 2500, vec![row(2000, 2500, &["long"])]),
        ]
    );
}

#[test]
fn a_document_leaves_once_text_or_a_gap_reaches_its_end() {
    let mut rig = rig(UTF8, &[ONE_SECOND]);
    let gap = |begin, end| gst::event::Gap::builder(ms(begin)).duration(ms(end - begin)).build();
    rig.harness.push(buffer("a", 0, 400)).expect("accepted");
    rig.push_event(gap(400, 999));
    assert_eq!(rig.harness.buffers_received(), 0);
    rig.push_event(gap(999, 3100));
    assert_eq!(rig.harness.buffers_received(), 3);
    rig.harness.push(buffer("b", 4000, 4100)).expect("accepted");
    assert_eq!(rig.harness.buffers_received(), 4);
    let found = shown_by_document(&rig.finish());
    let texts: Vec<_> = found.iter().map(|(_, _, rows)| rows.len()).collect();
    assert_eq!(texts, [1, 0, 0, 0, 1]);
    assert_eq!(found[4], (4000, 4100, vec![row(4000, 4100, &["b"])]));
}

#[test]
fn one_document_reports_progress_by_gaps() {
    let mut rig = rig(UTF8, &[]);
    rig.harness.push(buffer("a", 0, 400)).expect("accepted");
    let gap = gst::event::Gap::builder(ms(400)).duration(ms(600)).build();
    rig.push_event(gap);
    let entries = rig.finish();
    let gaps = entries.iter().filter_map(|entry| match entry {
        Entry::Gap { pts, duration } => Some((pts / 1_000_000, duration / 1_000_000)),
        _ => None,
    });
    assert_eq!(gaps.collect::<Vec<_>>(), [(0, 400), (400, 600)]);
    assert_eq!(documents(&entries)[0].1, 1000);
}

#[test]
fn text_without_duration_is_shown_until_the_next() {
    for (properties, expected) in [
        (&[][..], vec![(100, 3500, vec![row(100, 1500, &["a"]), row(1500, 3500, &["b"])])]),
        (
            &[ONE_SECOND][..],
            vec![
                (0, 1000, vec![row(100, 1000, &["a"])]),
                (1000, 2000, vec![row(1000, 1500, &["a"]), row(1500, 2000, &["b"])]),
                (2000, 3000, vec![row(2000, 3000, &["b"])]),
                (3000, 3500, vec![row(3000, 3500, &["b"])]),
            ],
        ),
    ] {
        let mut rig = rig(UTF8, properties);
        for (text, begin) in [("a", 100), ("b", 1500)] {
            let mut buffer = buffer(text, begin, begin);
            buffer.get_mut().expect("not shared").set_duration(gst::ClockTime::NONE);
            rig.harness.push(buffer).expect("accepted");
        }
        let found = shown_by_document(&rig.finish());
        assert_eq!(found, expected);
    }
}

#[test]
fn times_are_those_of_the_timeline() {
    for (timeline, first) in [("stream-time", 60_000), ("running-time", 0)] {
        for segment_duration in ["0", "1000000000"] {
            let properties = [("timeline", timeline), ("segment-duration", segment_duration)];
            let mut rig = Rig::of(ttmlenc(&properties), None);
            start(&mut rig, UTF8, &segment(10_000, 20_000, 60_000));
            // One cue begins before the segment, one ends after it, and one is outside.
            for (text, begin, end) in
                [("a", 9000, 10_500), ("b", 19_600, 21_000), ("c", 20_500, 21_000)]
            {
                rig.harness.push(buffer(text, begin, end)).expect("accepted");
            }
            let found = shown_by_document(&rig.finish());
            let rows: Vec<_> = found.iter().flat_map(|(_, _, rows)| rows.clone()).collect();
            let expected =
                [row(first, first + 500, &["a"]), row(first + 9600, first + 10_000, &["b"])];
            assert_eq!(rows, expected, "{properties:?}");
            // Timestamps of buffers are those of the segment.
            assert_eq!(found.first().expect("one").0, 10_000, "{properties:?}");
            assert_eq!(found.last().expect("one").1, 20_000, "{properties:?}");
        }
    }
}

#[test]
fn a_flush_drops_what_waits() {
    for segment_duration in ["0", "1000000000"] {
        let mut rig = Rig::of(ttmlenc(&[("segment-duration", segment_duration)]), None);
        start(&mut rig, UTF8, &segment(0, 90_000, 0));
        rig.harness.push(buffer("before", 100, 900)).expect("accepted");
        rig.push_event(gst::event::FlushStart::new());
        rig.push_event(gst::event::FlushStop::new(true));
        rig.push_event(gst::event::Segment::new(&segment(60_500, 90_000, 60_500)));
        rig.harness.push(buffer("after", 60_600, 60_800)).expect("accepted");
        let found = shown_by_document(&rig.finish());
        let (_, end, rows) = &found[0];
        assert_eq!((found.len(), *end, rows), (1, 60_800, &vec![row(60_600, 60_800, &["after"])]));
    }
}

#[test]
fn a_segment_that_jumps_ends_the_current_document() {
    let mut rig = Rig::of(ttmlenc(&[ONE_SECOND]), None);
    start(&mut rig, UTF8, &segment(0, 90_000, 0));
    rig.harness.push(buffer("a", 100, 500)).expect("accepted");
    // This one only announces another end.
    rig.push_event(gst::event::Segment::new(&segment(0, 80_000, 0)));
    rig.harness.push(buffer("b", 600, 700)).expect("accepted");
    rig.push_event(gst::event::Segment::new(&segment(0, 80_000, 60_000)));
    rig.harness.push(buffer("c", 800, 900)).expect("accepted");
    let found = shown_by_document(&rig.finish());
    let expected = [
        (0, 700, vec![row(100, 500, &["a"]), row(600, 700, &["b"])]),
        (0, 900, vec![row(60_800, 60_900, &["c"])]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn each_stream_has_a_document() {
    let mut rig = Rig::of(ttmlenc(&[]), None);
    start(&mut rig, UTF8, &segment(0, 90_000, 0));
    rig.harness.push(buffer("a", 100, 500)).expect("accepted");
    start(&mut rig, MARKUP, &segment(0, 90_000, 0));
    rig.harness.push(buffer("<b>b</b>", 0, 500)).expect("accepted");
    let found = shown_by_document(&rig.finish());
    let rows: Vec<_> = found.into_iter().map(|(_, _, rows)| rows).collect();
    assert_eq!(rows, [[row(100, 500, &["a"])], [row(0, 500, &["b"])]]);
}

#[test]
fn late_text_is_dropped_with_a_warning() {
    let mut rig = rig(UTF8, &[ONE_SECOND]);
    rig.harness.push(buffer("a", 3000, 3500)).expect("accepted");
    rig.harness.push(buffer("late", 1000, 2000)).expect("accepted");
    rig.harness.push(buffer("clipped", 2000, 3200)).expect("accepted");
    let found = shown_by_document(&rig.finish());
    let expected = [row(3000, 3200, &["a", "clipped"]), row(3200, 3500, &["a"])];
    let (texts, rows) = (&found[0].2[0].2, &found[0].2);
    assert_eq!(texts.len(), 2, "{found:?}");
    assert_eq!((rows[0].0, rows[0].1, rows.len()), (expected[0].0, expected[0].1, 2), "{found:?}");
    let warnings = warnings(&rig);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("0:00:01.000000000 is dropped"), "{warnings:?}");
}

#[test]
fn segments_add_their_duration_to_the_latency() {
    for (segment_duration, added) in [("0", 0), ("2000000000", 2000), ("1", 100)] {
        let mut rig = rig(UTF8, &[("segment-duration", segment_duration)]);
        rig.harness.set_live(true);
        rig.harness.set_upstream_latency(ms(30));
        let (live, min, _) = latency_of(&rig.srcpad());
        assert_eq!((live, min), (true, ms(30 + added)));
    }
}

#[test]
fn a_jump_of_years_has_no_documents_between() {
    let mut rig = rig(UTF8, &[ONE_SECOND]);
    rig.harness.push(buffer("a", 0, 500)).expect("accepted");
    let years = 100 * 365 * 86_400_000;
    rig.harness.push(buffer("b", years, years + 500)).expect("accepted");
    let times: Vec<_> = documents(&rig.finish()).iter().map(|(start, _, _)| *start).collect();
    assert_eq!(times, [0, years]);
}
