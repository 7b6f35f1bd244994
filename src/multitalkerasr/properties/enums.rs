// SPDX-License-Identifier: MPL-2.0

//! Enumerations of the properties and, beside each, the engine's enumeration that it stands for.

use gst::glib;
use gst::prelude::*;

use multitalker_asr as engine;

/// Model files to load from `model-dir`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrPrecision")]
pub enum Precision {
    /// The int8 files on the CPU and the fp32 files elsewhere, if both are present.
    #[default]
    #[enum_value(name = "int8 on the CPU, fp32 elsewhere, if both are present", nick = "auto")]
    Auto,
    /// `encoder.int8.onnx` and `decoder_joint.int8.onnx`.
    #[enum_value(name = "encoder.int8.onnx and decoder_joint.int8.onnx", nick = "int8")]
    Int8,
    /// `encoder.onnx` and `decoder_joint.onnx`.
    #[enum_value(name = "encoder.onnx and decoder_joint.onnx", nick = "fp32")]
    Fp32,
}

impl From<Precision> for engine::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Auto => Self::Auto,
            Precision::Int8 => Self::Int8,
            Precision::Fp32 => Self::Fp32,
        }
    }
}

/// Length of the recognizer's chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrChunkLatency")]
pub enum ChunkLatency {
    /// 1120 ms, the most accurate.
    #[default]
    #[enum_value(name = "1120 ms: the most accurate", nick = "1120ms")]
    Ms1120 = 1120,
    /// 560 ms.
    #[enum_value(name = "560 ms", nick = "560ms")]
    Ms560 = 560,
    /// 160 ms.
    #[enum_value(name = "160 ms", nick = "160ms")]
    Ms160 = 160,
    /// 80 ms, the lowest latency and the most computation.
    #[enum_value(name = "80 ms: the lowest latency, the most computation", nick = "80ms")]
    Ms80 = 80,
}

impl From<ChunkLatency> for engine::ChunkLatency {
    fn from(chunk_latency: ChunkLatency) -> Self {
        match chunk_latency {
            ChunkLatency::Ms1120 => Self::Ms1120,
            ChunkLatency::Ms560 => Self::Ms560,
            ChunkLatency::Ms160 => Self::Ms160,
            ChunkLatency::Ms80 => Self::Ms80,
        }
    }
}

/// Operating point of the diarizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrDiarizationPreset")]
pub enum DiarizationPreset {
    /// `lockstep` for live sources, `30s` for all others.
    #[default]
    #[enum_value(name = "lockstep for live sources, else 30s", nick = "auto")]
    Auto,
    /// No look-ahead beyond the recognizer's chunk.
    #[enum_value(name = "No look-ahead beyond the recognizer's chunk", nick = "lockstep")]
    Lockstep,
    /// 1.04 s of look-ahead.
    #[enum_value(name = "1.04 s of look-ahead", nick = "1s")]
    OneSecond,
    /// 10 s of look-ahead, with version 2 of the diarizer.
    #[enum_value(name = "10 s of look-ahead (version 2 of the diarizer)", nick = "10s")]
    TenSeconds,
    /// 30.4 s of look-ahead, the most accurate and the least computation.
    #[enum_value(
        name = "30.4 s of look-ahead: the most accurate, the least computation",
        nick = "30s"
    )]
    ThirtySeconds,
    // The last two follow the others so that the values of the others stay the same.
    /// 0.32 s of look-ahead.
    #[enum_value(name = "0.32 s of look-ahead", nick = "320ms")]
    Ms320,
    /// 0.64 s of look-ahead, with version 3 of the diarizer.
    #[enum_value(name = "0.64 s of look-ahead (version 3 of the diarizer)", nick = "640ms")]
    Ms640,
}

impl DiarizationPreset {
    /// Returns the value of the property in a pipeline description.
    pub fn nick(self) -> String {
        glib::EnumValue::from_value(&self.to_value())
            .map_or_else(String::new, |(_, value)| value.nick().to_owned())
    }
}

