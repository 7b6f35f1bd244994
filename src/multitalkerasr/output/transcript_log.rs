// SPDX-License-Identifier: MPL-2.0

//! The log of finished segments, in SegLST.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::multitalkerasr::text::speaker::Numbering;
use crate::multitalkerasr::text::utterance::{Moment, Utterance};
use multitalker_asr::SegLstRow;

/// The latest finished segments, at most `max-transcripts`.
#[derive(Debug, Default)]
pub struct TranscriptLog {
    /// Shared so that they are serialized without the lock that the worker needs.
    rows: VecDeque<Arc<SegLstRow>>,
    numbering: Numbering,
    /// Whether the oldest rows were dropped.
    is_truncated: bool,
}

impl TranscriptLog {
    /// Removes all segments and restarts the numbering of the speakers.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Continues with the segments of different people, whose numbers follow those of the people
    /// before.
    pub fn reset_speakers(&mut self) {
        self.numbering.restart();
    }

    /// Adds a finished segment to at most `max_rows`, without a limit if that is 0. Returns true if
    /// it is the first to replace an older one.
    pub fn add(&mut self, segment: &Utterance, max_rows: u32) -> bool {
        self.rows.push_back(Arc::new(SegLstRow {
            session_id: segment.session_id.clone(),
            speaker: self.numbering.number(segment.speaker).to_string(),
            words: segment.text(),
            start_time: seconds(segment.start()),
            end_time: seconds(segment.end()),
        }));
        let max_rows = match max_rows {
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

/// The rows as a JSON array, by start time.
pub fn seglst(rows: &[Arc<SegLstRow>]) -> String {
    let mut rows: Vec<&SegLstRow> = rows.iter().map(AsRef::as_ref).collect();
    rows.sort_by(|a, b| a.start_time.total_cmp(&b.start_time));
    serde_json::to_string(&rows).unwrap_or_default()
}

fn seconds(moment: Moment) -> f64 {
    // The engine's frames are whole milliseconds.
    moment.stream_time.unwrap_or(moment.pts).mseconds() as f64 / 1000.0
}
