// SPDX-License-Identifier: MPL-2.0

//! The diariser's answers that are still needed.

use std::ops::Range;

/// Rows of one probability for each speaker, from an encoded frame on.
pub struct Probabilities {
    /// Values in a row.
    pub speakers: usize,
    first_frame: u64,
    rows: Vec<f32>,
}

impl Probabilities {
    /// No rows yet; the first will be that of frame 0.
    pub fn new(speakers: usize) -> Self {
        Self { speakers, first_frame: 0, rows: Vec::new() }
    }

    /// Drops all rows; the next one is that of frame 0.
    pub fn reset(&mut self) {
        self.first_frame = 0;
        self.rows.clear();
    }

    /// The frame after that of the last row.
    pub fn end(&self) -> u64 {
        self.first_frame + (self.rows.len() / self.speakers) as u64
    }

    /// The rows of `frames`, one after the other. All of them must be there.
    pub fn get(&self, frames: Range<u64>) -> &[f32] {
        let at = |frame: u64| (frame - self.first_frame) as usize * self.speakers;
        &self.rows[at(frames.start)..at(frames.end)]
    }

    /// Drops the rows of the frames before `frame`.
    pub fn discard_before(&mut self, frame: u64) {
        let frame = frame.clamp(self.first_frame, self.end());
        self.rows.drain(..(frame - self.first_frame) as usize * self.speakers);
        self.first_frame = frame;
    }

    /// Appends the rows of the next frames.
    pub fn append(&mut self, rows: &[f32]) {
        self.rows.extend_from_slice(rows);
    }
}
