// SPDX-License-Identifier: MPL-2.0

//! The cache-aware FastConformer with speaker kernels.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis, Ix3, s};

use super::{Cancellable, check_finite, check_values};
use crate::cancel::Canceller;
use crate::error::{Error, ModelWarning};
use crate::features::FRAMES_PER_ENCODED_FRAME;
use crate::onnx::{Element, Input, Network, OutputSpec, Tensor};
use crate::options::RuntimeOptions;
use crate::recognition::networks::EncoderNetwork;
use crate::recognition::targets::Targets;

/// Number of mel frames before a chunk that the graph sees again: causal subsampling reaches back one
/// frame more than its factor (`ConvSubsampling.get_streaming_cache_size` in NeMo).
pub const LEFT_CONTEXT_MEL_FRAMES: usize = FRAMES_PER_ENCODED_FRAME + 1;

/// Largest plausible sizes: the published graph has 24 layers of 1024 values and 70 frames.
const MAX_LAYERS: usize = 1 << 10;
const MAX_D_MODEL: usize = 1 << 14;
const MAX_CONTEXT_FRAMES: usize = 1 << 14;
const MAX_MELS: usize = 1 << 10;
/// 64 MiB for each cache of a speaker; the published graph has 7 MiB.
const MAX_CACHE_VALUES: usize = 1 << 24;
/// Largest plausible values of a prepared file: `tools/prepare-models` writes 5 and 14.
const MAX_CHUNKS: usize = 1 << 8;

/// Metadata of prepared files: the number of chunks in a run, and their length in encoded frames,
/// to which attention is limited.
const BATCH_KEYS: [&str; 2] = ["max_chunks", "chunk_frames"];

/// The cache-aware FastConformer.
pub struct EncoderGraph {
    network: Network,
    /// Number of mel bins.
    pub n_mels: usize,
    /// Number of Conformer layers.
    pub layers: usize,
    /// Number of past encoded frames that attention sees.
    pub left_context: usize,
    /// Number of values in an encoded frame.
    pub d_model: usize,
    /// Number of past encoded frames that convolutions see.
    pub conv_context: usize,
    /// Limits of a prepared graph; others run one chunk of one speaker at a time.
    batches: Option<Batches>,
}

/// Limits of a run of a prepared graph.
struct Batches {
    max_chunks: NonZeroUsize,
    chunk_frames: NonZeroUsize,
}

impl EncoderGraph {
    /// Loads and checks the graph.
    ///
    /// # Errors
    /// The errors of [`Network::load`], and [`Error::Mismatch`] if the file contains another graph.
    pub fn load(
        path: &Path,
        options: &RuntimeOptions,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        let network = Network::load(path, "the encoder's ONNX file", options, 1, canceller)?;
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
        network.require_elements(
            &[
                "processed_signal",
                "cache_last_channel",
                "cache_last_time",
                "spk_targets",
                "bg_spk_targets",
                "encoded",
                "cache_last_channel_next",
                "cache_last_time_next",
            ],
            Element::F32,
        )?;
        network.require_elements(
            &[
                "processed_signal_length",
                "cache_last_channel_len",
                "encoded_len",
                "cache_last_channel_len_next",
            ],
            Element::I64,
        )?;
        network.require_dynamic(&[
            ("processed_signal", 2),
            ("spk_targets", 1),
            ("bg_spk_targets", 1),
        ])?;
        let layers = network.bounded_dim("cache_last_channel", 1, MAX_LAYERS)?;
        let left_context = network.bounded_dim("cache_last_channel", 2, MAX_CONTEXT_FRAMES)?;
        let d_model = network.bounded_dim("cache_last_channel", 3, MAX_D_MODEL)?;
        let conv_context = network.bounded_dim("cache_last_time", 3, MAX_CONTEXT_FRAMES)?;
        for (name, sizes) in [
            ("cache_last_channel", [layers, left_context, d_model]),
            ("cache_last_time", [layers, d_model, conv_context]),
        ] {
            check_values(&network, name, &sizes, MAX_CACHE_VALUES)?;
        }
        network.require_dims(&[
            ("cache_last_time", 1, layers),
            ("cache_last_time", 2, d_model),
            ("encoded", 1, d_model),
        ])?;
        network.check_dims(&[
            ("processed_signal", 0, 1),
            ("processed_signal_length", 0, 1),
            ("cache_last_channel_next", 1, layers),
            ("cache_last_channel_next", 2, left_context),
            ("cache_last_channel_next", 3, d_model),
            ("cache_last_time_next", 1, layers),
            ("cache_last_time_next", 2, d_model),
            ("cache_last_time_next", 3, conv_context),
        ])?;
        Ok(Self {
            batches: batches(&network)?,
            n_mels: network.bounded_dim("processed_signal", 1, MAX_MELS)?,
            layers,
            left_context,
            d_model,
            conv_context,
            network,
        })
    }

    /// Returns the name of the file without its folder.
    pub fn file_name(&self) -> String {
        self.network.file_name()
    }

    /// Returns a defect that does not prevent the network from running.
    pub fn warning(&self) -> Option<ModelWarning> {
        self.network.warning()
    }
}

/// Reads the metadata of a prepared file.
fn batches(network: &Network) -> Result<Option<Batches>, Error> {
    let number = |key: &str| -> Result<Option<NonZeroUsize>, Error> {
        let number = network.parse_metadata::<NonZeroUsize>(key)?;
        match number {
            Some(number) if number.get() > MAX_CHUNKS => Err(network.mismatch(
                &format!("{key} in the metadata"),
                format!("from 1 to {MAX_CHUNKS}"),
                number,
            )),
            _ => Ok(number),
        }
    };
    let [max_chunks, chunk_frames] = BATCH_KEYS.map(number);
    let batches = max_chunks?.zip(chunk_frames?);
    Ok(batches.map(|(max_chunks, chunk_frames)| Batches { max_chunks, chunk_frames }))
}

