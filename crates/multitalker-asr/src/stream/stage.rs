// SPDX-License-Identifier: MPL-2.0

//! The stage behind the activity of the speakers: recognition, or their turns alone.

use std::sync::Arc;

use ndarray::ArrayView2;

use crate::cancel::Canceller;
use crate::diarization::turns::Turns;
use crate::error::Error;
use crate::events::{Event, Progress};
use crate::models::{ActivityModel, Cancellable, EncoderGraph, JointGraph, Model};
use crate::options::StreamOptions;
use crate::recognition::Recognizer;
use crate::recognition::decoding::Greedy;
use crate::recognition::tokenizer::Tokenizer;

/// The recognizer on the networks of a model.
pub type ModelRecognizer =
    Recognizer<Cancellable<EncoderGraph>, Cancellable<JointGraph>, Greedy, Arc<Tokenizer>>;

/// The last stage of a stream, which emits its events.
pub enum Stage {
    /// Words.
    Recognizer(Box<ModelRecognizer>),
    /// Turns without words.
    Turns(Turns),
}

impl Stage {
    /// Creates the last stage of a stream on `model`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the recognizer was not trained for the chunk.
    pub fn new(
        model: &Model,
        options: StreamOptions,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        let Some(networks) = &model.recognizer else {
            return Ok(Self::Turns(Turns::new(model.speakers(), options.activity_threshold)));
        };
        let chunk_frames = options.chunk_latency.encoded_frames();
        if let Some(known) = &networks.chunk_frames
            && !known.contains(&chunk_frames)
        {
            return Err(Error::InvalidOption {
                option: "chunk of the recognizer",
                expected: format!("one of {known:?} encoded frames, as in multitalker_config.json"),
                found: chunk_frames.to_string(),
            });
        }
        let (encoder, joint) = (networks.encoder.clone(), networks.joint.clone());
        let is_diarized = !matches!(model.activity, ActivityModel::SingleSpeaker);
        Ok(Self::Recognizer(Box::new(Recognizer::new(
            Cancellable { graph: encoder, canceller: canceller.clone() },
            Cancellable { graph: joint, canceller: canceller.clone() },
            Greedy::default(),
            networks.tokenizer.clone(),
            is_diarized.then(|| model.speakers()),
            options,
        ))))
    }

    /// Returns the recognizer; `None` if nothing is recognized.
    pub fn recognizer(&self) -> Option<&ModelRecognizer> {
        match self {
            Self::Recognizer(recognizer) => Some(recognizer),
            Self::Turns(_) => None,
        }
    }

    /// Returns the recognizer; `None` if nothing is recognized.
    pub fn recognizer_mut(&mut self) -> Option<&mut ModelRecognizer> {
        match self {
            Self::Recognizer(recognizer) => Some(recognizer),
            Self::Turns(_) => None,
        }
    }

    /// Adds the probabilities of the next frames, `[frames, speakers]`.
    pub fn add_probabilities(&mut self, rows: ArrayView2<'_, f32>) {
        match self {
            Self::Recognizer(recognizer) => recognizer.add_probabilities(rows),
            Self::Turns(turns) => turns.add_probabilities(rows),
        }
    }

    /// Closes all segments or turns; `end` is the number of samples in the audio.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`], as in [`Recognizer::finish`].
    pub fn finish(&mut self, end: u64) -> Result<(), Error> {
        match self {
            Self::Recognizer(recognizer) => recognizer.finish(end),
            Self::Turns(turns) => {
                turns.finish(end);
                Ok(())
            }
        }
    }

    /// Returns to the state before the first sample.
    pub fn reset(&mut self) {
        match self {
            Self::Recognizer(recognizer) => recognizer.reset(),
            Self::Turns(turns) => turns.reset(),
        }
    }

    /// Returns the progress.
    pub fn progress(&self) -> Progress {
        match self {
            Self::Recognizer(recognizer) => recognizer.progress(),
            Self::Turns(turns) => turns.progress(),
        }
    }

    /// Returns the events since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        match self {
            Self::Recognizer(recognizer) => recognizer.take_events(),
            Self::Turns(turns) => turns.take_events(),
        }
    }

    /// Returns the first mel frame that a later step needs, or `None` if it needs no features.
    pub fn needs_from(&self) -> Option<u64> {
        self.recognizer().map(Recognizer::needs_from)
    }
}
