// SPDX-License-Identifier: MPL-2.0

//! Diarization without recognition.

use std::path::Path;
use std::process::Command;

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{Activity, Event, ModelOptions, StreamOptions, Turn};
use test_support::{data, repository};

/// Makes an element that needs no `model-dir`.
fn diarizer(properties: &[(&str, &str)]) -> gst::Element {
    let element = element(properties);
    element.set_property("model-dir", None::<String>);
    element.set_property("recognize", false);
    element
}

fn engine_turns(samples: &[f32], options: StreamOptions) -> Vec<Event> {
    let model = ModelOptions {
        diarization_model: Some(sortformer().into()),
        recognize: false,
        ..ModelOptions::default()
    };
    engine_events_of(&model, samples, options)
}

/// Start in samples, and the active speakers.
fn activities(events: &[Event]) -> Vec<(u64, Vec<u32>)> {
    let activities = events.iter().filter_map(|event| match event {
        Event::Activity(Activity { start_sample, speakers }) => {
            Some((*start_sample, speakers.iter().map(|&speaker| speaker as u32).collect()))
        }
        _ => None,
    });
    activities.collect()
}

/// Returns the RTTM of the turns, with the speakers numbered from `first`, in audio that begins at
/// `base_s`.
fn rttm(events: &[Event], session: &str, first: usize, base_s: f64) -> String {
    let turns = events.iter().filter_map(|event| match event {
        Event::Turn(turn) => Some(*turn),
        _ => None,
    });
    let mut turns: Vec<Turn> = turns.collect();
    turns.sort_by_key(|turn| turn.start_sample);
    let lines = turns.iter().map(|turn| {
        let [start, end] = [turn.start_sample, turn.end_sample].map(|sample| {
            let milliseconds = sample / 16;
            base_s + milliseconds as f64 / 1000.0
        });
        let (duration, speaker) = (end - start, first + turn.speaker);
        format!("SPEAKER {session} 1 {start:.3} {duration:.3} <NA> <NA> {speaker} <NA> <NA>\n")
    });
    lines.collect()
}

/// Reads `multitalkerasr/speakers` messages: start in samples, and the active speakers.
fn posted_activities(messages: &[gst::Structure]) -> Vec<(u64, Vec<u32>)> {
    let activities = messages.iter().map(|message| {
        let ids: gst::Array = message.get("speaker-ids").expect("an array");
        let names: gst::Array = message.get("speaker-names").expect("an array");
        let ids: Vec<u32> = ids.iter().map(|id| id.get().expect("a uint")).collect();
        let names: Vec<String> = names.iter().map(|name| name.get().expect("a string")).collect();
        assert_eq!(names, ids.iter().map(u32::to_string).collect::<Vec<_>>());
        let start: gst::ClockTime = message.get("start-time").expect("a time");
        (start.nseconds() / SAMPLE_NS, ids)
    });
    activities.collect()
}

#[test]
fn speakers_and_their_turns_are_posted_without_words() {
    init_with_runtime();
    let samples = &audio("news.wav");
    for (live, options) in [(false, file_options()), (true, live_options())] {
        let mut rig = Rig::of(diarizer(&[("session-id", "the news")]), Some(F32_CAPS));
        rig.harness.set_live(live);
        let mut entries = Vec::new();
        for (index, piece) in samples.chunks(16_000).enumerate() {
            rig.push(index as u64 * SECOND_NS, piece);
            // Audio of a live source is dropped if it arrives too fast.
            let event = gst::Structure::new_empty("test");
            rig.push_event(gst::event::CustomDownstream::new(event));
            let is_event = |entry: &Entry| *entry == Entry::Other(gst::EventType::CustomDownstream);
            entries.extend(rig.until(is_event));
        }
        entries.extend(rig.finish());
        let events = engine_turns(samples, options);
        let posted: Vec<_> = rig.bus.iter().collect();
        let named = |name| structures(posted.iter().cloned(), name);
        let speakers = named("multitalkerasr/speakers");
        let expected = activities(&events);
        assert!(expected.len() > 10, "{expected:?}");
        assert_eq!(posted_activities(&speakers), expected);
        let running_time = speakers[0].get::<gst::ClockTime>("running-time");
        assert_eq!(running_time, speakers[0].get("start-time"));
        assert_eq!(speakers[0].get("session-id"), Ok("the news"));

        let log = named("multitalkerasr/rttm");
        let [log] = &log[..] else { panic!("{log:?}") };
        let found: String = log.get("rttm").expect("a string");
        assert_eq!(found, rttm(&events, "the_news", 0, 0.0));
        assert_eq!(rig.element.emit_by_name::<String>("get-rttm", &[]), found);
        assert_eq!(rig.element.emit_by_name::<String>("get-transcripts", &[]), "[]");
        for name in ["multitalkerasr/transcript", "multitalkerasr/transcripts"] {
            assert!(named(name).is_empty(), "{name}");
        }
        assert!(!posted.iter().any(|message| message.type_() == gst::MessageType::Error));
        assert!(!entries.iter().any(Entry::is_text));
        assert_eq!(assert_continuous(&entries, 0), samples.len() as u64 * SAMPLE_NS);
    }
}