/// The engine's preset, or `None` for `auto`.
impl From<DiarizationPreset> for Option<engine::DiarizationPreset> {
    fn from(preset: DiarizationPreset) -> Self {
        match preset {
            DiarizationPreset::Auto => None,
            DiarizationPreset::Lockstep => Some(engine::DiarizationPreset::Lockstep),
            DiarizationPreset::Ms320 => Some(engine::DiarizationPreset::Ms320),
            DiarizationPreset::Ms640 => Some(engine::DiarizationPreset::Ms640),
            DiarizationPreset::OneSecond => Some(engine::DiarizationPreset::OneSecond),
            DiarizationPreset::TenSeconds => Some(engine::DiarizationPreset::TenSeconds),
            DiarizationPreset::ThirtySeconds => Some(engine::DiarizationPreset::ThirtySeconds),
        }
    }
}

impl From<engine::DiarizationPreset> for DiarizationPreset {
    fn from(preset: engine::DiarizationPreset) -> Self {
        match preset {
            engine::DiarizationPreset::Lockstep => Self::Lockstep,
            engine::DiarizationPreset::Ms320 => Self::Ms320,
            engine::DiarizationPreset::Ms640 => Self::Ms640,
            engine::DiarizationPreset::OneSecond => Self::OneSecond,
            engine::DiarizationPreset::TenSeconds => Self::TenSeconds,
            engine::DiarizationPreset::ThirtySeconds => Self::ThirtySeconds,
        }
    }
}

/// Treatment of the words that the vocabulary filter lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrVocabularyFilterMethod")]
pub enum VocabularyFilterMethod {
    /// Three asterisks replace the word.
    #[default]
    #[enum_value(name = "Replace the word by ***", nick = "mask")]
    Mask,
    /// The word is left out.
    #[enum_value(name = "Leave out the word", nick = "remove")]
    Remove,
    /// The word stays, and messages, JSON and metadata mark it.
    #[enum_value(name = "Keep the word, and mark it in messages, JSON and metadata", nick = "tag")]
    Tag,
}

impl From<VocabularyFilterMethod> for engine::FilterMethod {
    fn from(method: VocabularyFilterMethod) -> Self {
        match method {
            VocabularyFilterMethod::Mask => Self::Mask,
            VocabularyFilterMethod::Remove => Self::Remove,
            VocabularyFilterMethod::Tag => Self::Tag,
        }
    }
}

/// Encoder input that represents the other speakers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrTargetMode")]
pub enum TargetMode {
    /// The largest probability of any other speaker.
    #[default]
    #[enum_value(name = "Largest probability of any other speaker", nick = "probability")]
    Probability,
    /// 1 where another running speaker is active, else 0.
    #[enum_value(name = "1 where another running speaker is active, else 0", nick = "nemo")]
    Nemo,
}

impl From<TargetMode> for engine::TargetMode {
    fn from(mode: TargetMode) -> Self {
        match mode {
            TargetMode::Probability => Self::Probability,
            TargetMode::Nemo => Self::Nemo,
        }
    }
}

/// Content of a text buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrTextUnit")]
pub enum TextUnit {
    /// One word.
    #[default]
    #[enum_value(name = "One word", nick = "word")]
    Word,
    /// One segment of one speaker.
    #[enum_value(name = "One segment of one speaker", nick = "segment")]
    Segment,
    /// One caption cue of a few lines.
    #[enum_value(name = "One caption cue of a few lines", nick = "cue")]
    Cue,
}

/// Presentation of people who talk at once, in cues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrSimultaneous")]
pub enum Simultaneous {
    /// Each speaker has cues of their own, which overlap in time.
    #[default]
    #[enum_value(name = "A cue for each speaker, at the same time", nick = "stack")]
    Stack,
    /// There is one cue at a time, with a dash before each speaker.
    #[enum_value(name = "One cue at a time, with a dash before each speaker", nick = "merge")]
    Merge,
}

