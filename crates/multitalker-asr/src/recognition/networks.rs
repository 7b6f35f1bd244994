// SPDX-License-Identifier: MPL-2.0

//! The networks that the recognizer runs, as traits; `models` implements them with ONNX graphs.

use ndarray::{Array2, ArrayView2};

use crate::error::Error;
use crate::recognition::targets::Targets;

/// The cache-aware FastConformer with speaker kernels.
pub trait EncoderNetwork {
    /// State that the network keeps of one speaker from run to run.
    type Cache: Clone;

    /// Returns the number of mel frames before a chunk that the network sees again.
    fn left_context_mel_frames(&self) -> usize;

    /// Returns the number of chunks, each of `chunk_frames` encoded frames, that fit in one run.
    fn max_chunks(&self, chunk_frames: usize) -> usize;

    /// Returns whether one run accepts several speakers.
    fn takes_several_speakers(&self) -> bool;

    /// Returns the state before the first chunk.
    ///
    /// # Errors
    /// [`Error::Inference`] if memory cannot be allocated.
    fn initial_cache(&self) -> Result<Self::Cache, Error>;

    /// Encodes the same audio for several speakers.
    ///
    /// - `features`: `[mels, mel_frames]`, the left context first, in standard layout.
    /// - `targets`: `[speakers, frames]`.
    /// - `caches`: one per speaker; replaced by the state after the run.
    ///
    /// Returns `[frames, hidden]` for each speaker; all values are finite.
    ///
    /// # Errors
    /// [`Error::Inference`] if the run fails or returns NaN or infinity, [`Error::Mismatch`] if an
    /// output has another shape, and [`Error::Canceled`]. The caches are then unchanged.
    fn run(
        &self,
        features: ArrayView2<'_, f32>,
        targets: &Targets,
        caches: &mut [Self::Cache],
    ) -> Result<Vec<Array2<f32>>, Error>;
}

/// The prediction and joint networks of the transducer in one graph.
pub trait JointNetwork {
    /// State of the prediction network.
    type State;

    /// Returns the number of values in an encoded frame.
    fn frame_size(&self) -> usize;

    /// Returns the index of the blank, which follows all tokens and stands for the token before the
    /// first.
    fn blank(&self) -> usize;

    /// Returns the number of runs that may take place at a time.
    fn parallel_runs(&self) -> usize;

    /// Returns the error for a run with invalid results.
    fn failure(&self, reason: String) -> Error;

    /// Returns the state before the first token.
    ///
    /// # Errors
    /// [`Error::Inference`] if memory cannot be allocated.
    fn initial_state(&self) -> Result<Self::State, Error>;

    /// Feeds the last `token` to the prediction network in `state`, and joins the result with each
    /// of `frames`, `[frames, hidden]` in standard layout.
    ///
    /// Returns the logits, `[frames, tokens + 1]` with the blank last, in standard layout, and the
    /// state after `token`.
    ///
    /// # Errors
    /// [`Error::Inference`] if the run fails, [`Error::Mismatch`] if an output has another shape,
    /// and [`Error::Canceled`].
    fn run(
        &self,
        frames: ArrayView2<'_, f32>,
        token: usize,
        state: &Self::State,
    ) -> Result<(Array2<f32>, Self::State), Error>;
}
