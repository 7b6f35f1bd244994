// SPDX-License-Identifier: MPL-2.0

//! What a caller asks of the recognizer: which files, on which hardware, at which latency.

use std::path::PathBuf;

use crate::diarization::{DiarizationPreset, OperatingPoint};
use crate::error::Error;
use crate::features::{FRAMES_PER_ENCODED_FRAME, HOP_SAMPLES};

/// Milliseconds of audio that one encoded frame stands for.
pub const ENCODED_FRAME_MS: u32 = 80;

/// Samples of audio that one encoded frame stands for, at 16 kHz.
pub const ENCODED_FRAME_SAMPLES: u64 = (HOP_SAMPLES * FRAMES_PER_ENCODED_FRAME) as u64;

/// Which of a model's files are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Of the files that are present, the quantized ones on the CPU. Elsewhere the full ones, since
    /// operators that quantize dynamically run on the CPU whatever the provider.
    #[default]
    Auto,
    /// `encoder.int8.onnx` and `decoder_joint.int8.onnx`.
    Int8,
    /// `encoder.onnx` and `decoder_joint.onnx`.
    Fp32,
}

/// Where ONNX Runtime computes. Only [`ExecutionProvider::Auto`] falls back to the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExecutionProvider {
    /// CUDA where the loaded ONNX Runtime offers it and it works, else the CPU.
    Auto,
    /// The processor.
    #[default]
    Cpu,
    /// NVIDIA CUDA.
    Cuda,
    /// NVIDIA TensorRT.
    TensorRt,
    /// Intel OpenVINO.
    OpenVino,
    /// Apple Core ML.
    CoreMl,
    /// Microsoft DirectML.
    DirectMl,
    /// AMD ROCm.
    Rocm,
}

/// How much ONNX Runtime rewrites the graphs when it loads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptimizationLevel {
    /// As they are in the file.
    DisableAll,
    /// Redundant nodes out, constants folded.
    EnableBasic,
    /// And nodes fused.
    EnableExtended,
    /// And memory layouts changed for this processor.
    #[default]
    EnableAll,
}

/// How the networks are run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RuntimeOptions {
    /// The ONNX Runtime library; without one, `ORT_DYLIB_PATH`, the folder of this plugin and
    /// the system's libraries are tried in this order.
    pub library: Option<PathBuf>,
    /// Where to compute.
    pub execution_provider: ExecutionProvider,
    /// Index of the device of the execution provider.
    pub device: u32,
    /// Threads of one inference, and speakers that are decoded at a time; 0 takes the number of
    /// processor cores, at most 4.
    pub intra_op_threads: usize,
    /// How much the graphs are rewritten when they are loaded.
    pub optimization_level: OptimizationLevel,
}

/// Which networks make a [`Model`](crate::Model).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModelOptions {
    /// Folder with the encoder, the decoder, the tokenizer and their configuration.
    pub model_dir: PathBuf,
    /// The Sortformer file. Without one there is a single speaker, who always speaks.
    pub diarization_model: Option<PathBuf>,
    /// Which of the files in `model_dir` are taken.
    pub precision: Precision,
    /// How the networks are run.
    pub runtime: RuntimeOptions,
}

/// More threads than the largest machines have cores make an inference slower without an end.
const MAX_THREADS: usize = 1024;

impl RuntimeOptions {
    /// Checks the numbers by themselves.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] names the one that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        if self.intra_op_threads <= MAX_THREADS {
            return Ok(());
        }
        Err(Error::InvalidOption {
            option: "threads of one inference",
            expected: format!("at most {MAX_THREADS}"),
            found: self.intra_op_threads.to_string(),
        })
    }
}

/// Length of the recognizer's chunk, which is its algorithmic latency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChunkLatency {
    /// 14 encoded frames; the most accurate.
    #[default]
    Ms1120,
    /// 7 encoded frames.
    Ms560,
    /// 2 encoded frames.
    Ms160,
    /// 1 encoded frame.
    Ms80,
}

impl ChunkLatency {
    /// All of them, longest first.
    pub const ALL: [Self; 4] = [Self::Ms1120, Self::Ms560, Self::Ms160, Self::Ms80];

    /// Length in milliseconds.
    pub const fn ms(self) -> u32 {
        match self {
            Self::Ms1120 => 1120,
            Self::Ms560 => 560,
            Self::Ms160 => 160,
            Self::Ms80 => 80,
        }
    }

    /// Length in encoded frames of 80 ms.
    pub const fn encoded_frames(self) -> usize {
        (self.ms() / ENCODED_FRAME_MS) as usize
    }

