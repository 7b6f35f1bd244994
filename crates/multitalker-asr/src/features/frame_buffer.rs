// SPDX-License-Identifier: MPL-2.0

//! The most recent frames of a long sequence: the features or probabilities that are still needed.

use std::ops::Range;

use ndarray::ArrayView2;

/// Frames of `width` values, addressed by their index since the start of the audio.
pub struct FrameBuffer {
    width: usize,
    first: u64,
    values: Vec<f32>,
}

impl FrameBuffer {
    /// Creates an empty buffer, whose first frame has index 0.
    pub fn new(width: usize) -> Self {
        Self { width, first: 0, values: Vec::new() }
    }

    /// Returns the number of values in a frame.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the index after the last frame.
    pub fn end(&self) -> u64 {
        self.first + (self.values.len() / self.width) as u64
    }

    /// Returns `frames`, `[frames, width]` in standard layout. All of them must be in the buffer.
    pub fn get(&self, frames: Range<u64>) -> ArrayView2<'_, f32> {
        let at = |frame: u64| (frame - self.first) as usize * self.width;
        let shape = ((frames.end - frames.start) as usize, self.width);
        let values = &self.values[at(frames.start)..at(frames.end)];
        ArrayView2::from_shape(shape, values).expect("frames are whole")
    }

    /// Appends a frame of `width` values.
    pub fn push(&mut self, frame: impl IntoIterator<Item = f32>) {
        self.values.extend(frame);
        debug_assert!(self.values.len().is_multiple_of(self.width), "frames are whole");
    }

    /// Appends `frames`, `[frames, width]`.
    pub fn append(&mut self, frames: ArrayView2<'_, f32>) {
        debug_assert_eq!(frames.ncols(), self.width);
        self.values.extend(frames);
    }

    /// Drops the frames before `frame`.
    pub fn discard_before(&mut self, frame: u64) {
        let frame = frame.clamp(self.first, self.end());
        self.values.drain(..(frame - self.first) as usize * self.width);
        self.first = frame;
    }

    /// Drops all frames; the next one has index 0.
    pub fn reset(&mut self) {
        self.values.clear();
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn discarded_frames_keep_the_index_of_the_others() {
        let mut buffer = FrameBuffer::new(2);
        for frame in 0..10_u8 {
            buffer.push([f32::from(frame), 0.5]);
        }
        buffer.discard_before(9);
        assert_eq!(buffer.get(9..10), array![[9.0, 0.5]]);
        buffer.discard_before(3);
        assert_eq!(buffer.get(9..10), array![[9.0, 0.5]], "earlier frames stay dropped");
        buffer.discard_before(100);
        assert_eq!(buffer.end(), 10);
        buffer.append(array![[1.0, 2.0], [3.0, 4.0]].view());
        assert_eq!(buffer.get(11..12), array![[3.0, 4.0]]);
        buffer.reset();
        assert_eq!(buffer.end(), 0);
    }
}
