// SPDX-License-Identifier: MPL-2.0

//! Loading the networks of one set of files, once for all streams of the process.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cancel::Canceller;
use crate::diarization::rttm::Rttm;
use crate::error::Error;
use crate::file::FileId;
use crate::models::ModelConfig;
use crate::models::model::{ActivityModel, Model, RecognizerNetworks};
use crate::models::network_key::NetworkKey;
use crate::models::registry::Registry;
use crate::models::{EncoderGraph, JointGraph, SortformerGraph};
use crate::onnx::{
    available_threads, computes_on_cpu, intra_op_threads, library, return_free_memory,
};
use crate::options::{ModelOptions, Precision};
use crate::recognition::tokenizer::Tokenizer;

/// Maximum number of speakers of a published diarizer.
const MAX_DECODERS: usize = 8;

static ENCODERS: Registry<NetworkKey, EncoderGraph> = Registry::new();
static JOINTS: Registry<NetworkKey, JointGraph> = Registry::new();
static SORTFORMERS: Registry<NetworkKey, SortformerGraph> = Registry::new();
static TOKENIZERS: Registry<Option<FileId>, Tokenizer> = Registry::new();

/// Loads the files of a model.
///
/// # Errors
/// The errors of [`Model::load`].
pub fn load(options: &ModelOptions, canceller: &Canceller) -> Result<Model, Error> {
    options.validate()?;
    let loader = Loader { options, canceller, is_new: Cell::new(false) };
    // The small files come first, since their errors are found at once.
    let diarizer = options.diarization_model.as_deref();
    let rttm = diarizer.filter(|path| Rttm::is_at(path));
    let rttm = rttm.map(|path| Rttm::read(path, canceller)).transpose()?;
    let small_files = options.recognize.then(|| loader.small_files()).transpose()?;
    let sortformer = diarizer.filter(|_| rttm.is_none());
    if small_files.is_some() || sortformer.is_some() {
        library(options.runtime.library.as_deref())?;
    }
    let joint = match &small_files {
        Some((_, tokenizer)) => Some(loader.joint(tokenizer)?),
        None => None,
    };
    let sortformer = sortformer.map(|path| loader.sortformer(path)).transpose()?;
    let encoder = options.recognize.then(|| loader.encoder()).transpose()?;
    if loader.is_new.get() {
        return_free_memory();
    }
    let mut warnings = Vec::new();
    let mut recognizer = None;
    if let (Some((config, tokenizer)), Some(joint), Some(encoder)) = (small_files, joint, encoder) {
        joint.check_encoder(&encoder)?;
        if let Some(sortformer) = &sortformer {
            sortformer.check_encoder(&encoder)?;
        }
        config.check(&encoder, &joint)?;
        let chunk_frames = config.chunk_frames();
        warnings.extend(config.into_warnings());
        warnings.extend([joint.warning(), encoder.warning()].into_iter().flatten());
        recognizer = Some(RecognizerNetworks { encoder, joint, tokenizer, chunk_frames });
    }
    warnings.extend(sortformer.as_ref().and_then(|sortformer| sortformer.warning()));
    Ok(Model {
        recognizer,
        activity: match (sortformer, rttm) {
            (Some(sortformer), _) => ActivityModel::Sortformer(sortformer),
            (None, Some(rttm)) => ActivityModel::Rttm(Arc::new(rttm)),
            (None, None) => ActivityModel::SingleSpeaker,
        },
        has_spare_threads: 2 * intra_op_threads(&options.runtime) <= available_threads(),
        warnings,
    })
}

/// Loads the files of one model, unless they are in memory already.
struct Loader<'a> {
    options: &'a ModelOptions,
    canceller: &'a Canceller,
    /// Whether a network was loaded.
    is_new: Cell<bool>,
}

impl Loader<'_> {
    /// Reads the files of the recognizer that are not networks.
    fn small_files(&self) -> Result<(ModelConfig, Arc<Tokenizer>), Error> {
        let folder = &self.options.model_dir;
        if !folder.is_dir() {
            let expected = "a folder with the encoder, the decoder and the tokenizer";
            let path = folder.clone();
            return Err(match folder.exists() {
                true => Error::UnreadableFile { path, expected, found: "a file".to_owned() },
                false => Error::FileNotFound { path, expected: expected.to_owned() },
            });
        }
        let config = ModelConfig::read(&folder.join("multitalker_config.json"), self.canceller)?;
        let path = self.tokenizer_path();
        let tokenizer = TOKENIZERS.get_or_load(&FileId::of(&path), self.canceller, || {
            Tokenizer::open(&path, self.canceller)
        })?;
        Ok((config, tokenizer))
    }

    fn tokenizer_path(&self) -> PathBuf {
        self.options.model_dir.join("tokenizer.model")
    }

    fn joint(&self, tokenizer: &Tokenizer) -> Result<Arc<JointGraph>, Error> {
        let Self { options, canceller, is_new } = self;
        let path = choose(&options.model_dir, "decoder_joint", options)?;
        // The 8-bit products of a decoder are too small to gain from a second thread, so the other
        // threads decode other speakers.
        let (mut runtime, mut decoders) = (options.runtime.clone(), 1);
        if is_int8(&path) {
            runtime.intra_op_threads = 1;
            if options.diarization_model.is_some() {
                decoders = intra_op_threads(&options.runtime).min(MAX_DECODERS);
            }
        }
        let key = NetworkKey::new(&path, &runtime, decoders);
        let joint = JOINTS.get_or_load(&key, canceller, || {
            is_new.set(true);
            JointGraph::load(&path, &runtime, decoders, canceller)
        })?;
        if tokenizer.len() != joint.vocabulary {
            return Err(Error::Mismatch {
                path: self.tokenizer_path(),
                what: "number of pieces".to_owned(),
                expected: format!("{} to match {}", joint.vocabulary, path.display()),
                found: tokenizer.len().to_string(),
            });
        }
        Ok(joint)
    }

    fn sortformer(&self, path: &Path) -> Result<Arc<SortformerGraph>, Error> {
        let Self { options, canceller, is_new } = self;
        let key = NetworkKey::new(path, &options.runtime, 1);
        SORTFORMERS.get_or_load(&key, canceller, || {
            is_new.set(true);
            SortformerGraph::load(path, &options.runtime, canceller)
        })
    }

    fn encoder(&self) -> Result<Arc<EncoderGraph>, Error> {
        let Self { options, canceller, is_new } = self;
        let path = choose(&options.model_dir, "encoder", options)?;
        let key = NetworkKey::new(&path, &options.runtime, 1);
        ENCODERS.get_or_load(&key, canceller, || {
            is_new.set(true);
            EncoderGraph::load(&path, &options.runtime, canceller)
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
