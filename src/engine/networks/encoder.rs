// SPDX-License-Identifier: MPL-2.0

//! The cache-aware FastConformer with speaker kernels.

use std::path::Path;

use super::{InStream, check_size};
use crate::engine::config::RuntimeOptions;
use crate::engine::encoder::{EncoderNetwork, Targets};
use crate::engine::error::Error;
use crate::engine::onnx::{Canceller, Input, Network, Tensor};

/// The cache-aware FastConformer.
pub struct EncoderGraph {
    network: Network,
    /// Mel bins.
    pub n_mels: usize,
    /// Conformer layers.
    pub layers: usize,
    /// Encoded frames of the past that attention sees.
    pub left_context: usize,
    /// Values in an encoded frame.
    pub d_model: usize,
    /// Encoded frames of the past that convolutions see.
    pub conv_context: usize,
    /// Mel frames before a chunk that the graph sees again.
    pub left_context_mel_frames: usize,
}

impl EncoderGraph {
    /// Loads and checks the graph.
    ///
    /// # Errors
    /// Those of the file, and [`Error::Mismatch`] where it is another graph.
    pub fn load(
        path: &Path,
        left_context_mel_frames: usize,
        options: &RuntimeOptions,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        let network = Network::load(path, "the encoder's ONNX file", options, canceller)?;
        network.require(
            &[
                ("processed_signal", 3),
                ("processed_signal_length", 1),
                ("cache_last_channel", 4),
                ("cache_last_time", 4),
                ("cache_last_channel_len", 1),
                ("spk_targets", 2),
                ("bg_spk_targets", 2),
            ],
            &[
                ("encoded", 3),
                ("encoded_len", 1),
                ("cache_last_channel_next", 4),
                ("cache_last_time_next", 4),
                ("cache_last_channel_len_next", 1),
            ],
        )?;
        let d_model = network.dim("cache_last_channel", 3)?;
        let layers = network.dim("cache_last_channel", 1)?;
        for (name, axis, expected) in [
            ("cache_last_time", 1, layers),
            ("cache_last_time", 2, d_model),
            ("encoded", 1, d_model),
        ] {
            let what = format!("dimension {axis} of {name}");
            check_size(&network, &what, expected, network.dim(name, axis)?)?;
        }
        Ok(Self {
            n_mels: network.dim("processed_signal", 1)?,
            layers,
            left_context: network.dim("cache_last_channel", 2)?,
            d_model,
            conv_context: network.dim("cache_last_time", 3)?,
            left_context_mel_frames,
            network,
        })
    }
}

/// What the encoder remembers of one speaker.
pub struct EncoderCache {
    attention: Tensor,
    convolution: Tensor,
    attention_frames: Tensor,
}

impl EncoderNetwork for InStream<EncoderGraph> {
    type Cache = EncoderCache;

    fn left_context_mel_frames(&self) -> usize {
        self.graph.left_context_mel_frames
    }

    fn initial_cache(&self) -> Result<EncoderCache, Error> {
        let EncoderGraph { network, layers, left_context, d_model, conv_context, .. } =
            &*self.graph;
        Ok(EncoderCache {
            attention: network.zeros(&[1, *layers, *left_context, *d_model])?,
            convolution: network.zeros(&[1, *layers, *d_model, *conv_context])?,
            attention_frames: network.zero_length()?,
        })
    }

    fn run(
        &self,
        features: &[f32],
        mel_frames: usize,
        targets: &Targets,
        cache: &mut EncoderCache,
    ) -> Result<Vec<f32>, Error> {
        let graph = &*self.graph;
        let target_shape = [1, targets.speaker.len()];
        let [encoded, encoded_len, attention, convolution, attention_frames] = graph.network.run(
            vec![
                ("processed_signal", Input::F32(&[1, graph.n_mels, mel_frames], features)),
                ("processed_signal_length", Input::I64(mel_frames as i64)),
                ("cache_last_channel", Input::Tensor(&cache.attention)),
                ("cache_last_time", Input::Tensor(&cache.convolution)),
                ("cache_last_channel_len", Input::Tensor(&cache.attention_frames)),
                ("spk_targets", Input::F32(&target_shape, &targets.speaker)),
                ("bg_spk_targets", Input::F32(&target_shape, &targets.background)),
            ],
            [
                "encoded",
                "encoded_len",
                "cache_last_channel_next",
                "cache_last_time_next",
                "cache_last_channel_len_next",
            ],
            &self.canceller,
        )?;
        let (shape, values) = graph.network.values(&encoded)?;
        let columns = shape.last().copied().unwrap_or(0);
        let frames = graph.network.integer(&encoded_len)?.min(columns);
        let mut rows = vec![0.0; frames * graph.d_model];
        for (index, column) in values.chunks_exact(columns.max(1)).enumerate() {
            for (frame, value) in column[..frames].iter().enumerate() {
                rows[frame * graph.d_model + index] = *value;
            }
        }
        *cache = EncoderCache { attention, convolution, attention_frames };
        Ok(rows)
    }
}
