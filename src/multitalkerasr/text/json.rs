// SPDX-License-Identifier: MPL-2.0

//! The JSON of an utterance.

use serde::Serialize;

use crate::multitalkerasr::text::utterance::{Kind, Moment, Utterance};

#[derive(Serialize)]
struct JsonUtterance<'a> {
    kind: Kind,
    session_id: &'a str,
    speaker: usize,
    text: String,
    /// In seconds of stream time.
    start: Option<f64>,
    /// In seconds of stream time.
    end: Option<f64>,
    confidence: f32,
    words: Vec<JsonWord<'a>>,
}

#[derive(Serialize)]
struct JsonWord<'a> {
    word: &'a str,
    start: Option<f64>,
    end: Option<f64>,
    confidence: f32,
}

/// An object on a line of its own.
pub fn line(utterance: &Utterance) -> String {
    let words = utterance.words.iter().map(|word| JsonWord {
        word: &word.text,
        start: seconds(word.start),
        end: seconds(word.end),
        confidence: word.confidence,
    });
    let object = JsonUtterance {
        kind: utterance.kind,
        session_id: &utterance.session_id,
        speaker: utterance.speaker.index(),
        text: utterance.text(),
        start: seconds(utterance.start()),
        end: seconds(utterance.end()),
        confidence: utterance.confidence() as f32,
        words: words.collect(),
    };
    serde_json::to_string(&object).unwrap_or_default() + "\n"
}

fn seconds(moment: Moment) -> Option<f64> {
    moment.stream_time.map(|time| time.nseconds() as f64 / 1e9)
}
