// SPDX-License-Identifier: MPL-2.0

//! The streaming Sortformer, versions 2, 2.1 and 3, with dynamic or fixed axes.

use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis, CowArray, Ix2, Ix3, s};

use super::sortformer_metadata::{COARSE_OUTPUT, Dimensions, read};
use super::{Cancellable, EncoderGraph, check_against_encoder, check_finite};
use crate::cancel::Canceller;
use crate::diarization::compression::Compression;
use crate::diarization::{Diarization, DiarizationNetwork};
use crate::diarization::{DiarizationPreset, DiarizerKind, DiarizerVersion, OperatingPoint};
use crate::error::{Error, ModelWarning};
use crate::features::FRAMES_PER_ENCODED_FRAME;
use crate::onnx::{Element, Input, Network, OutputSpec};
use crate::options::{ChunkLatency, RuntimeOptions};

/// Inputs whose second axis is time.
const TIMED_INPUTS: [&str; 3] = ["chunk", "spkcache", "fifo"];

/// Outputs with the embeddings of a chunk, and with their number without padding.
const EMBEDDINGS: &str = "chunk_pre_encode_embs";
const EMBEDDING_LENGTHS: &str = "chunk_pre_encode_lengths";

/// Largest plausible widths of embeddings and spectra; the published files have 512 and 128.
const MAX_D_MODEL: usize = 8192;
const MAX_MELS: usize = 1024;

/// Largest rounding error of a probability of 1 that is an average.
const PROBABILITY_TOLERANCE: f32 = 1e-3;

/// The streaming Sortformer.
pub struct SortformerGraph {
    network: Network,
    /// Number of mel bins.
    pub n_mels: usize,
    /// Number of values in an embedding.
    pub d_model: usize,
    /// Number of speakers that it distinguishes.
    pub speakers: usize,
    /// Version of the network.
    pub version: DiarizerVersion,
    /// Name of the output with the probabilities.
    probabilities: &'static str,
    /// Whether an output holds the number of embeddings without padding.
    has_lengths: bool,
    compression: Compression,
    fixed: Option<Fixed>,
}

/// Axes of a graph that was exported for one operating point. Shorter inputs are padded. Like NeMo's
/// `concat_and_pad`, the graph packs the valid rows of cache, FIFO and chunk before it computes, so
/// the first rows of its output are the valid ones.
struct Fixed {
    preset: DiarizationPreset,
    /// Lengths of [`TIMED_INPUTS`]: mel frames of the chunk, frames of the cache and of the FIFO.
    lengths: [usize; 3],
}

impl SortformerGraph {
    /// Loads and checks the graph.
    ///
    /// # Errors
    /// The errors of [`Network::load`], and [`Error::Mismatch`] if the file contains another graph, or
    /// if the meaning of its outputs is ambiguous.
    pub fn load(
        path: &Path,
        options: &RuntimeOptions,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        let network = Network::load(path, "a Sortformer's ONNX file", options, 1, canceller)?;
        let probabilities = match network.has_output(COARSE_OUTPUT) {
            true => COARSE_OUTPUT,
            false => "spkcache_fifo_chunk_preds",
        };
        network.require(
            &[
                ("chunk", 3),
                ("chunk_lengths", 1),
                ("spkcache", 3),
                ("spkcache_lengths", 1),
                ("fifo", 3),
                ("fifo_lengths", 1),
            ],
            &[(probabilities, 3), (EMBEDDINGS, 3)],
        )?;
        let has_lengths = network.has_output(EMBEDDING_LENGTHS);
        network.require_elements(
            &["chunk", "spkcache", "fifo", probabilities, EMBEDDINGS],
            Element::F32,
        )?;
        network.require_elements(
            &["chunk_lengths", "spkcache_lengths", "fifo_lengths"],
            Element::I64,
        )?;
        if has_lengths {
            network.require_elements(&[EMBEDDING_LENGTHS], Element::I64)?;
        }
        let n_mels = network.bounded_dim("chunk", 2, MAX_MELS)?;
        let d_model = network.bounded_dim("spkcache", 2, MAX_D_MODEL)?;
        network.require_dims(&[("fifo", 2, d_model), (EMBEDDINGS, 2, d_model)])?;
        let speakers = network.dim(probabilities, 2)?;
        let (version, compression) = read(&network, &Dimensions { n_mels, d_model, speakers })?;
        Ok(Self {
            n_mels,
            d_model,
            speakers,
            version,
            probabilities,
            has_lengths,
            compression,
            fixed: fixed_axes(&network, version)?,
            network,
        })
    }

    /// Returns a defect that does not prevent the network from running.
    pub fn warning(&self) -> Option<ModelWarning> {
        self.network.warning()
    }

    /// Checks that the graph accepts the features of `encoder`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if they have another number of mel bins.
    pub fn check_encoder(&self, encoder: &EncoderGraph) -> Result<(), Error> {
        check_against_encoder(&self.network, "mel bins", (encoder.n_mels, encoder), self.n_mels)
    }

