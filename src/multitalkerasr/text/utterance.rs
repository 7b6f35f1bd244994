// SPDX-License-Identifier: MPL-2.0

//! Dated words of one speaker, which all outputs share.

use gst::prelude::*;
use serde::Serialize;

use crate::multitalkerasr::text::identities::Person;
use crate::multitalkerasr::text::speaker::Speaker;

/// Kind of utterance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A finished word.
    Word,
    /// A finished segment.
    Segment,
    /// A segment in progress.
    Partial,
    /// A caption cue, which may have words of several speakers.
    Cue,
}

/// Consecutive words of one speaker. There is at least one, except in a cue that continues a word of
/// the cue before it.
#[derive(Debug)]
pub struct Utterance {
    pub kind: Kind,
    pub speaker: Speaker,
    /// The person behind the speaker, as known when the utterance was dated.
    pub person: Person,
    pub session_id: String,
    pub words: Vec<DatedWord>,
    /// Running time of the start.
    pub running_time: Option<gst::ClockTime>,
}

/// A word with its times.
#[derive(Clone, Debug)]
pub struct DatedWord {
    pub text: String,
    pub start: Moment,
    pub end: Moment,
    /// Confidence from 0 to 1.
    pub confidence: f32,
    /// Whether the vocabulary filter masked or tagged it.
    pub is_filtered: bool,
}

/// A time in the audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub pts: gst::ClockTime,
    /// `None` outside the segment.
    pub stream_time: Option<gst::ClockTime>,
}

impl Utterance {
    /// Returns the name of the speaker, else the index.
    pub fn speaker_label(&self) -> String {
        label(self.speaker, self.person.name.as_deref())
    }

    /// Returns the words, separated by spaces.
    pub fn text(&self) -> String {
        self.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Returns the mean confidence of the words, from 0 to 1.
    pub fn confidence(&self) -> f64 {
        let sum: f64 = self.words.iter().map(|word| f64::from(word.confidence)).sum();
        sum / self.words.len().max(1) as f64
    }

    /// Returns the start of the first word.
    pub fn start(&self) -> Moment {
        self.words.first().map(|word| word.start).unwrap_or_default()
    }

    /// Returns the end of the last word.
    pub fn end(&self) -> Moment {
        self.words.last().map(|word| word.end).unwrap_or_default()
    }

    /// Returns the words as structures, for messages and metas.
    pub fn words_array(&self) -> gst::Array {
        gst::Array::from_values(self.words.iter().map(|word| {
            gst::Structure::builder("word")
                .field("word", &word.text)
                .field("start", word.start.stream_time)
                .field("end", word.end.stream_time)
                .field("confidence", f64::from(word.confidence))
                .field_if("filtered", true, word.is_filtered)
                .build()
                .to_send_value()
        }))
    }
}

/// Returns the name of a speaker, else the index.
pub fn label(speaker: Speaker, name: Option<&str>) -> String {
    name.map_or_else(|| speaker.to_string(), str::to_owned)
}
