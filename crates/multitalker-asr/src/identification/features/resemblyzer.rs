// SPDX-License-Identifier: MPL-2.0

//! Mel features of Resemblyzer, which are powers instead of logarithms.
//!
//! Source: Resemblyzer's `normalize_volume`, `compute_partial_slices` and `wav_to_mel_spectrogram`
//! with librosa 0.10 or newer. Silence is not trimmed.

use std::borrow::Cow;

use ndarray::Array2;

use super::spectrogram::Spectrogram;
use crate::features::mel::{MelFilterbank, periodic_hann};
use crate::features::{HOP_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES};

/// Number of frames in one of the overlapping parts of which the model embeds each.
pub const PART_FRAMES: usize = 160;

/// Distance of the parts in frames: 1.3 parts a second.
const PART_HOP_FRAMES: usize = 77;

/// A last part with fewer frames of audio, three quarters of a part, is left out.
pub const MIN_LAST_PART_FRAMES: usize = 120;

/// Level to which quieter recordings are amplified.
const MIN_LEVEL_DBFS: f64 = -30.0;

/// Computes mel powers of 25 ms every 10 ms.
pub struct ResemblyzerFilterbank {
    spectrogram: Spectrogram,
}

impl ResemblyzerFilterbank {
    /// Creates a filterbank of `n_mels` filters.
    pub fn new(n_mels: usize) -> Self {
        let filterbank = MelFilterbank::new(SAMPLE_RATE_HZ, WINDOW_SAMPLES, n_mels);
        let window = periodic_hann(WINDOW_SAMPLES);
        let fft_size = WINDOW_SAMPLES;
        Self { spectrogram: Spectrogram::new(window, HOP_SAMPLES, fft_size, filterbank, n_mels) }
    }

    /// Returns the features of `samples`, `[frames, mels]`, with zeros after the samples up to the end
    /// of the last part.
    pub fn compute(&self, samples: &[f32]) -> Array2<f32> {
        let frames = frames_with_last_part(samples.len());
        self.spectrogram.centered_mel_energies(&amplified(samples), frames)
    }
}

/// Returns the number of frames of a recording, including zeros that complete its last part.
fn frames_with_last_part(samples: usize) -> usize {
    let frames = samples / HOP_SAMPLES + 1;
    let steps = (frames + PART_HOP_FRAMES).saturating_sub(PART_FRAMES) + 1;
    let mut last_start = (steps - 1) / PART_HOP_FRAMES * PART_HOP_FRAMES;
    if last_start > 0 && samples < (last_start + MIN_LAST_PART_FRAMES) * HOP_SAMPLES {
        last_start -= PART_HOP_FRAMES;
    }
    frames.max(last_start + PART_FRAMES + 1)
}

/// Returns the samples at [`MIN_LEVEL_DBFS`] or louder.
fn amplified(samples: &[f32]) -> Cow<'_, [f32]> {
    let power = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>();
    let level = (power / samples.len().max(1) as f64).sqrt();
    let gain = 10_f64.powf(MIN_LEVEL_DBFS / 20.0) / level;
    match gain.is_finite() && gain > 1.0 {
        true => samples.iter().map(|sample| (f64::from(*sample) * gain) as f32).collect(),
        false => samples.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_part_is_completed_if_three_quarters_are_there() {
        // One part, a second one of 119 and of 120 frames, and a full second part.
        for (samples, frames) in [
            (1, 161),
            (160 * 160, 161),
            ((77 + 120) * 160 - 1, 197),
            ((77 + 120) * 160, 77 + 161),
            ((77 + 160) * 160, 77 + 161),
            ((77 + 170) * 160, 77 + 171),
        ] {
            assert_eq!(frames_with_last_part(samples), frames, "{samples} samples");
        }
    }

    #[test]
    fn quiet_recordings_alone_are_amplified() {
        let level = |samples: &[f32]| {
            (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt()
        };
        assert!((level(&amplified(&[0.001, -0.001])) - 10_f32.powf(-1.5)).abs() < 1e-6);
        assert_eq!(*amplified(&[0.5, -0.5]), [0.5, -0.5]);
        assert_eq!(*amplified(&[0.0, 0.0]), [0.0, 0.0]);
        assert!(amplified(&[]).is_empty());
    }
}
