// SPDX-License-Identifier: MPL-2.0

//! The end of a long sequence of rows: what is still needed of features and probabilities.

use std::ops::Range;

/// Rows of `width` values, by their index since the start of the audio.
pub struct FrameBuffer {
    width: usize,
    first: u64,
    values: Vec<f32>,
}

impl FrameBuffer {
    /// An empty buffer, whose first row will have index 0.
    pub fn new(width: usize) -> Self {
        Self { width, first: 0, values: Vec::new() }
    }

    /// Values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The index after that of the last row.
    pub fn end(&self) -> u64 {
        self.first + (self.values.len() / self.width) as u64
    }

    /// The values of `rows`, one row after the other. All of them must be in the buffer.
    pub fn get(&self, rows: Range<u64>) -> &[f32] {
        let at = |row: u64| (row - self.first) as usize * self.width;
        &self.values[at(rows.start)..at(rows.end)]
    }

    /// Appends the values of whole rows.
    pub fn extend(&mut self, values: impl IntoIterator<Item = f32>) {
        self.values.extend(values);
    }

    /// Drops the rows before `row`.
    pub fn discard_before(&mut self, row: u64) {
        let row = row.clamp(self.first, self.end());
        self.values.drain(..(row - self.first) as usize * self.width);
        self.first = row;
    }

    /// Drops all rows; the next one has index 0.
    pub fn reset(&mut self) {
        self.values.clear();
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discarded_rows_keep_the_index_of_the_others() {
        let mut rows = FrameBuffer::new(2);
        rows.extend((0..20).map(|value| value as f32));
        rows.discard_before(9);
        assert_eq!(rows.get(9..10), [18.0, 19.0]);
        rows.discard_before(3);
        assert_eq!(rows.get(9..10), [18.0, 19.0], "what is gone is gone");
        rows.discard_before(100);
        assert_eq!(rows.end(), 10);
        rows.extend([1.0, 2.0]);
        assert_eq!(rows.get(10..11), [1.0, 2.0]);
        rows.reset();
        assert_eq!(rows.end(), 0);
    }
}
