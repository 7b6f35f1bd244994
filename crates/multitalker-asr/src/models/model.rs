// SPDX-License-Identifier: MPL-2.0

//! Loading the networks of one set of files, once for all streams of the process.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cancel::Canceller;
use crate::diarization::{DiarizationPreset, DiarizerKind, OperatingPoint};
use crate::error::{Error, ModelWarning};
use crate::file::FileId;
use crate::models::ModelConfig;
use crate::models::held::wait_while_held;
use crate::models::network_key::NetworkKey;
use crate::models::registry::Registry;
use crate::models::{EncoderGraph, JointGraph, SortformerGraph};
use crate::onnx::{
    available_threads, computes_on_cpu, intra_op_threads, library, return_free_memory,
};
use crate::options::{ChunkLatency, ModelOptions, Precision};
use crate::recognition::boosting::{
    BoostingOptions, BoostingTree, PhraseBoosting, TokenizedPhrase,
};
use crate::recognition::phrases::Phrase;
use crate::recognition::tokenizer::Tokenizer;

/// Maximum number of speakers of a published diarizer.
const MAX_DECODERS: usize = 8;

/// The networks and the tokenizer of one set of files. A model is immutable. It shares each network
/// with all models of the process that use the same file with the same options; the last of these
/// models frees it.
pub struct Model {
    pub(crate) encoder: Arc<EncoderGraph>,
    pub(crate) joint: Arc<JointGraph>,
    pub(crate) sortformer: Option<Arc<SortformerGraph>>,
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// Chunk lengths in encoded frames for which the encoder was trained, if they are known.
    pub(crate) chunk_frames: Option<Vec<usize>>,
    /// Whether there are enough cores for two inferences at a time.
    pub(crate) has_spare_threads: bool,
    warnings: Vec<ModelWarning>,
}

static ENCODERS: Registry<NetworkKey, EncoderGraph> = Registry::new();
static JOINTS: Registry<NetworkKey, JointGraph> = Registry::new();
static SORTFORMERS: Registry<NetworkKey, SortformerGraph> = Registry::new();
static TOKENIZERS: Registry<Option<FileId>, Tokenizer> = Registry::new();

impl Model {
    /// Loads a model. It shares the networks that other models of the process already use; loading
    /// the others blocks and may take tens of seconds.
    ///
    /// # Errors
    /// - [`Error::InvalidOption`] if an option is out of range.
    /// - [`Error::RuntimeNotFound`], [`Error::RuntimeUnusable`] or [`Error::RuntimeConflict`] if the
    ///   ONNX Runtime library cannot be used.
    /// - [`Error::ProviderUnavailable`] if the execution provider cannot be used.
    /// - [`Error::FileNotFound`], [`Error::UnreadableFile`] or [`Error::Mismatch`] for the first file
    ///   that is missing, unreadable, or does not fit the others.
    /// - [`Error::Canceled`] shortly after `canceller` is canceled.
    pub fn load(options: &ModelOptions, canceller: &Canceller) -> Result<Arc<Self>, Error> {
        wait_while_held(&options.model_dir, canceller)?;
        Self::load_files(options, canceller).map(Arc::new)
    }

    /// Returns the defects of the files that do not prevent the use of the model.
    pub fn warnings(&self) -> &[ModelWarning] {
        &self.warnings
    }

