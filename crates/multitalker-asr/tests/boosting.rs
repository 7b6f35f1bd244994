// SPDX-License-Identifier: MPL-2.0

//! Compares phrase boosting with NeMo's greedy decoding with a boosting tree.

use std::collections::BTreeMap;

use multitalker_asr::{
    BoostingOptions, OperatingPoint, Phrase, PhraseBoosting, Stream, StreamOptions, Token,
};
use serde::Deserialize;
use test_support::{data, read_wav, tiny_model};

#[derive(Deserialize)]
struct Golden {
    decoding: Decoding,
}

#[derive(Deserialize)]
struct Decoding {
    /// Name of the expected file with the same recording and settings.
    expected: String,
    phrases: Vec<String>,
    context_score: f64,
    depth_scaling: f64,
    unk_score: f64,
    results: Vec<Boosted>,
}

#[derive(Deserialize)]
struct Boosted {
    strength: f32,
    speakers: BTreeMap<usize, Tokens>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Tokens {
    tokens: Vec<usize>,
    frames: Vec<u64>,
}

impl Tokens {
    fn of(tokens: &[Token]) -> Self {
        Self {
            tokens: tokens.iter().map(|token| token.id).collect(),
            frames: tokens.iter().map(|token| token.frame).collect(),
        }
    }
}

/// Content of the expected file besides the operating point.
#[derive(Deserialize)]
struct Expected {
    audio: String,
    speakers: BTreeMap<String, BTreeMap<usize, Tokens>>,
}

fn golden() -> Decoding {
    let text = std::fs::read_to_string(data().join("boosting.json")).expect("the results");
    let golden: Golden = serde_json::from_str(&text).expect("the output of boosting.py");
    golden.decoding
}

fn expected(golden: &Decoding) -> Expected {
    let path = data().join("expected").join(&golden.expected);
    serde_json::from_str(&std::fs::read_to_string(path).expect("readable")).expect("results")
}

fn stream() -> Stream {
    let options = StreamOptions {
        diarization: OperatingPoint {
            chunk_frames: 14,
            right_context_frames: 0,
            fifo_frames: 188,
            update_period_frames: 144,
            speaker_cache_frames: 188,
        },
        ..Default::default()
    };
    let mut stream = Stream::new(tiny_model(), options).expect("options that fit");
    stream.enable_trace();
    stream
}

/// Returns the tokens of each speaker.
fn run(mut stream: Stream, samples: &[f32]) -> BTreeMap<usize, Tokens> {
    stream.push(samples).expect("inference runs");
    stream.finish().expect("inference runs");
    let speakers = &stream.trace().expect("enabled").speakers;
    speakers.iter().map(|speaker| Tokens::of(&speaker.tokens)).enumerate().collect()
}

fn boosting(golden: &Decoding, strength: f32) -> PhraseBoosting {
    let phrases: Vec<_> =
        golden.phrases.iter().map(|text| Phrase { text: text.clone(), score: None }).collect();
    let options = BoostingOptions {
        context_score: golden.context_score,
        depth_scaling: golden.depth_scaling,
        unk_score: golden.unk_score,
    };
    let (boosting, unspellable) =
        tiny_model().phrase_boosting(&phrases, options, strength).expect("finite scores");
    assert_eq!(unspellable, [""; 0]);
    boosting
}

#[test]
fn tokens_equal_those_of_nemo() {
    let golden = golden();
    let expected = expected(&golden);
    let samples = read_wav(&data().join("audio").join(&expected.audio));
    let mut changed = 0;
    for result in &golden.results {
        let mut stream = stream();
        stream.set_phrase_boosting(Some(boosting(&golden, result.strength)));
        let found = run(stream, &samples);
        for (speaker, tokens) in &result.speakers {
            assert_eq!(&found[speaker], tokens, "speaker {speaker} at {}", result.strength);
            changed += usize::from(*tokens != expected.speakers["probability"][speaker]);
        }
    }
    assert!(changed >= 8, "{changed}");
}

#[test]
fn phrases_of_strength_0_change_nothing() {
    let golden = golden();
    let expected = expected(&golden);
    let samples = read_wav(&data().join("audio").join(&expected.audio));
    let mut stream = stream();
    stream.set_phrase_boosting(Some(boosting(&golden, 0.0)));
    assert_eq!(run(stream, &samples), expected.speakers["probability"]);
}

#[test]
fn phrases_take_effect_while_a_stream_runs_and_can_be_taken_back() {
    let golden = golden();
    let audio = expected(&golden).audio;
    let samples = read_wav(&data().join("audio").join(audio));
    let (before, after) = samples.split_at(samples.len() / 2);
    let mut stream = stream();
    stream.set_phrase_boosting(Some(boosting(&golden, 2.0)));
    stream.push(before).expect("inference runs");
    let boosted = stream.trace().expect("enabled").speakers[0].tokens.len();
    stream.set_phrase_boosting(None);
    let found = run(stream, after);
    let result = golden.results.iter().find(|result| result.strength == 2.0).expect("a result");
    let all_boosted = &result.speakers[&0];
    assert_eq!(found[&0].tokens[..boosted], all_boosted.tokens[..boosted]);
    assert!(found[&0].tokens.len() < all_boosted.tokens.len(), "boosted to the end");
}

#[test]
fn phrases_that_cannot_be_spelled_are_named() {
    let phrases =
        ["station", "日本", "naïve", " "].map(|text| Phrase { text: text.into(), score: None });
    let (_, unspellable) = tiny_model()
        .phrase_boosting(&phrases, BoostingOptions::default(), 1.0)
        .expect("finite scores");
    assert_eq!(unspellable, ["日本", "naïve", " "]);
}
