// SPDX-License-Identifier: MPL-2.0

//! `multitalker_config.json`: what the model's authors say of it, to be compared with the graphs.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::Error;
use super::features::{FFT_SIZE, FRAMES_PER_ENCODED_FRAME, SAMPLE_RATE_HZ};
use super::networks::{EncoderGraph, JointGraph};

/// Mel frames that a cache-aware encoder needs again where nothing else is said: a causal
/// subsampling by the usual factor reaches back by one frame more than itself.
const DEFAULT_LEFT_CONTEXT_MEL_FRAMES: usize = FRAMES_PER_ENCODED_FRAME + 1;

/// The file, as far as it matters here; entries that are absent are not compared.
#[derive(Debug, Default, Deserialize)]
pub struct ModelConfig {
    #[serde(skip)]
    path: PathBuf,
    #[serde(default)]
    encoder: EncoderConfig,
    #[serde(default)]
    decoder: DecoderConfig,
    #[serde(default)]
    preprocessor: PreprocessorConfig,
}

#[derive(Debug, Default, Deserialize)]
struct EncoderConfig {
    d_model: Option<usize>,
    num_layers: Option<usize>,
    subsampling_factor: Option<usize>,
    left_context: Option<usize>,
    conv_context: Option<usize>,
    pre_encode_cache_size: Option<usize>,
    drop_extra_pre_encoded: Option<usize>,
    att_context_size: Option<AttentionContexts>,
}

/// NeMo writes one pair of left and right context, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum AttentionContexts {
    Many(Vec<[i64; 2]>),
    One([i64; 2]),
}

#[derive(Debug, Default, Deserialize)]
struct DecoderConfig {
    vocab_size: Option<usize>,
    pred_hidden: Option<usize>,
    pred_rnn_layers: Option<usize>,
    blank_id: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
struct PreprocessorConfig {
    sample_rate: Option<usize>,
    n_mels: Option<usize>,
    n_fft: Option<usize>,
    normalize: Option<String>,
}

impl ModelConfig {
    /// Reads the file; a folder without it gives a config that says nothing.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] where it is there and is not what it should be.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |found: String| Error::UnreadableFile {
            path: path.to_owned(),
            expected: "the model's configuration",
            found,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let config: Self = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
        Ok(Self { path: path.to_owned(), ..config })
    }

    /// Mel frames before a chunk that the encoder sees again.
    pub fn left_context_mel_frames(&self) -> usize {
        self.encoder.pre_encode_cache_size.unwrap_or(DEFAULT_LEFT_CONTEXT_MEL_FRAMES)
    }

    /// The lengths of chunk, in encoded frames, that the encoder was trained for; `None` where
    /// nothing is said.
    pub fn chunk_frames(&self) -> Option<Vec<usize>> {
        let contexts = match self.encoder.att_context_size.as_ref()? {
            AttentionContexts::Many(contexts) => contexts.as_slice(),
            AttentionContexts::One(context) => std::slice::from_ref(context),
        };
        let right = contexts.iter().filter_map(|[_, right]| usize::try_from(*right).ok());
        Some(right.map(|right| right + 1).collect())
    }

    /// Compares all entries with the graphs and with the features that we compute.
    ///
    /// # Errors
    /// [`Error::Mismatch`] names the first entry that differs.
    pub fn check(&self, encoder: &EncoderGraph, joint: &JointGraph) -> Result<(), Error> {
        let left_context = self.left_context_mel_frames();
        let extra = left_context.div_ceil(FRAMES_PER_ENCODED_FRAME);
        for (entry, found, expected, by) in [
            ("encoder.d_model", self.encoder.d_model, encoder.d_model, "the encoder"),
            ("encoder.num_layers", self.encoder.num_layers, encoder.layers, "the encoder"),
            (
                "encoder.left_context",
                self.encoder.left_context,
                encoder.left_context,
                "the encoder",
            ),
            (
                "encoder.conv_context",
                self.encoder.conv_context,
                encoder.conv_context,
                "the encoder",
            ),
            (
                "encoder.subsampling_factor",
                self.encoder.subsampling_factor,
                FRAMES_PER_ENCODED_FRAME,
                "the features",
            ),
            (
                "encoder.drop_extra_pre_encoded",
                self.encoder.drop_extra_pre_encoded,
                extra,
                "encoder.pre_encode_cache_size",
            ),
            ("decoder.vocab_size", self.decoder.vocab_size, joint.vocabulary, "the decoder"),
            ("decoder.blank_id", self.decoder.blank_id, joint.vocabulary, "the decoder"),
            ("decoder.pred_hidden", self.decoder.pred_hidden, joint.hidden, "the decoder"),
            ("decoder.pred_rnn_layers", self.decoder.pred_rnn_layers, joint.layers, "the decoder"),
            ("preprocessor.n_mels", self.preprocessor.n_mels, encoder.n_mels, "the encoder"),
            (
                "preprocessor.sample_rate",
                self.preprocessor.sample_rate,
                SAMPLE_RATE_HZ as usize,
                "the features",
            ),
            ("preprocessor.n_fft", self.preprocessor.n_fft, FFT_SIZE, "the features"),
        ] {
            if let Some(found) = found.filter(|&found| found != expected) {
                return Err(self.mismatch(entry, format!("{expected} by {by}"), found.to_string()));
            }
        }
        match self.preprocessor.normalize.as_deref() {
            None | Some("NA" | "") => Ok(()),
            Some(other) => Err(self.mismatch(
                "preprocessor.normalize",
                "NA by the features".to_owned(),
                other.to_owned(),
            )),
        }
    }

    fn mismatch(&self, what: &str, expected: String, found: String) -> Error {
        Error::Mismatch { path: self.path.clone(), what: what.to_owned(), expected, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ModelConfig {
        serde_json::from_str(text).expect("valid JSON")
    }

    #[test]
    fn contexts_come_as_a_pair_or_a_list() {
        let list = parse(r#"{"encoder": {"att_context_size": [[70, 13], [70, 0]]}}"#);
        assert_eq!(list.chunk_frames(), Some(vec![14, 1]));
        let pair = parse(r#"{"encoder": {"att_context_size": [70, 6]}}"#);
        assert_eq!(pair.chunk_frames(), Some(vec![7]));
        assert_eq!(parse("{}").chunk_frames(), None);
    }

    #[test]
    fn missing_file_says_nothing_and_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("multitalker_config.json");
        assert_eq!(ModelConfig::read(&path).expect("no config").left_context_mel_frames(), 9);
        std::fs::write(&path, "{").expect("written");
        assert!(matches!(ModelConfig::read(&path), Err(Error::UnreadableFile { .. })));
    }
}
