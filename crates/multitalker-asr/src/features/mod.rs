// SPDX-License-Identifier: MPL-2.0

//! Log-mel features, computed as the audio arrives.
//!
//! Frame t is centered on sample 160 t and needs the samples before 160 t + 200. It is computed
//! once, regardless of how the audio is split.
//!
//! Source: NeMo's `AudioToMelSpectrogramPreprocessor` without dither and normalization.

pub mod frame_buffer;
pub mod mel;

use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use crate::features::frame_buffer::FrameBuffer;
use crate::features::mel::{MelFilterbank, round_to_bf16, symmetric_hann};

/// Sample rate of the audio in Hz.
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// Distance of mel frames in samples: 10 ms.
pub const HOP_SAMPLES: usize = 160;

/// Number of mel frames per encoded frame in both networks.
pub const FRAMES_PER_ENCODED_FRAME: usize = 8;

/// Number of points of the Fourier transform.
pub const FFT_SIZE: usize = 512;

/// Length of the window in samples, 25 ms, which is centered in the transform.
pub const WINDOW_SAMPLES: usize = 400;

/// Number of samples of a frame on each side of its center.
const HALF_WINDOW: usize = WINDOW_SAMPLES / 2;

/// Time from the end of a chunk until its last frame is complete, in milliseconds, rounded up.
pub const FEATURE_DELAY_MS: u32 =
    ((HALF_WINDOW - HOP_SAMPLES) as u32 * 1000).div_ceil(SAMPLE_RATE_HZ);

/// Share of each sample that is subtracted from the next.
pub const PRE_EMPHASIS: f32 = 0.97;

/// 2^-24, added before the logarithm.
pub const LOG_GUARD: f32 = 1.0 / (1 << 24) as f32;

/// Maximum amplitude, far above full scale, so that no power overflows.
pub const MAX_AMPLITUDE: f32 = 32_768.0;

/// Computes log-mel frames from samples.
pub struct FeatureExtractor {
    filterbank: MelFilterbank,
    window: Vec<f32>,
    fft: Arc<dyn Fft<f32>>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: Vec<f32>,
    /// Pre-emphasized samples from `first_sample` on.
    samples: Vec<f32>,
    /// Index of the first value of `samples`; negative for the zeros before the audio.
    first_sample: i64,
    /// The last sample without pre-emphasis; `None` before the first.
    previous: Option<f32>,
    received_samples: u64,
    next_frame: u64,
}

impl FeatureExtractor {
    /// Creates an extractor of frames with `n_mels` values.
    pub fn new(n_mels: usize) -> Self {
        let fft = FftPlanner::new().plan_fft_forward(FFT_SIZE);
        let mut extractor = Self {
            filterbank: MelFilterbank::new(SAMPLE_RATE_HZ, FFT_SIZE, n_mels),
            window: symmetric_hann(WINDOW_SAMPLES),
            spectrum: vec![Complex::default(); FFT_SIZE],
            scratch: vec![Complex::default(); fft.get_inplace_scratch_len()],
            power: vec![0.0; FFT_SIZE / 2 + 1],
            fft,
            samples: Vec::new(),
            first_sample: 0,
            previous: None,
            received_samples: 0,
            next_frame: 0,
        };
        extractor.reset();
        extractor
    }

    /// Creates an extractor with window and filterbank rounded to bfloat16, as in the checkpoint of
    /// Sortformer version 3. The rounded window leaks more, which matters in quiet bins next to a
    /// loud one.
    pub fn rounded_to_bf16(n_mels: usize) -> Self {
        let extractor = Self::new(n_mels);
        Self {
            filterbank: extractor.filterbank.rounded_to_bf16(),
            window: extractor.window.into_iter().map(round_to_bf16).collect(),
            ..extractor
        }
    }

    /// Returns to the state before the first sample.
    pub fn reset(&mut self) {
        self.samples.clear();
        self.samples.resize(HALF_WINDOW, 0.0);
        self.first_sample = -(HALF_WINDOW as i64);
        self.previous = None;
        self.received_samples = 0;
        self.next_frame = 0;
    }

    /// Returns the number of samples since the start.
    pub fn received_samples(&self) -> u64 {
        self.received_samples
    }

