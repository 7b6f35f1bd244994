// SPDX-License-Identifier: MPL-2.0

//! The choice of the frames that the speaker cache keeps: those that distinguish the speakers best.
//!
//! Source: `_compress_spkcache` of NeMo's `SortformerModules`.

use ndarray::ArrayView2;

use crate::diarization::top_k::top_k;

/// Constants of the compression. The defaults belong to versions 2 and 2.1 of the model; a later
/// version carries its own in its metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Compression {
    /// Frames of silence after each speaker in the cache.
    pub silence_frames_per_speaker: usize,
    /// Lower bound of a probability in a score, from 0 to 1.
    pub score_threshold: f32,
    /// Bonus for the scores of the frames that have just arrived.
    pub latest_boost: f32,
    /// Sum of the probabilities below which a frame is silent.
    pub silence_threshold: f32,
    /// Fraction of a speaker's share of the cache that always holds its best frames.
    pub strong_boost_rate: f32,
    /// Fraction of a speaker's share that is favored.
    pub weak_boost_rate: f32,
    /// Fraction of a speaker's share that must have a positive score before the other frames are
    /// dropped.
    pub min_positive_rate: f32,
    /// Embedding of silence, `[embedding]`, if the model has learned one; otherwise the running
    /// mean of the silent frames.
    pub learned_silence: Option<Vec<f32>>,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            silence_frames_per_speaker: 3,
            score_threshold: 0.25,
            latest_boost: 0.05,
            silence_threshold: 0.2,
            strong_boost_rate: 0.75,
            weak_boost_rate: 1.5,
            min_positive_rate: 0.5,
            learned_silence: None,
        }
    }
}

/// Chooses `keep` of the frames with these `probabilities`, `[frames, speakers]`: the best frames of
/// the first speaker in their order, then silence, then those of the second speaker, and so on.
/// `None` stands for a frame of silence.
pub fn select_frames(
    probabilities: ArrayView2<'_, f32>,
    keep: usize,
    compression: &Compression,
) -> Vec<Option<usize>> {
    let (frames, speakers) = probabilities.dim();
    let silence = compression.silence_frames_per_speaker;
    let share = (keep / speakers).saturating_sub(silence);
    let part = |rate: f32| (share as f32 * rate).floor() as usize;
    let scores = speaker_scores(probabilities, compression.score_threshold);

    // Each speaker is followed by its silence.
    let block = frames + silence;
    let mut candidates = Vec::with_capacity(speakers * block);
    for mut scores in scores {
        disable_low_scores(&mut scores, part(compression.min_positive_rate));
        for score in scores.iter_mut().skip(keep) {
            *score += compression.latest_boost;
        }
        boost_best(&mut scores, part(compression.strong_boost_rate), 2.0);
        boost_best(&mut scores, part(compression.weak_boost_rate), 1.0);
        candidates.extend(scores);
        candidates.extend(std::iter::repeat_n(f32::INFINITY, silence));
    }
    let mut places = top_k(&candidates, keep);
    places.retain(|&place| candidates[place] > f32::NEG_INFINITY);
    places.sort_unstable();
    let mut kept: Vec<Option<usize>> =
        places.iter().map(|place| Some(place % block).filter(|&frame| frame < frames)).collect();
    kept.resize(keep, None);
    kept
}

/// Returns the score of each frame by speaker: high if this speaker certainly speaks and nobody
/// else does; minus infinity if it does not speak.
fn speaker_scores(probabilities: ArrayView2<'_, f32>, threshold: f32) -> Vec<Vec<f32>> {
    let (frames, speakers) = probabilities.dim();
    let mut scores = vec![Vec::with_capacity(frames); speakers];
    for row in probabilities.rows() {
        let log_absent = |p: f32| (1.0 - p).max(threshold).ln();
        let all_absent: f32 = row.iter().copied().map(log_absent).sum();
        for (&p, scores) in row.iter().zip(&mut scores) {
            let score = p.max(threshold).ln() - log_absent(p) + all_absent - 0.5_f32.ln();
            scores.push(if p > 0.5 { score } else { f32::NEG_INFINITY });
        }
    }
    scores
}

