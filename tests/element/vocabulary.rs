// SPDX-License-Identifier: MPL-2.0

//! Boosted phrases and filtered words through the element.

use std::io::Write;

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{BoostingOptions, Event, Phrase, SegLstRow, Stream, StreamOptions};
use test_support::tiny_model;

/// Phrases that change the words of the tiny models.
const PHRASES: [&str; 3] = ["station", "the news", "good morning"];

fn list(lines: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.as_bytes()).expect("written");
    file
}

/// Returns the texts of the engine's segments with these phrases.
fn engine_texts(samples: &[f32], phrases: &[&str], strength: f32) -> Vec<String> {
    engine_texts_with(samples, phrases, strength, file_options())
}

fn engine_texts_with(
    samples: &[f32],
    phrases: &[&str],
    strength: f32,
    options: StreamOptions,
) -> Vec<String> {
    let model = tiny_model();
    let phrases: Vec<_> =
        phrases.iter().map(|line| Phrase::parse(line).expect("a phrase")).collect();
    let (boosting, _) = model
        .phrase_boosting(&phrases, BoostingOptions::default(), strength)
        .expect("finite scores");
    let mut stream = Stream::new(model, options).expect("valid options");
    stream.set_phrase_boosting(Some(boosting));
    let mut events = stream.push(samples).expect("inference");
    events.extend(stream.finish().expect("inference"));
    let texts = events.iter().filter_map(|event| match event {
        Event::Segment(segment) => Some(segment.text()),
        _ => None,
    });
    texts.collect()
}

/// Returns the texts of all segments that the element posts.
fn texts(mut rig: Rig, samples: &[f32]) -> Vec<String> {
    rig.push_all(samples, 8000);
    rig.finish();
    rig.transcripts().into_iter().map(|transcript| transcript.text).collect()
}

/// Waits until the worker has taken all audio so far, and so has read the lists.
fn wait_for_worker(rig: &mut Rig) {
    rig.push_event(gst::event::CustomDownstream::new(gst::Structure::new_empty("test")));
    rig.until(|entry| *entry == Entry::Other(gst::EventType::CustomDownstream));
}

fn samples() -> Vec<f32> {
    audio("news.wav")[..20 * 16_000].to_vec()
}

#[test]
fn phrases_of_a_file_are_boosted() {
    let file = list("# names\nstation\nthe news\ngood morning\t2\n");
    let path = file.path().to_str().expect("UTF-8");
    let boosted = texts(Rig::new(&[("phrases", path), ("phrase-boost", "1.5")]), &samples());
    assert_eq!(boosted, engine_texts(&samples(), &["station", "the news", "good morning\t2"], 1.5));
    assert_ne!(boosted, engine_texts(&samples(), &[], 1.0), "the phrases change no words");
}

#[test]
fn strength_0_boosts_nothing() {
    let file = list(&PHRASES.join("\n"));
    let path = file.path().to_str().expect("UTF-8");
    let found = texts(Rig::new(&[("phrases", path), ("phrase-boost", "0")]), &samples());
    assert_eq!(found, engine_texts(&samples(), &[], 1.0));
}

#[test]
fn phrases_of_the_application_are_boosted_from_the_next_audio_on() {
    let rig = Rig::new(&[("phrase-boost", "1.5")]);
    rig.element.set_property("additional-vocabulary", gst::Array::new(["station"]));
    rig.element.emit_by_name::<()>("add-phrase", &[&"the news"]);
    rig.element.emit_by_name::<()>("add-phrase", &[&"good morning\t2"]);
    let phrases: gst::Array = rig.element.property("additional-vocabulary");
    assert_eq!(phrases.len(), 3);
    let expected = engine_texts(&samples(), &["station", "the news", "good morning\t2"], 1.5);
    assert_eq!(texts(rig, &samples()), expected);
}

#[test]
fn list_is_read_again_when_it_is_set_again() {
    let file = list("");
    let path = file.path().to_str().expect("UTF-8").to_owned();
    let mut rig = Rig::new(&[("phrases", &path), ("phrase-boost", "1.5")]);
    rig.push(0, &[0.0; 1600]);
    wait_for_worker(&mut rig);
    std::fs::write(&path, PHRASES.join("\n")).expect("written");
    rig.element.set_property("phrases", &path);
    let samples = samples();
    let rest = samples[1600..].chunks(8000).enumerate();
    for (index, piece) in rest {
        rig.push((1600 + index * 8000) as u64 * SAMPLE_NS, piece);
    }
    rig.finish();
    let found: Vec<_> = rig.transcripts().into_iter().map(|transcript| transcript.text).collect();
    let mut samples = samples;
    samples[..1600].fill(0.0);
    assert_eq!(found, engine_texts(&samples, &PHRASES, 1.5));
}

