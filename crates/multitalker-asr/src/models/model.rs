// SPDX-License-Identifier: MPL-2.0

//! The networks of one set of files, and what they are able to do.

use std::sync::Arc;

use crate::cancel::Canceller;
use crate::diarization::rttm::Rttm;
use crate::diarization::{DiarizationPreset, DiarizerKind, OperatingPoint};
use crate::error::{Error, ModelWarning};
use crate::models::held::wait_while_held;
use crate::models::loader;
use crate::models::{EncoderGraph, JointGraph, SortformerGraph};
use crate::options::{ChunkLatency, ModelOptions};
use crate::recognition::boosting::{
    BoostingOptions, BoostingTree, PhraseBoosting, TokenizedPhrase,
};
use crate::recognition::phrases::Phrase;
use crate::recognition::tokenizer::Tokenizer;

/// Number of mel bands of features that only count the frames.
const MIN_MELS: usize = 1;

/// The networks and the tokenizer of one set of files. A model is immutable. It shares each network
/// with all models of the process that use the same file with the same options; the last of these
/// models frees it.
pub struct Model {
    /// `None` if nothing is recognized.
    pub(crate) recognizer: Option<RecognizerNetworks>,
    pub(crate) activity: ActivityModel,
    /// Whether there are enough cores for two inferences at a time.
    pub(crate) has_spare_threads: bool,
    pub(crate) warnings: Vec<ModelWarning>,
}

/// The networks that recognize words.
pub struct RecognizerNetworks {
    pub encoder: Arc<EncoderGraph>,
    pub joint: Arc<JointGraph>,
    pub tokenizer: Arc<Tokenizer>,
    /// Chunk lengths in encoded frames for which the encoder was trained, if they are known.
    pub chunk_frames: Option<Vec<usize>>,
}

/// The origin of the speakers' activity.
pub enum ActivityModel {
    /// A single speaker, who always speaks.
    SingleSpeaker,
    /// A diarizer.
    Sortformer(Arc<SortformerGraph>),
    /// Annotations.
    Rttm(Arc<Rttm>),
}

impl Model {
    /// Loads a model. It shares the networks that other models of the process already use; loading
    /// the others blocks and may take tens of seconds.
    ///
    /// # Errors
    /// - [`Error::InvalidOption`] if an option is out of range, or there is neither a recognizer nor a
    ///   diarizer.
    /// - [`Error::RuntimeNotFound`], [`Error::RuntimeUnusable`] or [`Error::RuntimeConflict`] if the
    ///   ONNX Runtime library cannot be used.
    /// - [`Error::ProviderUnavailable`] if the execution provider cannot be used.
    /// - [`Error::FileNotFound`], [`Error::UnreadableFile`] or [`Error::Mismatch`] for the first file
    ///   that is missing, unreadable, or does not fit the others.
    /// - [`Error::Canceled`] shortly after `canceller` is canceled.
    pub fn load(options: &ModelOptions, canceller: &Canceller) -> Result<Arc<Self>, Error> {
        wait_while_held(&options.model_dir, canceller)?;
        loader::load(options, canceller).map(Arc::new)
    }

    /// Returns the defects of the files that do not prevent the use of the model.
    pub fn warnings(&self) -> &[ModelWarning] {
        &self.warnings
    }

    /// Returns whether both models use the same encoder in memory.
    #[doc(hidden)]
    pub fn shares_encoder_with(&self, other: &Self) -> bool {
        match (&self.recognizer, &other.recognizer) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one.encoder, &other.encoder),
            _ => false,
        }
    }

    /// Returns whether streams of this model emit words.
    pub fn recognizes(&self) -> bool {
        self.recognizer.is_some()
    }

    /// Returns the number of speakers that the diarizer distinguishes, or those of the RTTM file; 1
    /// without either.
    pub fn speakers(&self) -> usize {
        match &self.activity {
            ActivityModel::SingleSpeaker => 1,
            ActivityModel::Sortformer(graph) => graph.speakers,
            ActivityModel::Rttm(rttm) => rttm.names().len(),
        }
    }

    /// Returns the names of the speakers by index, if they come from an RTTM file. A name is empty
    /// if the file gives none (`<NA>`).
    pub fn annotated_speakers(&self) -> Option<Vec<&str>> {
        match &self.activity {
            ActivityModel::Rttm(rttm) => Some(rttm.names().collect()),
            _ => None,
        }
    }

    /// Returns the version of the diarizer and its limits; `None` without a diarizer.
    pub fn diarizer(&self) -> Option<DiarizerKind> {
        self.sortformer().map(|graph| graph.kind())
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
        let Some(graph) = self.sortformer() else { return Ok(preset.operating_point(chunk)) };
        let point = preset.operating_point_of(graph.version, chunk);
        graph.check_operating_point(&point)?;
        Ok(point)
    }

    /// Returns the diarizer, if there is one.
    pub(crate) fn sortformer(&self) -> Option<&Arc<SortformerGraph>> {
        match &self.activity {
            ActivityModel::Sortformer(graph) => Some(graph),
            _ => None,
        }
    }

    /// Returns the number of mel bands of the features.
    pub(crate) fn n_mels(&self) -> usize {
        let of_recognizer = self.recognizer.as_ref().map(|networks| networks.encoder.n_mels);
        let of_diarizer = || self.sortformer().map(|graph| graph.n_mels);
        of_recognizer.or_else(of_diarizer).unwrap_or(MIN_MELS)
    }

    /// Prepares `phrases` for [`Stream::set_phrase_boosting`](crate::Stream::set_phrase_boosting),
    /// with their scores times `strength` (NeMo's `boosting_tree_alpha`). Also returns the texts of
    /// phrases that the tokenizer cannot spell, which are left out.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if a score or the strength is not finite, or if nothing is recognized.
    pub fn phrase_boosting(
        &self,
        phrases: &[Phrase],
        options: BoostingOptions,
        strength: f32,
    ) -> Result<(PhraseBoosting, Vec<String>), Error> {
        options.validate()?;
        let tokenizer = self.tokenizer()?;
        let mut unspellable = Vec::new();
        let mut tokenized = Vec::new();
        for Phrase { text, score } in phrases {
            BoostingOptions { context_score: score.unwrap_or_default(), ..options }.validate()?;
            match tokenizer.encode(text) {
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
    /// [`Error::UnreadableFile`] if the tokenizer cannot decode them, and [`Error::InvalidOption`] if
    /// nothing is recognized.
    #[doc(hidden)]
    pub fn text(&self, tokens: &[usize]) -> Result<String, Error> {
        self.tokenizer()?.text(tokens)
    }

    fn tokenizer(&self) -> Result<&Tokenizer, Error> {
        let networks = self.recognizer.as_ref().ok_or_else(|| Error::InvalidOption {
            option: "words",
            expected: "a model that recognizes".to_owned(),
            found: "diarization alone".to_owned(),
        })?;
        Ok(&networks.tokenizer)
    }
}
