// SPDX-License-Identifier: MPL-2.0

//! Operating points of the diarizer by version, and their latency.
//!
//! Source: the recommended configurations in NVIDIA's model cards of
//! `diar_streaming_sortformer_4spk-v2` and of `Nemotron-3-Diarization`, which is version 3.

use std::fmt;

use crate::features::FEATURE_DELAY_MS;
use crate::options::{ChunkLatency, ENCODED_FRAME_MS};

/// Version of the streaming Sortformer, which determines its operating points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiarizerVersion {
    /// Versions 2 and 2.1: at most 4 speakers; silence is the running mean of the silent frames.
    V2,
    /// Version 3, also named Nemotron-3-Diarization: at most 8 speakers; silence is learned.
    V3,
}

impl DiarizerVersion {
    /// All versions.
    pub const ALL: [Self; 2] = [Self::V2, Self::V3];

    /// Returns the number of encoded frames before a chunk that the network sees again.
    pub(crate) const fn left_context_frames(self) -> usize {
        match self {
            Self::V2 => 1,
            Self::V3 => 0,
        }
    }

    /// Returns the maximum number of speakers.
    pub const fn max_speakers(self) -> usize {
        match self {
            Self::V2 => 4,
            Self::V3 => 8,
        }
    }
}

impl fmt::Display for DiarizerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "2",
            Self::V3 => "3",
        })
    }
}

/// Lengths of the diarizer's chunks and memory in frames of 80 ms, each at most 45,000 (1 h).
///
/// The model's authors tuned these numbers together; see [`DiarizationPreset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatingPoint {
    /// Length of a chunk, at least 1.
    pub chunk_frames: usize,
    /// Length of the look-ahead after the chunk.
    pub right_context_frames: usize,
    /// Length of the FIFO, which keeps all of the most recent frames.
    pub fifo_frames: usize,
    /// Number of frames that move from the FIFO to the speaker cache at a time, at least 1.
    pub update_period_frames: usize,
    /// Length of the speaker cache, at least 1 and enough for the silence after each speaker.
    pub speaker_cache_frames: usize,
}

/// Operating points by name. Each version of the diarizer offers all but one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiarizationPreset {
    /// The recognizer's own chunk without look-ahead: the lowest latency.
    Lockstep,
    /// 0.32 s of chunk and look-ahead, the shortest that the authors recommend.
    Ms320,
    /// 0.64 s; only version 3 offers it.
    Ms640,
    /// 1.04 s, for live audio.
    OneSecond,
    /// 10 s, for delayed broadcasts; only version 2 offers it.
    TenSeconds,
    /// 30.4 s, for files: a fifteenth of the work of `Lockstep`, and the most accurate.
    ThirtySeconds,
}

impl DiarizationPreset {
    /// All presets: `Lockstep`, then from the shortest to the longest.
    pub const ALL: [Self; 6] = [
        Self::Lockstep,
        Self::Ms320,
        Self::Ms640,
        Self::OneSecond,
        Self::TenSeconds,
        Self::ThirtySeconds,
    ];

    /// Returns this preset if `version` offers it, otherwise the version's longest preset that
    /// looks no further ahead.
    pub const fn offered_by(self, version: DiarizerVersion) -> Self {
        match (self, version) {
            (Self::Ms640, DiarizerVersion::V2) => Self::Ms320,
            (Self::TenSeconds, DiarizerVersion::V3) => Self::OneSecond,
            _ => self,
        }
    }

    /// Returns the operating point of version 2 for a recognizer with this chunk. For a loaded
    /// model, use [`Model::operating_point`](crate::Model::operating_point).
    pub const fn operating_point(self, chunk: ChunkLatency) -> OperatingPoint {
        self.operating_point_of(DiarizerVersion::V2, chunk)
    }

    /// Returns the operating point of a version for a recognizer with this chunk. If the version
    /// does not offer this preset, [`Self::offered_by`] takes its place.
    pub const fn operating_point_of(
        self,
        version: DiarizerVersion,
        chunk: ChunkLatency,
    ) -> OperatingPoint {
        let own_chunk = chunk.encoded_frames();
        let (chunk_frames, right_context_frames, fifo_frames, update_period_frames) =
            match (version, self.offered_by(version)) {
                (DiarizerVersion::V2, Self::Lockstep) => (own_chunk, 0, 188, 144),
                (DiarizerVersion::V2, Self::Ms320 | Self::Ms640) => (3, 1, 188, 144),
                (DiarizerVersion::V2, Self::OneSecond) => (6, 7, 188, 144),
                (DiarizerVersion::V2, Self::TenSeconds) => (124, 1, 124, 124),
                (DiarizerVersion::V3, Self::Lockstep) => (own_chunk, 0, 264, 222),
                (DiarizerVersion::V3, Self::Ms320) => (3, 1, 264, 222),
                (DiarizerVersion::V3, Self::Ms640) => (6, 2, 264, 222),
                (DiarizerVersion::V3, Self::OneSecond | Self::TenSeconds) => (9, 4, 264, 222),
                (_, Self::ThirtySeconds) => (340, 40, 40, 300),
            };
        OperatingPoint {
            chunk_frames,
            right_context_frames,
            fifo_frames,
            update_period_frames,
            speaker_cache_frames: match version {
                DiarizerVersion::V2 => 188,
                DiarizerVersion::V3 => 264,
            },
        }
    }
}

