// SPDX-License-Identifier: MPL-2.0

//! Enumerations of the properties.

use gst::glib;

/// Which files of `model-dir` are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrPrecision")]
pub enum Precision {
    #[default]
    #[enum_value(name = "int8 files on the CPU, fp32 elsewhere, of those present", nick = "auto")]
    Auto,
    #[enum_value(name = "encoder.int8.onnx and decoder_joint.int8.onnx", nick = "int8")]
    Int8,
    #[enum_value(name = "encoder.onnx and decoder_joint.onnx", nick = "fp32")]
    Fp32,
}

/// Length of the recognizer's chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrChunkLatency")]
pub enum ChunkLatency {
    #[default]
    #[enum_value(name = "1120 ms: the most accurate", nick = "1120ms")]
    Ms1120 = 1120,
    #[enum_value(name = "560 ms", nick = "560ms")]
    Ms560 = 560,
    #[enum_value(name = "160 ms", nick = "160ms")]
    Ms160 = 160,
    #[enum_value(name = "80 ms: the least delay and the most work", nick = "80ms")]
    Ms80 = 80,
}

/// Operating point of the diarizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrDiarizationPreset")]
pub enum DiarizationPreset {
    #[default]
    #[enum_value(name = "lockstep for live sources, else 30s", nick = "auto")]
    Auto,
    #[enum_value(name = "No look-ahead beyond the recognizer's chunk", nick = "lockstep")]
    Lockstep,
    #[enum_value(name = "1.04 s of look-ahead", nick = "1s")]
    OneSecond,
    #[enum_value(name = "10 s of look-ahead (version 2 of the diarizer)", nick = "10s")]
    TenSeconds,
    #[enum_value(name = "30.4 s of look-ahead, the most accurate and least work", nick = "30s")]
    ThirtySeconds,
    // At the end, so that the numbers of the others stay.
    #[enum_value(name = "0.32 s of look-ahead", nick = "320ms")]
    Ms320,
    #[enum_value(name = "0.64 s of look-ahead (version 3 of the diarizer)", nick = "640ms")]
    Ms640,
}

/// What the background target of a speaker is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrTargetMode")]
pub enum TargetMode {
    #[default]
    #[enum_value(name = "Largest probability of any other speaker", nick = "probability")]
    Probability,
    #[enum_value(name = "1 where another running speaker is active, else 0", nick = "nemo")]
    Nemo,
}

/// What a text buffer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrTextUnit")]
pub enum TextUnit {
    #[default]
    #[enum_value(name = "One word", nick = "word")]
    Word,
    #[enum_value(name = "One segment of one speaker", nick = "segment")]
    Segment,
}

/// What becomes of the speakers where the audio is interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrOnDiscontinuity")]
pub enum OnDiscontinuity {
    #[default]
    #[enum_value(name = "They are counted anew", nick = "reset")]
    Reset,
    #[enum_value(name = "They are known again", nick = "keep")]
    Keep,
}

/// What happens when live audio comes faster than it is recognized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrOverloadPolicy")]
pub enum OverloadPolicy {
    #[default]
    #[enum_value(name = "The diarizer saves work; audio is dropped last of all", nick = "degrade")]
    Degrade,
    #[enum_value(name = "Audio is dropped", nick = "drop")]
    Drop,
}

/// Where ONNX Runtime computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrExecutionProvider")]
pub enum ExecutionProvider {
    #[enum_value(name = "CUDA where it works, else the CPU", nick = "auto")]
    Auto,
    #[default]
    #[enum_value(name = "CPU", nick = "cpu")]
    Cpu,
    #[enum_value(name = "NVIDIA CUDA", nick = "cuda")]
    Cuda,
    #[enum_value(name = "NVIDIA TensorRT", nick = "tensorrt")]
    TensorRt,
    #[enum_value(name = "Intel OpenVINO", nick = "openvino")]
    OpenVino,
    #[enum_value(name = "Apple Core ML", nick = "coreml")]
    CoreMl,
    #[enum_value(name = "Microsoft DirectML", nick = "directml")]
    DirectMl,
    #[enum_value(name = "AMD ROCm", nick = "rocm")]
    Rocm,
}

/// How much ONNX Runtime rewrites the graphs when it loads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerAsrOptimizationLevel")]
pub enum OptimizationLevel {
    #[enum_value(name = "None", nick = "disable-all")]
    DisableAll,
    #[enum_value(name = "Remove redundant nodes and fold constants", nick = "enable-basic")]
    EnableBasic,
    #[enum_value(name = "Also fuse nodes", nick = "enable-extended")]
    EnableExtended,
    #[default]
    #[enum_value(name = "Also change memory layouts for this processor", nick = "enable-all")]
    EnableAll,
}