/// State of the encoder for one speaker: a row of the state that a run returned for several. The rows
/// stay together, so that nothing is copied while the same speakers run.
#[derive(Clone)]
pub struct EncoderCache {
    rows: Arc<CacheRows>,
    row: usize,
}

struct CacheRows {
    /// `[speakers, layers, left_context, d_model]`.
    attention: Tensor,
    /// `[speakers, layers, d_model, conv_context]`.
    convolution: Tensor,
    /// Number of frames in the attention cache of each speaker.
    attention_frames: Vec<i64>,
}

impl CacheRows {
    /// Returns the rows of `caches` in their order, gathered if they are not together.
    ///
    /// # Errors
    /// [`Error::Inference`] if they cannot be copied.
    fn of(caches: &[EncoderCache], network: &Network) -> Result<Arc<Self>, Error> {
        let rows = &caches[0].rows;
        let together = |(row, cache): (usize, &EncoderCache)| {
            Arc::ptr_eq(&cache.rows, rows) && cache.row == row
        };
        if rows.attention_frames.len() == caches.len() && caches.iter().enumerate().all(together) {
            return Ok(rows.clone());
        }
        Ok(Arc::new(Self {
            attention: network.gather(caches.iter().map(|c| (&c.rows.attention, c.row)))?,
            convolution: network.gather(caches.iter().map(|c| (&c.rows.convolution, c.row)))?,
            attention_frames: caches.iter().map(|c| c.rows.attention_frames[c.row]).collect(),
        }))
    }
}

impl EncoderNetwork for Cancellable<EncoderGraph> {
    type Cache = EncoderCache;

    fn left_context_mel_frames(&self) -> usize {
        LEFT_CONTEXT_MEL_FRAMES
    }

    fn max_chunks(&self, chunk_frames: usize) -> usize {
        let batches = self.graph.batches.as_ref().filter(|b| b.chunk_frames.get() == chunk_frames);
        batches.map_or(1, |batches| batches.max_chunks.get())
    }

    fn takes_several_speakers(&self) -> bool {
        self.graph.batches.is_some()
    }

    fn initial_cache(&self) -> Result<EncoderCache, Error> {
        let EncoderGraph { network, layers, left_context, d_model, conv_context, .. } =
            &*self.graph;
        let rows = CacheRows {
            attention: network.zeros(&[1, *layers, *left_context, *d_model])?,
            convolution: network.zeros(&[1, *layers, *d_model, *conv_context])?,
            attention_frames: vec![0],
        };
        Ok(EncoderCache { rows: Arc::new(rows), row: 0 })
    }

    fn run(
        &self,
        features: ArrayView2<'_, f32>,
        targets: &Targets,
        caches: &mut [EncoderCache],
    ) -> Result<Vec<Array2<f32>>, Error> {
        let EncoderGraph { network, layers, left_context, d_model, conv_context, .. } =
            &*self.graph;
        let rows = CacheRows::of(caches, network)?;
        let mel_frames = [features.ncols() as i64];
        let (speakers, frames) = targets.speaker.dim();
        // All speakers share one row of features.
        let [encoded, encoded_len, attention, convolution, attention_frames] = network.run(
            vec![
                ("processed_signal", Input::F32(features.insert_axis(Axis(0)).into_dyn())),
                ("processed_signal_length", Input::I64(&mel_frames)),
                ("cache_last_channel", Input::Tensor(&rows.attention)),
                ("cache_last_time", Input::Tensor(&rows.convolution)),
                ("cache_last_channel_len", Input::I64(&rows.attention_frames)),
                ("spk_targets", Input::F32(targets.speaker.view().into_dyn())),
                ("bg_spk_targets", Input::F32(targets.background.view().into_dyn())),
            ],
            [
                OutputSpec::Values("encoded"),
                OutputSpec::Values("encoded_len"),
                OutputSpec::State("cache_last_channel_next"),
                OutputSpec::State("cache_last_time_next"),
                OutputSpec::Values("cache_last_channel_len_next"),
            ],
            &self.canceller,
        )?;
        let values = network.values(&encoded)?;
        let columns = values.shape().last().copied().unwrap_or(0).max(frames);
        network.check_shape("encoded", &encoded, &[speakers, *d_model, columns])?;
        network.check_shape(
            "cache_last_channel_next",
            &attention,
            &[speakers, *layers, *left_context, *d_model],
        )?;
        network.check_shape(
            "cache_last_time_next",
            &convolution,
            &[speakers, *layers, *d_model, *conv_context],
        )?;
        let valid = network.lengths(&encoded_len)?;
        let attention_frames = network.lengths(&attention_frames)?;
        let lengths = (valid.first().copied(), attention_frames.len());
        let expected = (Some(frames as i64), speakers);
        if lengths != expected {
            let what = "encoded frames and rows of a run";
            return Err(network.mismatch(what, format!("{expected:?}"), format!("{lengths:?}")));
        }
        let values = values.into_dimensionality::<Ix3>().expect("checked above");
        let by_frame = |values: ArrayView2<'_, f32>| {
            let mut by_frame = Array2::zeros((frames, *d_model));
            by_frame.assign(&values.slice(s![.., ..frames]).t());
            by_frame
        };
        let encoded: Vec<_> = values.outer_iter().map(by_frame).collect();
        for frames in &encoded {
            check_finite(network, "encoded frames", frames)?;
        }
        let rows = Arc::new(CacheRows { attention, convolution, attention_frames });
        for (row, cache) in caches.iter_mut().enumerate() {
            *cache = EncoderCache { rows: rows.clone(), row };
        }
        Ok(encoded)
    }
}
