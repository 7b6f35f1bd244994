// SPDX-License-Identifier: MPL-2.0

//! Speaker-verification networks, which turn speech of one person into a vector that is similar
//! for all speech of this person.

use std::path::Path;
use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2, Axis, Ix2, s};
use sha2::{Digest, Sha256};

use super::network_key::NetworkKey;
use super::registry::Registry;
use super::speaker_embedding_metadata::{Framework, SpeakerEmbeddingMetadata};
use crate::cancel::Canceller;
use crate::error::{Error, ModelWarning};
use crate::features::{HOP_SAMPLES, SAMPLE_RATE_HZ};
use crate::file;
use crate::identification::features::{Features, MIN_LAST_PART_FRAMES};
use crate::onnx::{Element, Input, Network, OutputSpec, library, return_free_memory};
use crate::options::RuntimeOptions;

const EXPECTED: &str = "a speaker-embedding model's ONNX file";

/// A longer recording is embedded in parts, so that the memory of a run is bounded.
const MAX_PART_SAMPLES: usize = 20 * SAMPLE_RATE_HZ as usize;

/// Less speech than half a second is too little to recognize a voice.
const MIN_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 2;

/// NeMo pads its features to a multiple of this number of frames.
const NEMO_FRAMES_MULTIPLE: usize = 16;

/// Smallest length of an embedding that has a direction.
const MIN_LENGTH: f32 = 1e-12;

static SPEAKER_EMBEDDINGS: Registry<NetworkKey, SpeakerEmbeddingModel> = Registry::new();

/// A speaker-embedding model: an ONNX file with the metadata of sherpa-onnx's published speaker
/// models, which WeSpeaker, 3D-Speaker or NeMo trained, or Resemblyzer's. A model is immutable.
///
/// The features are those of the framework that trained the model, which are not always those of
/// sherpa-onnx: WeSpeaker's have a Hamming window and a mean of 0, the filters of WeSpeaker and
/// 3D-Speaker end at 8000 Hz, and NeMo's frames are centered.
pub struct SpeakerEmbeddingModel {
    network: Network,
    framework: Framework,
    dimension: usize,
    features: Features,
    /// Name of the input with the features.
    input: String,
    /// Name of NeMo's input with the number of frames.
    lengths: Option<String>,
    /// Name of the output with the embedding.
    output: String,
    fingerprint: String,
}

impl SpeakerEmbeddingModel {
    /// Loads the ONNX file at `path`. All users in the process that load the same file with the same
    /// options share the network; the last of them frees it.
    ///
    /// # Errors
    /// - [`Error::InvalidOption`] if an option is out of range.
    /// - [`Error::RuntimeNotFound`], [`Error::RuntimeUnusable`] or [`Error::RuntimeConflict`] if the
    ///   ONNX Runtime library cannot be used.
    /// - [`Error::ProviderUnavailable`] if the execution provider cannot be used.
    /// - [`Error::FileNotFound`], [`Error::UnreadableFile`] or [`Error::Mismatch`] if the file is
    ///   missing, unreadable, or no speaker-embedding model for audio at 16 kHz.
    /// - [`Error::Canceled`] shortly after `canceller` is canceled.
    pub fn load(
        path: &Path,
        runtime: &RuntimeOptions,
        canceller: &Canceller,
    ) -> Result<Arc<Self>, Error> {
        runtime.validate()?;
        library(runtime.library.as_deref())?;
        let key = NetworkKey::new(path, runtime, 1);
        SPEAKER_EMBEDDINGS.get_or_load(&key, canceller, || {
            let model = Self::open(path, runtime, canceller)?;
            return_free_memory();
            Ok(model)
        })
    }

    fn open(path: &Path, runtime: &RuntimeOptions, canceller: &Canceller) -> Result<Self, Error> {
        let network = Network::load(path, EXPECTED, runtime, 1, canceller)?;
        let metadata = SpeakerEmbeddingMetadata::read(&network)?;
        let name = |name: Option<&str>, default: &str| name.unwrap_or(default).to_owned();
        let input = name(network.input_name(0), "features");
        let (lengths, output, mel_axis) = match metadata.framework {
            Framework::Nemo => {
                let lengths = name(network.input_name(1), "length");
                (Some(lengths), name(network.output_name(1), "embs"), 1)
            }
            _ => (None, name(network.output_name(0), "embedding"), 2),
        };
        let frame_axis = 3 - mel_axis;
        let mut inputs = vec![(input.as_str(), 3)];
        inputs.extend(lengths.as_deref().map(|lengths| (lengths, 1)));
        network.require(&inputs, &[(&output, 2)])?;
        network.require_elements(&[&input, &output], Element::F32)?;
        if let Some(lengths) = &lengths {
            network.require_elements(&[lengths], Element::I64)?;
            network.check_dims(&[(lengths, 0, 1)])?;
        }
        network.require_dynamic(&[(&input, frame_axis)])?;
        let dimension = metadata.dimension;
        network.check_dims(&[(&input, 0, 1), (&output, 0, 1), (&output, 1, dimension)])?;
        Ok(Self {
            framework: metadata.framework,
            dimension,
            features: metadata.features(&network, &input, mel_axis)?,
            fingerprint: fingerprint(path, canceller)?,
            network,
            input,
            lengths,
            output,
        })
    }

