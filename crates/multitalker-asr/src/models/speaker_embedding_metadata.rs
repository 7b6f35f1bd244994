// SPDX-License-Identifier: MPL-2.0

//! Metadata of a speaker-embedding model: its framework, and the features that it expects.
//!
//! The entries are those that sherpa-onnx's scripts write into its published speaker models.
//! `resemblyzer` is an additional framework.

use crate::error::Error;
use crate::features::{FFT_SIZE, SAMPLE_RATE_HZ};
use crate::identification::features::{
    Features, KaldiFilterbank, KaldiWindow, NemoFilterbank, ResemblyzerFilterbank,
};
use crate::models::metadata::Metadata;
use crate::onnx::Network;

/// Largest plausible number of values in an embedding; the published models have 192 to 512.
const MAX_DIMENSION: usize = 4096;

/// Largest plausible number of mel bins; the published models have 64 or 80.
const MAX_MELS: usize = 256;

/// Number of mel bins of WeSpeaker, 3D-Speaker and NeMo, unless the file states another one.
const DEFAULT_MELS: usize = 80;

const SAMPLES_PER_MS: usize = SAMPLE_RATE_HZ as usize / 1000;

/// The framework that trained a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framework {
    /// WeSpeaker.
    WeSpeaker,
    /// 3D-Speaker.
    ThreeDSpeaker,
    /// NVIDIA NeMo.
    Nemo,
    /// Resemblyzer.
    Resemblyzer,
}

/// The entries of one file.
pub struct SpeakerEmbeddingMetadata {
    /// The framework that trained the model.
    pub framework: Framework,
    /// Number of values in an embedding, from 1 to [`MAX_DIMENSION`].
    pub dimension: usize,
    /// Number of mel bins, from 1 to [`MAX_MELS`]; `None` if only the graph states it.
    n_mels: Option<usize>,
    options: FeatureOptions,
}

/// Options of the features.
enum FeatureOptions {
    Kaldi { window: KaldiWindow, integer_range: bool, subtracts_mean: bool },
    Nemo { window_samples: usize, hop_samples: usize, normalizes: bool },
    Resemblyzer,
}

impl SpeakerEmbeddingMetadata {
    /// Reads the entries.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for the first entry that is missing, out of its range or not supported.
    pub fn read(network: &Network) -> Result<Self, Error> {
        let metadata = Metadata::new(network);
        let framework = framework(&metadata)?;
        let sample_rate_hz = SAMPLE_RATE_HZ as usize;
        required(&metadata, "sample_rate", sample_rate_hz, sample_rate_hz)?;
        let dimension = required(&metadata, "output_dim", 1, MAX_DIMENSION)?;
        let normalization = metadata.entry(&["feature_normalize_type"])?.map(|(_, text)| text);
        let unsupported = |expected| match normalization {
            Some(found) => Err(metadata.mismatch("feature_normalize_type", expected, found)),
            None => Ok(()),
        };
        let options = match framework {
            Framework::WeSpeaker | Framework::ThreeDSpeaker => {
                let is_wespeaker = framework == Framework::WeSpeaker;
                if !matches!(normalization, None | Some("" | "global-mean")) {
                    unsupported("global-mean or nothing")?;
                }
                FeatureOptions::Kaldi {
                    window: if is_wespeaker { KaldiWindow::Hamming } else { KaldiWindow::Povey },
                    integer_range: required(&metadata, "normalize_samples", 0, 1)? == 0,
                    // WeSpeaker subtracts the mean in all its recipes, which the published files do
                    // not state.
                    subtracts_mean: is_wespeaker || normalization == Some("global-mean"),
                }
            }
            Framework::Nemo => {
                if !matches!(normalization, None | Some("" | "per_feature")) {
                    unsupported("per_feature or nothing")?;
                }
                if let Some((_, window)) = metadata.entry(&["window_type"])?
                    && window != "hann"
                {
                    return Err(metadata.mismatch("window_type", "hann", window));
                }
                let most_ms = FFT_SIZE / SAMPLES_PER_MS;
                let window_ms = required(&metadata, "window_size_ms", 2, most_ms)?;
                let hop_ms = required(&metadata, "window_stride_ms", 1, window_ms)?;
                FeatureOptions::Nemo {
                    window_samples: window_ms * SAMPLES_PER_MS,
                    hop_samples: hop_ms * SAMPLES_PER_MS,
                    normalizes: normalization != Some(""),
                }
            }
            Framework::Resemblyzer => FeatureOptions::Resemblyzer,
        };
        let n_mels = metadata.number(&["feat_dim"], 1..=MAX_MELS)?;
        Ok(Self { framework, dimension, n_mels, options })
    }

    /// Creates the features for a graph whose input `name` has the mel bins on dimension `axis`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the number of mel bins is out of its range, or differs between the graph
    /// and the metadata.
    pub fn features(&self, network: &Network, name: &str, axis: usize) -> Result<Features, Error> {
        let n_mels = match (network.dim(name, axis), self.n_mels) {
            (Ok(_), expected) => {
                let found = network.bounded_dim(name, axis, MAX_MELS)?;
                if let Some(expected) = expected.filter(|&expected| expected != found) {
                    let what = format!("dimension {axis} of {name}");
                    let expected = format!("{expected} to match feat_dim in the metadata");
                    return Err(network.mismatch(&what, expected, found));
                }
                found
            }
            (Err(_), Some(n_mels)) => n_mels,
            (Err(_), None) => DEFAULT_MELS,
        };
        Ok(match self.options {
            FeatureOptions::Kaldi { window, integer_range, subtracts_mean } => {
                Features::Kaldi(KaldiFilterbank::new(n_mels, window, integer_range, subtracts_mean))
            }
            FeatureOptions::Nemo { window_samples, hop_samples, normalizes } => {
                Features::Nemo(NemoFilterbank::new(n_mels, window_samples, hop_samples, normalizes))
            }
            FeatureOptions::Resemblyzer => {
                Features::Resemblyzer(ResemblyzerFilterbank::new(n_mels))
            }
        })
    }
}

fn framework(metadata: &Metadata<'_>) -> Result<Framework, Error> {
    let found = metadata.entry(&["framework"])?.map(|(_, text)| text);
    match found {
        Some("wespeaker") => Ok(Framework::WeSpeaker),
        Some("3d-speaker") => Ok(Framework::ThreeDSpeaker),
        Some("nemo") => Ok(Framework::Nemo),
        Some("resemblyzer") => Ok(Framework::Resemblyzer),
        _ => {
            let expected = "wespeaker, 3d-speaker, nemo or resemblyzer, as in sherpa-onnx's speaker \
                            models";
            Err(metadata.mismatch("framework", expected, found.unwrap_or("none")))
        }
    }
}

/// Returns a number from `min` to `max`, without which the features are unknown.
fn required(
    metadata: &Metadata<'_>,
    name: &'static str,
    min: usize,
    max: usize,
) -> Result<usize, Error> {
    if let Some(number) = metadata.number(&[name], min..=max)? {
        return Ok(number);
    }
    let expected = match min == max {
        true => min.to_string(),
        false => format!("a number from {min} to {max}"),
    };
    Err(metadata.mismatch(name, expected, "none"))
}