    /// Returns the version, and the preset to which the graph is limited.
    pub fn kind(&self) -> DiarizerKind {
        let fixed_preset = self.fixed.as_ref().map(|fixed| fixed.preset);
        DiarizerKind { version: self.version, fixed_preset }
    }

    /// Checks that the graph runs at this operating point.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if an axis is fixed to another length.
    pub fn check_operating_point(&self, point: &OperatingPoint) -> Result<(), Error> {
        let Some(fixed) = &self.fixed else { return Ok(()) };
        let own = fixed.preset.operating_point_of(self.version, ChunkLatency::default());
        let chunk = |p: &OperatingPoint| p.chunk_frames + p.right_context_frames;
        let [chunk_axis, cache_axis, fifo_axis] = fixed.lengths;
        for (name, axis, expected, found) in [
            ("chunk", chunk_axis, chunk(point), chunk(&own)),
            ("chunk", chunk_axis, point.chunk_frames, own.chunk_frames),
            ("spkcache", cache_axis, point.speaker_cache_frames, own.speaker_cache_frames),
            ("fifo", fifo_axis, point.fifo_frames, own.fifo_frames),
        ] {
            if expected != found {
                let expected = format!("{expected} frames to match the operating point");
                let found = format!("{found}, since it is fixed to {axis} for {:?}", fixed.preset);
                let what = format!("dimension 1 of {name}");
                return Err(self.network.mismatch(&what, expected, found));
            }
        }
        Ok(())
    }

    /// Returns the features of a chunk, `[mel_frames, mels]`, with zeros up to the length that the
    /// graph expects.
    fn pad_chunk<'f>(&self, features: ArrayView2<'f, f32>) -> CowArray<'f, f32, Ix2> {
        let mel_frames = features.nrows();
        let wanted = match (&self.fixed, self.version) {
            (Some(fixed), _) => fixed.lengths[0],
            (None, DiarizerVersion::V2) => mel_frames,
            // The graph stacks whole groups of frames and does not pad the last one.
            (None, DiarizerVersion::V3) => mel_frames.next_multiple_of(FRAMES_PER_ENCODED_FRAME),
        };
        pad(features, wanted)
    }
}

