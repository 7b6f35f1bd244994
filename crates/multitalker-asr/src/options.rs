// SPDX-License-Identifier: MPL-2.0

//! Options of models and streams: files, hardware, latency and segments.

use std::path::PathBuf;

use crate::diarization::{DiarizationPreset, OperatingPoint};
use crate::error::Error;
use crate::features::{FRAMES_PER_ENCODED_FRAME, HOP_SAMPLES};

/// Length of an encoded frame in milliseconds.
pub const ENCODED_FRAME_MS: u32 = 80;

/// Length of an encoded frame in samples at 16 kHz.
pub const ENCODED_FRAME_SAMPLES: u64 = (HOP_SAMPLES * FRAMES_PER_ENCODED_FRAME) as u64;

/// The files of a model that are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The quantized files on the CPU and the full ones elsewhere, as far as they are present:
    /// operators that quantize dynamically run on the CPU with every execution provider.
    #[default]
    Auto,
    /// `encoder.int8.onnx` and `decoder_joint.int8.onnx`.
    Int8,
    /// `encoder.onnx` and `decoder_joint.onnx`.
    Fp32,
}

/// The hardware on which ONNX Runtime computes. Only [`ExecutionProvider::Auto`] falls back to the
/// CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExecutionProvider {
    /// CUDA if the loaded ONNX Runtime offers it and it works, otherwise the CPU.
    Auto,
    /// The CPU.
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

/// Graph optimizations that ONNX Runtime applies when it loads the graphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptimizationLevel {
    /// No optimizations.
    DisableAll,
    /// Removes redundant nodes and folds constants.
    EnableBasic,
    /// Fuses nodes in addition.
    EnableExtended,
    /// Changes memory layouts for this processor in addition.
    #[default]
    EnableAll,
}

/// Options of ONNX Runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RuntimeOptions {
    /// The ONNX Runtime library; `None` tries `ORT_DYLIB_PATH`, the folder of the file that
    /// contains this crate, and the system's libraries, in this order.
    pub library: Option<PathBuf>,
    /// The hardware to compute on.
    pub execution_provider: ExecutionProvider,
    /// Index of the execution provider's device, from 0.
    pub device: u32,
    /// Number of threads per inference, and of speakers decoded at a time, at most 1024; 0 stands
    /// for the number of processor cores, at most 4.
    pub intra_op_threads: usize,
    /// Graph optimizations at load time.
    pub optimization_level: OptimizationLevel,
}

/// The files of a [`Model`](crate::Model).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelOptions {
    /// Folder with the encoder, the decoder, the tokenizer and their configuration.
    pub model_dir: PathBuf,
    /// The Sortformer file, or an RTTM file with the turns of one recording, whose name ends in
    /// `.rttm` or which begins with a line of this format. `None` transcribes a single speaker, who
    /// always speaks.
    pub diarization_model: Option<PathBuf>,
    /// Whether words are recognized. Otherwise, nothing is loaded from `model_dir`, and streams emit
    /// [`Event::Activity`](crate::Event::Activity) and [`Event::Turn`](crate::Event::Turn) alone.
    pub recognize: bool,
    /// The files in `model_dir` that are loaded.
    pub precision: Precision,
    /// Options of ONNX Runtime.
    pub runtime: RuntimeOptions,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            model_dir: PathBuf::new(),
            diarization_model: None,
            recognize: true,
            precision: Precision::default(),
            runtime: RuntimeOptions::default(),
        }
    }
}

impl ModelOptions {
    /// Checks that the options are in range and go together.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the number of threads is out of range, or if there is neither a
    /// recognizer nor a diarizer.
    pub fn validate(&self) -> Result<(), Error> {
        self.runtime.validate()?;
        if self.recognize || self.diarization_model.is_some() {
            return Ok(());
        }
        Err(Error::InvalidOption {
            option: "diarization model",
            expected: "a Sortformer or RTTM file, since no words are recognized".to_owned(),
            found: "none".to_owned(),
        })
    }
}

/// Maximum number of threads. More threads than the largest machines have cores only slow inference
/// down.
const MAX_THREADS: usize = 1024;

impl RuntimeOptions {
    /// Checks that the numbers are in range.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the number of threads is out of range.
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
    /// All lengths, longest first.
    pub const ALL: [Self; 4] = [Self::Ms1120, Self::Ms560, Self::Ms160, Self::Ms80];

    /// Returns the length in milliseconds.
    pub const fn ms(self) -> u32 {
        match self {
            Self::Ms1120 => 1120,
            Self::Ms560 => 560,
            Self::Ms160 => 160,
            Self::Ms80 => 80,
        }
    }

    /// Returns the length in encoded frames of 80 ms.
    pub const fn encoded_frames(self) -> usize {
        (self.ms() / ENCODED_FRAME_MS) as usize
    }

    /// Returns the length in mel frames of 10 ms.
    pub const fn mel_frames(self) -> usize {
        self.encoded_frames() * FRAMES_PER_ENCODED_FRAME
    }
}

/// Computation of a speaker's background target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetMode {
    /// The largest probability of any other speaker.
    #[default]
    Probability,
    /// 1 if any other speaker that runs on the chunk is active, otherwise 0, as in NeMo.
    Nemo,
}

/// Maximum of each part of an operating point: one hour in frames of 80 ms.
const MAX_FRAMES: usize = 45_000;

/// Options of a [`Stream`](crate::Stream).
#[derive(Clone, Debug, PartialEq)]
pub struct StreamOptions {
    /// Length of the recognizer's chunk.
    pub chunk_latency: ChunkLatency,
    /// Operating point of the diarizer. The default is `lockstep` of version 2; see
    /// [`Model::operating_point`](crate::Model::operating_point).
    pub diarization: OperatingPoint,
    /// Probability that a speaker must exceed in a chunk or in the one before to run on the chunk;
    /// greater than 0 and less than 1.
    pub activity_threshold: f32,
    /// Maximum number of speakers, at least 1; later speakers are ignored. `None` sets no limit
    /// below that of the diarizer.
    pub max_speakers: Option<usize>,
    /// Computation of the background target.
    pub target_mode: TargetMode,
    /// Pause that closes a segment, in milliseconds.
    pub segment_pause_ms: u32,
    /// Maximum length of a segment in milliseconds, at least 1000; the word that would exceed it
    /// begins the next segment.
    pub max_segment_ms: u32,
    /// Whether chunks wait until one run of the encoder is full; the rest runs at the end. With a
    /// prepared encoder this halves its work and delays the text by the chunks of a run.
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
    /// Checks that the numbers are in range.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] with the first number that is out of range.
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
