// SPDX-License-Identifier: MPL-2.0

//! The transcript log in SegLST format.

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::SegLstRow;

#[test]
fn conversation_is_told_at_the_end_and_on_request() {
    let samples = &audio("news.wav");
    let mut rig = Rig::new(&[("session-id", "news")]);
    let before: String = rig.element.emit_by_name("get-transcripts", &[]);
    assert_eq!(before, "[]");
    rig.push_all(samples, 4096);
    rig.finish();

    let posted = rig.posted("multitalkerasr/transcripts");
    let [message] = &posted[..] else { panic!("{posted:?}") };
    assert_eq!(message.get("session-id"), Ok("news"));
    let seglst: String = message.get("seglst").expect("a string");
    assert_eq!(rig.element.emit_by_name::<String>("get-transcripts", &[]), seglst);

    let rows: Vec<serde_json::Value> = serde_json::from_str(&seglst).expect("JSON");
    let mut expected = engine_transcripts(samples, file_options(), 0);
    expected.sort_by_key(|transcript| transcript.start);
    assert_eq!(rows.len(), expected.len());
    for (row, transcript) in rows.iter().zip(&expected) {
        let expected = serde_json::json!({
            "session_id": "news",
            "speaker": transcript.speaker.to_string(),
            "words": transcript.text,
            "start_time": transcript.start as f64 / 1e9,
            "end_time": transcript.end as f64 / 1e9,
        });
        assert_eq!(*row, expected);
    }
}

#[test]
fn log_of_transcripts_is_bounded() {
    let samples = &audio("news.wav");
    let expected = engine_transcripts(samples, file_options(), 0);
    let mut rig = Rig::new(&[("max-transcripts", "2")]);
    rig.push_all(samples, 4096);
    rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    let warnings = warnings(&messages);
    let [warning] = &warnings[..] else { panic!("expected one warning, found {warnings:?}") };
    let warning = warning.error().message().to_owned();
    assert!(warning.contains("expected at most 2 segments (max-transcripts)"), "{warning}");

    let mut last: Vec<_> = expected[expected.len() - 2..].iter().collect();
    last.sort_by_key(|transcript| transcript.start);
    let last: Vec<_> = last.iter().map(|transcript| transcript.text.as_str()).collect();
    let seglst: String = rig.element.emit_by_name("get-transcripts", &[]);
    let rows: Vec<SegLstRow> = serde_json::from_str(&seglst).expect("SegLST");
    assert_eq!(rows.iter().map(|row| row.words.as_str()).collect::<Vec<_>>(), last);
    assert!(expected.len() > 3, "too few segments to drop any");
    let posted = structures(messages.into_iter(), "multitalkerasr/transcript");
    assert_eq!(posted.len(), expected.len(), "every segment is posted");
}

/// Returns the rows of the transcript log.
fn log_of(rig: &Rig) -> Vec<SegLstRow> {
    let seglst: String = rig.element.emit_by_name("get-transcripts", &[]);
    serde_json::from_str(&seglst).expect("SegLST")
}

#[test]
fn speakers_of_a_new_stretch_are_new_in_the_log() {
    let samples = audio("news.wav");
    let mut expected = engine_transcripts(&samples, file_options(), 0);
    expected.sort_by_key(|transcript| transcript.start);
    let speakers =
        1 + expected.iter().map(|transcript| transcript.speaker).max().expect("a speaker");
    assert!(speakers > 1);
    let rows_at = |rows: &[SegLstRow], start_s: u64| -> Vec<(u32, String)> {
        let start = start_s as f64;
        let rows = rows.iter().filter(|row| (start..start + 100.0).contains(&row.start_time));
        rows.map(|row| (row.speaker.parse().expect("a number"), row.words.clone())).collect()
    };
    let after = |speakers_before: u32| -> Vec<(u32, String)> {
        expected.iter().map(|it| (speakers_before + it.speaker, it.text.clone())).collect()
    };

    let mut rig = Rig::new(&[]);
    rig.push(0, &samples);
    // A gap, a new segment, and a new stream with and without EOS before it.
    rig.push(100 * SECOND_NS, &samples);
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 5)));
    rig.push(200 * SECOND_NS, &samples);
    rig.finish();
    for (start_s, id) in [(300, "after EOS"), (400, "without EOS")] {
        rig.push_event(gst::event::StreamStart::new(id));
        rig.push_event(gst::event::Segment::new(&segment(0, 0, 5)));
        rig.push(start_s * SECOND_NS, &samples);
    }
    rig.finish();
    let rows = log_of(&rig);
    for stretch in 0..5 {
        let start_s = 100 * u64::from(stretch);
        assert_eq!(rows_at(&rows, start_s), after(stretch * speakers), "at {start_s} s");
    }
    let posted = rig.posted("multitalkerasr/transcripts");
    let last: String = posted.last().expect("a message at EOS").get("seglst").expect("a string");
    assert_eq!(serde_json::from_str::<Vec<SegLstRow>>(&last).expect("SegLST"), rows);

    // A flush clears the log and restarts the numbering of speakers.
    rig.push_event(gst::event::FlushStart::new());
    rig.push_event(gst::event::FlushStop::new(true));
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push(500 * SECOND_NS, &samples);
    rig.finish();
    let rows = log_of(&rig);
    assert_eq!(rows_at(&rows, 500), after(0));
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
    let mut found = rig.transcripts();
    found.sort_by_key(|transcript| transcript.start);
    let rows: Vec<_> = log_of(&rig).into_iter().map(|row| (row.speaker, row.words)).collect();
    let found: Vec<_> = found.into_iter().map(|it| (it.speaker.to_string(), it.text)).collect();
    assert_eq!(rows, found);
}
