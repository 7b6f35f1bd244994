// SPDX-License-Identifier: MPL-2.0

//! The JSON of an utterance.

use serde::Serialize;

use crate::multitalkerasr::text::cues::CueLayout;
use crate::multitalkerasr::text::utterance::{Kind, Utterance};

#[derive(Serialize)]
struct JsonUtterance<'a> {
    kind: Kind,
    session_id: &'a str,
    speaker: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<u64>,
    text: String,
    /// Stream time in seconds.
    start: Option<f64>,
    /// Stream time in seconds.
    end: Option<f64>,
    confidence: f32,
    words: Vec<JsonWord<'a>>,
    #[serde(flatten)]
    cue: Option<JsonCue<'a>>,
}

/// The fields that only cues have.
#[derive(Serialize)]
struct JsonCue<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    color: Option<&'a str>,
    /// Lines from the top, with the dash or prefix before them.
    lines: Vec<&'a str>,
    /// The speaker of each line.
    line_speakers: Vec<usize>,
    /// Row of the lowest line, from 0 at the bottom.
    row: u32,
}

#[derive(Serialize)]
struct JsonWord<'a> {
    word: &'a str,
    start: Option<f64>,
    end: Option<f64>,
    confidence: f32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    filtered: bool,
}

/// Serializes an utterance as one line of JSON.
pub fn line(utterance: &Utterance) -> String {
    let (start, end) = (utterance.start().stream_time, utterance.end().stream_time);
    serialize(utterance, start, end, None)
}

/// Serializes a cue as one line of JSON, with the times at which it is shown.
pub fn cue_line(utterance: &Utterance, layout: &CueLayout, speaker_colors: &str) -> String {
    let cue = JsonCue {
        color: utterance.speaker.color(speaker_colors),
        lines: layout.lines.iter().map(|(_, text)| text.as_str()).collect(),
        line_speakers: layout.lines.iter().map(|(speaker, _)| speaker.index()).collect(),
        row: layout.row,
    };
    serialize(utterance, layout.start, layout.end, Some(cue))
}

fn serialize(
    utterance: &Utterance,
    start: Option<gst::ClockTime>,
    end: Option<gst::ClockTime>,
    cue: Option<JsonCue>,
) -> String {
    let words = utterance.words.iter().map(|word| JsonWord {
        word: &word.text,
        start: seconds(word.start.stream_time),
        end: seconds(word.end.stream_time),
        confidence: word.confidence,
        filtered: word.is_filtered,
    });
    let object = JsonUtterance {
        kind: utterance.kind,
        session_id: &utterance.session_id,
        speaker: utterance.speaker.index(),
        speaker_name: utterance.person.name.as_deref(),
        identity: utterance.person.identity,
        text: utterance.text(),
        start: seconds(start),
        end: seconds(end),
        confidence: utterance.confidence() as f32,
        words: words.collect(),
        cue,
    };
    serde_json::to_string(&object).unwrap_or_default() + "\n"
}

fn seconds(stream_time: Option<gst::ClockTime>) -> Option<f64> {
    stream_time.map(|time| time.nseconds() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multitalkerasr::text::identities::Person;
    use crate::multitalkerasr::text::speaker::Speaker;
    use crate::multitalkerasr::text::utterance::{DatedWord, Moment};

    #[test]
    fn only_filtered_words_are_marked() {
        let word = |text: &str, is_filtered| DatedWord {
            text: text.to_owned(),
            start: Moment::default(),
            end: Moment::default(),
            confidence: 0.5,
            is_filtered,
        };
        let utterance = Utterance {
            kind: Kind::Segment,
            speaker: Speaker::new(0),
            person: Person {
                identity: Some(7),
                name: Some("\"Ada\"".to_owned()),
                ..Person::default()
            },
            session_id: String::new(),
            words: vec![word("***", true), word("\"good\"", false)],
            running_time: None,
        };
        let object: serde_json::Value = serde_json::from_str(&line(&utterance)).expect("JSON");
        assert_eq!(object["text"], "*** \"good\"");
        assert_eq!(object["speaker_name"], "\"Ada\"");
        assert_eq!(object["identity"], 7);
        assert_eq!(object["words"][0]["filtered"], true);
        assert_eq!(object["words"][1].get("filtered"), None);
    }
}
