// SPDX-License-Identifier: MPL-2.0

//! Input that is not as it should be.

use element_rig::Rig;
use gst::prelude::*;

use crate::rig::*;

/// Returns the text of the error that the element posted.
#[track_caller]
fn error(rig: &Rig) -> String {
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { panic!("{message:?}") };
    error.error().to_string()
}

#[test]
fn malformed_text_is_shown_as_it_is_with_one_warning() {
    let mut rig = rig(MARKUP, &[]);
    for (index, text) in ["R&D <b>", "<i>fine</i>", "a < b"].into_iter().enumerate() {
        let begin = index as u64 * 1000;
        rig.harness.push(buffer(text, begin, begin + 1000)).expect("accepted");
    }
    let document = only_document(&rig.finish());
    let expected =
        [row(0, 1000, &["R&D <b>"]), row(1000, 2000, &["fine"]), row(2000, 3000, &["a < b"])];
    assert_eq!(shown(&document), expected);
    let warnings = warnings(&rig);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("Malformed text: "), "{warnings:?}");
}

#[test]
fn json_that_cannot_be_read_is_dropped_with_one_warning() {
    let mut rig = rig(JSON, &[]);
    for text in ["{\"speaker\":", "no", &speech(0, "fine"), "\u{FEFF}", "{\"text\":\"a\u{0}\"}"] {
        rig.harness.push(buffer(text, 0, 1000)).expect("accepted");
    }
    assert_eq!(shown(&only_document(&rig.finish())), [row(0, 1000, &["fine"])]);
    assert_eq!(warnings(&rig).len(), 1);
}

#[test]
fn characters_that_xml_excludes_are_removed() {
    let mut rig = rig(UTF8, &[]);
    let text = "a\u{0}\u{1}\u{B}b\u{FFFE}\u{7F}c";
    rig.harness.push(buffer(text, 0, 1000)).expect("accepted");
    rig.harness.push(buffer("\u{1B}\u{8}", 1000, 2000)).expect("accepted");
    assert_eq!(shown(&only_document(&rig.finish())), [row(0, 1000, &["abc"])]);
}

#[test]
fn buffers_without_pts_are_an_error() {
    let mut rig = rig(UTF8, &[]);
    let result = rig.harness.push(gst::Buffer::from_slice("a"));
    assert_eq!(result, Err(gst::FlowError::Error));
    assert_eq!(error(&rig), "expected text with timestamps, found a buffer without PTS");
}

#[test]
fn segments_that_go_backwards_or_count_bytes_are_an_error() {
    let mut backwards = gst::FormattedSegment::<gst::ClockTime>::new();
    backwards.set_rate(-1.0);
    let bytes = gst::FormattedSegment::<gst::format::Bytes>::new();
    for (segment, expected) in [
        (backwards.upcast(), "segment: expected a positive rate, found -1"),
        (bytes.upcast(), "segment: expected a segment in time, found Bytes"),
    ] {
        let mut rig = Rig::of(ttmlenc(&[]), None);
        rig.push_event(gst::event::StreamStart::new("test"));
        rig.push_event(gst::event::Caps::new(&UTF8.parse().expect("caps")));
        // The pad keeps the event, whether or not the element accepts it.
        rig.harness.push_event(gst::event::Segment::new(&segment));
        assert_eq!(error(&rig), expected);
    }
}

#[test]
fn wrong_values_of_properties_are_errors() {
    for (name, value, expected) in [
        (
            "language",
            "en us",
            "language: expected a language tag such as en or de-CH, found \"en us\"",
        ),
        ("speaker-colors", "white,ice", "speaker-colors: expected colors, found \"ice\""),
    ] {
        let element = ttmlenc(&[(name, value)]);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err());
        let message = element_rig::wait_for(&bus, gst::MessageType::Error);
        let gst::MessageView::Error(error) = message.view() else { panic!("{message:?}") };
        assert_eq!(error.error().to_string(), expected);
        element.set_state(gst::State::Null).expect("stops");
    }
}

#[test]
fn a_live_source_without_segments_is_a_warning() {
    for (live, segment_duration, expected) in
        [(true, "0", 1), (true, "1000000000", 0), (false, "0", 0)]
    {
        let mut rig = rig(UTF8, &[("segment-duration", segment_duration)]);
        rig.harness.set_live(live);
        for begin in [0, 1000] {
            rig.harness.push(buffer("a", begin, begin + 1000)).expect("accepted");
        }
        let warnings = warnings(&rig);
        assert_eq!(warnings.len(), expected, "{warnings:?}");
    }
}
