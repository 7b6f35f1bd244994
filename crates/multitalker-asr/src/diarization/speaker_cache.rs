// SPDX-License-Identifier: MPL-2.0

//! The diarizer's memory: the most recent frames whole (FIFO), and of the older ones those that
//! tell the speakers apart best (arrival-order speaker cache).
//!
//! Source: `streaming_update` and `_compress_spkcache` of NeMo's `SortformerModules`, described
//! in I. Medennikov et al., "Streaming Sortformer: Speaker Cache-Based Online Speaker Diarization
//! with Arrival-Time Ordering", Interspeech 2025.

use crate::diarization::OperatingPoint;
use crate::diarization::top_k::top_k;
use crate::error::Error;

/// Constants of the compression. The defaults are those of versions 2 and 2.1 of the model;
/// a later one carries its own in its metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Compression {
    /// Frames of silence that separate the speakers in the cache.
    pub silence_frames_per_speaker: usize,
    /// Probabilities below this count as this in a score.
    pub score_threshold: f32,
    /// Added to the scores of the frames that have just arrived.
    pub latest_boost: f32,
    /// A frame is silent when its probabilities sum up to less than this.
    pub silence_threshold: f32,
    /// Part of a speaker's share of the cache that is certain to be its own.
    pub strong_boost_rate: f32,
    /// Part of a speaker's share that is favored.
    pub weak_boost_rate: f32,
    /// Part of a speaker's share that must have a positive score before frames without are left.
    pub min_positive_rate: f32,
    /// The embedding of silence where the model has learned one; else it is the running mean of
    /// the silent frames.
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

/// The cache and the FIFO of one conversation.
///
/// Embeddings are rows of `embedding_size` values, probabilities rows of `speakers` values, one
/// row a frame of 80 ms.
pub struct SpeakerCache {
    speakers: usize,
    embedding_size: usize,
    point: OperatingPoint,
    compression: Compression,
    cache: Vec<f32>,
    /// Probabilities of the frames in `cache`, from the first compression on.
    cache_probabilities: Option<Vec<f32>>,
    fifo: Vec<f32>,
    mean_silence: Vec<f32>,
    silent_frames: u64,
}

impl SpeakerCache {
    /// An empty memory.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where the cache is too small for the number of speakers.
    pub fn new(
        speakers: usize,
        embedding_size: usize,
        point: OperatingPoint,
        compression: Compression,
    ) -> Result<Self, Error> {
        let least =
            compression.silence_frames_per_speaker.saturating_add(1).saturating_mul(speakers);
        if point.speaker_cache_frames < least {
            return Err(Error::InvalidOption {
                option: "speaker cache",
                expected: format!("at least {least} frames for {speakers} speakers"),
                found: point.speaker_cache_frames.to_string(),
            });
        }
        let mean_silence = vec![0.0; embedding_size];
        let mut cache = Self {
            speakers,
            embedding_size,
            point,
            compression,
            cache: Vec::new(),
            cache_probabilities: None,
            fifo: Vec::new(),
            mean_silence,
            silent_frames: 0,
        };
        cache.reset();
        Ok(cache)
    }

    /// Forgets all speakers.
    pub fn reset(&mut self) {
        self.cache.clear();
        self.cache_probabilities = None;
        self.fifo.clear();
        self.silent_frames = 0;
        match &self.compression.learned_silence {
            Some(learned) => self.mean_silence.clone_from(learned),
            None => self.mean_silence.fill(0.0),
        }
    }

    /// Changes the lengths of the FIFO from the next update on.
    pub fn set_operating_point(&mut self, point: OperatingPoint) {
        self.point = point;
    }

    /// Embeddings of the cache.
    pub fn cache(&self) -> &[f32] {
        &self.cache
    }

    /// Frames in the cache.
    pub fn cache_frames(&self) -> usize {
        self.cache.len() / self.embedding_size
    }

    /// Embeddings of the FIFO.
    pub fn fifo(&self) -> &[f32] {
        &self.fifo
    }

    /// Frames in the FIFO.
    pub fn fifo_frames(&self) -> usize {
        self.fifo.len() / self.embedding_size
    }