/// Version and limits of a loaded diarizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiarizerKind {
    /// Version of the diarizer.
    pub version: DiarizerVersion,
    /// The only preset of a graph with fixed axes; `None` if the graph runs at any.
    pub fixed_preset: Option<DiarizationPreset>,
}

/// Length of the FIFO in degraded mode, the shortest of the presets.
const DEGRADED_FIFO_FRAMES: usize = 40;

impl OperatingPoint {
    /// Limits the FIFO to 3.2 s, which takes less work per chunk.
    pub(crate) fn degraded(self) -> Self {
        if self.fifo_frames <= DEGRADED_FIFO_FRAMES {
            return self;
        }
        Self {
            fifo_frames: DEGRADED_FIFO_FRAMES,
            update_period_frames: self.update_period_frames.min(DEGRADED_FIFO_FRAMES),
            ..self
        }
    }

    /// Returns the maximum time from a sample until the audio for its diarizer chunk is complete, in
    /// milliseconds, without the time of inference. It is the latency without a recognizer.
    pub fn diarizer_latency_ms(&self) -> u32 {
        // One frame is the shortest chunk, and a multiple of no other.
        self.latency_ms(ChunkLatency::Ms80)
    }

    /// Returns the maximum time from a sample until the audio for its recognizer chunk is complete,
    /// in milliseconds, without the time of inference.
    pub fn latency_ms(&self, chunk: ChunkLatency) -> u32 {
        // A recognizer chunk waits for the diarizer chunk of its last frame, and the starts of both
        // differ by multiples of their greatest common divisor.
        let apart = chunk.encoded_frames()
            - greatest_common_divisor(chunk.encoded_frames(), self.chunk_frames);
        let encoded_frames =
            self.chunk_frames.saturating_add(apart).saturating_add(self.right_context_frames);
        u32::try_from(encoded_frames)
            .unwrap_or(u32::MAX)
            .saturating_mul(ENCODED_FRAME_MS)
            .saturating_add(FEATURE_DELAY_MS)
    }
}

const fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns cache, FIFO, chunk, right context and update period, in the order of the model
    /// cards.
    fn numbers(preset: DiarizationPreset, version: DiarizerVersion) -> [usize; 5] {
        let point = preset.operating_point_of(version, ChunkLatency::Ms1120);
        [
            point.speaker_cache_frames,
            point.fifo_frames,
            point.chunk_frames,
            point.right_context_frames,
            point.update_period_frames,
        ]
    }

    #[test]
    fn numbers_are_those_of_the_model_cards() {
        use DiarizationPreset::*;
        for (preset, version_2, version_3) in [
            (Lockstep, [188, 188, 14, 0, 144], [264, 264, 14, 0, 222]),
            (Ms320, [188, 188, 3, 1, 144], [264, 264, 3, 1, 222]),
            (Ms640, [188, 188, 3, 1, 144], [264, 264, 6, 2, 222]),
            (OneSecond, [188, 188, 6, 7, 144], [264, 264, 9, 4, 222]),
            (TenSeconds, [188, 124, 124, 1, 124], [264, 264, 9, 4, 222]),
            (ThirtySeconds, [188, 40, 340, 40, 300], [264, 40, 340, 40, 300]),
        ] {
            assert_eq!(numbers(preset, DiarizerVersion::V2), version_2, "{preset:?}");
            assert_eq!(numbers(preset, DiarizerVersion::V3), version_3, "{preset:?}");
        }
    }

    #[test]
    fn substitute_looks_no_further_ahead_and_is_offered() {
        for version in DiarizerVersion::ALL {
            for preset in DiarizationPreset::ALL {
                let offered = preset.offered_by(version);
                assert_eq!(offered.offered_by(version), offered);
                let ahead = |preset: DiarizationPreset, version| {
                    let point = preset.operating_point_of(version, ChunkLatency::Ms80);
                    point.chunk_frames + point.right_context_frames
                };
                for other in DiarizerVersion::ALL {
                    if preset.offered_by(other) == preset {
                        assert!(ahead(offered, version) <= ahead(preset, other), "{preset:?}");
                    }
                }
            }
        }
    }
}
