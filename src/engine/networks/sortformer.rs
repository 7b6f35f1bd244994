// SPDX-License-Identifier: MPL-2.0

//! The streaming Sortformer and the constants of its cache.

use std::path::Path;

use super::{EncoderGraph, InStream, check_finite, check_size};
use crate::engine::config::RuntimeOptions;
use crate::engine::diarizer::{Diarization, DiarizationNetwork};
use crate::engine::error::{Error, ModelWarning};
use crate::engine::features::FRAMES_PER_ENCODED_FRAME;
use crate::engine::onnx::{Canceller, Input, Network, Output};
use crate::engine::speaker_cache::Compression;

/// The streaming Sortformer.
pub struct SortformerGraph {
    network: Network,
    /// Mel bins.
    pub n_mels: usize,
    /// Values in an embedding.
    pub d_model: usize,
    /// Speakers that it tells apart.
    pub speakers: usize,
    /// Name of the output with the probabilities.
    probabilities: &'static str,
    compression: Compression,
}

impl SortformerGraph {
    /// Loads and checks the graph.
    ///
    /// # Errors
    /// Those of the file, and [`Error::Mismatch`] where it is another graph.
    pub fn load(
        path: &Path,
        options: &RuntimeOptions,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        let network = Network::load(path, "a Sortformer's ONNX file", options, 1, canceller)?;
        // Version 3 has another name for the probabilities, and 10 ms ones besides.
        let probabilities = if network.has_output("preds_diar") {
            "preds_diar"
        } else {
            "spkcache_fifo_chunk_preds"
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
            &[(probabilities, 3), ("chunk_pre_encode_embs", 3)],
        )?;
        let d_model = network.dim("spkcache", 2)?;
        for name in ["fifo", "chunk_pre_encode_embs"] {
            check_size(
                &network,
                &format!("dimension 2 of {name}"),
                d_model,
                network.dim(name, 2)?,
            )?;
        }
        let speakers = network.dim(probabilities, 2)?;
        if let Some(named) = network.parse_metadata::<usize>("n_spk")? {
            check_size(&network, "n_spk in the metadata", speakers, named)?;
        }
        Ok(Self {
            n_mels: network.dim("chunk", 2)?,
            d_model,
            speakers,
            probabilities,
            compression: compression(&network, d_model)?,
            network,
        })
    }

    /// A defect with which the network runs nevertheless.
    pub fn warning(&self) -> Option<ModelWarning> {
        self.network.warning()
    }

    /// Checks the graph against the encoder that shares its features.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn check_encoder(&self, encoder: &EncoderGraph) -> Result<(), Error> {
        if self.n_mels == encoder.n_mels {
            return Ok(());
        }
        let expected = format!("{} by {}", encoder.n_mels, encoder.file_name());
        Err(self.network.mismatch("mel bins", expected, self.n_mels))
    }
}

/// The constants of the speaker cache, from the metadata where it has them.
fn compression(network: &Network, d_model: usize) -> Result<Compression, Error> {
    let mut compression = Compression::default();
    if let Some(frames) = network.parse_metadata("spkcache_sil_frames_per_spk")? {
        compression.silence_frames_per_speaker = frames;
    }
    for (key, value) in [
        ("pred_score_threshold", &mut compression.score_threshold),
        ("scores_boost_latest", &mut compression.latest_boost),
        ("sil_threshold", &mut compression.silence_threshold),
        ("strong_boost_rate", &mut compression.strong_boost_rate),
        ("weak_boost_rate", &mut compression.weak_boost_rate),
        ("min_pos_scores_rate", &mut compression.min_positive_rate),
    ] {
        if let Some(found) = network.parse_metadata(key)? {
            *value = found;
        }
    }
    let learned = network.metadata("use_learnable_sil_emb");
    if learned.is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1") {
        let text = network.metadata("learnable_sil_emb").unwrap_or_default();
        let numbers = text.split(|c: char| c.is_whitespace() || "[],;".contains(c));
        let embedding: Result<Vec<f32>, _> =
            numbers.filter(|number| !number.is_empty()).map(str::parse).collect();
        let what = "learnable_sil_emb in the metadata";
        let embedding = embedding.map_err(|error| network.mismatch(what, "numbers", error))?;
        check_size(network, what, d_model, embedding.len())?;
        compression.learned_silence = Some(embedding);
    }
    Ok(compression)
}

impl DiarizationNetwork for InStream<SortformerGraph> {
    fn speakers(&self) -> usize {
        self.graph.speakers
    }

    fn embedding_size(&self) -> usize {
        self.graph.d_model
    }

    fn compression(&self) -> Compression {
        self.graph.compression.clone()
    }

    fn run(&self, features: &[f32], cache: &[f32], fifo: &[f32]) -> Result<Diarization, Error> {
        let SortformerGraph { network, n_mels, d_model, .. } = &*self.graph;
        let mel_frames = features.len() / n_mels;
        let (cache_frames, fifo_frames) = (cache.len() / d_model, fifo.len() / d_model);
        let [probabilities, embeddings] = network.run(
            vec![
                ("chunk", Input::F32(&[1, mel_frames, *n_mels], features)),
                ("chunk_lengths", Input::I64(&[mel_frames as i64])),
                ("spkcache", Input::F32(&[1, cache_frames, *d_model], cache)),
                ("spkcache_lengths", Input::I64(&[cache_frames as i64])),
                ("fifo", Input::F32(&[1, fifo_frames, *d_model], fifo)),
                ("fifo_lengths", Input::I64(&[fifo_frames as i64])),
            ],
            [Output::Values(self.graph.probabilities), Output::Values("chunk_pre_encode_embs")],
            &self.canceller,
        )?;
        let (_, probabilities) = network.values(&probabilities)?;
        let (_, embeddings) = network.values(&embeddings)?;
        let chunk_frames = mel_frames.div_ceil(FRAMES_PER_ENCODED_FRAME);
        check_size(network, "rows of embeddings", chunk_frames, embeddings.len() / d_model)?;
        let rows = cache_frames + fifo_frames + chunk_frames;
        let found = probabilities.len() / self.graph.speakers;
        check_size(network, "rows of probabilities", rows, found)?;
        check_finite(network, "probabilities", probabilities)?;
        check_finite(network, "embeddings", embeddings)?;
        Ok(Diarization { probabilities: probabilities.to_vec(), embeddings: embeddings.to_vec() })
    }
}
