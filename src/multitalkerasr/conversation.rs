// SPDX-License-Identifier: MPL-2.0

//! The conversation as a whole.

use super::output::Context;
use crate::engine::{SegLstRow, Segment};

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
            let time = context.stream_time(sample).unwrap_or(context.timeline.pts(sample));
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
