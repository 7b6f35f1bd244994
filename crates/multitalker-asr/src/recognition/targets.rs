// SPDX-License-Identifier: MPL-2.0

//! The targets of the speaker kernels: the activity of each speaker, and of all other speakers.
//!
//! Source: W. Wang et al., "Speaker Targeting via Self-Speaker Adaptation for Multi-talker ASR",
//! Interspeech 2025, and the multitalker streaming pipeline of NeMo.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, s};

use crate::options::{StreamOptions, TargetMode};

/// The targets of one run of the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// Activity of each speaker, from 0 to 1: `[speakers, frames]`.
    pub speaker: Array2<f32>,
    /// Activity of all other speakers, from 0 to 1: `[speakers, frames]`.
    pub background: Array2<f32>,
}

impl Targets {
    /// Creates targets of silence.
    pub fn new(speakers: usize, frames: usize) -> Self {
        let zeros = || Array2::zeros((speakers, frames));
        Self { speaker: zeros(), background: zeros() }
    }

    /// Creates the targets of one speaker who always speaks.
    pub fn single_speaker(frames: usize) -> Self {
        Self { speaker: Array2::ones((1, frames)), background: Array2::zeros((1, frames)) }
    }

    /// Sets `frames` of `row`, which belongs to `speaker`, from the `probabilities` of these frames,
    /// `[frames, speakers]`, in which the speakers `gated` run.
    pub fn set(
        &mut self,
        (row, frames): (usize, Range<usize>),
        speaker: usize,
        probabilities: ArrayView2<'_, f32>,
        gated: &[usize],
        options: &StreamOptions,
    ) {
        self.speaker.slice_mut(s![row, frames.clone()]).assign(&probabilities.column(speaker));
        let mut background = self.background.slice_mut(s![row, frames]);
        for (value, probabilities) in background.iter_mut().zip(probabilities.rows()) {
            let others = |of: &mut dyn Iterator<Item = usize>| {
                let others = of.filter(|&other| other != speaker);
                others.map(|other| probabilities[other]).fold(0.0, f32::max)
            };
            *value = match options.target_mode {
                TargetMode::Probability => others(&mut (0..probabilities.len())),
                TargetMode::Nemo => {
                    let is_active = others(&mut gated.iter().copied()) > options.activity_threshold;
                    f32::from(u8::from(is_active))
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{array, aview2};

    use super::*;

    /// Returns the targets of `speaker` alone.
    fn targets(
        speaker: usize,
        probabilities: ArrayView2<'_, f32>,
        gated: &[usize],
        target_mode: TargetMode,
    ) -> Targets {
        let options = StreamOptions { target_mode, ..StreamOptions::default() };
        let frames = probabilities.nrows();
        let mut targets = Targets::new(1, frames);
        targets.set((0, 0..frames), speaker, probabilities, gated, &options);
        targets
    }

    #[test]
    fn any_number_of_speakers_has_targets() {
        let mut row = [0.0; 8];
        row[7] = 0.8;
        row[3] = 0.6;
        let targets = targets(7, aview2(&[row]), &[3, 7], TargetMode::Probability);
        assert_eq!((targets.speaker, targets.background), (array![[0.8]], array![[0.6]]));
    }

    #[test]
    fn background_is_the_loudest_of_the_others() {
        let rows = [[0.9, 0.3, 0.4], [0.2, 0.7, 0.6]];
        let targets = targets(0, aview2(&rows), &[0], TargetMode::Probability);
        assert_eq!(targets.speaker, array![[0.9, 0.2]]);
        assert_eq!(targets.background, array![[0.4, 0.7]], "including speakers that do not run");
    }

    #[test]
    fn nemo_background_is_binary_over_those_who_run() {
        let rows = [[0.9, 0.6, 0.4], [0.2, 0.3, 0.6]];
        let background =
            |gated: &[usize]| targets(0, aview2(&rows), gated, TargetMode::Nemo).background;
        assert_eq!(background(&[0, 1]), array![[1.0, 0.0]]);
        assert_eq!(background(&[0, 1, 2]), array![[1.0, 1.0]]);
        assert_eq!(background(&[0]), array![[0.0, 0.0]]);
    }

    #[test]
    fn only_the_frames_of_the_row_change() {
        let mut targets = Targets::new(2, 3);
        let options = StreamOptions::default();
        targets.set((1, 1..3), 0, aview2(&[[0.9, 0.3], [0.8, 0.4]]), &[0], &options);
        assert_eq!(targets.speaker, array![[0.0, 0.0, 0.0], [0.0, 0.9, 0.8]]);
        assert_eq!(targets.background, array![[0.0, 0.0, 0.0], [0.0, 0.3, 0.4]]);
    }
}
