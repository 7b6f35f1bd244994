// SPDX-License-Identifier: MPL-2.0

//! Ten people who come and go keep their identities, although the diarizer distinguishes four.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use element_rig::{F32_CAPS, Rig, SAMPLE_NS, SECOND_NS, demo_element, init_with_runtime};
use gst::prelude::*;
use multitalker_asr::SegLstRow;
use multitalker_asr::lock::lock;
use serde::Deserialize;
use test_support::data;

const RATE_HZ: usize = 16_000;

/// The beginning of the hour that is transcribed, with two reconnects.
const SAMPLES: usize = 16 * 60 * RATE_HZ;

/// Time that is missing at a reconnect.
const GAP_S: u64 = 30;

#[derive(Deserialize)]
struct Plan {
    noise_dbfs: f32,
    reconnects: Vec<usize>,
    levels_db: BTreeMap<String, f32>,
    turns: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    person: String,
    utterance: usize,
    start_sample: usize,
}

#[derive(Deserialize)]
struct Voices {
    people: BTreeMap<String, Voice>,
}

#[derive(Deserialize)]
struct Voice {
    file: String,
    utterances: Vec<Utterance>,
}

#[derive(Deserialize)]
struct Utterance {
    start_sample: usize,
    end_sample: usize,
}

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let text = std::fs::read(data().join("voices").join(name)).expect("a file");
    serde_json::from_slice(&text).expect("JSON")
}

/// Decodes a file of the voices.
fn decode(file: &str) -> Vec<f32> {
    let pipeline = gst::parse::launch(
        "filesrc name=file ! decodebin ! audioconvert ! audioresample ! \
         audio/x-raw,format=F32LE,rate=16000,channels=1 ! fakesink name=sink sync=false",
    );
    let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    let element = |name| pipeline.by_name(name).expect("named above");
    element("file").set_property("location", data().join("voices").join(file));
    let samples = Arc::new(Mutex::new(Vec::new()));
    let sink = samples.clone();
    let pad = element("sink").static_pad("sink").expect("a pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let map = info.buffer().expect("a buffer").map_readable().expect("readable");
        let values = map.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        lock(&sink).extend(values);
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).expect("plays");
    element_rig::wait_for(&pipeline.bus().expect("a bus"), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).expect("stops");
    std::mem::take(&mut *lock(&samples))
}

/// A turn of a person, in samples.
struct Spoken {
    person: String,
    start: usize,
    end: usize,
}

/// Mixes the beginning of an hour.
fn mix(plan: &Plan) -> (Vec<f32>, Vec<Spoken>) {
    let voices: Voices = read("voices.json");
    let mut random = fastrand::Rng::with_seed(1);
    let noise = 10_f32.powf(plan.noise_dbfs / 20.0) * 3_f32.sqrt();
    let mut mixed: Vec<f32> = (0..SAMPLES).map(|_| (random.f32() * 2.0 - 1.0) * noise).collect();
    let mut spoken = Vec::new();
    let mut recordings = BTreeMap::new();
    for turn in plan.turns.iter().filter(|turn| turn.start_sample < SAMPLES) {
        let voice = &voices.people[&turn.person];
        let recording = recordings.entry(&turn.person).or_insert_with(|| decode(&voice.file));
        let utterance = &voice.utterances[turn.utterance];
        let samples = &recording[utterance.start_sample..utterance.end_sample.min(recording.len())];
        let gain = 10_f32.powf(plan.levels_db[&turn.person] / 20.0);
        for (sample, added) in mixed[turn.start_sample..].iter_mut().zip(samples) {
            *sample += added * gain;
        }
        let (start, end) = (turn.start_sample, turn.start_sample + samples.len());
        spoken.push(Spoken { person: turn.person.clone(), start, end });
    }
    (mixed, spoken)
}

/// Returns who speaks longest during a row, whose times are those of the mix.
fn true_person(spoken: &[Spoken], start: usize, end: usize) -> Option<&str> {
    let mut lengths: BTreeMap<&str, usize> = BTreeMap::new();
    for turn in spoken {
        let overlap = turn.end.min(end).saturating_sub(turn.start.max(start));
        *lengths.entry(&turn.person).or_default() += overlap;
    }
    lengths.into_iter().filter(|(_, length)| *length > 0).max_by_key(|(_, l)| *l).map(|(p, _)| p)
}

#[test]
fn people_keep_their_identities() {
    init_with_runtime();
    let plan: Plan = read("hour-10.json");
    let (samples, spoken) = mix(&plan);
    let voices = data().join("speaker-embedding/resemblyzer.onnx").display().to_string();
    let properties =
        [("speaker-embedding-model", voices.as_str()), ("diarization-preset", "lockstep")];
    let mut rig = Rig::of(demo_element(&properties), Some(F32_CAPS));
    let reconnects: Vec<_> = plan.reconnects.into_iter().filter(|at| *at < SAMPLES).collect();
    assert!(!reconnects.is_empty());
    let gaps_before = |sample| reconnects.iter().filter(|at| **at <= sample).count() as u64;
    let mut start = 0;
    for end in reconnects.iter().copied().chain([SAMPLES]) {
        for piece in samples[start..end].chunks(8000) {
            let pts = start as u64 * SAMPLE_NS + gaps_before(start) * GAP_S * SECOND_NS;
            rig.push(pts, piece);
            start += piece.len();
        }
    }
    rig.finish();
    let rows = rig.element.emit_by_name::<String>("get-transcripts", &[]);
    let rows: Vec<SegLstRow> = serde_json::from_str(&rows).expect("SegLST");

    // Words by identity and person.
    let mut words: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    let mut all_words = 0;
    for row in &rows {
        let count = row.words.split_whitespace().count();
        all_words += count;
        let mix_time = |time_s: f64| {
            let gaps = (0..reconnects.len()).rev().find(|index| {
                let after = reconnects[*index] as f64 / 16e3 + (*index as u64 * GAP_S) as f64;
                time_s > after
            });
            let gaps = gaps.map_or(0, |index| index as u64 + 1);
            ((time_s - (gaps * GAP_S) as f64) * 16e3) as usize
        };
        let person = true_person(&spoken, mix_time(row.start_time), mix_time(row.end_time));
        if let (Some(identity), Some(person)) = (row.identity, person) {
            *words.entry((identity, person)).or_default() += count;
        }
    }
    // Each identity is at most one person, and the other way round.
    let mut pairs: Vec<_> = words.iter().map(|(pair, count)| (*count, *pair)).collect();
    pairs.sort();
    let (mut identities, mut people) = (BTreeSet::new(), BTreeSet::new());
    let mut right_words = 0;
    for (count, (identity, person)) in pairs.into_iter().rev() {
        if !identities.contains(&identity) && !people.contains(person) {
            identities.insert(identity);
            people.insert(person);
            right_words += count;
        }
    }
    let share = right_words as f64 / all_words as f64;
    let present: BTreeSet<_> = spoken.iter().map(|turn| turn.person.as_str()).collect();
    assert!(present.len() > 5, "{present:?}");
    let found: BTreeSet<_> = words.keys().map(|(identity, _)| identity).collect();
    assert!(share >= 0.85, "{share}: {words:?}");
    assert!(found.len() <= present.len() + 2, "{words:?}");
}
