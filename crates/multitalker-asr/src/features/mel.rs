// SPDX-License-Identifier: MPL-2.0

//! Mel filterbanks and analysis windows, equal to those of librosa, NeMo and Kaldi.

use std::f64::consts::PI;

/// Overlapping triangular filters over the bins of a spectrum.
pub struct MelFilterbank {
    filters: Vec<Filter>,
}

/// The non-zero weights of one filter.
struct Filter {
    first_bin: usize,
    weights: Vec<f32>,
}

impl MelFilterbank {
    /// Creates `n_mels` filters with equal area on Slaney's mel scale, as librosa's `filters.mel` with
    /// `norm="slaney"`, from 0 Hz to half of `sample_rate_hz` over the `fft_size / 2 + 1` bins of a
    /// spectrum.
    ///
    /// Source: M. Slaney, Auditory Toolbox, Technical Report 1998-010, Interval Research, 1998.
    pub fn new(sample_rate_hz: u32, fft_size: usize, n_mels: usize) -> Self {
        let bin_hz = f64::from(sample_rate_hz) / fft_size as f64;
        let top_mel = hz_to_mel(f64::from(sample_rate_hz) / 2.0);
        let edges_hz: Vec<f64> =
            (0..n_mels + 2).map(|i| mel_to_hz(top_mel * i as f64 / (n_mels + 1) as f64)).collect();
        let filters =
            edges_hz.windows(3).map(|edge| Filter::triangle(edge, bin_hz, fft_size / 2 + 1));
        Self { filters: filters.collect() }
    }

    /// Creates `n_mels` filters of height 1 that are triangles on the scale `1127 ln(1 + hz / 700)`,
    /// from `low_hz` to half of `sample_rate_hz` over the `fft_size / 2 + 1` bins of a spectrum.
    ///
    /// Source: Kaldi's `MelBanks`.
    pub fn kaldi(sample_rate_hz: u32, fft_size: usize, n_mels: usize, low_hz: f64) -> Self {
        let mel = |hz: f64| 1127.0 * (hz / 700.0).ln_1p();
        let bin_hz = f64::from(sample_rate_hz) / fft_size as f64;
        let (low_mel, top_mel) = (mel(low_hz), mel(f64::from(sample_rate_hz) / 2.0));
        let width_mel = (top_mel - low_mel) / (n_mels + 1) as f64;
        let filter = |index: usize| {
            let center_mel = low_mel + width_mel * (index + 1) as f64;
            Filter::new(fft_size / 2 + 1, |bin| {
                let distance_mel = (mel(bin as f64 * bin_hz) - center_mel).abs();
                (1.0 - distance_mel / width_mel).max(0.0) as f32
            })
        };
        Self { filters: (0..n_mels).map(filter).collect() }
    }

    /// Rounds the weights to bfloat16.
    pub fn rounded_to_bf16(mut self) -> Self {
        for weight in self.filters.iter_mut().flat_map(|filter| &mut filter.weights) {
            *weight = round_to_bf16(*weight);
        }
        self
    }

    /// Returns the energy of each filter over the power spectrum `power`, `[fft_size / 2 + 1]`.
    pub fn energies<'a>(&'a self, power: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        self.filters.iter().map(|filter| {
            let bins = &power[filter.first_bin..];
            filter.weights.iter().zip(bins).map(|(weight, bin)| weight * bin).sum()
        })
    }
}

impl Filter {
    /// Creates the triangle over `[low, center, high]` in Hz with an area of 1 Hz.
    fn triangle(edge_hz: &[f64], bin_hz: f64, bins: usize) -> Self {
        let (low, center, high) = (edge_hz[0], edge_hz[1], edge_hz[2]);
        Self::new(bins, |bin| {
            let hz = bin as f64 * bin_hz;
            let slope = ((hz - low) / (center - low)).min((high - hz) / (high - center));
            (slope.max(0.0) * 2.0 / (high - low)) as f32
        })
    }

    /// Creates the filter with these weights, which are positive in one range of bins and 0 elsewhere.
    fn new(bins: usize, weight: impl Fn(usize) -> f32) -> Self {
        let first_bin = (0..bins).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
        let weights = (first_bin..bins).map(&weight).take_while(|&w| w > 0.0).collect();
        Self { first_bin, weights }
    }
}