    /// Takes over a chunk and returns the probabilities of its frames without both contexts.
    ///
    /// `embeddings` are those of the chunk with `left` and `right` frames of context,
    /// `probabilities` those of the cache, the FIFO and the chunk with its contexts.
    pub fn update<'p>(
        &mut self,
        embeddings: &[f32],
        probabilities: &'p [f32],
        left: usize,
        right: usize,
    ) -> &'p [f32] {
        let (width, speakers) = (self.embedding_size, self.speakers);
        let cache_frames = self.cache_frames();
        let old_fifo_frames = self.fifo_frames();
        let chunk_frames = (embeddings.len() / width).saturating_sub(left + right);

        let chunk_start = cache_frames + old_fifo_frames + left;
        let chunk_probabilities =
            &probabilities[chunk_start * speakers..(chunk_start + chunk_frames) * speakers];
        let mut fifo_probabilities =
            probabilities[cache_frames * speakers..][..old_fifo_frames * speakers].to_vec();
        fifo_probabilities.extend_from_slice(chunk_probabilities);
        self.fifo.extend_from_slice(&embeddings[left * width..(left + chunk_frames) * width]);

        let fifo_frames = old_fifo_frames + chunk_frames;
        if fifo_frames > self.point.fifo_frames {
            let leaving = self
                .point
                .update_period_frames
                .max(fifo_frames - self.point.fifo_frames)
                .min(fifo_frames);
            let leaving_embeddings: Vec<f32> = self.fifo.drain(..leaving * width).collect();
            let leaving_probabilities = &fifo_probabilities[..leaving * speakers];
            self.learn_silence(&leaving_embeddings, leaving_probabilities);
            self.cache.extend_from_slice(&leaving_embeddings);
            if let Some(known) = &mut self.cache_probabilities {
                known.extend_from_slice(leaving_probabilities);
            }
            if self.cache_frames() > self.point.speaker_cache_frames {
                let all = self.cache_probabilities.take().unwrap_or_else(|| {
                    [&probabilities[..cache_frames * speakers], leaving_probabilities].concat()
                });
                self.compress(&all);
            }
        }
        chunk_probabilities
    }

    /// Updates the mean embedding of silence.
    fn learn_silence(&mut self, embeddings: &[f32], probabilities: &[f32]) {
        if self.compression.learned_silence.is_some() {
            return;
        }
        let mut sum = vec![0.0; self.embedding_size];
        let mut new_frames = 0;
        let rows = embeddings.chunks_exact(self.embedding_size);
        for (embedding, probability) in rows.zip(probabilities.chunks_exact(self.speakers)) {
            if probability.iter().sum::<f32>() < self.compression.silence_threshold {
                new_frames += 1;
                sum.iter_mut().zip(embedding).for_each(|(sum, value)| *sum += value);
            }
        }
        if new_frames == 0 {
            return;
        }
        let old_frames = self.silent_frames as f32;
        self.silent_frames += new_frames;
        for (mean, sum) in self.mean_silence.iter_mut().zip(sum) {
            *mean = (*mean * old_frames + sum) / self.silent_frames as f32;
        }
    }

    /// Keeps the frames of the cache that matter most, in the order of their speakers.
    fn compress(&mut self, probabilities: &[f32]) {
        let width = self.embedding_size;
        let kept = select_frames(
            probabilities,
            self.speakers,
            self.point.speaker_cache_frames,
            &self.compression,
        );
        let mut cache = Vec::with_capacity(kept.len() * width);
        let mut cache_probabilities = Vec::with_capacity(kept.len() * self.speakers);
        for frame in kept {
            match frame {
                Some(frame) => {
                    cache.extend_from_slice(&self.cache[frame * width..][..width]);
                    cache_probabilities.extend_from_slice(
                        &probabilities[frame * self.speakers..][..self.speakers],
                    );
                }
                None => {
                    cache.extend_from_slice(&self.mean_silence);
                    cache_probabilities.extend(std::iter::repeat_n(0.0, self.speakers));
                }
            }
        }
        self.cache = cache;
        self.cache_probabilities = Some(cache_probabilities);
    }
}

