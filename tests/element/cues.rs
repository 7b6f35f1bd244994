// SPDX-License-Identifier: MPL-2.0

//! Caption cues: their rules, formats, pads, and latency.

use std::collections::{BTreeMap, BTreeSet};

use element_rig::*;
use gst::prelude::*;
use serde_json::Value;

const CUES: (&str, &str) = ("text-unit", "cue");

/// A cue, as JSON describes it. Times are those of the buffer, in ns.
#[derive(Debug)]
struct Cue {
    start: u64,
    end: u64,
    json: Value,
}

impl Cue {
    fn lines(&self) -> Vec<&str> {
        let lines = self.json["lines"].as_array().expect("an array");
        lines.iter().map(|line| line.as_str().expect("text")).collect()
    }

    fn speakers(&self) -> Vec<u64> {
        let speakers = self.json["line_speakers"].as_array().expect("an array");
        speakers.iter().map(|speaker| speaker.as_u64().expect("a number")).collect()
    }
}

/// Returns the cues of a pad that sends JSON.
#[track_caller]
fn cues(entries: &[Entry]) -> Vec<Cue> {
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Buffer { pts, duration, text } => Some(Cue {
                start: *pts,
                end: pts + duration,
                json: serde_json::from_str(text).expect("JSON"),
            }),
            _ => None,
        })
        .collect()
}

/// Returns what `src` and the pad of the first speaker push.
#[track_caller]
fn run(samples: &[f32], caps: &str, properties: &[(&str, &str)]) -> [Vec<Entry>; 2] {
    init_with_runtime();
    let properties = [&[("diarization-preset", "lockstep"), CUES], properties].concat();
    let mut rig = Rig::without_sink(element(&properties));
    let speaker = rig.element.request_pad_simple("speaker_0").expect("a pad");
    let sinks = [rig.srcpad(), speaker].map(|pad| Sink::on(pad, caps, Ok(gst::FlowSuccess::Ok)));
    rig.push(0, samples);
    rig.push_event(gst::event::Eos::new());
    sinks.map(|sink| sink.until_eos())
}

/// Returns the words of each speaker in the cues, in the order of their starts.
fn words(cues: &[Cue]) -> BTreeMap<u64, Vec<String>> {
    let mut words: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for cue in cues {
        for (line, speaker) in cue.lines().iter().zip(cue.speakers()) {
            let line = line.trim_start_matches("- ");
            words.entry(speaker).or_default().extend(line.split(' ').map(str::to_owned));
        }
    }
    words
}

/// Returns the words of each speaker in the segments of the engine.
fn expected_words(samples: &[f32]) -> BTreeMap<u64, Vec<String>> {
    let mut words: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for segment in engine_transcripts(samples, live_options(), 0) {
        let own = words.entry(segment.speaker as u64).or_default();
        own.extend(segment.text.split(' ').map(str::to_owned));
    }
    words
}

