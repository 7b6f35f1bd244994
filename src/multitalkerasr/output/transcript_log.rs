// SPDX-License-Identifier: MPL-2.0

//! The transcript log: the finished segments of the whole transcript_log.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::multitalkerasr::text::sequencer::Context;
use multitalker_asr::{SegLstRow, Segment};

/// What was said so far, at most `max-transcripts` segments of it.
#[derive(Debug, Default)]
pub struct TranscriptLog {
    /// Shared, so that they are serialized without the lock that the worker needs.
    rows: VecDeque<Arc<SegLstRow>>,
    /// Number in the log of the engine's speaker 0.
    first_speaker: usize,
    /// How many numbers are taken.
    speakers: usize,
    /// Whether the oldest rows were dropped.
    is_truncated: bool,
}

impl TranscriptLog {
    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The engine counts speakers from 0 again. In the log they are other people, whose numbers
    /// follow those of the people before.
    pub fn reset_speakers(&mut self) {
        self.first_speaker = self.speakers;
    }

    /// Takes a finished segment. True if it is the first for which the oldest made room.
    pub fn add(&mut self, segment: &Segment, context: Context) -> bool {
        let seconds = |sample| {
            let time = context.stream_time(sample).unwrap_or(context.timeline.pts(sample));
            // The engine's frames are whole milliseconds.
            time.mseconds() as f64 / 1000.0
        };
        let speaker = self.first_speaker + segment.speaker;
        self.speakers = self.speakers.max(speaker + 1);
        self.rows.push_back(Arc::new(SegLstRow {
            session_id: context.settings.session_id.clone(),
            speaker: speaker.to_string(),
            words: segment.text(),
            start_time: seconds(segment.start_sample()),
            end_time: seconds(segment.end_sample()),
        }));
        let max_rows = match context.settings.max_transcripts {
            0 => usize::MAX,
            max => max as usize,
        };
        let excess = self.rows.len().saturating_sub(max_rows);
        self.rows.drain(..excess);
        excess > 0 && !std::mem::replace(&mut self.is_truncated, true)
    }

    /// The segments, in the order in which they ended.
    pub fn rows(&self) -> Vec<Arc<SegLstRow>> {
        self.rows.iter().cloned().collect()
    }
}

/// A JSON array of SegLST rows, by start time.
pub fn seglst(rows: &[Arc<SegLstRow>]) -> String {
    let mut rows: Vec<&SegLstRow> = rows.iter().map(AsRef::as_ref).collect();
    rows.sort_by(|a, b| a.start_time.total_cmp(&b.start_time));
    serde_json::to_string(&rows).unwrap_or_default()
}