    /// Appends the frames, `[frames, mels]`, that `samples` complete. Samples are nominally from -1
    /// to 1; those that are not finite count as 0.
    pub fn push(&mut self, samples: &[f32], frames: &mut FrameBuffer) {
        self.received_samples += samples.len() as u64;
        self.samples.reserve(samples.len());
        for &sample in samples {
            let sample =
                if sample.is_finite() { sample.clamp(-MAX_AMPLITUDE, MAX_AMPLITUDE) } else { 0.0 };
            let previous = self.previous.replace(sample).unwrap_or(0.0);
            self.samples.push(sample - PRE_EMPHASIS * previous);
        }
        while self.frame_start() + WINDOW_SAMPLES <= self.samples.len() {
            self.compute_frame(frames);
        }
        self.discard_used_samples();
    }

    /// Appends the last frames, with zeros after the end of the audio, up to floor(samples / 160)
    /// frames in total.
    pub fn finish(&mut self, frames: &mut FrameBuffer) {
        let all_frames = self.received_samples / HOP_SAMPLES as u64;
        while self.next_frame < all_frames {
            let needed = self.frame_start() + WINDOW_SAMPLES;
            self.samples.resize(needed.max(self.samples.len()), 0.0);
            self.compute_frame(frames);
        }
    }

    /// Returns the start of the next frame's window in `samples`.
    fn frame_start(&self) -> usize {
        let start = self.next_frame as i64 * HOP_SAMPLES as i64 - HALF_WINDOW as i64;
        (start - self.first_sample) as usize
    }

    fn compute_frame(&mut self, frames: &mut FrameBuffer) {
        let start = self.frame_start();
        let offset = (FFT_SIZE - WINDOW_SAMPLES) / 2;
        self.spectrum.fill(Complex::default());
        let windowed = self.samples[start..].iter().zip(&self.window);
        for (point, (sample, weight)) in self.spectrum[offset..].iter_mut().zip(windowed) {
            point.re = sample * weight;
        }
        self.fft.process_with_scratch(&mut self.spectrum, &mut self.scratch);
        for (power, point) in self.power.iter_mut().zip(&self.spectrum) {
            *power = point.norm_sqr();
        }
        frames.push(self.filterbank.energies(&self.power).map(|e| (e + LOG_GUARD).ln()));
        self.next_frame += 1;
    }

    fn discard_used_samples(&mut self) {
        let used = self.frame_start().min(self.samples.len());
        self.samples.drain(..used);
        self.first_sample += used as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(pieces: &[&[f32]]) -> FrameBuffer {
        let mut extractor = FeatureExtractor::new(128);
        let mut frames = FrameBuffer::new(128);
        for piece in pieces {
            extractor.push(piece, &mut frames);
        }
        extractor.finish(&mut frames);
        frames
    }

    fn tone(samples: usize) -> Vec<f32> {
        (0..samples).map(|i| (i as f32 * 0.05).sin() * 0.3).collect()
    }

    #[test]
    fn frame_needs_the_samples_of_its_window_alone() {
        let mut extractor = FeatureExtractor::new(128);
        let mut frames = FrameBuffer::new(128);
        let audio = tone(160 * 3 + 200);
        extractor.push(&audio[..160 * 3 + 199], &mut frames);
        assert_eq!(frames.end(), 3);
        extractor.push(&audio[160 * 3 + 199..], &mut frames);
        assert_eq!(frames.end(), 4);
    }

    #[test]
    fn number_of_frames_is_samples_by_hop() {
        for samples in [0, 1, 159, 160, 199, 200, 201, 320, 1599, 1600] {
            assert_eq!(features(&[&tone(samples)]).end(), samples as u64 / 160, "{samples}");
        }
    }

    #[test]
    fn any_split_gives_the_same_frames() {
        let audio = tone(5000);
        let whole = features(&[&audio]);
        for piece in [1, 7, 160, 161, 400, 4999] {
            let pieces: Vec<&[f32]> = audio.chunks(piece).collect();
            assert_eq!(features(&pieces).get(0..31), whole.get(0..31), "pieces of {piece}");
        }
    }

    #[test]
    fn silence_is_the_logarithm_of_the_guard() {
        let frames = features(&[&[0.0; 800]]);
        for &value in &frames.get(0..5) {
            assert!((value - LOG_GUARD.ln()).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_not_finite_does_not_last() {
        let mut audio = tone(3200);
        audio[500] = f32::NAN;
        audio[501] = f32::INFINITY;
        audio[502] = f32::MAX;
        let frames = features(&[&audio]);
        assert!(frames.get(0..20).iter().all(|v| v.is_finite()));
        let clean = features(&[&tone(3200)]);
        assert_eq!(frames.get(5..20), clean.get(5..20), "frames beyond the window are untouched");
    }
}
