// SPDX-License-Identifier: MPL-2.0

//! Loading the networks of one set of files, once for all streams of the process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError, Weak};

use super::config::{ModelOptions, Precision};
use super::error::Error;
use super::model_config::ModelConfig;
use super::networks::{EncoderGraph, JointGraph, SortformerGraph};
use super::onnx::{Canceller, available_threads, intra_op_threads};
use super::sync::lock;
use super::tokenizer::Tokenizer;

/// As many speakers are told apart by the published diariser.
const MAX_DECODERS: usize = 4;

/// The networks and the tokenizer of one set of files. Immutable, and freed with the last stream.
pub struct Model {
    pub(super) encoder: Arc<EncoderGraph>,
    pub(super) joint: Arc<JointGraph>,
    pub(super) sortformer: Option<Arc<SortformerGraph>>,
    pub(super) tokenizer: Tokenizer,
    /// Lengths of chunk in encoded frames that the encoder was trained for, where they are known.
    pub(super) chunk_frames: Option<Vec<usize>>,
    /// Whether two inferences at a time take no core from each other.
    pub(super) has_spare_threads: bool,
}

/// The models of the process; `None` is one that a thread is loading.
static SHARED: LazyLock<Mutex<HashMap<ModelOptions, Option<Weak<Model>>>>> =
    LazyLock::new(Mutex::default);

/// Guards the waiting for [`SHARED`] to change.
static LOADED_LOCK: Mutex<()> = Mutex::new(());
static LOADED: Condvar = Condvar::new();

impl Model {
    /// The model of these files: the one that another stream of the process holds, or a new one.
    /// Blocks while it is loaded, which may take tens of seconds.
    ///
    /// # Errors
    /// The first file that is missing, unreadable or does not fit the others;
    /// [`Error::Cancelled`] soon after `canceller` was told.
    pub fn load(options: &ModelOptions, canceller: &Canceller) -> Result<Arc<Self>, Error> {
        loop {
            match claim(options) {
                Claim::Ready(model) => return Ok(model),
                Claim::Mine => break,
                Claim::Loading => wait_for_loader(options, canceller)?,
            }
        }
        // Also gives the claim back when loading panics.
        let mut unclaim = Unclaim { options, model: None };
        let model = Arc::new(Self::load_files(options, canceller)?);
        unclaim.model = Some(Arc::downgrade(&model));
        Ok(model)
    }

    /// Speakers that the diariser tells apart; 1 without a diariser.
    pub fn speakers(&self) -> usize {
        self.sortformer.as_ref().map_or(1, |graph| graph.speakers)
    }

    /// The text of these tokens.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] where the tokenizer refuses them.
    pub fn text(&self, tokens: &[usize]) -> Result<String, Error> {
        self.tokenizer.text(tokens)
    }

    fn load_files(options: &ModelOptions, canceller: &Canceller) -> Result<Self, Error> {
        options.runtime.validate()?;
        let folder = &options.model_dir;
        if !folder.is_dir() {
            let expected = "a folder with the encoder, the decoder and the tokenizer".to_owned();
            return Err(Error::FileNotFound { path: folder.clone(), expected });
        }
        // The small files first: what is wrong with them is known at once.
        let config = ModelConfig::read(&folder.join("multitalker_config.json"))?;
        let tokenizer = Tokenizer::open(&folder.join("tokenizer.model"))?;
        let runtime = &options.runtime;
        let joint_path = choose(folder, "decoder_joint", options.precision);
        // Its products are too small to be worth a second thread, unless they are of floats, so the
        // other threads decode other speakers.
        let (mut joint_runtime, mut decoders) = (runtime.clone(), 1);
        if is_int8(&joint_path) {
            joint_runtime.intra_op_threads = 1;
            if options.diarization_model.is_some() {
                decoders = intra_op_threads(runtime).min(MAX_DECODERS);
            }
        }
        let joint = JointGraph::load(&joint_path, &joint_runtime, decoders, canceller)?;
        if tokenizer.len() != joint.vocabulary {
            return Err(Error::Mismatch {
                path: tokenizer.path().to_owned(),
                what: "number of pieces".to_owned(),
                expected: format!("{} by {}", joint.vocabulary, joint_path.display()),
                found: tokenizer.len().to_string(),
            });
        }
        let sortformer = match &options.diarization_model {
            Some(path) => Some(SortformerGraph::load(path, runtime, canceller)?),
            None => None,
        };
        let encoder_path = choose(folder, "encoder", options.precision);
        let left_context = config.left_context_mel_frames();
        let encoder = EncoderGraph::load(&encoder_path, left_context, runtime, canceller)?;
        joint.check_encoder(&encoder)?;
        if let Some(sortformer) = &sortformer {
            sortformer.check_encoder(&encoder)?;
        }
        config.check(&encoder, &joint)?;
        Ok(Self {
            encoder: Arc::new(encoder),
            joint: Arc::new(joint),
            sortformer: sortformer.map(Arc::new),
            tokenizer,
            chunk_frames: config.chunk_frames(),
            has_spare_threads: 2 * intra_op_threads(runtime) <= available_threads(),
        })
    }
}

/// The file of a network in the wanted precision.
fn choose(folder: &Path, name: &str, precision: Precision) -> PathBuf {
    let int8 = folder.join(format!("{name}.int8.onnx"));
    let fp32 = folder.join(format!("{name}.onnx"));
    match precision {
        Precision::Int8 => int8,
        Precision::Fp32 => fp32,
        Precision::Auto if int8.is_file() => int8,
        Precision::Auto => fp32,
    }
}

fn is_int8(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".int8.onnx")
}

enum Claim {
    Ready(Arc<Model>),
    Loading,
    Mine,
}

fn claim(options: &ModelOptions) -> Claim {
    let mut shared = lock(&SHARED);
    let known = shared.get(options).map(|model| model.as_ref().map(Weak::upgrade));
    match known {
        Some(None) => Claim::Loading,
        Some(Some(Some(model))) => Claim::Ready(model),
        Some(Some(None)) | None => {
            shared.insert(options.clone(), None);
            Claim::Mine
        }
    }
}

/// Puts the outcome of loading in place of the claim, and wakes those who wait for it.
struct Unclaim<'o> {
    options: &'o ModelOptions,
    model: Option<Weak<Model>>,
}

impl Drop for Unclaim<'_> {
    fn drop(&mut self) {
        let mut shared = lock(&SHARED);
        match self.model.take() {
            Some(model) => shared.insert(self.options.clone(), Some(model)),
            None => shared.remove(self.options),
        };
        shared.retain(|_, model| model.as_ref().is_none_or(|model| model.strong_count() > 0));
        drop(shared);
        drop(lock(&LOADED_LOCK));
        LOADED.notify_all();
    }
}

/// Waits until nobody loads these files any more.
fn wait_for_loader(options: &ModelOptions, canceller: &Canceller) -> Result<(), Error> {
    canceller.while_waiting(&LOADED_LOCK, &LOADED, || {
        let mut guard = lock(&LOADED_LOCK);
        while matches!(lock(&SHARED).get(options), Some(None)) {
            if canceller.is_cancelled() {
                return Err(Error::Cancelled);
            }
            guard = LOADED.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    })
}
