// SPDX-License-Identifier: MPL-2.0

//! Runs of the encoder: their speakers, chunks and features.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, s};

use crate::features::frame_buffer::FrameBuffer;

/// One run of the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderRun {
    /// Chunks, counted from the first of their group.
    pub chunks: Range<usize>,
    /// Speakers that run on all of these chunks, in ascending order.
    pub speakers: Vec<usize>,
}

/// Returns the speakers whose probability exceeds `threshold` in any row of `probabilities`,
/// `[frames, speakers]`.
pub fn gated_speakers(probabilities: ArrayView2<'_, f32>, threshold: f32) -> Vec<usize> {
    let mut is_active = vec![false; probabilities.ncols()];
    for row in probabilities.rows() {
        for (is_active, &probability) in is_active.iter_mut().zip(row) {
            *is_active |= probability > threshold;
        }
    }
    (0..is_active.len()).filter(|&speaker| is_active[speaker]).collect()
}

/// Returns the runs for a group of chunks, each with its `gated` speakers. One run takes the
/// neighboring chunks of a speaker, and with `several_speakers` all speakers on the same chunks.
pub fn encoder_runs(gated: &[Vec<usize>], several_speakers: bool) -> Vec<EncoderRun> {
    let mut runs: Vec<EncoderRun> = Vec::new();
    let speakers = gated.iter().flatten().copied().max().map_or(0, |speaker| speaker + 1);
    for speaker in 0..speakers {
        let active = |chunk: &usize| gated[*chunk].contains(&speaker);
        let mut next = 0;
        while let Some(start) = (next..gated.len()).find(active) {
            next = (start..gated.len()).find(|chunk| !active(chunk)).unwrap_or(gated.len());
            let chunks = start..next;
            match runs.iter_mut().find(|run| several_speakers && run.chunks == chunks) {
                Some(run) => run.speakers.push(speaker),
                None => runs.push(EncoderRun { chunks, speakers: vec![speaker] }),
            }
        }
    }
    runs.sort_by_key(|run| run.chunks.start);
    runs
}

/// Returns the features of the mel frames in `chunk` after `context` more frames,
/// `[mels, context + chunk]`. The frames before the start of the audio are zeros.
pub fn chunk_features(features: &FrameBuffer, chunk: Range<u64>, context: usize) -> Array2<f32> {
    let begin = chunk.start.saturating_sub(context as u64);
    let missing = context - (chunk.start - begin) as usize;
    let columns = context + (chunk.end - chunk.start) as usize;
    let mut by_bin = Array2::zeros((features.width(), columns));
    by_bin.slice_mut(s![.., missing..]).assign(&features.get(begin..chunk.end).t());
    by_bin
}

#[cfg(test)]
mod tests {
    use ndarray::aview2;

    use super::*;
    use crate::features::FeatureExtractor;

    #[test]
    fn a_speaker_runs_when_it_passes_the_threshold_anywhere() {
        let rows = [[0.1, 0.5, 0.0], [0.51, 0.5, 0.2], [0.0, 0.5, 0.9]];
        assert_eq!(gated_speakers(aview2(&rows), 0.5), [0, 2]);
        assert_eq!(gated_speakers(aview2(&rows), 0.4), [0, 1, 2]);
        assert!(gated_speakers(aview2::<_, 3>(&[]), 0.5).is_empty());
        let mut eight = [0.0; 8];
        eight[7] = 0.8;
        eight[3] = 0.6;
        assert_eq!(gated_speakers(aview2(&[eight]), 0.5), [3, 7]);
    }

    #[test]
    fn runs_join_chunks_and_speakers() {
        let run = |chunks, speakers: &[usize]| EncoderRun { chunks, speakers: speakers.to_vec() };
        let gated = [vec![0, 2], vec![0, 2], vec![], vec![0, 1], vec![0]];
        let alone = [run(0..2, &[0]), run(0..2, &[2]), run(3..5, &[0]), run(3..4, &[1])];
        assert_eq!(encoder_runs(&gated, false), alone);
        let together = [run(0..2, &[0, 2]), run(3..5, &[0]), run(3..4, &[1])];
        assert_eq!(encoder_runs(&gated, true), together);
        assert_eq!(encoder_runs(&[vec![], vec![]], true), []);
    }

    #[test]
    fn zeros_stand_before_the_audio() {
        let mut buffer = FrameBuffer::new(2);
        let mut extractor = FeatureExtractor::new(2);
        extractor.push(&[0.1; 1600], &mut buffer);
        extractor.finish(&mut buffer);
        let first = chunk_features(&buffer, 0..2, 3);
        assert_eq!(first.dim(), (2, 5));
        assert_eq!(first.slice(s![0, ..3]).to_vec(), [0.0; 3]);
        assert_eq!(first[(0, 3)], buffer.get(0..1)[(0, 0)]);
        assert_eq!(first[(1, 4)], buffer.get(1..2)[(0, 1)]);
        let later = chunk_features(&buffer, 4..6, 3);
        assert_eq!(later[(0, 0)], buffer.get(1..2)[(0, 0)]);
    }
}