    /// Returns whether both models use the same encoder in memory.
    #[doc(hidden)]
    pub fn shares_encoder_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.encoder, &other.encoder)
    }

    /// Returns the number of speakers that the diarizer distinguishes; 1 without a diarizer.
    pub fn speakers(&self) -> usize {
        self.sortformer.as_ref().map_or(1, |graph| graph.speakers)
    }

    /// Returns the version of the diarizer and its limits; `None` without a diarizer.
    pub fn diarizer(&self) -> Option<DiarizerKind> {
        self.sortformer.as_ref().map(|graph| graph.kind())
    }

    /// Returns the operating point of a preset, or of its substitute from
    /// [`DiarizationPreset::offered_by`], for this model's diarizer and for a recognizer with this
    /// chunk.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the axes of the diarizer's graph are fixed for another preset.
    pub fn operating_point(
        &self,
        preset: DiarizationPreset,
        chunk: ChunkLatency,
    ) -> Result<OperatingPoint, Error> {
        let Some(graph) = &self.sortformer else { return Ok(preset.operating_point(chunk)) };
        let point = preset.operating_point_of(graph.version, chunk);
        graph.check_operating_point(&point)?;
        Ok(point)
    }

    /// Prepares `phrases` for [`Stream::set_phrase_boosting`](crate::Stream::set_phrase_boosting),
    /// with their scores times `strength` (NeMo's `boosting_tree_alpha`). Also returns the texts of
    /// phrases that the tokenizer cannot spell, which are left out.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if a score or the strength is not finite.
    pub fn phrase_boosting(
        &self,
        phrases: &[Phrase],
        options: BoostingOptions,
        strength: f32,
    ) -> Result<(PhraseBoosting, Vec<String>), Error> {
        options.validate()?;
        let mut unspellable = Vec::new();
        let mut tokenized = Vec::new();
        for Phrase { text, score } in phrases {
            BoostingOptions { context_score: score.unwrap_or_default(), ..options }.validate()?;
            match self.tokenizer.encode(text) {
                Some(tokens) => tokenized.push(TokenizedPhrase { tokens, context_score: *score }),
                None => unspellable.push(text.clone()),
            }
        }
        let tree = BoostingTree::new(&tokenized, options);
        Ok((PhraseBoosting::new(tree, strength)?, unspellable))
    }

    /// Returns the text of these tokens.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] if the tokenizer cannot decode them.
    #[doc(hidden)]
    pub fn text(&self, tokens: &[usize]) -> Result<String, Error> {
        self.tokenizer.text(tokens)
    }

    fn load_files(options: &ModelOptions, canceller: &Canceller) -> Result<Self, Error> {
        options.runtime.validate()?;
        let folder = &options.model_dir;
        if !folder.is_dir() {
            let expected = "a folder with the encoder, the decoder and the tokenizer";
            let path = folder.clone();
            return Err(match folder.exists() {
                true => Error::UnreadableFile { path, expected, found: "a file".to_owned() },
                false => Error::FileNotFound { path, expected: expected.to_owned() },
            });
        }
        // The small files come first, since their errors are found at once.
        let config = ModelConfig::read(&folder.join("multitalker_config.json"), canceller)?;
        let tokenizer_path = folder.join("tokenizer.model");
        let tokenizer = TOKENIZERS.get_or_load(&FileId::of(&tokenizer_path), canceller, || {
            Tokenizer::open(&tokenizer_path, canceller)
        })?;
        let runtime = &options.runtime;
        library(runtime.library.as_deref())?;
        let joint_path = choose(folder, "decoder_joint", options)?;
        // The 8-bit products of a decoder are too small to gain from a second thread, so the other
        // threads decode other speakers.
        let (mut joint_runtime, mut decoders) = (runtime.clone(), 1);
        if is_int8(&joint_path) {
            joint_runtime.intra_op_threads = 1;
            if options.diarization_model.is_some() {
                decoders = intra_op_threads(runtime).min(MAX_DECODERS);
            }
        }
        let key = NetworkKey::new(&joint_path, &joint_runtime, decoders);
        let is_new = Cell::new(false);
        let joint = JOINTS.get_or_load(&key, canceller, || {
            is_new.set(true);
            JointGraph::load(&joint_path, &joint_runtime, decoders, canceller)
        })?;
        if tokenizer.len() != joint.vocabulary {
            return Err(Error::Mismatch {
                path: tokenizer_path,
                what: "number of pieces".to_owned(),
                expected: format!("{} to match {}", joint.vocabulary, joint_path.display()),
                found: tokenizer.len().to_string(),
            });
        }
        let load_sortformer = |path: &PathBuf| {
            let key = NetworkKey::new(path, runtime, 1);
            SORTFORMERS.get_or_load(&key, canceller, || {
                is_new.set(true);
                SortformerGraph::load(path, runtime, canceller)
            })
        };
        let sortformer = options.diarization_model.as_ref().map(load_sortformer).transpose()?;
        let encoder_path = choose(folder, "encoder", options)?;
        let key = NetworkKey::new(&encoder_path, runtime, 1);
        let encoder = ENCODERS.get_or_load(&key, canceller, || {
            is_new.set(true);
            EncoderGraph::load(&encoder_path, runtime, canceller)
        })?;
        if is_new.get() {
            return_free_memory();
        }
        joint.check_encoder(&encoder)?;
        if let Some(sortformer) = &sortformer {
            sortformer.check_encoder(&encoder)?;
        }
        config.check(&encoder, &joint)?;
        let chunk_frames = config.chunk_frames();
        let networks = [
            joint.warning(),
            encoder.warning(),
            sortformer.as_ref().and_then(|sortformer| sortformer.warning()),
        ];
        Ok(Self {
            warnings: config
                .into_warnings()
                .into_iter()
                .chain(networks.into_iter().flatten())
                .collect(),
            encoder,
            joint,
            sortformer,
            tokenizer,
            chunk_frames,
            has_spare_threads: 2 * intra_op_threads(runtime) <= available_threads(),
        })
    }
}

