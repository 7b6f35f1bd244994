// SPDX-License-Identifier: MPL-2.0

//! RTTM files in the place of a diarizer.

use std::path::{Path, PathBuf};

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{Event, ModelOptions, SegLstRow, StreamOptions};
use test_support::{data, tiny_model_options};

/// A file of two speakers in `news.wav`, the second of whom has no name.
fn turns(folder: &Path) -> PathBuf {
    let path = folder.join("turns.rttm");
    let lines = "SPEAKER news 1 7.0 6.0 <NA> <NA> Bob\nSPEAKER news 1 1.0 8.0 <NA> <NA> Ada\n\
                 SPEAKER news 1 14.0 4.0 <NA> <NA> Ada\n";
    std::fs::write(&path, lines).expect("written");
    path
}

fn property(path: &Path) -> String {
    path.display().to_string()
}

fn rows(rig: &Rig) -> Vec<SegLstRow> {
    let rows = rig.element.emit_by_name::<String>("get-transcripts", &[]);
    serde_json::from_str(&rows).expect("SegLST")
}

fn rig(path: &Path) -> Rig {
    Rig::new(&[("diarization-model", &*property(path))])
}

/// Returns the engine's segments for the whole recording.
fn engine_segments(path: &Path, samples: &[f32]) -> Vec<Transcript> {
    let model = ModelOptions { diarization_model: Some(path.to_owned()), ..tiny_model_options() };
    let options = StreamOptions { fill_batches: true, ..file_options() };
    let events = engine_events_of(&model, samples, options);
    let segments = events.iter().filter_map(|event| match event {
        Event::Segment(segment) => Some(engine_transcript(segment, 0)),
        _ => None,
    });
    segments.collect()
}

#[test]
fn speakers_of_the_file_have_its_names_unless_the_application_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = turns(folder.path());
    let samples = &audio("news.wav");
    let mut rig = rig(&path);
    rig.push_all(samples, 4096);
    rig.finish();
    let expected = engine_segments(&path, samples);
    assert!(expected.iter().any(|t| t.speaker == 0) && expected.iter().any(|t| t.speaker == 1));
    // The recognizer runs on the chunk after a turn, too.
    assert!(expected.iter().all(|t| t.end <= (18 + 3) * SECOND_NS), "{expected:?}");
    let posted = rig.posted("multitalkerasr/transcript");
    assert_eq!(posted.iter().map(transcript).collect::<Vec<_>>(), expected);
    let names = ["Ada", "Bob"];
    for message in &posted {
        let index = message.get::<u32>("speaker-id").expect("a uint") as usize;
        assert_eq!(message.get::<&str>("speaker-name"), Ok(names[index]));
    }
    assert!(rows(&rig).iter().all(|row| names.contains(&row.speaker.as_str())));
    assert_eq!(rig.element.property::<Option<gst::Structure>>("speaker-names"), None);

    rig.element.emit_by_name::<()>("set-speaker-name", &[&1_u32, &"Robert"]);
    let labels: Vec<_> = rows(&rig).into_iter().map(|row| row.speaker).collect();
    assert!(labels.iter().all(|label| ["Ada", "Robert"].contains(&label.as_str())), "{labels:?}");
    rig.element.emit_by_name::<()>("set-speaker-name", &[&1_u32, &""]);
    assert!(rows(&rig).iter().any(|row| row.speaker == "Bob"), "the file's name returns");
}

#[test]
fn times_are_stream_times_across_gaps_and_seeks() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = turns(folder.path());
    let mut rig = rig(&path);
    let samples = &audio("news.wav");
    // The audio begins in the middle of the recording, and then has a gap.
    rig.push_event(gst::event::Segment::new(&segment(50, 5, 0)));
    rig.push(50 * SECOND_NS, &samples[5 * 16_000..8 * 16_000]);
    rig.push(55 * SECOND_NS, &samples[10 * 16_000..]);
    rig.finish();
    let found = rows(&rig);
    // A speaker runs on the whole chunks in which the turn is, and on the next one.
    let (before, after) = (1.12, 2.24);
    for (name, from, to) in [("Ada", 5.0, 21.0), ("Bob", 7.0, 16.0)] {
        let of_name: Vec<_> = found.iter().filter(|row| row.speaker == name).collect();
        assert!(!of_name.is_empty(), "{found:?}");
        assert!(
            of_name.iter().all(|row| row.start_time >= from - before && row.end_time <= to + after),
            "{found:?}"
        );
    }
    assert!(found.iter().any(|row| row.speaker == "Ada" && row.end_time < 9.0), "{found:?}");
    assert!(found.iter().any(|row| row.speaker == "Ada" && row.start_time > 13.0), "{found:?}");
    assert!(found.iter().all(|row| ["Ada", "Bob"].contains(&row.speaker.as_str())), "{found:?}");
}

#[test]
fn live_source_is_one_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = turns(folder.path());
    let mut rig = rig(&path);
    rig.harness.set_live(true);
    rig.push(0, &[0.0; 8000]);
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    let expected = format!(
        "diarization-model: expected a Sortformer, since the source is live, found the RTTM file {}",
        path.display()
    );
    assert_eq!(error.error().message(), expected);
    assert!(error.error().matches(gst::LibraryError::Settings), "{error:?}");
    rig.finish();
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Error]).is_none());
}

#[test]
fn file_with_an_invalid_line_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("talk.rttm");
    std::fs::write(&path, ";; talk\nSPEAKER talk 1 0 -1 <NA> <NA> A\n").expect("written");
    let rig = rig(&path);
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    let expected = format!(
        "cannot load {} as an RTTM file: line 2: expected a duration of 0 to 1000000000 seconds, \
         found \"-1\"",
        path.display()
    );
    assert_eq!(error.error().message(), expected);
}

#[test]
fn true_turns_give_a_pad_for_each_speaker_of_the_demo() {
    init_with_runtime();
    let rttm = property(&data().join("demo/conversation.rttm"));
    let element = demo_element(&[("diarization-model", &*rttm), ("text-unit", "segment")]);
    let sinks = ["speaker_0", "speaker_1"].map(|name| Sink::of_speaker(&element, name));
    let mut rig = Rig::of(element, Some(F32_CAPS));
    rig.push_all(&conversation(), 8000);
    rig.finish();
    for sink in &sinks {
        assert!(sink.until_eos().iter().filter(|entry| entry.is_text()).count() > 4);
    }
    let with_names = rows(&rig);
    assert!(with_names.iter().all(|row| ["0", "1"].contains(&row.speaker.as_str())));
    assert!(rig.element.emit_by_name::<String>("get-rttm", &[]).lines().count() > 10);
}