impl From<Simultaneous> for multitalker_captions::Simultaneous {
    fn from(simultaneous: Simultaneous) -> Self {
        match simultaneous {
            Simultaneous::Stack => Self::Stack,
            Simultaneous::Merge => Self::Merge,
        }
    }
}

/// Numbering of the speakers after a discontinuity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrOnDiscontinuity")]
pub enum OnDiscontinuity {
    /// Speaker numbering restarts.
    #[default]
    #[enum_value(name = "Speaker numbering restarts", nick = "reset")]
    Reset,
    /// Speakers keep their numbers.
    #[enum_value(name = "Speakers keep their numbers", nick = "keep")]
    Keep,
}

/// Reaction to live audio that arrives faster than it can be recognized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrOverloadPolicy")]
pub enum OverloadPolicy {
    /// The diarizer does less work, and audio is dropped only if that is not enough.
    #[default]
    #[enum_value(
        name = "The diarizer does less work; audio is dropped as a last resort",
        nick = "degrade"
    )]
    Degrade,
    /// Audio is dropped.
    #[enum_value(name = "Audio is dropped", nick = "drop")]
    Drop,
}

/// Hardware on which ONNX Runtime computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrExecutionProvider")]
pub enum ExecutionProvider {
    /// CUDA if it works, else the CPU.
    #[enum_value(name = "CUDA if it works, else the CPU", nick = "auto")]
    Auto,
    /// The CPU.
    #[default]
    #[enum_value(name = "CPU", nick = "cpu")]
    Cpu,
    /// NVIDIA CUDA.
    #[enum_value(name = "NVIDIA CUDA", nick = "cuda")]
    Cuda,
    /// NVIDIA TensorRT.
    #[enum_value(name = "NVIDIA TensorRT", nick = "tensorrt")]
    TensorRt,
    /// Intel OpenVINO.
    #[enum_value(name = "Intel OpenVINO", nick = "openvino")]
    OpenVino,
    /// Apple Core ML.
    #[enum_value(name = "Apple Core ML", nick = "coreml")]
    CoreMl,
    /// Microsoft DirectML.
    #[enum_value(name = "Microsoft DirectML", nick = "directml")]
    DirectMl,
    /// AMD ROCm.
    #[enum_value(name = "AMD ROCm", nick = "rocm")]
    Rocm,
}

impl From<ExecutionProvider> for engine::ExecutionProvider {
    fn from(provider: ExecutionProvider) -> Self {
        match provider {
            ExecutionProvider::Auto => Self::Auto,
            ExecutionProvider::Cpu => Self::Cpu,
            ExecutionProvider::Cuda => Self::Cuda,
            ExecutionProvider::TensorRt => Self::TensorRt,
            ExecutionProvider::OpenVino => Self::OpenVino,
            ExecutionProvider::CoreMl => Self::CoreMl,
            ExecutionProvider::DirectMl => Self::DirectMl,
            ExecutionProvider::Rocm => Self::Rocm,
        }
    }
}

/// Graph optimizations that ONNX Runtime applies at load time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrOptimizationLevel")]
pub enum OptimizationLevel {
    /// No optimizations.
    #[enum_value(name = "None", nick = "disable-all")]
    DisableAll,
    /// Removal of redundant nodes and constant folding.
    #[enum_value(name = "Remove redundant nodes and fold constants", nick = "enable-basic")]
    EnableBasic,
    /// The above and node fusion.
    #[enum_value(name = "Also fuse nodes", nick = "enable-extended")]
    EnableExtended,
    /// The above and memory layouts for this processor.
    #[default]
    #[enum_value(name = "Also change memory layouts for this processor", nick = "enable-all")]
    EnableAll,
}

impl From<OptimizationLevel> for engine::OptimizationLevel {
    fn from(level: OptimizationLevel) -> Self {
        match level {
            OptimizationLevel::DisableAll => Self::DisableAll,
            OptimizationLevel::EnableBasic => Self::EnableBasic,
            OptimizationLevel::EnableExtended => Self::EnableExtended,
            OptimizationLevel::EnableAll => Self::EnableAll,
        }
    }
}