#[test]
fn list_that_is_missing_at_the_start_is_an_error() {
    let mut rig = Rig::new(&[("phrases", "/missing/guests.txt")]);
    // The error may come before or after the buffer.
    let _ = rig.harness.push(f32_buffer(Some(0), &[0.0; 16_000]));
    let message = wait_for(&rig.bus, gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    assert!(error.error().matches(gst::ResourceError::NotFound), "{error:?}");
    for part in ["/missing/guests.txt", "expected", "phrase on each line"] {
        assert!(error.error().message().contains(part), "{part} is not in: {error:?}");
    }
}

#[test]
fn list_that_is_damaged_later_is_a_warning_and_the_phrases_before_stay() {
    let file = list(&PHRASES.join("\n"));
    let path = file.path().to_str().expect("UTF-8").to_owned();
    let properties = [("phrases", &*path), ("phrase-boost", "1.5")];
    let mut rig = Rig::lockstep(&properties);
    let samples = samples();
    rig.push(0, &samples[..160_000]);
    wait_for_worker(&mut rig);
    std::fs::write(&path, "station\tmany\n").expect("written");
    rig.element.set_property("phrases", &path);
    rig.push(160_000 * SAMPLE_NS, &samples[160_000..]);
    let message = wait_for(&rig.bus, gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
    for part in [&*path, "line 1", "many", "the previous list stays in use"] {
        assert!(warning.error().message().contains(part), "{part} is not in: {warning:?}");
    }
    rig.finish();
    // The wait for the warning has dropped messages, so this reads the transcript log.
    let rows = rig.element.emit_by_name::<String>("get-transcripts", &[]);
    let rows: Vec<SegLstRow> = serde_json::from_str(&rows).expect("SegLST");
    let mut found: Vec<_> = rows.into_iter().map(|row| row.words).collect();
    let mut expected = engine_texts_with(&samples, &PHRASES, 1.5, live_options());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn phrases_that_cannot_be_spelled_are_named() {
    let mut rig = Rig::new(&[]);
    rig.element.set_property("additional-vocabulary", gst::Array::new(["station", "日本", ""]));
    rig.push(0, &[0.0; 16_000]);
    let message = wait_for(&rig.bus, gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
    let text = warning.error().message().to_owned();
    assert!(text.contains(r#"found "", "日本""#), "{text}");
    rig.finish();
}

/// What the element makes of the demo's conversation: the texts of its buffers, and its segments.
fn demo_texts(filter: &str, method: &str) -> (Vec<String>, Vec<Transcript>, Rig) {
    let file = list(filter);
    let path = file.path().to_str().expect("UTF-8");
    let properties = [("vocabulary-filter", path), ("vocabulary-filter-method", method)];
    init_with_runtime();
    let mut rig = Rig::of(demo_element(&properties), Some(F32_CAPS));
    rig.push_all(&conversation(), 8000);
    let entries = rig.finish();
    let texts = buffers(&entries).into_iter().map(|(_, text)| text.to_owned()).collect();
    let transcripts = rig.transcripts();
    (texts, transcripts, rig)
}

/// All words with their times.
fn timed_words(transcripts: &[Transcript]) -> Vec<(String, u64, u64)> {
    transcripts.iter().flat_map(|transcript| transcript.words.clone()).collect()
}

#[test]
fn filtered_words_are_masked_or_removed_in_all_outputs() {
    let (texts, transcripts, _rig) = demo_texts("# none\n", "mask");
    let words = timed_words(&transcripts);
    let is_filtered = |word: &str| ["london", "trains"].contains(&word);
    let count = words.iter().filter(|(word, ..)| is_filtered(word)).count();
    assert!(count > 3, "{words:?}");
    for method in ["mask", "remove"] {
        let (filtered_texts, filtered_transcripts, rig) = demo_texts("London\nTRAINS\n", method);
        let replace = |word: &String| match (is_filtered(word), method) {
            (false, _) => Some(word.clone()),
            (true, "mask") => Some("***".to_owned()),
            (true, _) => None,
        };
        let expected: Vec<_> = texts.iter().filter_map(&replace).collect();
        assert_eq!(filtered_texts, expected, "{method}");
        let expected: Vec<_> = words
            .iter()
            .filter_map(|(word, start, end)| Some((replace(word)?, *start, *end)))
            .collect();
        assert_eq!(timed_words(&filtered_transcripts), expected, "{method}");
        let rows = rig.element.emit_by_name::<String>("get-transcripts", &[]);
        let rows: Vec<SegLstRow> = serde_json::from_str(&rows).expect("SegLST");
        let mut rows: Vec<_> = rows.into_iter().map(|row| row.words).collect();
        let mut segments: Vec<_> =
            filtered_transcripts.into_iter().map(|transcript| transcript.text).collect();
        rows.sort();
        segments.sort();
        assert_eq!(rows, segments, "{method}");
    }
}

#[test]
fn tagged_words_stay_and_are_marked() {
    let file = list("london");
    let path = file.path().to_str().expect("UTF-8");
    init_with_runtime();
    let properties = [("vocabulary-filter", path), ("vocabulary-filter-method", "tag")];
    let mut rig = Rig::of(demo_element(&properties), Some(F32_CAPS));
    rig.push_all(&conversation(), 8000);
    rig.finish();
    let mut marked = 0;
    for message in rig.posted("multitalkerasr/transcript") {
        let words: gst::Array = message.get("words").expect("an array");
        for word in words.iter() {
            let word: gst::Structure = word.get().expect("a structure");
            let is_marked = word.get_optional::<bool>("filtered").expect("a boolean");
            let text: String = word.get("word").expect("a string");
            assert_eq!(is_marked, (text == "london").then_some(true), "{text}");
            marked += usize::from(is_marked.is_some());
        }
    }
    assert!(marked > 1, "{marked}");
}
