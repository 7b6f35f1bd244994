// SPDX-License-Identifier: MPL-2.0

//! NeMo's log-mel features of speaker models.
//!
//! Source: NeMo's `AudioToMelSpectrogramPreprocessor` without dither, with the defaults of its
//! speaker models.

use ndarray::{Array2, Axis};

use super::spectrogram::Spectrogram;
use crate::features::mel::{MelFilterbank, symmetric_hann};
use crate::features::{FFT_SIZE, LOG_GUARD, PRE_EMPHASIS, SAMPLE_RATE_HZ};

/// Added to a standard deviation, so that none is 0.
const MIN_DEVIATION: f32 = 1e-5;

/// Computes log-mel frames that are centered on the multiples of the hop.
pub struct NemoFilterbank {
    spectrogram: Spectrogram,
    hop_samples: usize,
    normalizes: bool,
}

impl NemoFilterbank {
    /// Creates a filterbank of `n_mels` filters with a Hann window of at most [`FFT_SIZE`] samples.
    /// With `normalizes` each filter gets a mean of 0 and a deviation of 1 over all frames.
    pub fn new(n_mels: usize, window_samples: usize, hop_samples: usize, normalizes: bool) -> Self {
        let filterbank = MelFilterbank::new(SAMPLE_RATE_HZ, FFT_SIZE, n_mels);
        let window = symmetric_hann(window_samples);
        Self {
            spectrogram: Spectrogram::new(window, hop_samples, FFT_SIZE, filterbank, n_mels),
            hop_samples,
            normalizes,
        }
    }

    /// Returns the features of `samples`, `[frames, mels]`.
    pub fn compute(&self, samples: &[f32]) -> Array2<f32> {
        let first = samples.first().copied();
        let others = samples.windows(2).map(|pair| pair[1] - PRE_EMPHASIS * pair[0]);
        let emphasized: Vec<f32> = first.into_iter().chain(others).collect();
        let frames = samples.len() / self.hop_samples;
        let mut features = self.spectrogram.centered_mel_energies(&emphasized, frames);
        features.mapv_inplace(|energy| (energy + LOG_GUARD).ln());
        if self.normalizes {
            normalize(&mut features);
        }
        features
    }
}

/// Shifts and scales each column to a mean of 0 and a deviation of 1, except that a constant column
/// becomes 0.
fn normalize(features: &mut Array2<f32>) {
    let Some(mean) = features.mean_axis(Axis(0)) else { return };
    *features -= &mean;
    let others = features.nrows().saturating_sub(1).max(1) as f32;
    for mut column in features.columns_mut() {
        let variance = column.iter().map(|value| value * value).sum::<f32>() / others;
        let deviation = variance.sqrt() + MIN_DEVIATION;
        column.mapv_inplace(|value| value / deviation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_frames_is_samples_by_hop() {
        for (window, hop) in [(400, 160), (320, 160), (512, 80)] {
            let filterbank = NemoFilterbank::new(64, window, hop, true);
            for samples in [0, 1, hop - 1, hop, 5 * hop + 1, 8000] {
                let features = filterbank.compute(&vec![0.1; samples]);
                assert_eq!(features.dim(), (samples / hop, 64), "{samples} samples");
                assert!(features.iter().all(|value| value.is_finite()));
            }
        }
    }

    #[test]
    fn unnormalized_frames_are_those_of_the_recognizer() {
        use crate::features::FeatureExtractor;
        use crate::features::frame_buffer::FrameBuffer;

        // Noise has energy in all bins; the logarithm magnifies rounding errors in empty ones.
        let mut random = fastrand::Rng::with_seed(1);
        let samples: Vec<f32> = (0..8000).map(|_| random.f32() - 0.5).collect();
        let mut extractor = FeatureExtractor::new(80);
        let mut frames = FrameBuffer::new(80);
        extractor.push(&samples, &mut frames);
        extractor.finish(&mut frames);
        let features = NemoFilterbank::new(80, 400, 160, false).compute(&samples);
        assert_eq!(frames.end(), 50);
        for (found, expected) in features.iter().zip(&frames.get(0..50)) {
            assert!((found - expected).abs() < 1e-3, "{found} instead of {expected}");
        }
    }
}
