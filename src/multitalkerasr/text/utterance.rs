// SPDX-License-Identifier: MPL-2.0

//! What one speaker said, with its times: the content of messages, metas and JSON.

use gst::prelude::*;
use serde::Serialize;

use crate::multitalkerasr::text::sequencer::Context;
use multitalker_asr::Word;

/// Name of the meta on text buffers, and of its structure.
pub const META: &str = "MultitalkerItemMeta";

/// What speech stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Word,
    Segment,
    /// A segment in progress.
    Partial,
}

/// Consecutive words of one speaker.
#[derive(Clone, Debug)]
pub struct Utterance {
    pub speaker: usize,
    pub session_id: String,
    words: Vec<SpokenWord>,
    /// Of the start.
    running_time: Option<gst::ClockTime>,
}

#[derive(Clone, Debug)]
struct SpokenWord {
    text: String,
    /// In stream time.
    start: Option<gst::ClockTime>,
    /// In stream time.
    end: Option<gst::ClockTime>,
    confidence: f32,
}

#[derive(Serialize)]
struct JsonUtterance<'a> {
    kind: Kind,
    session_id: &'a str,
    speaker: usize,
    text: String,
    start: Option<f64>,
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

impl Utterance {
    pub fn new(speaker: usize, words: &[Word], context: Context) -> Self {
        let start_pts = words.first().map(|word| context.timeline.pts(word.start_sample));
        Self {
            speaker,
            session_id: context.settings.session_id.clone(),
            running_time: start_pts.and_then(|pts| context.in_segment.to_running_time(pts)),
            words: words
                .iter()
                .map(|word| SpokenWord {
                    text: word.text.clone(),
                    start: context.stream_time(word.start_sample),
                    end: context.stream_time(word.end_sample),
                    confidence: word.confidence,
                })
                .collect(),
        }
    }

    /// The words with spaces between them.
    pub fn text(&self) -> String {
        self.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Mean confidence of the words, from 0 to 1.
    fn confidence(&self) -> f64 {
        let sum: f64 = self.words.iter().map(|word| f64::from(word.confidence)).sum();
        sum / self.words.len().max(1) as f64
    }

    fn start(&self) -> Option<gst::ClockTime> {
        self.words.first().and_then(|word| word.start)
    }

    fn end(&self) -> Option<gst::ClockTime> {
        self.words.last().and_then(|word| word.end)
    }

    /// As an element message.
    pub fn message(&self, name: &str) -> gst::Structure {
        gst::Structure::builder(name)
            .field("text", self.text())
            .field("speaker-id", self.speaker_id())
            .field("session-id", &self.session_id)
            .field("start-time", self.start())
            .field("end-time", self.end())
            .field("running-time", self.running_time)
            .field("confidence", self.confidence())
            .field("words", self.words_array())
            .build()
    }

    /// As a JSON object.
    pub fn json(&self, kind: Kind) -> String {
        let seconds = |time: Option<gst::ClockTime>| time.map(|t| t.nseconds() as f64 / 1e9);
        let utterance = JsonUtterance {
            kind,
            session_id: &self.session_id,
            speaker: self.speaker,
            text: self.text(),
            start: seconds(self.start()),
            end: seconds(self.end()),
            confidence: self.confidence() as f32,
            words: self
                .words
                .iter()
                .map(|word| JsonWord {
                    word: &word.text,
                    start: seconds(word.start),
                    end: seconds(word.end),
                    confidence: word.confidence,
                })
                .collect(),
        };
        serde_json::to_string(&utterance).unwrap_or_default()
    }

    /// Attaches the meta.
    pub fn add_meta(&self, buffer: &mut gst::BufferRef) {
        // It is registered with the element.
        let Ok(mut meta) = gst::meta::CustomMeta::add(buffer, META) else { return };
        let structure = meta.mut_structure();
        structure.set("speaker", self.speaker_id());
        structure.set("confidence", self.confidence());
        structure.set("words", self.words_array());
    }

    fn speaker_id(&self) -> u32 {
        u32::try_from(self.speaker).unwrap_or(u32::MAX)
    }

    fn words_array(&self) -> gst::Array {
        gst::Array::from_values(self.words.iter().map(|word| {
            gst::Structure::builder("word")
                .field("word", &word.text)
                .field("start", word.start)
                .field("end", word.end)
                .field("confidence", f64::from(word.confidence))
                .build()
                .to_send_value()
        }))
    }
}
