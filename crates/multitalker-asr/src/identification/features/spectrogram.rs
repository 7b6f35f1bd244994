// SPDX-License-Identifier: MPL-2.0

//! Mel energies of overlapping windows.

use std::sync::Arc;

use ndarray::Array2;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use crate::features::mel::MelFilterbank;

/// Computes the mel energies of windows.
pub struct Spectrogram {
    window: Vec<f32>,
    hop_samples: usize,
    fft: Arc<dyn Fft<f32>>,
    filterbank: MelFilterbank,
    n_mels: usize,
}

impl Spectrogram {
    /// Creates a spectrogram with a Fourier transform of `fft_size` points, which has at least the
    /// length of `window`; `filterbank` has `n_mels` filters over its `fft_size / 2 + 1` bins.
    pub fn new(
        window: Vec<f32>,
        hop_samples: usize,
        fft_size: usize,
        filterbank: MelFilterbank,
        n_mels: usize,
    ) -> Self {
        let fft = FftPlanner::new().plan_fft_forward(fft_size);
        Self { window, hop_samples, fft, filterbank, n_mels }
    }

    /// Returns the energies, `[frames, mels]`, of all windows that `samples` fills. `prepare` changes
    /// the samples of a window before they are weighted.
    pub fn mel_energies(&self, samples: &[f32], prepare: impl Fn(&mut [f32])) -> Array2<f32> {
        let frames = samples.windows(self.window.len()).step_by(self.hop_samples);
        let mut energies = Array2::zeros((frames.len(), self.n_mels));
        let mut frame = vec![0.0; self.window.len()];
        let mut spectrum = vec![Complex::default(); self.fft.len()];
        let mut scratch = vec![Complex::default(); self.fft.get_inplace_scratch_len()];
        let mut power = vec![0.0; self.fft.len() / 2 + 1];
        for (samples, mut energies) in frames.zip(energies.rows_mut()) {
            frame.copy_from_slice(samples);
            prepare(&mut frame);
            // The place of the window in the transform does not change the power.
            spectrum.fill(Complex::default());
            for (point, (sample, weight)) in spectrum.iter_mut().zip(frame.iter().zip(&self.window))
            {
                point.re = sample * weight;
            }
            self.fft.process_with_scratch(&mut spectrum, &mut scratch);
            for (power, point) in power.iter_mut().zip(&spectrum) {
                *power = point.norm_sqr();
            }
            energies
                .iter_mut()
                .zip(self.filterbank.energies(&power))
                .for_each(|(e, found)| *e = found);
        }
        energies
    }

    /// Returns the energies, `[frames, mels]`, of `frames` windows that are centered on the multiples
    /// of the hop from sample 0 on, with zeros before and after `samples`.
    pub fn centered_mel_energies(&self, samples: &[f32], frames: usize) -> Array2<f32> {
        let needed = match frames.checked_sub(1) {
            Some(hops) => hops * self.hop_samples + self.window.len(),
            None => 0,
        };
        let mut padded = vec![0.0; self.window.len() / 2];
        padded.extend_from_slice(samples);
        padded.resize(needed, 0.0);
        self.mel_energies(&padded, |_| ())
    }
}