/// Chooses the file of a network by the precision of `options`.
///
/// # Errors
/// [`Error::FileNotFound`] if neither file exists, and the errors of [`computes_on_cpu`].
fn choose(folder: &Path, name: &str, options: &ModelOptions) -> Result<PathBuf, Error> {
    let int8 = folder.join(format!("{name}.int8.onnx"));
    let fp32 = folder.join(format!("{name}.onnx"));
    // A dangling link is also chosen, so that the error names it.
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let found = (is_there(&int8), is_there(&fp32));
    match (options.precision, found) {
        (Precision::Int8, _) | (Precision::Auto, (true, false)) => Ok(int8),
        (Precision::Fp32, _) | (Precision::Auto, (false, true)) => Ok(fp32),
        (Precision::Auto, (true, true)) => {
            let on_cpu = computes_on_cpu(&options.runtime)?;
            Ok(if prefers_int8(on_cpu) { int8 } else { fp32 })
        }
        (Precision::Auto, (false, false)) => {
            let expected = format!("an ONNX file of that name, or {name}.int8.onnx");
            Err(Error::FileNotFound { path: fp32, expected })
        }
    }
}

/// Returns whether quantized files are preferred. Operators that quantize dynamically run on the CPU
/// with every provider, so on other devices they need additional copies.
fn prefers_int8(on_cpu: bool) -> bool {
    on_cpu
}

fn is_int8(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".int8.onnx")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{ExecutionProvider, RuntimeOptions};

    #[test]
    fn automatic_precision_follows_the_provider_and_the_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let (int8, fp32) = (folder.path().join("x.int8.onnx"), folder.path().join("x.onnx"));
        let options = ModelOptions::default();
        let choose = |options: &ModelOptions| choose(folder.path(), "x", options);
        let error = choose(&options).expect_err("no file").to_string();
        assert!(error.contains("x.onnx was not found") && error.contains("x.int8.onnx"), "{error}");
        std::fs::write(&fp32, "").expect("written");
        assert_eq!(choose(&options).expect("one file"), fp32);
        std::fs::write(&int8, "").expect("written");
        assert_eq!(choose(&options).expect("both files"), int8);
        // Without a GPU this falls back to the CPU.
        let runtime =
            |execution_provider| RuntimeOptions { execution_provider, ..Default::default() };
        let auto = ModelOptions { runtime: runtime(ExecutionProvider::Auto), ..options.clone() };
        let on_cpu = computes_on_cpu(&auto.runtime).expect("falls back");
        assert_eq!(
            choose(&auto).expect("both files"),
            if on_cpu { int8.clone() } else { fp32.clone() }
        );
        let other = ModelOptions { runtime: runtime(ExecutionProvider::CoreMl), ..options.clone() };
        assert!(matches!(choose(&other), Err(Error::ProviderUnavailable { .. })));
        assert!(prefers_int8(true) && !prefers_int8(false));
        std::fs::remove_file(&fp32).expect("removed");
        assert_eq!(choose(&other).expect("one file"), int8, "with any provider");
        // A dangling link is chosen rather than the other file.
        #[cfg(unix)]
        {
            std::fs::remove_file(&int8).expect("removed");
            std::fs::write(&fp32, "").expect("written");
            std::os::unix::fs::symlink("nowhere", &int8).expect("linked");
            assert_eq!(choose(&options).expect("both"), int8);
        }
    }
}
