// SPDX-License-Identifier: MPL-2.0

//! People who are recognized by their voices.

use std::collections::BTreeSet;
use std::path::Path;

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::SegLstRow;
use test_support::data;

/// First and last second of turns of the demo's two people in which they speak alone.
const TURNS: [[(f64, f64); 3]; 2] =
    [[(12.9, 15.5), (19.3, 21.8), (27.3, 29.8)], [(9.9, 12.5), (16.5, 19.0), (31.1, 33.2)]];

fn voices() -> String {
    data().join("speaker-embedding/resemblyzer.onnx").display().to_string()
}

/// Starts an element that identifies the people of the demo's conversation.
fn rig(properties: &[(&str, &str)]) -> Rig {
    init_with_runtime();
    let voices = voices();
    let properties = [&[("speaker-embedding-model", voices.as_str())], properties].concat();
    Rig::of(demo_element(&properties), Some(F32_CAPS))
}

/// Returns the samples of a person's turns.
fn turns(person: usize) -> Vec<f32> {
    let samples = conversation();
    let at = |second: f64| (second * 16_000.0) as usize;
    TURNS[person].iter().flat_map(|&(start, end)| samples[at(start)..at(end)].to_vec()).collect()
}

fn write_wav(path: &Path, samples: &[f32]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(path, spec).expect("a file");
    for sample in samples {
        wav.write_sample((sample * 32_767.0) as i16).expect("written");
    }
    wav.finalize().expect("written");
}

/// Finishes the audio, and returns the messages. None is an error.
fn finish(rig: &mut Rig) -> Vec<gst::Message> {
    rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    assert!(!messages.iter().any(|it| it.type_() == gst::MessageType::Error), "{messages:?}");
    messages
}

fn named(messages: &[gst::Message], name: &str) -> Vec<gst::Structure> {
    structures(messages.iter().cloned(), name)
}

fn rows(rig: &Rig) -> Vec<SegLstRow> {
    let rows = rig.element.emit_by_name::<String>("get-transcripts", &[]);
    serde_json::from_str(&rows).expect("SegLST")
}

/// Returns the identities of the rows that begin in this range of seconds.
fn identities(rows: &[SegLstRow], start_s: f64, end_s: f64) -> BTreeSet<Option<u64>> {
    let rows = rows.iter().filter(|row| (start_s..end_s).contains(&row.start_time));
    rows.map(|row| row.identity).collect()
}

#[test]
fn each_voice_is_one_person_in_all_outputs() {
    let mut rig = rig(&[]);
    rig.push_all(&conversation(), 8000);
    let messages = finish(&mut rig);
    let statements = named(&messages, "multitalkerasr/speaker");
    let people: BTreeSet<u64> =
        statements.iter().map(|it| it.get("identity").expect("a number")).collect();
    assert_eq!(people, BTreeSet::from([1, 2]), "{statements:?}");
    for statement in &statements {
        let score: f64 = statement.get("score").expect("a number");
        assert!((-1.0..=1.0).contains(&score));
        assert!(statement.has_field("start-time") && statement.has_field("running-time"));
        assert_eq!(statement.get::<Option<&str>>("name").ok().flatten(), None);
    }
    let rows = rows(&rig);
    let speakers: BTreeSet<_> = rows.iter().map(|row| (&row.speaker, row.identity)).collect();
    assert_eq!(speakers.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row.identity.is_some()), "also before it was known: {rows:?}");
    let transcripts = named(&messages, "multitalkerasr/transcript");
    let identified = transcripts.iter().filter(|it| it.get::<u64>("identity").is_ok()).count();
    assert!(identified > transcripts.len() / 2, "{transcripts:?}");
}

