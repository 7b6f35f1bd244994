// SPDX-License-Identifier: MPL-2.0

//! Kaldi's log-mel filterbank, the features of WeSpeaker and 3D-Speaker.
//!
//! Source: Kaldi's `compute-fbank-feats` without dither, which both frameworks call as
//! `torchaudio.compliance.kaldi.fbank`.

use ndarray::Array2;

use super::spectrogram::Spectrogram;
use super::subtract_mean;
use crate::features::mel::{MelFilterbank, povey, symmetric_hamming};
use crate::features::{FFT_SIZE, HOP_SAMPLES, PRE_EMPHASIS, SAMPLE_RATE_HZ, WINDOW_SAMPLES};

/// Lower end of the first filter in Hz. The last filter ends at half of the sample rate.
const LOW_HZ: f64 = 20.0;

/// Samples for models that were trained on 16-bit integers are multiplied by this number.
const INTEGER_SCALE: f32 = 32_768.0;

/// Shape of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KaldiWindow {
    /// The symmetric Hann window to the power of 0.85, Kaldi's default.
    Povey,
    /// The symmetric Hamming window.
    Hamming,
}

/// Computes log-mel frames of 25 ms every 10 ms, without frames that would exceed the recording.
pub struct KaldiFilterbank {
    spectrogram: Spectrogram,
    scale: f32,
    subtracts_mean: bool,
}

impl KaldiFilterbank {
    /// Creates a filterbank of `n_mels` filters. `integer_range` multiplies the samples by 32768, and
    /// `subtracts_mean` subtracts the mean over all frames from each filter.
    pub fn new(
        n_mels: usize,
        window: KaldiWindow,
        integer_range: bool,
        subtracts_mean: bool,
    ) -> Self {
        let window = match window {
            KaldiWindow::Povey => povey(WINDOW_SAMPLES),
            KaldiWindow::Hamming => symmetric_hamming(WINDOW_SAMPLES),
        };
        let filterbank = MelFilterbank::kaldi(SAMPLE_RATE_HZ, FFT_SIZE, n_mels, LOW_HZ);
        Self {
            spectrogram: Spectrogram::new(window, HOP_SAMPLES, FFT_SIZE, filterbank, n_mels),
            scale: if integer_range { INTEGER_SCALE } else { 1.0 },
            subtracts_mean,
        }
    }

    /// Returns the features of `samples`, `[frames, mels]`.
    pub fn compute(&self, samples: &[f32]) -> Array2<f32> {
        let mut features = self.spectrogram.mel_energies(samples, |frame| {
            frame.iter_mut().for_each(|sample| *sample *= self.scale);
            remove_dc(frame);
            pre_emphasize(frame);
        });
        features.mapv_inplace(|energy| energy.max(f32::EPSILON).ln());
        if self.subtracts_mean {
            subtract_mean(&mut features);
        }
        features
    }
}

/// Subtracts the mean of the samples.
fn remove_dc(frame: &mut [f32]) {
    let sum: f64 = frame.iter().copied().map(f64::from).sum();
    let mean = (sum / frame.len() as f64) as f32;
    frame.iter_mut().for_each(|sample| *sample -= mean);
}

/// Emphasizes high frequencies; the first sample counts as its own predecessor.
fn pre_emphasize(frame: &mut [f32]) {
    let mut previous = frame.first().copied().unwrap_or_default();
    for sample in frame {
        let emphasized = *sample - PRE_EMPHASIS * previous;
        previous = std::mem::replace(sample, emphasized);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_exceed_the_recording_are_left_out() {
        let filterbank = KaldiFilterbank::new(80, KaldiWindow::Povey, false, false);
        for (samples, frames) in [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)] {
            assert_eq!(filterbank.compute(&vec![0.1; samples]).dim(), (frames, 80), "{samples}");
        }
    }

    #[test]
    fn constant_signal_is_silence() {
        let filterbank = KaldiFilterbank::new(80, KaldiWindow::Hamming, false, false);
        let features = filterbank.compute(&[0.5; 400]);
        assert!(features.iter().all(|&value| value == f32::EPSILON.ln()));
    }

    #[test]
    fn subtracted_mean_leaves_a_mean_of_zero() {
        let samples: Vec<f32> = (0..8000).map(|i| (i as f32 * i as f32 * 1e-4).sin()).collect();
        let filterbank = KaldiFilterbank::new(80, KaldiWindow::Hamming, true, true);
        let features = filterbank.compute(&samples);
        for column in features.columns() {
            assert!(column.mean().expect("frames").abs() < 1e-4);
        }
        assert!(features.iter().any(|value| value.abs() > 1.0));
    }
}
