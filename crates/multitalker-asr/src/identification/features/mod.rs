// SPDX-License-Identifier: MPL-2.0

//! Features of speaker-embedding models, as the frameworks that trained the models compute them,
//! over a whole recording at 16 kHz.

mod kaldi;
mod nemo;
mod resemblyzer;
mod spectrogram;

use std::borrow::Cow;

use ndarray::{Array2, Axis};

use crate::features::MAX_AMPLITUDE;

pub use kaldi::{KaldiFilterbank, KaldiWindow};
pub use nemo::NemoFilterbank;
pub use resemblyzer::{MIN_LAST_PART_FRAMES, ResemblyzerFilterbank};

/// Computes the features of one framework.
pub enum Features {
    /// WeSpeaker and 3D-Speaker.
    Kaldi(KaldiFilterbank),
    /// NeMo.
    Nemo(NemoFilterbank),
    /// Resemblyzer.
    Resemblyzer(ResemblyzerFilterbank),
}

impl Features {
    /// Returns the features of `samples`, `[frames, mels]`. Samples are nominally from -1 to 1; those
    /// that are not finite count as 0.
    pub fn compute(&self, samples: &[f32]) -> Array2<f32> {
        let samples = bounded(samples);
        match self {
            Self::Kaldi(filterbank) => filterbank.compute(&samples),
            Self::Nemo(filterbank) => filterbank.compute(&samples),
            Self::Resemblyzer(filterbank) => filterbank.compute(&samples),
        }
    }
}

/// Returns the samples without values from which no feature can be computed.
fn bounded(samples: &[f32]) -> Cow<'_, [f32]> {
    if samples.iter().all(|sample| sample.abs() <= MAX_AMPLITUDE) {
        return samples.into();
    }
    let bound = |sample: &f32| match sample.is_finite() {
        true => sample.clamp(-MAX_AMPLITUDE, MAX_AMPLITUDE),
        false => 0.0,
    };
    samples.iter().map(bound).collect()
}

/// Subtracts the mean of each column over all rows.
fn subtract_mean(features: &mut Array2<f32>) {
    if let Some(mean) = features.mean_axis(Axis(0)) {
        *features -= &mean;
    }
}

#[cfg(test)]
mod tests;