/// Returns `rows` with zeros up to `length` rows.
fn pad(rows: ArrayView2<'_, f32>, length: usize) -> CowArray<'_, f32, Ix2> {
    if rows.nrows() >= length {
        return rows.into();
    }
    let mut padded = Array2::zeros((length, rows.ncols()));
    padded.slice_mut(s![..rows.nrows(), ..]).assign(&rows);
    padded.into()
}

/// Finds the operating point of a graph with fixed time axes; `None` if they are dynamic.
///
/// # Errors
/// [`Error::Mismatch`] if the axes fit no operating point.
fn fixed_axes(network: &Network, version: DiarizerVersion) -> Result<Option<Fixed>, Error> {
    for name in TIMED_INPUTS {
        network.check_dims(&[(name, 0, 1)])?;
    }
    let axes = TIMED_INPUTS.map(|name| network.dim(name, 1).ok());
    if axes == [None; 3] {
        return Ok(None);
    }
    // The chunk of `lockstep` is that of the recognizer, for which no diarizer is exported.
    let presets = DiarizationPreset::ALL.into_iter().skip(1);
    let offered: Vec<_> = presets.filter(|p| p.offered_by(version) == *p).collect();
    let needed = |preset: DiarizationPreset| {
        let point = preset.operating_point_of(version, ChunkLatency::default());
        let chunk = version.left_context_frames() + point.chunk_frames + point.right_context_frames;
        let chunk = chunk * FRAMES_PER_ENCODED_FRAME;
        [chunk, point.speaker_cache_frames, point.fifo_frames]
    };
    for &preset in &offered {
        let [chunk, cache, fifo] = needed(preset);
        // Some exporters of version 3 leave room for a left context, which the version does not use.
        for spare in [0, FRAMES_PER_ENCODED_FRAME] {
            let lengths = [chunk + spare, cache, fifo];
            if axes == lengths.map(Some) {
                return Ok(Some(Fixed { preset, lengths }));
            }
        }
    }
    let expected: Vec<_> = offered.into_iter().map(|p| format!("{:?}", needed(p))).collect();
    let found: Vec<_> = axes
        .iter()
        .zip(TIMED_INPUTS)
        .map(|(axis, name)| match axis {
            Some(length) => format!("{name} fixed to {length}"),
            None => format!("{name} dynamic"),
        })
        .collect();
    let what = "dimensions 1 of chunk, spkcache and fifo";
    let expected = format!(
        "all dynamic, or the numbers of one operating point of version {version}: {}",
        expected.join(", ")
    );
    Err(network.mismatch(what, expected, found.join(", ")))
}

impl DiarizationNetwork for Cancellable<SortformerGraph> {
    fn speakers(&self) -> usize {
        self.graph.speakers
    }

    fn embedding_size(&self) -> usize {
        self.graph.d_model
    }

    fn left_context_frames(&self) -> usize {
        self.graph.version.left_context_frames()
    }

    fn compression(&self) -> Compression {
        self.graph.compression.clone()
    }

    fn run(
        &self,
        features: ArrayView2<'_, f32>,
        cache: ArrayView2<'_, f32>,
        fifo: ArrayView2<'_, f32>,
    ) -> Result<Diarization, Error> {
        let SortformerGraph { network, d_model, speakers, .. } = &*self.graph;
        let mel_frames = features.nrows();
        let (cache_frames, fifo_frames) = (cache.nrows(), fifo.nrows());
        let [_, cache_axis, fifo_axis] = match &self.graph.fixed {
            Some(fixed) => fixed.lengths,
            None => [0; 3],
        };
        let features = self.graph.pad_chunk(features);
        let (cache, fifo) = (pad(cache, cache_axis), pad(fifo, fifo_axis));
        let lengths = [mel_frames as i64, cache_frames as i64, fifo_frames as i64];
        let inputs = vec![
            ("chunk", Input::F32(features.view().insert_axis(Axis(0)).into_dyn())),
            ("chunk_lengths", Input::I64(&lengths[..1])),
            ("spkcache", Input::F32(cache.view().insert_axis(Axis(0)).into_dyn())),
            ("spkcache_lengths", Input::I64(&lengths[1..2])),
            ("fifo", Input::F32(fifo.view().insert_axis(Axis(0)).into_dyn())),
            ("fifo_lengths", Input::I64(&lengths[2..])),
        ];
        let chunk_frames = mel_frames.div_ceil(FRAMES_PER_ENCODED_FRAME);
        let values = [OutputSpec::Values(self.graph.probabilities), OutputSpec::Values(EMBEDDINGS)];
        let [probabilities, embeddings] = if self.graph.has_lengths {
            let [first, second] = values;
            let outputs = [first, second, OutputSpec::Values(EMBEDDING_LENGTHS)];
            let [probabilities, embeddings, lengths] =
                network.run(inputs, outputs, &self.canceller)?;
            let lengths = network.lengths(&lengths)?;
            if lengths != [chunk_frames as i64] {
                let expected = format!("{:?}", [chunk_frames]);
                return Err(network.mismatch(EMBEDDING_LENGTHS, expected, format!("{lengths:?}")));
            }
            [probabilities, embeddings]
        } else {
            network.run(inputs, values, &self.canceller)?
        };
        // More rows than expected are padding.
        let is_padded = self.graph.has_lengths || self.graph.fixed.is_some();
        let valid = |name: &str, tensor, rows: usize, width: usize| {
            let values = network.values(tensor)?;
            let fits = match *values.shape() {
                [1, found, columns] => {
                    columns == width && (found == rows || is_padded && found > rows)
                }
                _ => false,
            };
            match values.view().into_dimensionality::<Ix3>() {
                Ok(values) if fits => Ok(values.slice(s![0, ..rows, ..]).to_owned()),
                _ => {
                    let expected = format!("{:?}", [1, rows, width]);
                    let what = format!("shape of {name}");
                    Err(network.mismatch(&what, expected, format!("{:?}", values.shape())))
                }
            }
        };
        let embeddings = valid(EMBEDDINGS, &embeddings, chunk_frames, *d_model)?;
        let rows = cache_frames + fifo_frames + chunk_frames;
        let name = self.graph.probabilities;
        let probabilities = valid(name, &probabilities, rows, *speakers)?;
        check_finite(network, "probabilities", &probabilities)?;
        check_finite(network, "embeddings", &embeddings)?;
        let possible = -PROBABILITY_TOLERANCE..=1.0 + PROBABILITY_TOLERANCE;
        if let Some(found) = probabilities.iter().find(|value| !possible.contains(value)) {
            let what = format!("probabilities in {name}");
            return Err(network.mismatch(&what, "numbers from 0 to 1", found));
        }
        Ok(Diarization { probabilities, embeddings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str) -> SortformerGraph {
        let folder = test_support::data().join("fake-models");
        let file = folder.join(format!("sortformer-{name}.onnx"));
        SortformerGraph::load(&file, &RuntimeOptions::default(), &Canceller::new())
            .expect("a fixture, and ORT_DYLIB_PATH")
    }

    #[test]
    fn both_forms_of_version_3_have_the_same_constants() {
        let [parakeet_rs, vernacula] = ["v3", "v3-vernacula"].map(load);
        assert_eq!(parakeet_rs.compression, vernacula.compression);
        let found = &parakeet_rs.compression;
        assert_eq!(found.silence_frames_per_speaker, 1);
        let silence = found.learned_silence.as_ref().expect("learned");
        let ends = (silence.first().copied(), silence.last().copied());
        assert_eq!((silence.len(), ends), (64, (Some(-16.0), Some(-8.0))));
        assert_eq!(load("fails").compression, Compression::default());
    }
}
