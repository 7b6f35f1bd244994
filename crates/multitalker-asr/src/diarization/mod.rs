// SPDX-License-Identifier: MPL-2.0

//! The diarizer: cuts the features into chunks with contexts, runs the network on each chunk with
//! the speaker cache, and returns a probability for each speaker and frame.

pub mod activity;
pub mod compression;
mod presets;
pub mod rttm;
mod speaker_cache;
mod top_k;
pub mod turns;

use ndarray::{Array2, ArrayView2, s};

use crate::diarization::activity::ActivitySource;
use crate::diarization::compression::Compression;
use crate::diarization::speaker_cache::SpeakerCache;
use crate::error::Error;
use crate::features::FRAMES_PER_ENCODED_FRAME;
use crate::features::frame_buffer::FrameBuffer;

pub use presets::{DiarizationPreset, DiarizerKind, DiarizerVersion, OperatingPoint};

/// Results of a Sortformer for one chunk.
pub struct Diarization {
    /// Probabilities for the cache, the FIFO and the chunk, `[frames, speakers]`.
    pub probabilities: Array2<f32>,
    /// Embeddings of the chunk, `[frames, embedding]`.
    pub embeddings: Array2<f32>,
}

/// The Sortformer graph, which only computes; the caller owns all memory.
pub trait DiarizationNetwork {
    /// Returns the maximum number of speakers that it distinguishes.
    fn speakers(&self) -> usize;

    /// Returns the number of values in an embedding.
    fn embedding_size(&self) -> usize;

    /// Returns the number of 80 ms frames before a chunk that the network sees again.
    fn left_context_frames(&self) -> usize;

    /// Returns the constants of the cache compression that belong to these weights.
    fn compression(&self) -> Compression;

    /// Computes a chunk after the cache and the FIFO. All inputs are in standard layout.
    ///
    /// - `features`: `[mel_frames, mels]`.
    /// - `cache` and `fifo`: embeddings, `[frames, embedding]`.
    ///
    /// # Errors
    /// [`Error::Inference`] if the run fails or returns NaN or infinity, [`Error::Mismatch`] if an
    /// output has another shape or a probability is out of range, and [`Error::Canceled`].
    fn run(
        &self,
        features: ArrayView2<'_, f32>,
        cache: ArrayView2<'_, f32>,
        fifo: ArrayView2<'_, f32>,
    ) -> Result<Diarization, Error>;
}

/// The diarizer of one stream.
pub struct Diarizer<N> {
    network: N,
    point: OperatingPoint,
    /// Number of speakers; the probabilities of later ones are zeroed before they reach the cache.
    max_speakers: usize,
    cache: SpeakerCache,
    next_mel_frame: u64,
}

impl<N: DiarizationNetwork> Diarizer<N> {
    /// Creates a diarizer at frame 0 that ignores all speakers after the first `max_speakers`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the speaker cache is too small for the network.
    pub fn new(
        network: N,
        point: OperatingPoint,
        max_speakers: Option<usize>,
    ) -> Result<Self, Error> {
        let speakers = network.speakers();
        let compression = network.compression();
        let cache = SpeakerCache::new(speakers, network.embedding_size(), point, compression)?;
        let max_speakers = max_speakers.unwrap_or(speakers).min(speakers);
        Ok(Self { network, point, max_speakers, cache, next_mel_frame: 0 })
    }

    /// Returns the first mel frame of the next chunk with its left context.
    fn begin(&self) -> u64 {
        self.next_mel_frame.saturating_sub(mel_frames(self.network.left_context_frames()))
    }
}

impl<N: DiarizationNetwork> ActivitySource for Diarizer<N> {
    fn forget(&mut self) {
        self.cache.reset();
    }

    fn rewind(&mut self) {
        self.next_mel_frame = 0;
    }

    /// Switches between a FIFO of at most 3.2 s and the FIFO of the operating point.
    fn set_degraded(&mut self, degraded: bool) {
        self.cache.set_operating_point(match degraded {
            true => self.point.degraded(),
            false => self.point,
        });
    }