const LINEAR_HZ_PER_MEL: f64 = 200.0 / 3.0;
const LOG_START_HZ: f64 = 1000.0;
const LOG_START_MEL: f64 = LOG_START_HZ / LINEAR_HZ_PER_MEL;

/// Returns the mels per natural logarithm of the frequency above [`LOG_START_HZ`]: 27 mels
/// correspond to a factor of 6.4.
fn mels_per_log() -> f64 {
    27.0 / 6.4_f64.ln()
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < LOG_START_HZ {
        hz / LINEAR_HZ_PER_MEL
    } else {
        LOG_START_MEL + (hz / LOG_START_HZ).ln() * mels_per_log()
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < LOG_START_MEL {
        mel * LINEAR_HZ_PER_MEL
    } else {
        LOG_START_HZ * ((mel - LOG_START_MEL) / mels_per_log()).exp()
    }
}

/// Returns the symmetric Hann window of `length` samples, the first and the last of which are 0.
pub fn symmetric_hann(length: usize) -> Vec<f32> {
    let step = 2.0 * PI / (length - 1) as f64;
    (0..length).map(|i| (0.5 - 0.5 * (step * i as f64).cos()) as f32).collect()
}

/// Returns the periodic Hann window of `length` samples, of which the first is 0.
pub fn periodic_hann(length: usize) -> Vec<f32> {
    let mut window = symmetric_hann(length + 1);
    window.truncate(length);
    window
}

/// Returns the symmetric Hamming window of `length` samples.
pub fn symmetric_hamming(length: usize) -> Vec<f32> {
    let step = 2.0 * PI / (length - 1) as f64;
    (0..length).map(|i| (0.54 - 0.46 * (step * i as f64).cos()) as f32).collect()
}

/// Returns Kaldi's window of `length` samples: the symmetric Hann window to the power of 0.85.
pub fn povey(length: usize) -> Vec<f32> {
    symmetric_hann(length).into_iter().map(|weight| weight.powf(0.85)).collect()
}

/// Rounds the finite `value` to the nearest bfloat16, with ties to even.
pub fn round_to_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    let half = 0x7fff + ((bits >> 16) & 1);
    f32::from_bits(bits.wrapping_add(half) & 0xffff_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mel_scale_is_slaneys() {
        assert!((hz_to_mel(500.0) - 7.5).abs() < 1e-12);
        assert!((hz_to_mel(1000.0) - 15.0).abs() < 1e-12);
        assert!((hz_to_mel(6400.0) - 42.0).abs() < 1e-9, "27 mels are a factor of 6.4");
        for hz in [0.0, 440.0, 1000.0, 4321.0, 8000.0] {
            assert!((mel_to_hz(hz_to_mel(hz)) - hz).abs() < 1e-9);
        }
    }

    #[test]
    fn filters_cover_the_spectrum_without_holes() {
        let bank = MelFilterbank::new(16_000, 512, 128);
        assert_eq!(bank.filters.len(), 128);
        for bin in 1..256 {
            let mut power = vec![0.0; 257];
            power[bin] = 1.0;
            assert!(bank.energies(&power).any(|e| e > 0.0), "bin {bin} belongs to no filter");
        }
    }

    #[test]
    fn window_is_symmetric_and_begins_with_zero() {
        let window = symmetric_hann(400);
        assert_eq!(window[0], 0.0);
        assert_eq!(window.len(), 400);
        for i in 0..200 {
            assert!((window[i] - window[399 - i]).abs() < 1e-7);
        }
        assert!(window[199] > 0.9999 && window[199] < 1.0, "no sample is in the very middle");
    }

    #[test]
    fn rounding_to_bf16_keeps_eight_bits() {
        for (value, rounded) in [
            (1.0, 1.0),
            (1.003, 1.0),
            (1.005, 1.0 + 1.0 / 128.0),
            // Ties go to the even number.
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 2.0 / 128.0),
            (-0.1, -205.0 / 2048.0),
            (0.0, 0.0),
        ] {
            assert_eq!(round_to_bf16(value), rounded, "{value}");
        }
    }
}