#[test]
fn enrolled_voice_has_its_name_and_a_stranger_has_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let ada = folder.path().join("Ada <b>");
    std::fs::create_dir(&ada).expect("a folder");
    write_wav(&ada.join("some speech.wav"), &turns(0));
    std::fs::write(folder.path().join("Broken.wav"), "no audio").expect("written");
    write_wav(&folder.path().join("Short.wav"), &turns(1)[..16_000]);
    let speakers_dir = folder.path().display().to_string();
    for run in ["computed", "from the cache"] {
        let mut rig = rig(&[("speakers-dir", &speakers_dir)]);
        rig.push_all(&conversation(), 8000);
        let messages = finish(&mut rig);
        let rows = rows(&rig);
        let row_at = |second: f64| {
            let row = rows.iter().find(|row| (row.start_time - second).abs() < 0.5);
            row.unwrap_or_else(|| panic!("{rows:?}"))
        };
        assert_eq!(row_at(19.3).speaker, "Ada <b>", "{run}");
        assert_ne!(row_at(16.5).speaker, "Ada <b>", "{run}");
        let names = named(&messages, "multitalkerasr/speaker");
        assert!(names.iter().any(|it| it.get::<&str>("name") == Ok("Ada <b>")), "{names:?}");
        let warnings = warnings(&messages);
        let texts: Vec<_> = warnings.iter().map(|it| it.error().message().to_owned()).collect();
        let is_named = |name: &str| texts.iter().any(|text| text.contains(name));
        assert!(is_named("Broken.wav") && is_named("Short.wav"), "{texts:?}");
    }
    let cache = folder.path().join(".multitalkerasr-voices.json");
    assert_eq!(mode(&cache), 0o600);
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("written").permissions().mode() & 0o777
}

#[test]
fn people_are_known_again_in_another_slot_and_on_another_day() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("people.json");
    let path = store.display().to_string();
    let samples = conversation();
    let mut first = rig(&[("speakers-store", &path)]);
    first.push_all(&samples, 8000);
    let statements = named(&finish(&mut first), "multitalkerasr/speaker");
    first.element.emit_by_name::<()>("set-speaker-name", &[&0_u32, &"Ada"]);
    let first_rows = rows(&first);
    let ada = first_rows.iter().find(|row| row.speaker == "Ada").and_then(|row| row.identity);
    assert!(ada.is_some(), "{first_rows:?} {statements:?}");
    drop(first);
    assert_eq!(mode(&store), 0o600);

    // The other person speaks first, so the slots are the other way round.
    let mut second = rig(&[("speakers-store", &path)]);
    let start = (4.2 * 16_000.0) as usize;
    second.push_all(&samples[start..], 8000);
    second.finish();
    let second_rows = rows(&second);
    let of = |rows: &[SegLstRow], second: f64| {
        let row = rows.iter().find(|row| (row.start_time - second).abs() < 0.5);
        let person = row.map(|row| (row.identity, row.speaker == "Ada"));
        person.unwrap_or_else(|| panic!("{rows:?}"))
    };
    for time in [12.84, 16.46, 19.3, 22.94] {
        assert_eq!(of(&first_rows, time), of(&second_rows, time - 4.2), "{second_rows:?}");
    }
}

#[test]
fn person_keeps_the_identity_across_a_discontinuity() {
    let mut rig = rig(&[("diarization-preset", "lockstep")]);
    let samples = conversation();
    let half = 25 * 16_000;
    rig.push(0, &samples[..half]);
    let gap_ns = 100 * SECOND_NS;
    rig.push(25 * SECOND_NS + gap_ns, &samples[half..]);
    rig.finish();
    let rows = rows(&rig);
    let before = identities(&rows, 19.0, 20.0);
    let after = identities(&rows, 127.0, 128.5);
    assert_eq!((before.len(), &before), (1, &after), "{rows:?}");
    assert!(!before.contains(&None));
}

#[test]
fn what_identification_needs_is_named() {
    let store = tempfile::NamedTempFile::new().expect("a file");
    let other = r#"{"version":1,"model":"another","speakers":[]}"#;
    std::fs::write(store.path(), other).expect("written");
    let store = store.path().display().to_string();
    let voices = voices();
    let cases = [
        (vec![("speaker-embedding-model", "/none.onnx")], "/none.onnx was not found"),
        (
            vec![("speaker-embedding-model", voices.as_str()), ("diarization-model", "")],
            "speaker-embedding-model: expected a diarization-model",
        ),
        (
            vec![("speaker-embedding-model", &voices), ("speakers-dir", "/none")],
            "/none was not found",
        ),
        (
            vec![("speaker-embedding-model", &voices), ("speakers-store", &store)],
            "model of the voice prints: expected",
        ),
    ];
    for (properties, expected) in cases {
        init_with_runtime();
        let rig = Rig::of(demo_element(&properties), Some(F32_CAPS));
        let message = wait_for(&rig.bus, gst::MessageType::Error);
        let gst::MessageView::Error(error) = message.view() else { panic!("{message:?}") };
        let text = error.error().message().to_owned();
        assert!(text.contains(expected), "{text}");
    }
}