#[test]
fn numbers_go_on_after_a_discontinuity() {
    init_with_runtime();
    let samples = &audio("news.wav")[..16 * 16_000];
    let events = engine_turns(samples, file_options());
    let speakers = 1 + events
        .iter()
        .map(|event| match event {
            Event::Turn(turn) => turn.speaker,
            _ => 0,
        })
        .max()
        .expect("turns");
    let mut rig = Rig::of(diarizer(&[]), Some(F32_CAPS));
    rig.push_event(gst::event::Segment::new(&segment(100, 7, 3)));
    rig.push(100 * SECOND_NS, samples);
    rig.push(200 * SECOND_NS, samples);
    rig.finish();
    let activities = posted_activities(&rig.posted("multitalkerasr/speakers"));
    let (before, after) = activities.split_at(activities.len() / 2);
    let shifted = |list: &[(u64, Vec<u32>)], by_s: u64| -> Vec<_> {
        list.iter().map(|(start, speakers)| (start - by_s * 16_000, speakers.clone())).collect()
    };
    assert_eq!(shifted(before, 7), shifted(after, 107), "ids restart");
    let lines = rttm(&events, "recording", 0, 7.0) + &rttm(&events, "recording", speakers, 107.0);
    assert_eq!(rig.element.emit_by_name::<String>("get-rttm", &[]), lines);
}

#[test]
fn latency_is_that_of_the_diarizer() {
    init();
    for (preset, frames) in [("lockstep", 14), ("1s", 13), ("30s", 380)] {
        let element = diarizer(&[("diarization-preset", preset)]);
        let src = element.static_pad("src").expect("a pad");
        let expected = gst::ClockTime::from_mseconds(frames * 80 + 3 + 500);
        assert_eq!(latency_of(&src), (true, expected, None), "{preset}");
    }
}

#[test]
fn without_a_diarizer_there_is_one_error() {
    init();
    let element = diarizer(&[("diarization-model", "")]);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_state(gst::State::Paused).expect("starts");
    let message = wait_for(&bus, gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    let text = error.error().message().to_owned();
    assert!(text.starts_with("diarization model: expected a Sortformer or RTTM file"), "{text}");
    element.set_state(gst::State::Null).expect("stops");
}

/// Runs a Python program with the packages of the tests.
fn python(program: &str, argument: &Path) -> String {
    let mut command = Command::new(repository().join(".venv/bin/python"));
    let output = command.args(["-c", program]).arg(argument).output().expect("make setup-python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn rttm_is_read_by_other_programs() {
    init_with_runtime();
    let mut rig = Rig::of(diarizer(&[]), Some(F32_CAPS));
    rig.push_all(&audio("news.wav"), 4096);
    rig.finish();
    let rttm = rig.element.emit_by_name::<String>("get-rttm", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns.rttm");
    std::fs::write(&path, &rttm).expect("written");
    let expected: Vec<String> = rttm
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [start, duration] =
                [fields[3], fields[4]].map(|f| f.parse::<f64>().expect("a time"));
            format!("{start:.3} {:.3} {}\n", start + duration, fields[7])
        })
        .collect();
    assert!(expected.len() > 10);
    for program in [
        "import sys; from pyannote.database.util import load_rttm\n\
         for s, _, name in load_rttm(sys.argv[1])['recording'].itertracks(yield_label=True):\n \
         print(f'{s.start:.3f} {s.end:.3f} {name}')",
        "import sys, meeteval\n\
         for line in meeteval.io.RTTM.load(sys.argv[1]).lines:\n \
         print(f'{line.begin_time:.3f} {line.begin_time + line.duration:.3f} {line.speaker_id}')",
    ] {
        let found = python(program, &path);
        let mut found: Vec<String> = found.lines().map(|line| format!("{line}\n")).collect();
        let mut expected = expected.clone();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{program}");
    }
}

#[test]
fn demo_conversation_is_diarized_as_it_was_mixed() {
    init_with_runtime();
    let element = demo_element(&[]);
    element.set_property("recognize", false);
    let mut rig = Rig::of(element, Some(F32_CAPS));
    rig.push_all(&conversation(), 8000);
    rig.finish();
    let rttm = rig.element.emit_by_name::<String>("get-rttm", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("turns.rttm");
    std::fs::write(&path, rttm.replace("SPEAKER recording", "SPEAKER conversation"))
        .expect("written");
    let program = format!(
        "import sys; from pyannote.database.util import load_rttm\n\
         from pyannote.metrics.diarization import DiarizationErrorRate\n\
         load = lambda path: load_rttm(path)['conversation']\n\
         print(DiarizationErrorRate(collar=0.5)(load({:?}), load(sys.argv[1])))",
        data().join("demo/conversation.rttm").display().to_string()
    );
    let error_rate: f64 = python(&program, &path).trim().parse().expect("a number");
    assert!(error_rate < 0.05, "{error_rate}");
}
