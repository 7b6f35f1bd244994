// SPDX-License-Identifier: MPL-2.0

//! What a stream gives.

use crate::recognition::transducer::Token;
use crate::recognition::words::{Partial, Segment, Word};

/// What a stream tells, in the order in which it became known.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A finished word; it will not change, but its [`Segment`] has the punctuation marks that came
    /// after this.
    Word {
        /// Index of the speaker, in the order in which they first spoke.
        speaker: usize,
        /// The word.
        word: Word,
    },
    /// A finished segment, whose words were all emitted before, without the marks that came late.
    Segment(Segment),
    /// The words so far of a segment that goes on, told once a chunk where they changed.
    Partial(Partial),
}

/// How far a stream has come, in samples since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The audio before this was decoded.
    pub decoded: u64,
    /// No word that starts before this will be told any more. At most `decoded`.
    pub words: u64,
    /// No segment that starts before this will be told any more. At most `words`.
    pub segments: u64,
}

/// What the stages computed, for comparison with another implementation.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Log-mel features, one row a frame of 10 ms.
    pub features: Vec<f32>,
    /// Log-mel features of the diarizer, where they are not those of the recognizer.
    pub diarizer_features: Vec<f32>,
    /// Probabilities, one row of all speakers a frame of 80 ms.
    pub probabilities: Vec<f32>,
    /// Runs of the encoder, each on one or more chunks of one or more speakers.
    pub encoder_runs: usize,
    /// For each speaker the chunks on which it ran, by their index, and its tokens.
    pub speakers: Vec<SpeakerTrace>,
}

/// What the recognizer did for one speaker.
#[derive(Clone, Debug, Default)]
pub struct SpeakerTrace {
    /// Indices of the chunks on which it ran.
    pub chunks: Vec<u64>,
    /// What it emitted.
    pub tokens: Vec<Token>,
}