    /// Length in mel frames of 10 ms.
    pub const fn mel_frames(self) -> usize {
        self.encoded_frames() * FRAMES_PER_ENCODED_FRAME
    }
}

/// What the background target of a speaker is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetMode {
    /// The largest probability of any other speaker.
    #[default]
    Probability,
    /// 1 where any other running speaker is active, else 0, as NeMo's own pipeline does.
    Nemo,
}

/// One hour in frames of 80 ms: more than any part of an operating point is good for.
const MAX_FRAMES: usize = 45_000;

/// How one conversation is transcribed.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamOptions {
    /// Length of the recognizer's chunk.
    pub chunk_latency: ChunkLatency,
    /// Operating point of the diarizer. The default is `lockstep` of version 2; see
    /// [`Model::operating_point`](crate::Model::operating_point).
    pub diarization: OperatingPoint,
    /// A speaker runs on a chunk when its probability exceeds this in it or in the one before;
    /// greater than 0 and less than 1.
    pub activity_threshold: f32,
    /// At most so many speakers, the first to speak; all that the diarizer knows without.
    pub max_speakers: Option<usize>,
    /// What the background target is made of.
    pub target_mode: TargetMode,
    /// A segment closes when its speaker has said nothing for so long.
    pub segment_pause_ms: u32,
    /// A segment closes before the word that would make it longer than this.
    pub max_segment_ms: u32,
    /// Chunks wait until there are as many as the encoder takes in one run; what is left runs at the
    /// end. With a prepared encoder this halves its work, and text comes later by those chunks.
    pub fill_batches: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        let chunk_latency = ChunkLatency::default();
        Self {
            chunk_latency,
            diarization: DiarizationPreset::Lockstep.operating_point(chunk_latency),
            activity_threshold: 0.5,
            max_speakers: None,
            target_mode: TargetMode::default(),
            segment_pause_ms: 800,
            max_segment_ms: 10_000,
            fill_batches: false,
        }
    }
}

impl StreamOptions {
    /// Checks the numbers by themselves.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] names the first one that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |ok: bool, option: &'static str, expected: &str, found: String| {
            if ok {
                Ok(())
            } else {
                Err(Error::InvalidOption { option, expected: expected.to_owned(), found })
            }
        };
        let point = &self.diarization;
        check(
            self.activity_threshold > 0.0 && self.activity_threshold < 1.0,
            "activity threshold",
            "more than 0 and less than 1",
            self.activity_threshold.to_string(),
        )?;
        check(
            self.max_speakers != Some(0),
            "maximum number of speakers",
            "at least 1",
            "0".to_owned(),
        )?;
        for (option, frames, least) in [
            ("diarizer chunk", point.chunk_frames, 1),
            ("diarizer look-ahead", point.right_context_frames, 0),
            ("diarizer FIFO", point.fifo_frames, 0),
            ("speaker cache update period", point.update_period_frames, 1),
            ("speaker cache", point.speaker_cache_frames, 1),
        ] {
            let expected = format!("{least} to {MAX_FRAMES} frames");
            check((least..=MAX_FRAMES).contains(&frames), option, &expected, frames.to_string())?;
        }
        check(
            self.max_segment_ms >= 1000,
            "maximum segment duration",
            "at least 1000 ms",
            format!("{} ms", self.max_segment_ms),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESETS: [DiarizationPreset; 4] = [
        DiarizationPreset::Lockstep,
        DiarizationPreset::OneSecond,
        DiarizationPreset::TenSeconds,
        DiarizationPreset::ThirtySeconds,
    ];

    #[test]
    fn short_fifo_is_not_degraded() {
        for point in PRESETS.map(|preset| preset.operating_point(ChunkLatency::Ms1120)) {
            let degraded = point.degraded();
            assert_eq!(degraded == point, point.fifo_frames <= 40, "{point:?}");
            assert_eq!(degraded.degraded(), degraded);
            assert!(degraded.update_period_frames <= point.update_period_frames);
        }
    }

    #[test]
    fn operating_point_is_bounded() {
        let parts: [fn(&mut OperatingPoint) -> &mut usize; 5] = [
            |point| &mut point.chunk_frames,
            |point| &mut point.right_context_frames,
            |point| &mut point.fifo_frames,
            |point| &mut point.update_period_frames,
            |point| &mut point.speaker_cache_frames,
        ];
        for part in parts {
            for (frames, fits) in [(45_000, true), (45_001, false), (usize::MAX, false)] {
                let mut options = StreamOptions::default();
                *part(&mut options.diarization) = frames;
                assert_eq!(options.validate().is_ok(), fits, "{:?}", options.diarization);
                assert!(options.diarization.latency_ms(ChunkLatency::Ms80) >= 80);
            }
        }
    }
}