/// Chooses `keep` of the frames with these probabilities (rows of `speakers`): the best of the
/// first speaker in their order, then silence, then those of the second, and so on. `None` is a
/// frame of silence.
fn select_frames(
    probabilities: &[f32],
    speakers: usize,
    keep: usize,
    compression: &Compression,
) -> Vec<Option<usize>> {
    let frames = probabilities.len() / speakers;
    let silence = compression.silence_frames_per_speaker;
    let share = (keep / speakers).saturating_sub(silence);
    let part = |rate: f32| (share as f32 * rate).floor() as usize;
    let scores = speaker_scores(probabilities, speakers, compression.score_threshold);

    // One speaker after the other, each with the silence that follows it.
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

/// For each speaker the score of each frame: high where it is certain that this speaker, and
/// nobody else, speaks; minus infinity where it does not speak.
fn speaker_scores(probabilities: &[f32], speakers: usize, threshold: f32) -> Vec<Vec<f32>> {
    let mut scores = vec![Vec::with_capacity(probabilities.len() / speakers); speakers];
    for row in probabilities.chunks_exact(speakers) {
        let log_absent = |p: f32| (1.0 - p).max(threshold).ln();
        let all_absent: f32 = row.iter().copied().map(log_absent).sum();
        for (&p, scores) in row.iter().zip(&mut scores) {
            let score = p.max(threshold).ln() - log_absent(p) + all_absent - 0.5_f32.ln();
            scores.push(if p > 0.5 { score } else { f32::NEG_INFINITY });
        }
    }
    scores
}

/// Where a speaker has at least `min_positive` frames alone, drops those in which it is not.
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
    use super::*;

    fn point(cache: usize, fifo: usize, update: usize) -> OperatingPoint {
        OperatingPoint {
            chunk_frames: 2,
            right_context_frames: 0,
            fifo_frames: fifo,
            update_period_frames: update,
            speaker_cache_frames: cache,
        }
    }

    fn one_silence() -> Compression {
        Compression { silence_frames_per_speaker: 1, ..Compression::default() }
    }

    /// Embeddings of size 1 that are the numbers of the frames.
    fn numbered(frames: std::ops::Range<usize>) -> Vec<f32> {
        frames.map(|frame| frame as f32).collect()
    }

    #[test]
    fn scores_favor_a_speaker_alone() {
        // One speaker at 0.9, the other at 0.1: ln 0.9 - ln 0.25 + (ln 0.25 + ln 0.9) + ln 2.
        let scores = speaker_scores(&[0.9, 0.1], 2, 0.25);
        assert!((scores[0][0] - (2.0 * 0.9_f32.ln() + 2.0_f32.ln())).abs() < 1e-6);
        assert_eq!(scores[1][0], f32::NEG_INFINITY);
        // Both at 0.9: ln 0.9 + ln 0.25 + ln 2, which is negative.
        let scores = speaker_scores(&[0.9, 0.9], 2, 0.25);
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
        assert_eq!(scores[2], f32::NEG_INFINITY, "what is off stays off");
    }

    #[test]
    fn selection_orders_speakers_and_puts_silence_between() {
        // Speaker 1 speaks first (frames 0 to 2), speaker 0 next (3 to 5).
        let rows = [[0.1, 0.9], [0.1, 0.8], [0.1, 0.95], [0.9, 0.1], [0.7, 0.1], [0.95, 0.1]];
        // 6 to keep: 3 a speaker, 1 of them silence, so 2 frames each: the best two.
        let kept = select_frames(&rows.concat(), 2, 6, &one_silence());
        assert_eq!(kept, [Some(3), Some(5), None, Some(0), Some(2), None]);
    }

    #[test]
    fn selection_fills_what_nobody_uses_with_silence() {
        let rows = [[0.9, 0.1], [0.2, 0.1], [0.1, 0.1], [0.1, 0.2], [0.1, 0.1]];
        let kept = select_frames(&rows.concat(), 2, 4, &one_silence());
        // Two silences are asked for (one a speaker), one frame is speech, one place is left.
        assert_eq!(kept, [Some(0), None, None, None]);
    }

    #[test]
    fn latest_frames_win_a_draw() {
        // The cache holds 4; frames 0 to 3 were in it, 4 and 5 are new and equally good.
        let rows = [[0.9]; 6];
        let kept = select_frames(&rows.concat(), 1, 4, &one_silence());
        assert_eq!(kept[1..], [Some(4), Some(5), None]);
    }

    #[test]
    fn fifo_gives_its_oldest_frames_to_the_cache() {
        let mut cache = SpeakerCache::new(1, 1, point(8, 3, 2), one_silence()).expect("valid");
        let chunk = cache.update(&numbered(0..2), &[0.9, 0.8], 0, 0);
        assert_eq!(chunk, [0.9, 0.8]);
        assert_eq!((cache.cache(), cache.fifo()), (&[][..], &[0.0, 1.0][..]));
        // Frame 1 again is the left context, 4 the look-ahead; both go.
        let probabilities = [0.1, 0.2, 0.5, 0.6, 0.7, 0.8];
        let chunk = cache.update(&numbered(1..5), &probabilities, 1, 1);
        assert_eq!(chunk, [0.6, 0.7]);
        // 4 frames do not fit in 3, so an update period of 2 leaves.
        assert_eq!((cache.cache(), cache.fifo()), (&[0.0, 1.0][..], &[2.0, 3.0][..]));
    }

    #[test]
    fn long_chunk_leaves_no_more_than_the_fifo_holds() {
        let mut cache = SpeakerCache::new(1, 1, point(20, 3, 2), one_silence()).expect("valid");
        cache.update(&numbered(0..9), &[0.9; 9], 0, 0);
        assert_eq!(cache.cache_frames(), 6);
        assert_eq!(cache.fifo(), [6.0, 7.0, 8.0]);
    }

    #[test]
    fn compression_uses_the_mean_of_silence() {
        let mut cache = SpeakerCache::new(1, 1, point(3, 0, 4), one_silence()).expect("valid");
        // Frames 1 and 2 are silent: their mean is 1.5.
        cache.update(&numbered(0..4), &[0.9, 0.1, 0.1, 0.8], 0, 0);
        assert_eq!(cache.cache(), [0.0, 3.0, 1.5]);
        assert_eq!(cache.cache_probabilities.as_deref(), Some(&[0.9, 0.8, 0.0][..]));
        // Silence at 10 moves the mean to (2 * 1.5 + 10) / 3; what the cache knew is compared
        // with its probability of then, not with the new 0.0.
        cache.update(&[10.0, 20.0], &[0.0, 0.0, 0.0, 0.1, 0.95], 0, 0);
        assert_eq!(cache.cache_frames(), 3);
        assert_eq!(cache.cache()[..2], [0.0, 20.0]);
        assert!((cache.cache()[2] - 13.0 / 3.0).abs() < 1e-5);
    }

    #[derive(serde::Deserialize)]
    struct Update {
        step: usize,
        cache: Vec<i64>,
        fifo_frames: usize,
    }

    /// A file of `tools/reference/speaker_cache.py`, where the numbers are explained.
    #[derive(serde::Deserialize)]
    struct Scenario {
        cache: usize,
        fifo: usize,
        chunk: usize,
        right: usize,
        update: usize,
        steps: usize,
        updates: Vec<Update>,
    }

    const SILENCE: i64 = -1;

    fn recorded_probability(frame: i64, speaker: i64, step: usize) -> f32 {
        let mixed = |a: i64, b: u32| {
            let a = (a as u32).wrapping_mul(2_654_435_761);
            let b = b.wrapping_mul(2_246_822_519);
            let value = a.wrapping_add(b).wrapping_add(374_761_393);
            (value ^ (value >> 15)).wrapping_mul(2_246_822_519) >> 16
        };
        let chance = mixed(frame * 8 + speaker, step as u32 / 10);
        let speaks = (frame / 37) % 9 == speaker || (frame % 5 == 0 && (frame / 53) % 8 == speaker);
        let sixty_fourths = match frame {
            SILENCE => chance % 4,
            _ if speaks => 36 + chance % 28,
            _ => chance % 20,
        };
        sixty_fourths as f32 / 64.0
    }

    #[test]
    fn cache_of_version_3_holds_the_frames_that_nemo_keeps() {
        let text = include_str!("../../../../testdata/speaker-cache.json");
        let scenarios: Vec<Scenario> = serde_json::from_str(text).expect("scenarios");
        assert!(scenarios.len() > 4);
        for scenario in scenarios {
            let learned =
                Compression { learned_silence: Some(vec![SILENCE as f32; 2]), ..one_silence() };
            let point = point(scenario.cache, scenario.fifo, scenario.update);
            let mut cache = SpeakerCache::new(8, 2, point, learned).expect("valid");
            let mut updates = scenario.updates.iter();
            for step in 0..scenario.steps {
                let start = step * scenario.chunk;
                let chunk = start..start + scenario.chunk + scenario.right;
                let embeddings: Vec<f32> = chunk.flat_map(|frame| [frame as f32; 2]).collect();
                let rows = [cache.cache(), cache.fifo(), &embeddings].concat();
                let probabilities: Vec<f32> = rows
                    .chunks_exact(2)
                    .flat_map(|row| (0..8).map(|s| recorded_probability(row[0] as i64, s, step)))
                    .collect();
                let before = cache.fifo_frames();
                let found = cache.update(&embeddings, &probabilities, 0, scenario.right);
                assert_eq!(found.len(), scenario.chunk * 8);
                if cache.fifo_frames() == before + scenario.chunk {
                    continue;
                }
                let expected = updates.next().expect("as many updates as NeMo");
                assert_eq!(step, expected.step, "chunks of {}", scenario.chunk);
                let kept: Vec<i64> =
                    cache.cache().chunks_exact(2).map(|row| row[0] as i64).collect();
                assert_eq!(kept, expected.cache, "chunks of {}, step {step}", scenario.chunk);
                assert_eq!(cache.fifo_frames(), expected.fifo_frames);
            }
            assert!(updates.next().is_none(), "as many updates as NeMo");
        }
    }

    #[test]
    fn eight_speakers_share_the_cache() {
        let speakers = 8;
        let mut cache =
            SpeakerCache::new(speakers, 2, point(64, 8, 8), Compression::default()).expect("valid");
        let mut frame = 0;
        for _ in 0..40 {
            let known = cache.cache_frames() + cache.fifo_frames();
            let mut probabilities = vec![0.05; (known + 8) * speakers];
            let mut embeddings = Vec::new();
            for i in 0..8 {
                let speaker = (frame / 16) % speakers;
                probabilities[(known + i) * speakers + speaker] = 0.9;
                embeddings.extend([speaker as f32, frame as f32]);
                frame += 1;
            }
            // A network that recognizes what is in the cache.
            let remembered: Vec<f32> = cache.cache().iter().chain(cache.fifo()).copied().collect();
            for (i, embedding) in remembered.chunks_exact(2).enumerate() {
                if embedding[1] > 0.0 {
                    probabilities[i * speakers + embedding[0] as usize] = 0.9;
                }
            }
            cache.update(&embeddings, &probabilities, 0, 0);
        }
        assert_eq!(cache.cache_frames(), 64);
        let present: std::collections::BTreeSet<usize> =
            cache.cache().chunks_exact(2).filter(|e| e[1] > 0.0).map(|e| e[0] as usize).collect();
        assert_eq!(present.len(), speakers, "every speaker keeps a place");
    }

    #[test]
    fn small_cache_is_refused() {
        let error = SpeakerCache::new(8, 4, point(31, 8, 8), Compression::default()).err();
        assert!(error.is_some_and(|e| e.to_string().contains("at least 32 frames for 8 speakers")));
    }

    #[test]
    fn learned_silence_replaces_the_mean() {
        let learned = Compression { learned_silence: Some(vec![7.0]), ..one_silence() };
        let mut cache = SpeakerCache::new(1, 1, point(3, 0, 4), learned).expect("valid");
        cache.update(&numbered(0..4), &[0.9, 0.1, 0.1, 0.8], 0, 0);
        assert_eq!(cache.cache(), [0.0, 3.0, 7.0]);
    }
}