/// Drops the frames with overlap of a speaker who has at least `min_positive` frames alone.
fn disable_low_scores(scores: &mut [f32], min_positive: usize) {
    if scores.iter().filter(|&&score| score > 0.0).count() >= min_positive {
        for score in scores.iter_mut().filter(|score| **score <= 0.0) {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// Raises the `count` best scores by `scale` times the logarithm of 2.
fn boost_best(scores: &mut [f32], count: usize, scale: f32) {
    for frame in top_k(scores, count) {
        scores[frame] -= scale * 0.5_f32.ln();
    }
}

#[cfg(test)]
mod tests {
    use ndarray::aview2;

    use super::*;

    fn one_silence() -> Compression {
        Compression { silence_frames_per_speaker: 1, ..Compression::default() }
    }

    #[test]
    fn scores_favor_a_speaker_alone() {
        // One speaker at 0.9, the other at 0.1: ln 0.9 - ln 0.25 + (ln 0.25 + ln 0.9) + ln 2.
        let scores = speaker_scores(aview2(&[[0.9, 0.1]]), 0.25);
        assert!((scores[0][0] - (2.0 * 0.9_f32.ln() + 2.0_f32.ln())).abs() < 1e-6);
        assert_eq!(scores[1][0], f32::NEG_INFINITY);
        // Both at 0.9: ln 0.9 + ln 0.25 + ln 2, which is negative.
        let scores = speaker_scores(aview2(&[[0.9, 0.9]]), 0.25);
        assert!((scores[0][0] - (0.9_f32.ln() + 0.25_f32.ln() + 2.0_f32.ln())).abs() < 1e-6);
    }

    #[test]
    fn overlap_is_left_once_a_speaker_has_enough_of_its_own() {
        let mut scores = [0.5, -0.8, 0.3];
        disable_low_scores(&mut scores, 3);
        assert_eq!(scores, [0.5, -0.8, 0.3]);
        disable_low_scores(&mut scores, 2);
        assert_eq!(scores, [0.5, f32::NEG_INFINITY, 0.3]);
    }

    #[test]
    fn boost_raises_the_best_alone() {
        let mut scores = [0.1, 0.3, f32::NEG_INFINITY, 0.2];
        boost_best(&mut scores, 2, 2.0);
        let double_log = 2.0 * 2.0_f32.ln();
        assert_eq!(scores[0], 0.1);
        assert!((scores[1] - 0.3 - double_log).abs() < 1e-6);
        assert!((scores[3] - 0.2 - double_log).abs() < 1e-6);
        boost_best(&mut scores, 4, 1.0);
        assert_eq!(scores[2], f32::NEG_INFINITY, "a disabled frame stays disabled");
    }

    #[test]
    fn selection_orders_speakers_and_puts_silence_between() {
        // Speaker 1 speaks first (frames 0 to 2), speaker 0 next (3 to 5).
        let rows = [[0.1, 0.9], [0.1, 0.8], [0.1, 0.95], [0.9, 0.1], [0.7, 0.1], [0.95, 0.1]];
        // 6 frames are kept: 3 per speaker, of which 1 is silence, so the best 2 frames of each.
        let kept = select_frames(aview2(&rows), 6, &one_silence());
        assert_eq!(kept, [Some(3), Some(5), None, Some(0), Some(2), None]);
    }

    #[test]
    fn selection_fills_what_nobody_uses_with_silence() {
        let rows = [[0.9, 0.1], [0.2, 0.1], [0.1, 0.1], [0.1, 0.2], [0.1, 0.1]];
        let kept = select_frames(aview2(&rows), 4, &one_silence());
        // Two silences are requested (one per speaker), one frame is speech, one place is left.
        assert_eq!(kept, [Some(0), None, None, None]);
    }

    #[test]
    fn latest_frames_win_a_draw() {
        // The cache holds 4 frames: 0 to 3 were in it, and 4 and 5 are new and equally good.
        let rows = [[0.9]; 6];
        let kept = select_frames(aview2(&rows), 4, &one_silence());
        assert_eq!(kept[1..], [Some(4), Some(5), None]);
    }
}
