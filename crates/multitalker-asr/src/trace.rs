// SPDX-License-Identifier: MPL-2.0

//! Intermediate results, which tests compare with another implementation.

use crate::events::Token;

/// The intermediate results of a stream.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Log-mel features, `[mel_frames, mels]` in standard layout.
    pub features: Vec<f32>,
    /// Log-mel features, `[mel_frames, mels]`, of a diarizer that does not share those of the
    /// recognizer.
    pub diarizer_features: Vec<f32>,
    /// Probabilities, `[frames, speakers]` in standard layout, for frames of 80 ms.
    pub probabilities: Vec<f32>,
    /// Number of encoder runs, each on one or more chunks of one or more speakers.
    pub encoder_runs: usize,
    /// Results by the index of the speaker.
    pub speakers: Vec<SpeakerTrace>,
}

/// Results of the recognizer for one speaker.
#[derive(Clone, Debug, Default)]
pub struct SpeakerTrace {
    /// Indices of the chunks on which the encoder ran.
    pub chunks: Vec<u64>,
    /// Tokens that the decoder emitted.
    pub tokens: Vec<Token>,
}
