// SPDX-License-Identifier: MPL-2.0

//! The recognizer's side of a chunk: which speakers run on it, what they attend to, and the
//! features with their past.

use std::ops::Range;

use crate::error::Error;
use crate::features::frame_buffer::FrameBuffer;
use crate::options::TargetMode;

/// The cache-aware FastConformer with speaker kernels.
pub trait EncoderNetwork {
    /// What the network remembers of one speaker.
    type Cache: Clone;

    /// Mel frames before a chunk that the network sees again.
    fn left_context_mel_frames(&self) -> usize;

    /// Chunks of `chunk_frames` encoded frames that one run takes.
    fn max_chunks(&self, chunk_frames: usize) -> usize;

    /// Whether one run takes several speakers.
    fn takes_several_speakers(&self) -> bool;

    /// The memory before the first chunk.
    fn initial_cache(&self) -> Result<Self::Cache, Error>;

    /// Runs on `features` (`mel_frames` columns for each mel bin, the context first), for each of
    /// the speakers with these `targets`, one each encoded frame, and `caches`. Returns the encoded
    /// frames of each, one row of finite values a frame.
    fn run(
        &self,
        features: &[f32],
        mel_frames: usize,
        targets: &[Targets],
        caches: &mut [Self::Cache],
    ) -> Result<Vec<Vec<f32>>, Error>;
}

/// One run of the encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderRun {
    /// Chunks, counted from the first of their group.
    pub chunks: Range<usize>,
    /// Those who run on all of them, in ascending order.
    pub speakers: Vec<usize>,
}

/// The runs for a group of chunks, on each of which the speakers `gated` run: neighboring chunks
/// of a speaker in one run, and with `several_speakers` those who run on the same chunks as well.
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

/// What the speaker kernels are told of a chunk, one value an encoded frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// Probabilities of the speaker.
    pub speaker: Vec<f32>,
    /// Of everybody else.
    pub background: Vec<f32>,
}

impl Targets {
    /// One speaker who always speaks.
    pub fn single_speaker(frames: usize) -> Self {
        Self { speaker: vec![1.0; frames], background: vec![0.0; frames] }
    }

    /// Appends those of what follows.
    pub fn extend(&mut self, later: Self) {
        self.speaker.extend(later.speaker);
        self.background.extend(later.background);
    }

    /// Those of `speaker` in a chunk with these `probabilities` (rows of `speakers`), in which
    /// the speakers `gated` run.
    pub fn of_speaker(
        speaker: usize,
        probabilities: &[f32],
        speakers: usize,
        gated: &[usize],
        mode: TargetMode,
        threshold: f32,
    ) -> Self {
        let others = |row: &[f32], of: &mut dyn Iterator<Item = usize>| {
            of.filter(|&other| other != speaker).map(|other| row[other]).fold(0.0, f32::max)
        };
        let background = |row: &[f32]| match mode {
            TargetMode::Probability => others(row, &mut (0..speakers)),
            TargetMode::Nemo if others(row, &mut gated.iter().copied()) > threshold => 1.0,
            TargetMode::Nemo => 0.0,
        };
        let rows = || probabilities.chunks_exact(speakers);
        Self {
            speaker: rows().map(|row| row[speaker]).collect(),
            background: rows().map(background).collect(),
        }
    }
}

/// The speakers whose probability exceeds `threshold` anywhere in `probabilities` (rows of
/// `speakers`), which are those of a chunk and of the one before.
pub fn gated_speakers(probabilities: &[f32], speakers: usize, threshold: f32) -> Vec<usize> {
    let active =
        |&speaker: &usize| probabilities.chunks_exact(speakers).any(|row| row[speaker] > threshold);
    (0..speakers).filter(active).collect()
}

/// The features of a chunk as the graph takes them: bin by bin, with the `context` frames before
/// it, which are zeros before the start of the audio.
pub fn chunk_features(features: &FrameBuffer, chunk: Range<u64>, context: usize) -> Vec<f32> {
    let n_mels = features.width();
    let begin = chunk.start.saturating_sub(context as u64);
    let rows = features.get(begin..chunk.end);
    let missing = context - (chunk.start - begin) as usize;
    let columns = context + (chunk.end - chunk.start) as usize;
    let mut by_bin = vec![0.0; n_mels * columns];
    for (column, row) in rows.chunks_exact(n_mels).enumerate() {
        for (bin, value) in row.iter().enumerate() {
            by_bin[bin * columns + missing + column] = *value;
        }
    }
    by_bin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureExtractor;

    #[test]
    fn a_speaker_runs_when_it_passes_the_threshold_anywhere() {
        let rows = [[0.1, 0.5, 0.0], [0.51, 0.5, 0.2], [0.0, 0.5, 0.9]];
        assert_eq!(gated_speakers(&rows.concat(), 3, 0.5), [0, 2]);
        assert_eq!(gated_speakers(&rows.concat(), 3, 0.4), [0, 1, 2]);
        assert!(gated_speakers(&[], 3, 0.5).is_empty());
    }

    #[test]
    fn eight_speakers_are_gated_alike() {
        let mut row = [0.0; 8];
        row[7] = 0.8;
        row[3] = 0.6;
        assert_eq!(gated_speakers(&row, 8, 0.5), [3, 7]);
        let targets = Targets::of_speaker(7, &row, 8, &[3, 7], TargetMode::Probability, 0.5);
        assert_eq!((targets.speaker, targets.background), (vec![0.8], vec![0.6]));
    }

    #[test]
    fn background_is_the_loudest_of_the_others() {
        let rows = [[0.9, 0.3, 0.4], [0.2, 0.7, 0.6]].concat();
        let targets = Targets::of_speaker(0, &rows, 3, &[0], TargetMode::Probability, 0.5);
        assert_eq!(targets.speaker, [0.9, 0.2]);
        assert_eq!(targets.background, [0.4, 0.7], "also those who do not run");
    }

    #[test]
    fn nemo_background_is_binary_over_those_who_run() {
        let rows = [[0.9, 0.6, 0.4], [0.2, 0.3, 0.6]].concat();
        let targets = |gated: &[usize]| {
            Targets::of_speaker(0, &rows, 3, gated, TargetMode::Nemo, 0.5).background
        };
        assert_eq!(targets(&[0, 1]), [1.0, 0.0]);
        assert_eq!(targets(&[0, 1, 2]), [1.0, 1.0]);
        assert_eq!(targets(&[0]), [0.0, 0.0]);
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
        assert_eq!(first.len(), 2 * 5);
        assert_eq!(first[..3], [0.0; 3]);
        assert_eq!(first[3], buffer.get(0..1)[0]);
        assert_eq!(first[5 + 4], buffer.get(1..2)[1]);
        let later = chunk_features(&buffer, 4..6, 3);
        assert_eq!(later[0], buffer.get(1..2)[0]);
    }
}