    /// Does nothing, since the position in the recording does not matter.
    fn set_offset(&mut self, _samples: u64) {}

    fn needs_from(&self) -> Option<u64> {
        Some(self.begin())
    }

    /// Returns whether the next chunk and its look-ahead are complete or, when the audio has
    /// `ended`, not empty.
    fn is_ready(&self, features: &FrameBuffer, ended: bool) -> bool {
        let (start, available) = (self.next_mel_frame, features.end());
        let ahead = mel_frames(self.point.chunk_frames + self.point.right_context_frames);
        start + ahead <= available || (ended && start < available)
    }

    /// Computes the next chunk.
    fn step(&mut self, features: &FrameBuffer) -> Result<Array2<f32>, Error> {
        let (start, available) = (self.next_mel_frame, features.end());
        let end = (start + mel_frames(self.point.chunk_frames)).min(available);
        let ahead = (end + mel_frames(self.point.right_context_frames)).min(available);
        let begin = self.begin();

        let (cache, fifo) = (self.cache.cache(), self.cache.fifo());
        let mut results = self.network.run(features.get(begin..ahead), cache, fifo)?;
        results.probabilities.slice_mut(s![.., self.max_speakers..]).fill(0.0);
        let frames = |mel: u64| mel.div_ceil(FRAMES_PER_ENCODED_FRAME as u64) as usize;
        let (left, right) = (frames(start - begin), frames(ahead - end));
        let (embeddings, probabilities) = (results.embeddings.view(), results.probabilities.view());
        let chunk = self.cache.update(embeddings, probabilities, left, right);
        self.next_mel_frame = end;
        Ok(chunk.to_owned())
    }
}