    /// Returns the number of values in an embedding.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the cosine similarity from which the embeddings of 2.4 s and more are considered the
    /// same person's. Resemblyzer's is measured on synthetic and human voices; for the others it is the
    /// common choice between the equal error rates of published models and that of cautious programs.
    pub fn threshold(&self) -> f32 {
        match self.framework {
            Framework::Resemblyzer => 0.8,
            Framework::WeSpeaker | Framework::ThreeDSpeaker | Framework::Nemo => 0.5,
        }
    }

    /// Returns the smallest number of samples at 16 kHz that [`Self::embed`] accepts. Embeddings of
    /// several seconds of speech are much more reliable.
    pub fn min_samples(&self) -> usize {
        match self.framework {
            Framework::Resemblyzer => MIN_LAST_PART_FRAMES * HOP_SAMPLES,
            Framework::WeSpeaker | Framework::ThreeDSpeaker | Framework::Nemo => MIN_SAMPLES,
        }
    }

    /// Returns the SHA-256 of the file in hexadecimal digits. Only embeddings of models with the same
    /// fingerprint can be compared.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns a defect that does not prevent the use of the model.
    pub fn warning(&self) -> Option<ModelWarning> {
        self.network.warning()
    }

    /// Returns the embedding, `[dimension]`, of one person's speech at 16 kHz, mono, nominally from -1
    /// to 1. It has a length of 1, so the cosine similarity of two embeddings is their dot product.
    ///
    /// More than 20 s are cut into equal parts, whose embeddings are averaged.
    ///
    /// # Errors
    /// - [`Error::InvalidOption`] if there are fewer samples than [`Self::min_samples`].
    /// - [`Error::Inference`] or [`Error::Mismatch`] if the network fails, or returns something else
    ///   than an embedding.
    /// - [`Error::Canceled`] shortly after `canceller` is canceled.
    pub fn embed(&self, samples: &[f32], canceller: &Canceller) -> Result<Array1<f32>, Error> {
        if samples.len() < self.min_samples() {
            return Err(Error::InvalidOption {
                option: "samples of a voice",
                expected: format!("at least {}", self.min_samples()),
                found: samples.len().to_string(),
            });
        }
        let parts = samples.len().div_ceil(MAX_PART_SAMPLES);
        let mut sum = Array1::zeros(self.dimension);
        for part in samples.chunks(samples.len().div_ceil(parts)) {
            let features = self.features.compute(part);
            sum += &self.unit_length(self.run(features, canceller)?)?;
        }
        self.unit_length(sum)
    }

    /// Runs the network on `features`, `[frames, mels]`.
    fn run(&self, features: Array2<f32>, canceller: &Canceller) -> Result<Array1<f32>, Error> {
        let frames = [features.nrows() as i64];
        let features = match self.framework {
            Framework::Nemo => nemo_layout(features.view()),
            _ => features,
        };
        let features = features.view().insert_axis(Axis(0)).into_dyn();
        let mut inputs = vec![(self.input.as_str(), Input::F32(features))];
        inputs.extend(self.lengths.as_deref().map(|name| (name, Input::I64(&frames))));
        let outputs = [OutputSpec::Values(&self.output)];
        let [embedding] = self.network.run(inputs, outputs, canceller)?;
        let embedding = self.network.values(&embedding)?;
        match embedding.view().into_dimensionality::<Ix2>() {
            Ok(values) if values.dim() == (1, self.dimension) => Ok(values.row(0).to_owned()),
            _ => {
                let expected = format!("{:?}", [1, self.dimension]);
                let found = format!("{:?}", embedding.shape());
                Err(self.network.mismatch(&format!("shape of {}", self.output), expected, found))
            }
        }
    }

    /// Scales an embedding to a length of 1.
    fn unit_length(&self, embedding: Array1<f32>) -> Result<Array1<f32>, Error> {
        // The squares of large numbers exceed the range of 32 bits.
        let squares = embedding.iter().map(|&value| f64::from(value).powi(2));
        let length = squares.sum::<f64>().sqrt() as f32;
        if length.is_finite() && length > MIN_LENGTH {
            return Ok(embedding / length);
        }
        let found = format!("expected an embedding of finite length, found a length of {length}");
        Err(self.network.failure(found))
    }
}

/// Returns `features`, `[frames, mels]`, as NeMo's graphs expect them: `[mels, frames]`, with zeros
/// after the last frame, of which there is at least one.
fn nemo_layout(features: ArrayView2<'_, f32>) -> Array2<f32> {
    let (frames, n_mels) = features.dim();
    let mut padded = Array2::zeros((n_mels, (frames + 1).next_multiple_of(NEMO_FRAMES_MULTIPLE)));
    padded.slice_mut(s![.., ..frames]).assign(&features.t());
    padded
}

/// Returns the SHA-256 of the file in hexadecimal digits.
fn fingerprint(path: &Path, canceller: &Canceller) -> Result<String, Error> {
    let mut hash = Sha256::new();
    file::read_pieces(path, EXPECTED, canceller, |piece| hash.update(piece))?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
