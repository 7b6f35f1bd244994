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

    /// Gives new numbers to the speakers of later segments, since they may be different people.
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

    /// Returns the segments in the order in which they ended.
    pub fn rows(&self) -> Vec<Arc<SegLstRow>> {
        self.rows.iter().cloned().collect()
    }
}

/// Serializes the rows as a JSON array, sorted by start time.
pub fn seglst(rows: &[Arc<SegLstRow>]) -> String {
    let mut rows: Vec<&SegLstRow> = rows.iter().map(AsRef::as_ref).collect();
    rows.sort_by(|a, b| a.start_time.total_cmp(&b.start_time));
    serde_json::to_string(&rows).unwrap_or_default()
}

fn seconds(moment: Moment) -> f64 {
    // The engine's frames are whole milliseconds.
    moment.stream_time.unwrap_or(moment.pts).mseconds() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multitalkerasr::text::clock::Clock;
    use multitalker_asr::{Event, Segment, Word};

    /// Creates a segment of one word that begins at `start_s` and lasts half a second.
    fn segment(speaker: usize, text: &str, start_s: u64) -> Utterance {
        let mut clock = Clock::default();
        clock.timeline.start(gst::ClockTime::ZERO);
        let start_sample = start_s * 16_000;
        let word = Word {
            text: text.to_owned(),
            start_sample,
            end_sample: start_sample + 8_000,
            confidence: 1.0,
            is_filtered: false,
        };
        clock.date(Event::Segment(Segment { speaker, words: vec![word] }), "talk")
    }

    #[test]
    fn rows_are_sorted_and_numbered_across_resets() {
        let mut log = TranscriptLog::default();
        assert!(!log.add(&segment(1, "later", 2), 0));
        assert!(!log.add(&segment(0, "earlier", 1), 0));
        log.reset_speakers();
        assert!(!log.add(&segment(0, "else", 4), 0));
        let row = |speaker: &str, words: &str, start: &str, end: &str| {
            format!(
                r#"{{"session_id":"talk","speaker":"{speaker}","words":"{words}","start_time":{start},"end_time":{end}}}"#
            )
        };
        let rows = [
            row("0", "earlier", "1.0", "1.5"),
            row("1", "later", "2.0", "2.5"),
            row("2", "else", "4.0", "4.5"),
        ];
        assert_eq!(seglst(&log.rows()), format!("[{}]", rows.join(",")));
    }

    #[test]
    fn oldest_rows_make_room() {
        let mut log = TranscriptLog::default();
        let is_first = [1, 2, 3, 4].map(|start_s| log.add(&segment(0, "a", start_s), 2));
        assert_eq!(is_first, [false, false, true, false]);
        let starts: Vec<_> = log.rows().iter().map(|row| row.start_time).collect();
        assert_eq!(starts, [3.0, 4.0]);
    }
}
