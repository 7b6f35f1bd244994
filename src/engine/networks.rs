// SPDX-License-Identifier: MPL-2.0

//! The three graphs of the published contract behind the traits of the loops that use them.
//!
//! No dimension is a constant here: each is read from one place of a graph and compared with all
//! others where it stands again.

use std::path::Path;
use std::sync::Arc;

use super::config::RuntimeOptions;
use super::diarizer::{Diarization, DiarizationNetwork};
use super::encoder::{EncoderNetwork, Targets};
use super::error::Error;
use super::onnx::{Canceller, Input, Network, Tensor};
use super::rnnt::JointNetwork;
use super::speaker_cache::Compression;

/// A graph as one stream uses it.
pub struct InStream<G> {
    /// The graph, shared by all streams.
    pub graph: Arc<G>,
    /// Stops the runs of this stream.
    pub canceller: Canceller,
}

/// Compares two sizes that must be one.
fn check_size(network: &Network, what: &str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(network.mismatch(what, expected, found)) }
}

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

/// The prediction and joint networks.
pub struct JointGraph {
    network: Network,
    /// Values in an encoded frame.
    pub d_model: usize,
    /// LSTM layers of the prediction network.
    pub layers: usize,
    /// Values in the state of one of them.
    pub hidden: usize,
    /// Tokens, without the blank.
    pub vocabulary: usize,
}

impl JointGraph {
    /// Loads and checks the graph.
    ///
    /// # Errors
    /// Those of the file, and [`Error::Mismatch`] where it is another graph.
    pub fn load(
        path: &Path,
        options: &RuntimeOptions,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        let network = Network::load(path, "the decoder's ONNX file", options, canceller)?;
        network.require(
            &[("encoder_outputs", 3), ("targets", 2), ("input_states_1", 3), ("input_states_2", 3)],
            &[("outputs", 4), ("states_1", 3), ("states_2", 3)],
        )?;
        let layers = network.dim("input_states_1", 0)?;
        let hidden = network.dim("input_states_1", 2)?;
        for (name, axis, expected) in [("input_states_2", 0, layers), ("input_states_2", 2, hidden)]
        {
            let what = format!("dimension {axis} of {name}");
            check_size(&network, &what, expected, network.dim(name, axis)?)?;
        }
        let logits = network.dim("outputs", 3)?;
        if logits < 2 {
            return Err(network.mismatch(
                "dimension 3 of outputs",
                "a token and the blank",
                logits,
            ));
        }
        Ok(Self {
            d_model: network.dim("encoder_outputs", 2)?,
            layers,
            hidden,
            vocabulary: logits - 1,
            network,
        })
    }

    /// Checks the graph against the encoder whose frames it takes.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn check_encoder(&self, encoder: &EncoderGraph) -> Result<(), Error> {
        let what = "values in an encoded frame, by the encoder";
        check_size(&self.network, what, encoder.d_model, self.d_model)
    }
}

/// State of the prediction network: of each layer the output and the cell.
pub struct JointState {
    output: Tensor,
    cell: Tensor,
}

impl JointNetwork for InStream<JointGraph> {
    type State = JointState;

    fn frame_size(&self) -> usize {
        self.graph.d_model
    }

    fn blank(&self) -> usize {
        self.graph.vocabulary
    }

    fn initial_state(&self) -> Result<JointState, Error> {
        let shape = [self.graph.layers, 1, self.graph.hidden];
        let zeros = || self.graph.network.zeros(&shape);
        Ok(JointState { output: zeros()?, cell: zeros()? })
    }

    fn run(
        &self,
        frames: &[f32],
        token: usize,
        state: &JointState,
    ) -> Result<(Vec<f32>, JointState), Error> {
        let graph = &*self.graph;
        let shape = [1, frames.len() / graph.d_model, graph.d_model];
        let [logits, output, cell] = graph.network.run(
            vec![
                ("encoder_outputs", Input::F32(&shape, frames)),
                ("targets", Input::Token(token as i64)),
                ("input_states_1", Input::Tensor(&state.output)),
                ("input_states_2", Input::Tensor(&state.cell)),
            ],
            ["outputs", "states_1", "states_2"],
            &self.canceller,
        )?;
        let (_, logits) = graph.network.values(&logits)?;
        Ok((logits.to_vec(), JointState { output, cell }))
    }
}

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
        let network = Network::load(path, "a Sortformer's ONNX file", options, canceller)?;
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
        if let Some(named) = parse_metadata::<usize>(&network, "n_spk")? {
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

    /// Checks the graph against the encoder that shares its features.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn check_encoder(&self, encoder: &EncoderGraph) -> Result<(), Error> {
        let what = "mel bins, by the encoder";
        check_size(&self.network, what, encoder.n_mels, self.n_mels)
    }
}

/// The constants of the speaker cache, from the metadata where it has them.
fn compression(network: &Network, d_model: usize) -> Result<Compression, Error> {
    let mut compression = Compression::default();
    if let Some(frames) = parse_metadata(network, "spkcache_sil_frames_per_spk")? {
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
        if let Some(found) = parse_metadata(network, key)? {
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

fn parse_metadata<T: std::str::FromStr>(network: &Network, key: &str) -> Result<Option<T>, Error> {
    let Some(text) = network.metadata(key) else { return Ok(None) };
    let what = format!("{key} in the metadata");
    text.trim().parse().map(Some).map_err(|_| network.mismatch(&what, "a number", text))
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
                ("chunk_lengths", Input::I64(mel_frames as i64)),
                ("spkcache", Input::F32(&[1, cache_frames, *d_model], cache)),
                ("spkcache_lengths", Input::I64(cache_frames as i64)),
                ("fifo", Input::F32(&[1, fifo_frames, *d_model], fifo)),
                ("fifo_lengths", Input::I64(fifo_frames as i64)),
            ],
            [self.graph.probabilities, "chunk_pre_encode_embs"],
            &self.canceller,
        )?;
        let (_, probabilities) = network.values(&probabilities)?;
        let (_, embeddings) = network.values(&embeddings)?;
        let rows = cache_frames + fifo_frames + embeddings.len() / d_model;
        if probabilities.len() != rows * self.graph.speakers {
            let found = probabilities.len() / self.graph.speakers;
            return Err(network.mismatch("rows of probabilities", rows, found));
        }
        Ok(Diarization { probabilities: probabilities.to_vec(), embeddings: embeddings.to_vec() })
    }
}
