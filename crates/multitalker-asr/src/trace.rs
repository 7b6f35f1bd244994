// SPDX-License-Identifier: MPL-2.0

//! What the stages compute, for comparison with another implementation in tests.

use crate::events::Token;

/// The intermediate results of a stream.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Log-mel features, one row per frame of 10 ms.
    pub features: Vec<f32>,
    /// Log-mel features of a diarizer that does not share those of the recognizer.
    pub diarizer_features: Vec<f32>,
    /// Probabilities, one row of all speakers per frame of 80 ms.
    pub probabilities: Vec<f32>,
    /// Number of encoder runs, each on one or more chunks of one or more speakers.
    pub encoder_runs: usize,
    /// Results by the index of the speaker.
    pub speakers: Vec<SpeakerTrace>,
}

/// What the recognizer computed for one speaker.
#[derive(Clone, Debug, Default)]
pub struct SpeakerTrace {
    /// Indices of the chunks on which the encoder ran.
    pub chunks: Vec<u64>,
    /// Tokens that the decoder emitted.
    pub tokens: Vec<Token>,
}
