// SPDX-License-Identifier: MPL-2.0

//! The diarizer's memory: all of the most recent frames (FIFO), and of the older ones those that
//! distinguish the speakers best (arrival-order speaker cache).
//!
//! Source: `streaming_update` of NeMo's `SortformerModules`, described in I. Medennikov et al.,
//! "Streaming Sortformer: Speaker Cache-Based Online Speaker Diarization with Arrival-Time
//! Ordering", Interspeech 2025.

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate, s};

use crate::diarization::OperatingPoint;
use crate::diarization::compression::{Compression, select_frames};
use crate::error::Error;

#[cfg(test)]
mod tests;

/// The cache and the FIFO of one stream, in frames of 80 ms.
pub struct SpeakerCache {
    point: OperatingPoint,
    compression: Compression,
    /// Embeddings, `[frames, embedding]`.
    cache: Array2<f32>,
    /// Probabilities of the frames in `cache`, `[frames, speakers]`, from the first compression on.
    cache_probabilities: Option<Array2<f32>>,
    /// Embeddings, `[frames, embedding]`.
    fifo: Array2<f32>,
    /// Mean embedding of the silent frames, `[embedding]`.
    mean_silence: Array1<f32>,
    silent_frames: u64,
}

impl SpeakerCache {
    /// Creates an empty memory for embeddings of `embedding_size` values.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the cache is too small for the number of speakers.
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
        let mut cache = Self {
            point,
            compression,
            cache: Array2::zeros((0, embedding_size)),
            cache_probabilities: None,
            fifo: Array2::zeros((0, embedding_size)),
            mean_silence: Array1::zeros(embedding_size),
            silent_frames: 0,
        };
        cache.reset();
        Ok(cache)
    }

    /// Forgets all speakers.
    pub fn reset(&mut self) {
        let embedding_size = self.mean_silence.len();
        self.cache = Array2::zeros((0, embedding_size));
        self.cache_probabilities = None;
        self.fifo = Array2::zeros((0, embedding_size));
        self.silent_frames = 0;
        self.mean_silence = match &self.compression.learned_silence {
            Some(learned) => Array1::from(learned.clone()),
            None => Array1::zeros(embedding_size),
        };
    }

    /// Changes the lengths of the FIFO from the next update on.
    pub fn set_operating_point(&mut self, point: OperatingPoint) {
        self.point = point;
    }

    /// Returns the embeddings of the cache, `[frames, embedding]`.
    pub fn cache(&self) -> ArrayView2<'_, f32> {
        self.cache.view()
    }

    /// Returns the embeddings of the FIFO, `[frames, embedding]`.
    pub fn fifo(&self) -> ArrayView2<'_, f32> {
        self.fifo.view()
    }

    /// Appends a chunk to the FIFO, and returns the probabilities of its frames without the
    /// contexts, `[frames, speakers]`.
    ///
    /// - `embeddings`: the chunk with `left` and `right` frames of context, `[frames, embedding]`.
    /// - `probabilities`: the cache, the FIFO and the chunk with its contexts, `[frames, speakers]`.
    pub fn update<'p>(
        &mut self,
        embeddings: ArrayView2<'_, f32>,
        probabilities: ArrayView2<'p, f32>,
        left: usize,
        right: usize,
    ) -> ArrayView2<'p, f32> {
        let cache_frames = self.cache.nrows();
        let fifo_end = cache_frames + self.fifo.nrows();
        let chunk_frames = embeddings.nrows().saturating_sub(left + right);

        let chunk_start = fifo_end + left;
        let old_fifo_probabilities = probabilities.slice(s![cache_frames..fifo_end, ..]);
        let chunk_probabilities =
            probabilities.slice(s![chunk_start..chunk_start + chunk_frames, ..]);
        let fifo_probabilities = concatenate![Axis(0), old_fifo_probabilities, chunk_probabilities];
        append(&mut self.fifo, embeddings.slice(s![left..left + chunk_frames, ..]));

        let fifo_frames = self.fifo.nrows();
        if fifo_frames > self.point.fifo_frames {
            let leaving = self
                .point
                .update_period_frames
                .max(fifo_frames - self.point.fifo_frames)
                .min(fifo_frames);
            let staying = self.fifo.slice(s![leaving.., ..]).to_owned();
            let fifo = std::mem::replace(&mut self.fifo, staying);
            let leaving_embeddings = fifo.slice(s![..leaving, ..]);
            let leaving_probabilities = fifo_probabilities.slice(s![..leaving, ..]);
            self.learn_silence(leaving_embeddings, leaving_probabilities);
            append(&mut self.cache, leaving_embeddings);
            if let Some(known) = &mut self.cache_probabilities {
                append(known, leaving_probabilities);
            }
            if self.cache.nrows() > self.point.speaker_cache_frames {
                let all = self.cache_probabilities.take().unwrap_or_else(|| {
                    let cached = probabilities.slice(s![..cache_frames, ..]);
                    concatenate![Axis(0), cached, leaving_probabilities]
                });
                self.compress(all.view());
            }
        }
        probabilities.slice_move(s![chunk_start..chunk_start + chunk_frames, ..])
    }

    /// Updates the mean embedding of silence with these `embeddings`, `[frames, embedding]`, and
    /// `probabilities`, `[frames, speakers]`.
    fn learn_silence(
        &mut self,
        embeddings: ArrayView2<'_, f32>,
        probabilities: ArrayView2<'_, f32>,
    ) {
        if self.compression.learned_silence.is_some() {
            return;
        }
        let mut sum = Array1::<f32>::zeros(self.mean_silence.len());
        let mut new_frames = 0;
        for (embedding, probabilities) in embeddings.rows().into_iter().zip(probabilities.rows()) {
            if probabilities.iter().sum::<f32>() < self.compression.silence_threshold {
                new_frames += 1;
                sum += &embedding;
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

    /// Keeps the frames of the cache that matter most, in the order of their speakers;
    /// `probabilities` belong to all frames of the cache, `[frames, speakers]`.
    fn compress(&mut self, probabilities: ArrayView2<'_, f32>) {
        let keep = self.point.speaker_cache_frames;
        let kept = select_frames(probabilities, keep, &self.compression);
        let mut cache = Array2::zeros((kept.len(), self.cache.ncols()));
        let mut cache_probabilities = Array2::zeros((kept.len(), probabilities.ncols()));
        for (row, frame) in kept.into_iter().enumerate() {
            match frame {
                Some(frame) => {
                    cache.row_mut(row).assign(&self.cache.row(frame));
                    cache_probabilities.row_mut(row).assign(&probabilities.row(frame));
                }
                None => cache.row_mut(row).assign(&self.mean_silence),
            }
        }
        self.cache = cache;
        self.cache_probabilities = Some(cache_probabilities);
    }
}

fn append(array: &mut Array2<f32>, rows: ArrayView2<'_, f32>) {
    array.append(Axis(0), rows).expect("rows have the same width");
}