#[test]
fn cues_have_all_words_in_short_lines() {
    let samples = audio("news.wav");
    let expected = expected_words(&samples);
    for simultaneous in ["stack", "merge"] {
        let properties = [("max-columns", "24"), ("simultaneous", simultaneous)];
        let [all, own] = run(&samples, "application/x-json", &properties);
        assert_continuous(&all, 0);
        assert_continuous(&own, 0);
        let (all, own) = (cues(&all), cues(&own));
        assert!(all.len() > 3, "{all:?}");
        // Words longer than a line are split.
        let join = |words: BTreeMap<u64, Vec<String>>| -> BTreeMap<_, _> {
            words.into_iter().map(|(speaker, words)| (speaker, words.concat())).collect()
        };
        assert_eq!(join(words(&all)), join(expected.clone()));
        assert_eq!(join(words(&own)).get(&0), join(expected.clone()).get(&0));
        for cue in all.iter().chain(&own) {
            assert_eq!(cue.json["kind"], "cue");
            // More people than lines of a cue take more of the screen.
            let speakers = cue.speakers().into_iter().collect::<BTreeSet<_>>().len();
            assert!((1..=speakers.max(2)).contains(&cue.lines().len()), "{cue:?}");
            assert!(cue.lines().iter().all(|line| line.chars().count() <= 24), "{cue:?}");
            assert_eq!(cue.json["start"], cue.start as f64 / 1e9);
            assert_eq!(cue.json["end"], cue.end as f64 / 1e9);
        }
        for pair in all.windows(2) {
            assert!(simultaneous == "stack" || pair[0].end <= pair[1].start, "{pair:?}");
        }
        assert!(own.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}

#[test]
fn formats_agree() {
    let samples = audio("news.wav");
    let properties = [("speaker-colors", "red,#123456"), ("simultaneous", "merge")];
    let [json, _] = run(&samples, "application/x-json", &properties);
    let [text, _] = run(&samples, "text/x-raw,format=utf8", &properties);
    let [markup, _] = run(&samples, "text/x-raw,format=pango-markup", &properties);
    let (text, markup) = (buffers(&text), buffers(&markup));
    let json = cues(&json);
    assert_eq!((json.len(), json.len()), (text.len(), markup.len()));
    for ((cue, (pts, text)), (_, markup)) in json.iter().zip(text).zip(markup) {
        assert_eq!((cue.start, cue.lines().join("\n")), (pts, text.to_owned()));
        let colors = ["red", "#123456"];
        let lines = cue.lines().into_iter().zip(cue.speakers()).map(|(line, speaker)| {
            let (color, line) = (colors[speaker as usize % 2], gst::glib::markup_escape_text(line));
            format!(r#"<span foreground="{color}">{line}</span>"#)
        });
        assert_eq!(markup, lines.collect::<Vec<_>>().join("\n"));
        assert_eq!(
            cue.json["color"],
            colors[cue.json["speaker"].as_u64().expect("a number") as usize % 2]
        );
    }
}

#[test]
fn buffers_carry_the_lines() {
    let mut rig = Rig::lockstep(&[CUES]);
    let metas = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let found = metas.clone();
    rig.srcpad().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().expect("a buffer");
        let text = buffer.map_readable().expect("readable");
        let text = std::str::from_utf8(&text).expect("UTF-8").to_owned();
        let meta = gst::meta::CustomMeta::from_buffer(buffer, "MultitalkerItemMeta");
        found
            .lock()
            .expect("no panic")
            .push((text, meta.expect("the meta").structure().to_owned()));
        gst::PadProbeReturn::Ok
    });
    rig.push_all(&audio("news.wav"), 4096);
    rig.finish();
    let metas = metas.lock().expect("no panic");
    assert!(!metas.is_empty());
    for (text, meta) in metas.iter() {
        let lines = meta.get::<gst::Array>("lines").expect("an array");
        let lines: Vec<_> = lines.iter().map(|line| line.get::<String>().expect("text")).collect();
        assert_eq!(lines.join("\n"), *text);
        let speakers = meta.get::<gst::Array>("line-speakers").expect("an array");
        assert_eq!(speakers.len(), lines.len());
        assert!(meta.get::<u32>("row").expect("a row") < 4);
    }
}

#[test]
fn latency_includes_the_longest_cue() {
    let latency = |properties: &[(&str, &str)]| {
        let mut rig = Rig::lockstep(properties);
        rig.harness.set_live(true);
        let (_, min, _) = latency_of(&rig.srcpad());
        min.mseconds()
    };
    let of_words = latency(&[]);
    assert_eq!(latency(&[CUES]), of_words + 7000 + 80 + 250);
    let short = [CUES, ("max-cue-duration", "3000"), ("start-lead", "0"), ("min-cue-gap", "100")];
    assert_eq!(latency(&short), of_words + 3000 + 100);
}

#[test]
fn contradicting_rules_are_one_clear_error() {
    init_with_runtime();
    let element = element(&[CUES, ("max-lines", "3"), ("max-screen-lines", "2")]);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert_eq!(element.set_state(gst::State::Paused), Err(gst::StateChangeError));
    let message = bus.pop_filtered(&[gst::MessageType::Error]).expect("an error");
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    let text = error.error().message().to_owned();
    assert_eq!(text, "max-screen-lines: expected 3 to 16, found 2");
    // Words do not need them.
    element.set_property_from_str("text-unit", "word");
    element.set_state(gst::State::Paused).expect("starts");
    element.set_state(gst::State::Null).expect("stops");
}