fn mel_frames(encoded_frames: usize) -> u64 {
    (encoded_frames * FRAMES_PER_ENCODED_FRAME) as u64
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use ndarray::aview1;

    use super::*;
    use crate::features::FeatureExtractor;

    /// Reports speakers 1, 2 and 7 in every frame, and keeps the numbers of frames of its inputs.
    #[derive(Default)]
    struct Fake {
        left_context_frames: usize,
        calls: RefCell<Vec<(usize, usize, usize)>>,
    }

    impl DiarizationNetwork for &Fake {
        fn speakers(&self) -> usize {
            8
        }

        fn embedding_size(&self) -> usize {
            1
        }

        fn left_context_frames(&self) -> usize {
            self.left_context_frames
        }

        fn compression(&self) -> Compression {
            Compression { silence_frames_per_speaker: 0, ..Compression::default() }
        }

        fn run(
            &self,
            features: ArrayView2<'_, f32>,
            cache: ArrayView2<'_, f32>,
            fifo: ArrayView2<'_, f32>,
        ) -> Result<Diarization, Error> {
            let (mel_frames, cache, fifo) = (features.nrows(), cache.nrows(), fifo.nrows());
            self.calls.borrow_mut().push((mel_frames, cache, fifo));
            let frames = mel_frames.div_ceil(8);
            let row = aview1(&[0.0, 0.9, 0.8, 0.0, 0.0, 0.0, 0.0, 0.9]);
            Ok(Diarization {
                probabilities: row.broadcast((cache + fifo + frames, 8)).expect("rows").to_owned(),
                embeddings: Array2::ones((frames, 1)),
            })
        }
    }

    const POINT: OperatingPoint = OperatingPoint {
        chunk_frames: 3,
        right_context_frames: 2,
        fifo_frames: 4,
        update_period_frames: 2,
        speaker_cache_frames: 8,
    };

    fn mel(frames: usize) -> FrameBuffer {
        let mut buffer = FrameBuffer::new(4);
        let mut extractor = FeatureExtractor::new(4);
        extractor.push(&vec![0.1; frames * 160], &mut buffer);
        extractor.finish(&mut buffer);
        buffer
    }

    #[test]
    fn chunk_waits_for_its_look_ahead() {
        let fake = Fake { left_context_frames: 1, ..Fake::default() };
        let mut diarizer = Diarizer::new(&fake, POINT, None).expect("valid");
        assert!(!diarizer.is_ready(&mel(39), false) && diarizer.is_ready(&mel(40), false));
        let rows = diarizer.step(&mel(40)).expect("runs");
        assert_eq!(rows.dim(), (3, 8));
        assert_eq!(*fake.calls.borrow(), [(40, 0, 0)]);
        assert_eq!(diarizer.needs_from(), Some(16));
    }

    #[test]
    fn end_uses_what_is_left() {
        let fake = Fake { left_context_frames: 1, ..Fake::default() };
        let mut diarizer = Diarizer::new(&fake, POINT, None).expect("valid");
        let features = mel(53);
        let mut frames = 0;
        while diarizer.is_ready(&features, true) {
            frames += diarizer.step(&features).expect("runs").nrows();
        }
        assert_eq!(frames, 7, "53 mel frames are 7 frames of 80 ms, the last incomplete");
        // Chunks at 0, 24 and 48, with 8 frames before and up to 16 after.
        assert_eq!(*fake.calls.borrow(), [(40, 0, 0), (37, 0, 3), (13, 2, 4)]);
    }

    #[test]
    fn chunk_begins_with_itself_without_left_context() {
        let fake = Fake::default();
        let mut diarizer = Diarizer::new(&fake, POINT, None).expect("valid");
        let features = mel(53);
        let mut frames = 0;
        while diarizer.is_ready(&features, true) {
            assert_eq!(diarizer.needs_from(), Some(frames as u64 * 8));
            frames += diarizer.step(&features).expect("runs").nrows();
        }
        assert_eq!(frames, 7);
        assert_eq!(*fake.calls.borrow(), [(40, 0, 0), (29, 0, 3), (5, 2, 4)]);
    }

    #[test]
    fn speakers_beyond_the_limit_do_not_reach_the_cache() {
        let fake = Fake { left_context_frames: 1, ..Fake::default() };
        let mut diarizer = Diarizer::new(&fake, POINT, Some(2)).expect("valid");
        let rows = diarizer.step(&mel(40)).expect("runs");
        for row in rows.rows() {
            assert_eq!(row, aview1(&[0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        }
    }

    #[test]
    fn rewinding_keeps_the_speakers() {
        let fake = Fake { left_context_frames: 1, ..Fake::default() };
        let mut diarizer = Diarizer::new(&fake, POINT, None).expect("valid");
        diarizer.step(&mel(40)).expect("runs");
        diarizer.rewind();
        diarizer.step(&mel(40)).expect("runs");
        diarizer.reset();
        diarizer.step(&mel(40)).expect("runs");
        assert_eq!(*fake.calls.borrow(), [(40, 0, 0), (40, 0, 3), (40, 0, 0)]);
    }

    #[test]
    fn degraded_diarizer_repeats_less_of_the_past() {
        let fake = Fake { left_context_frames: 1, ..Fake::default() };
        let point = OperatingPoint { fifo_frames: 100, speaker_cache_frames: 48, ..POINT };
        let mut diarizer = Diarizer::new(&fake, point, None).expect("valid");
        let features = mel(2400);
        let step = |diarizer: &mut Diarizer<&Fake>| {
            diarizer.step(&features).expect("runs");
            let calls = fake.calls.borrow();
            let (_, cache, fifo) = *calls.last().expect("a call");
            (cache, fifo)
        };
        (0..30).for_each(|_| _ = step(&mut diarizer));
        assert_eq!(step(&mut diarizer), (0, 90));
        diarizer.set_degraded(true);
        step(&mut diarizer);
        assert_eq!(step(&mut diarizer), (48, 40), "the other frames moved to the cache");
        step(&mut diarizer);
        diarizer.set_degraded(false);
        step(&mut diarizer);
        let (_, fifo) = step(&mut diarizer);
        assert!(fifo > 40, "it grows again: {fifo}");
    }
}
