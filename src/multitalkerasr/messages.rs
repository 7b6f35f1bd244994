// SPDX-License-Identifier: MPL-2.0

//! What goes to the bus: finished segments, those in progress, and the whole conversation.

use gst::prelude::*;

use super::output::Context;
use crate::engine::{Partial, SegLstRow, Segment, Word};

/// What was said so far. Grows with every segment.
#[derive(Debug, Default)]
pub struct Conversation {
    rows: Vec<SegLstRow>,
}

impl Conversation {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// Takes a finished segment.
    pub fn add(&mut self, segment: &Segment, context: Context) {
        let seconds = |sample| {
            let time = stream_time(sample, context).unwrap_or_else(|| context.timeline.pts(sample));
            // The engine's frames are whole milliseconds.
            time.mseconds() as f64 / 1000.0
        };
        self.rows.push(SegLstRow {
            session_id: context.settings.session_id.clone(),
            speaker: segment.speaker.to_string(),
            words: segment.text(),
            start_time: seconds(segment.start_sample()),
            end_time: seconds(segment.end_sample()),
        });
    }

    /// As a JSON array of SegLST rows, by start time.
    pub fn seglst(&self) -> String {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by(|a, b| a.start_time.total_cmp(&b.start_time));
        serde_json::to_string(&rows).unwrap_or_default()
    }
}

fn stream_time(sample: u64, context: Context) -> Option<gst::ClockTime> {
    context.in_segment.to_stream_time(context.timeline.pts(sample))
}

/// `multitalkerasr/transcript`.
pub fn transcript(segment: &Segment, context: Context) -> gst::Structure {
    let message =
        gst::Structure::builder("multitalkerasr/transcript").field("text", segment.text());
    speech(message, segment.speaker, &segment.words, context)
}

/// `multitalkerasr/partial`.
pub fn partial(partial: &Partial, context: Context) -> gst::Structure {
    let message = gst::Structure::builder("multitalkerasr/partial").field("text", partial.text());
    speech(message, partial.speaker, &partial.words, context)
}

fn speech(
    message: gst::structure::Builder,
    speaker: usize,
    words: &[Word],
    context: Context,
) -> gst::Structure {
    let start_sample = words.first().map_or(0, |word| word.start_sample);
    let end_sample = words.last().map_or(start_sample, |word| word.end_sample);
    let confidence: f64 = words.iter().map(|word| f64::from(word.confidence)).sum();
    let confidence = confidence / words.len().max(1) as f64;
    let start_pts = context.timeline.pts(start_sample);
    let words = words.iter().map(|word| {
        gst::Structure::builder("word")
            .field("word", &word.text)
            .field("start", stream_time(word.start_sample, context))
            .field("end", stream_time(word.end_sample, context))
            .field("confidence", f64::from(word.confidence))
            .build()
            .to_send_value()
    });
    message
        .field("speaker-id", u32::try_from(speaker).unwrap_or(u32::MAX))
        .field("session-id", &context.settings.session_id)
        .field("start-time", stream_time(start_sample, context))
        .field("end-time", stream_time(end_sample, context))
        .field("running-time", context.in_segment.to_running_time(start_pts))
        .field("confidence", confidence)
        .field("words", gst::Array::from_values(words))
        .build()
}
