// SPDX-License-Identifier: MPL-2.0

//! The interface of everything that knows which speakers are active.

use ndarray::Array2;

use crate::error::Error;
use crate::features::frame_buffer::FrameBuffer;

/// A source of the speakers' activity in one stream: a diarizer, or annotations.
pub trait ActivitySource {
    /// Forgets all speakers of earlier audio, of whom the next ones get the first indices.
    fn forget(&mut self);

    /// Begins again at frame 0 and keeps the speakers.
    fn rewind(&mut self);

    /// Forgets all speakers and begins again at frame 0.
    fn reset(&mut self) {
        self.forget();
        self.rewind();
    }

    /// Switches the degraded mode, which saves work; see
    /// [`Stream::set_degraded`](crate::Stream::set_degraded).
    fn set_degraded(&mut self, degraded: bool);

    /// Sets the position of frame 0 in the recording, in samples.
    fn set_offset(&mut self, samples: u64);

    /// Returns the first mel frame that a later step needs, or `None` if it needs no features.
    fn needs_from(&self) -> Option<u64>;

    /// Returns whether a step is possible with the frames in `features`, which are all if the audio
    /// has `ended`.
    fn is_ready(&self, features: &FrameBuffer, ended: bool) -> bool;

    /// Returns the probabilities of the next frames of 80 ms, `[frames, speakers]`, when
    /// [`Self::is_ready`].
    ///
    /// # Errors
    /// [`Error::Inference`], [`Error::Mismatch`] and [`Error::Canceled`]; the source is then
    /// unchanged.
    fn step(&mut self, features: &FrameBuffer) -> Result<Array2<f32>, Error>;
}
