// SPDX-License-Identifier: MPL-2.0

//! The element's properties: their table and defaults, and what they mean to the engine.

mod enums;

use gst::glib;
use gst::prelude::*;

use crate::multitalkerasr::input::timeline::Alignment;
use multitalker_asr as engine;

pub use enums::{
    ChunkLatency, DiarizationPreset, ExecutionProvider, OnDiscontinuity, OptimizationLevel,
    OverloadPolicy, Precision, TargetMode, TextUnit,
};

/// Least time to compute that is promised.
const MIN_LATENCY_MS: u32 = 100;

/// Value of `latency` for which no time is promised.
const DESYNCHRONIZED: u32 = u32::MAX;

/// What a diarizer may turn out to be.
const UNKNOWN_DIARIZERS: [engine::DiarizerKind; 2] = {
    let [first, second] = engine::DiarizerVersion::ALL;
    [
        engine::DiarizerKind { version: first, fixed_preset: None },
        engine::DiarizerKind { version: second, fixed_preset: None },
    ]
};

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

/// The values of the properties.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub model_dir: Option<String>,
    pub diarization_model: Option<String>,
    pub precision: Precision,
    pub chunk_latency: ChunkLatency,
    pub diarization_preset: DiarizationPreset,
    pub activity_threshold: f32,
    /// 0: as many as the diarizer knows.
    pub max_speakers: u32,
    pub target_mode: TargetMode,
    pub text_unit: TextUnit,
    pub segment_pause_ms: u32,
    pub max_segment_duration_ms: u32,
    pub speaker_prefix: String,
    /// Separated by commas.
    pub speaker_colors: String,
    pub execution_provider: ExecutionProvider,
    pub device: u32,
    pub intra_op_threads: u32,
    pub optimization_level: OptimizationLevel,
    pub onnxruntime_library: Option<String>,
    pub on_discontinuity: OnDiscontinuity,
    pub overload_policy: OverloadPolicy,
    pub latency_ms: u32,
    pub lateness_ms: u32,
    pub language_code: String,
    pub session_id: String,
    pub post_partials: bool,
    pub alignment: Alignment,
    /// 0: no limit.
    pub max_transcripts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        let engine = engine::StreamOptions::default();
        Self {
            model_dir: None,
            diarization_model: None,
            precision: Precision::default(),
            chunk_latency: ChunkLatency::default(),
            diarization_preset: DiarizationPreset::default(),
            activity_threshold: engine.activity_threshold,
            max_speakers: 0,
            target_mode: TargetMode::default(),
            text_unit: TextUnit::default(),
            segment_pause_ms: engine.segment_pause_ms,
            max_segment_duration_ms: engine.max_segment_ms,
            speaker_prefix: String::new(),
            // Pango's green differs between its versions.
            speaker_colors: "white,yellow,cyan,#00ff00".to_owned(),
            execution_provider: ExecutionProvider::default(),
            device: 0,
            intra_op_threads: 0,
            optimization_level: OptimizationLevel::default(),
            onnxruntime_library: None,
            on_discontinuity: OnDiscontinuity::default(),
            overload_policy: OverloadPolicy::default(),
            latency_ms: 500,
            lateness_ms: 0,
            language_code: "en".to_owned(),
            session_id: String::new(),
            post_partials: false,
            alignment: Alignment::default(),
            max_transcripts: 100_000,
        }
    }
}

/// The table behind `gst-inspect-1.0`. Those that are mutable in READY take effect at the next
/// change from READY to PAUSED.
pub fn properties() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        glib::ParamSpecString::builder("model-dir")
            .nick("Model directory")
            .blurb(
                "Folder with encoder[.int8].onnx, decoder_joint[.int8].onnx, tokenizer.model and \
                 multitalker_config.json",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("diarization-model")
            .nick("Diarization model")
            .blurb("Streaming Sortformer ONNX file (unset or empty: a single speaker)")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("precision", default.precision)
            .nick("Precision")
            .blurb("Which of the files in model-dir are loaded (auto: int8 on the CPU, fp32 elsewhere)")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("chunk-latency", default.chunk_latency)
            .nick("Chunk latency")
            .blurb("Length of audio that the recognizer decodes at once, which delays the words")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("diarization-preset", default.diarization_preset)
            .nick("Diarization preset")
            .blurb(
                "How far the diarizer looks ahead, which delays the words; a preset that its version \
                 does not offer is replaced by a shorter one, with a warning",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecFloat::builder("activity-threshold")
            .nick("Activity threshold")
            .blurb(
                "A speaker is recognized where its probability of speaking exceeds this (more than \
                 0 and less than 1)",
            )
            .minimum(0.0)
            .maximum(1.0)
            .default_value(default.activity_threshold)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-speakers")
            .nick("Maximum number of speakers")
            .blurb("Maximum number of speakers; later speakers are ignored (0: no limit)")
            .default_value(default.max_speakers)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("target-mode", default.target_mode)
            .nick("Target mode")
            .blurb(
                "How the encoder sees the other speakers; published accuracy was measured with nemo",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("text-unit", default.text_unit)
            .nick("Text unit")
            .blurb("Content of a text buffer: one word or one segment")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("segment-pause")
            .nick("Segment pause")
            .blurb("Silence of its speaker that ends a segment, in milliseconds")
            .default_value(default.segment_pause_ms)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-segment-duration")
            .nick("Maximum segment duration")
            .blurb("Maximum duration of a segment, in milliseconds")
            .minimum(1000)
            .default_value(default.max_segment_duration_ms)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("speaker-prefix")
            .nick("Speaker prefix")
            .blurb(
                "Text before that of a speaker, for each segment or, with text-unit=word, at \
                 each change of speaker; {n} is the speaker's number from 1, e.g. 'Speaker {n}: '",
            )
            .default_value(Some(default.speaker_prefix.as_str()))
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("speaker-colors")
            .nick("Speaker colors")
            .blurb(
                "Colors of the speakers in pango-markup, separated by commas, as Pango knows them; \
                 cycled when there are more speakers than colors",
            )
            .default_value(Some(default.speaker_colors.as_str()))
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("execution-provider", default.execution_provider)
            .nick("Execution provider")
            .blurb("Where ONNX Runtime computes; only auto falls back to the CPU")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("device")
            .nick("Device")
            .blurb("Index of the execution provider's device")
            .default_value(default.device)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("intra-op-threads")
            .nick("Intra-op threads")
            .blurb(
                "Threads of one inference, and speakers decoded at a time (0: the number of \
                 processor cores, at most 4)",
            )
            .default_value(default.intra_op_threads)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("optimization-level", default.optimization_level)
            .nick("Optimization level")
            .blurb("How much ONNX Runtime rewrites the graphs when it loads them")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("onnxruntime-library")
            .nick("ONNX Runtime library")
            .blurb(
                "Path of libonnxruntime.so (unset: ORT_DYLIB_PATH, beside the plugin, the system's)",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("on-discontinuity", default.on_discontinuity)
            .nick("On discontinuity")
            .blurb("Whether speaker numbering restarts or is kept after a gap in the audio")
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("overload-policy", default.overload_policy)
            .nick("Overload policy")
            .blurb("What happens when live audio arrives faster than it can be recognized")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("latency")
            .nick("Latency")
            .blurb(
                "Computing time in the latency of live pipelines, in ms, at least 100 (4294967295: \
                 adds no latency, desynchronizes the text)",
            )
            .default_value(default.latency_ms)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("lateness")
            .nick("Lateness")
            .blurb("Delay of the text in milliseconds, from the next segment event on")
            .default_value(default.lateness_ms)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("language-code")
            .nick("Language code")
            .blurb("Language of the speech; the models support only English")
            .default_value(Some(default.language_code.as_str()))
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("session-id")
            .nick("Session id")
            .blurb("Name of the conversation in messages and SegLST rows")
            .default_value(Some(default.session_id.as_str()))
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("post-partials")
            .nick("Post partials")
            .blurb("Post multitalkerasr/partial messages with the words of segments in progress")
            .default_value(default.post_partials)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("alignment-threshold")
            .nick("Alignment threshold")
            .blurb("Timestamps that deviate by less count as jitter, in nanoseconds")
            .minimum(1)
            .maximum(u64::MAX - 1)
            .default_value(default.alignment.threshold.nseconds())
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("discont-wait")
            .nick("Discontinuity wait")
            .blurb(
                "How long timestamps must deviate before the audio is moved, in nanoseconds; not \
                 after lost data or from 200 ms on",
            )
            .maximum(u64::MAX - 1)
            .default_value(default.alignment.discont_wait.nseconds())
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-transcripts")
            .nick("Maximum number of transcripts")
            .blurb(
                "Finished segments kept for get-transcripts and multitalkerasr/transcripts; then \
                 the oldest are dropped (0: no limit)",
            )
            .default_value(default.max_transcripts)
            .mutable_playing()
            .build(),
    ]
}

impl Settings {
    /// Sets a property. The value has the type of the table.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let text = |value| checked::<Option<String>>(value).unwrap_or_default();
        let time = |value| gst::ClockTime::from_nseconds(checked(value));
        let path = |value| checked::<Option<String>>(value).filter(|path| !path.is_empty());
        match name {
            "model-dir" => self.model_dir = path(value),
            "diarization-model" => self.diarization_model = path(value),
            "precision" => self.precision = checked(value),
            "chunk-latency" => self.chunk_latency = checked(value),
            "diarization-preset" => self.diarization_preset = checked(value),
            "activity-threshold" => self.activity_threshold = checked(value),
            "max-speakers" => self.max_speakers = checked(value),
            "target-mode" => self.target_mode = checked(value),
            "text-unit" => self.text_unit = checked(value),
            "segment-pause" => self.segment_pause_ms = checked(value),
            "max-segment-duration" => self.max_segment_duration_ms = checked(value),
            "speaker-prefix" => self.speaker_prefix = text(value),
            "speaker-colors" => self.speaker_colors = text(value),
            "execution-provider" => self.execution_provider = checked(value),
            "device" => self.device = checked(value),
            "intra-op-threads" => self.intra_op_threads = checked(value),
            "optimization-level" => self.optimization_level = checked(value),
            "onnxruntime-library" => self.onnxruntime_library = path(value),
            "on-discontinuity" => self.on_discontinuity = checked(value),
            "overload-policy" => self.overload_policy = checked(value),
            "latency" => self.latency_ms = checked(value),
            "lateness" => self.lateness_ms = checked(value),
            "language-code" => self.language_code = text(value),
            "session-id" => self.session_id = text(value),
            "post-partials" => self.post_partials = checked(value),
            "alignment-threshold" => self.alignment.threshold = time(value),
            "discont-wait" => self.alignment.discont_wait = time(value),
            "max-transcripts" => self.max_transcripts = checked(value),
            _ => unreachable!("GObject checks names against the table"),
        }
    }

    /// Value of a property.
    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "model-dir" => self.model_dir.to_value(),
            "diarization-model" => self.diarization_model.to_value(),
            "precision" => self.precision.to_value(),
            "chunk-latency" => self.chunk_latency.to_value(),
            "diarization-preset" => self.diarization_preset.to_value(),
            "activity-threshold" => self.activity_threshold.to_value(),
            "max-speakers" => self.max_speakers.to_value(),
            "target-mode" => self.target_mode.to_value(),
            "text-unit" => self.text_unit.to_value(),
            "segment-pause" => self.segment_pause_ms.to_value(),
            "max-segment-duration" => self.max_segment_duration_ms.to_value(),
            "speaker-prefix" => self.speaker_prefix.to_value(),
            "speaker-colors" => self.speaker_colors.to_value(),
            "execution-provider" => self.execution_provider.to_value(),
            "device" => self.device.to_value(),
            "intra-op-threads" => self.intra_op_threads.to_value(),
            "optimization-level" => self.optimization_level.to_value(),
            "onnxruntime-library" => self.onnxruntime_library.to_value(),
            "on-discontinuity" => self.on_discontinuity.to_value(),
            "overload-policy" => self.overload_policy.to_value(),
            "latency" => self.compute_ms().to_value(),
            "lateness" => self.lateness_ms.to_value(),
            "language-code" => self.language_code.to_value(),
            "session-id" => self.session_id.to_value(),
            "post-partials" => self.post_partials.to_value(),
            "alignment-threshold" => self.alignment.threshold.nseconds().to_value(),
            "discont-wait" => self.alignment.discont_wait.nseconds().to_value(),
            "max-transcripts" => self.max_transcripts.to_value(),
            _ => unreachable!("GObject checks names against the table"),
        }
    }

    /// Which networks the engine is to load; `None` without a `model-dir`.
    pub fn model_options(&self) -> Option<engine::ModelOptions> {
        Some(engine::ModelOptions {
            model_dir: self.model_dir.as_ref()?.into(),
            diarization_model: self.diarization_model.as_ref().map(Into::into),
            precision: match self.precision {
                Precision::Auto => engine::Precision::Auto,
                Precision::Int8 => engine::Precision::Int8,
                Precision::Fp32 => engine::Precision::Fp32,
            },
            runtime: engine::RuntimeOptions {
                library: self.onnxruntime_library.as_ref().map(Into::into),
                execution_provider: match self.execution_provider {
                    ExecutionProvider::Auto => engine::ExecutionProvider::Auto,
                    ExecutionProvider::Cpu => engine::ExecutionProvider::Cpu,
                    ExecutionProvider::Cuda => engine::ExecutionProvider::Cuda,
                    ExecutionProvider::TensorRt => engine::ExecutionProvider::TensorRt,
                    ExecutionProvider::OpenVino => engine::ExecutionProvider::OpenVino,
                    ExecutionProvider::CoreMl => engine::ExecutionProvider::CoreMl,
                    ExecutionProvider::DirectMl => engine::ExecutionProvider::DirectMl,
                    ExecutionProvider::Rocm => engine::ExecutionProvider::Rocm,
                },
                device: self.device,
                intra_op_threads: self.intra_op_threads as usize,
                optimization_level: match self.optimization_level {
                    OptimizationLevel::DisableAll => engine::OptimizationLevel::DisableAll,
                    OptimizationLevel::EnableBasic => engine::OptimizationLevel::EnableBasic,
                    OptimizationLevel::EnableExtended => engine::OptimizationLevel::EnableExtended,
                    OptimizationLevel::EnableAll => engine::OptimizationLevel::EnableAll,
                },
            },
        })
    }

    /// How the engine is to transcribe audio of a live or another source with this diarizer.
    pub fn stream_options(
        &self,
        live: bool,
        diarizer: Option<engine::DiarizerKind>,
    ) -> engine::StreamOptions {
        let chunk_latency = self.engine_chunk_latency();
        let kind = diarizer.unwrap_or(UNKNOWN_DIARIZERS[0]);
        engine::StreamOptions {
            chunk_latency,
            diarization: self.operating_point(live, kind),
            activity_threshold: self.activity_threshold,
            max_speakers: (self.max_speakers > 0).then_some(self.max_speakers as usize),
            target_mode: match self.target_mode {
                TargetMode::Probability => engine::TargetMode::Probability,
                TargetMode::Nemo => engine::TargetMode::Nemo,
            },
            segment_pause_ms: self.segment_pause_ms,
            max_segment_ms: self.max_segment_duration_ms,
            // A diarizer for files gives the recognizer many chunks at once by itself.
            fill_batches: !live && self.diarization_model.is_none(),
        }
    }

    /// The preset that was set and the one that a diarizer of this version runs in its place.
    pub fn substituted_preset(
        &self,
        version: engine::DiarizerVersion,
    ) -> Option<(DiarizationPreset, DiarizationPreset)> {
        let set = self.engine_preset()?;
        let offered = set.offered_by(version);
        (set != offered).then(|| (self.diarization_preset, offered.into()))
    }

    /// Checks that the diarizer of `model` runs the preset that was set.
    ///
    /// # Errors
    /// [`engine::Error::Mismatch`] where the axes of its graph are fixed for another one.
    pub fn check_preset(&self, model: &engine::Model) -> Result<(), engine::Error> {
        let Some(preset) = self.engine_preset() else { return Ok(()) };
        model.operating_point(preset, self.engine_chunk_latency()).map(|_| ())
    }

    /// What the element adds to the latency of a live source. As long as the diarizer is not known,
    /// it is the longest latency that the settings mean for any version.
    pub fn live_latency(&self, diarizer: Option<engine::DiarizerKind>) -> gst::ClockTime {
        if self.is_desynchronized() {
            return gst::ClockTime::ZERO;
        }
        let chunk_latency = self.engine_chunk_latency();
        let points = self.possible_points(true, diarizer);
        let algorithm_ms = points.map(|point| point.latency_ms(chunk_latency)).max();
        // Without a diarizer the recognizer waits for its own chunk alone, as in lockstep.
        let algorithm_ms = algorithm_ms.unwrap_or_else(|| {
            let lockstep = engine::DiarizationPreset::Lockstep;
            lockstep.operating_point(chunk_latency).latency_ms(chunk_latency)
        });
        let unit_ms = match self.text_unit {
            TextUnit::Word => engine::WORD_LATENCY_MS,
            TextUnit::Segment => {
                let end_ms = self.segment_pause_ms.max(engine::WORD_END_MS);
                self.max_segment_duration_ms.saturating_add(end_ms)
            }
        };
        [algorithm_ms, unit_ms, self.compute_ms()]
            .into_iter()
            .map(|ms| gst::ClockTime::from_mseconds(u64::from(ms)))
            .sum()
    }

    /// The time to compute that is promised, which is not always what was set.
    pub fn compute_ms(&self) -> u32 {
        self.latency_ms.max(MIN_LATENCY_MS)
    }

    /// Whether text has the time at which it comes out instead of that of the speech.
    pub fn is_desynchronized(&self) -> bool {
        self.latency_ms == DESYNCHRONIZED
    }

    /// How much audio may wait for the worker: what is decoded at once, by any version of the
    /// diarizer as long as it is not known, and 2 s.
    pub fn max_queued_samples(&self, live: bool, diarizer: Option<engine::DiarizerKind>) -> usize {
        let decoded_at_once = self.possible_points(live, diarizer).map(|point| point.chunk_frames);
        let recognizer_chunk = self.engine_chunk_latency().encoded_frames();
        let frames = decoded_at_once.fold(recognizer_chunk, usize::max);
        frames * engine::ENCODED_FRAME_SAMPLES as usize + 2 * engine::SAMPLE_RATE_HZ as usize
    }

    /// Delay of the text's running time.
    pub fn lateness(&self) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(u64::from(self.lateness_ms))
    }

    /// Whether `language-code` is one that the models know.
    pub fn is_english(&self) -> bool {
        let language = self.language_code.split(['-', '_']).next().unwrap_or_default();
        ["", "en", "eng"].iter().any(|english| language.eq_ignore_ascii_case(english))
    }

    fn engine_chunk_latency(&self) -> engine::ChunkLatency {
        match self.chunk_latency {
            ChunkLatency::Ms1120 => engine::ChunkLatency::Ms1120,
            ChunkLatency::Ms560 => engine::ChunkLatency::Ms560,
            ChunkLatency::Ms160 => engine::ChunkLatency::Ms160,
            ChunkLatency::Ms80 => engine::ChunkLatency::Ms80,
        }
    }

    /// The preset that was set; `None` where it is for the element to choose.
    fn engine_preset(&self) -> Option<engine::DiarizationPreset> {
        match self.diarization_preset {
            DiarizationPreset::Auto => None,
            DiarizationPreset::Lockstep => Some(engine::DiarizationPreset::Lockstep),
            DiarizationPreset::Ms320 => Some(engine::DiarizationPreset::Ms320),
            DiarizationPreset::Ms640 => Some(engine::DiarizationPreset::Ms640),
            DiarizationPreset::OneSecond => Some(engine::DiarizationPreset::OneSecond),
            DiarizationPreset::TenSeconds => Some(engine::DiarizationPreset::TenSeconds),
            DiarizationPreset::ThirtySeconds => Some(engine::DiarizationPreset::ThirtySeconds),
        }
    }

    fn operating_point(&self, live: bool, kind: engine::DiarizerKind) -> engine::OperatingPoint {
        let preset = self.engine_preset().or(kind.fixed_preset).unwrap_or(match live {
            true => engine::DiarizationPreset::Lockstep,
            false => engine::DiarizationPreset::ThirtySeconds,
        });
        preset.operating_point_of(kind.version, self.engine_chunk_latency())
    }

    /// The operating point of the diarizer, or what it may become as long as that is not known;
    /// none without a diarizer.
    fn possible_points(
        &self,
        live: bool,
        diarizer: Option<engine::DiarizerKind>,
    ) -> impl Iterator<Item = engine::OperatingPoint> {
        let kinds = match (&self.diarization_model, diarizer) {
            (None, _) => Vec::new(),
            (Some(_), Some(kind)) => vec![kind],
            (Some(_), None) => UNKNOWN_DIARIZERS.to_vec(),
        };
        kinds.into_iter().map(move |kind| self.operating_point(live, kind))
    }
}

fn checked<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value.get().unwrap_or_else(|_| unreachable!("GObject checks types against the table"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_of_the_documentation() {
        let mut settings = Settings {
            diarization_model: Some("sortformer.onnx".to_owned()),
            ..Default::default()
        };
        assert_eq!(settings.live_latency(None).mseconds(), 2623);
        settings.chunk_latency = ChunkLatency::Ms160;
        assert_eq!(settings.live_latency(None).mseconds(), 1663);
        settings.text_unit = TextUnit::Segment;
        assert_eq!(settings.live_latency(None).mseconds(), 160 + 3 + 10_000 + 800 + 500);
        settings.segment_pause_ms = 0;
        assert_eq!(settings.live_latency(None).mseconds(), 160 + 3 + 10_000 + 400 + 500);
    }

    #[test]
    fn desynchronized_text_adds_no_latency() {
        let mut settings = Settings::default();
        settings.set("latency", &u32::MAX.to_value());
        assert_eq!(settings.live_latency(None), gst::ClockTime::ZERO);
        settings.set("latency", &0_u32.to_value());
        assert_eq!(settings.live_latency(None).mseconds(), 2123 + u64::from(MIN_LATENCY_MS));
    }

    #[test]
    fn latency_without_a_diarizer_ignores_its_preset() {
        let settings =
            Settings { diarization_preset: DiarizationPreset::ThirtySeconds, ..Default::default() };
        assert_eq!(settings.live_latency(None).mseconds(), 2623);
    }

    #[test]
    fn auto_preset_follows_the_source() {
        let settings = Settings::default();
        assert_eq!(settings.stream_options(true, None).diarization.chunk_frames, 14);
        assert_eq!(settings.stream_options(false, None).diarization.chunk_frames, 340);
    }

    #[test]
    fn latency_before_the_diarizer_is_known_is_no_shorter_than_after() {
        let presets = [
            DiarizationPreset::Auto,
            DiarizationPreset::Lockstep,
            DiarizationPreset::Ms320,
            DiarizationPreset::Ms640,
            DiarizationPreset::OneSecond,
            DiarizationPreset::TenSeconds,
            DiarizationPreset::ThirtySeconds,
        ];
        for diarization_preset in presets {
            let settings = Settings {
                diarization_model: Some("sortformer.onnx".to_owned()),
                diarization_preset,
                ..Default::default()
            };
            let known = UNKNOWN_DIARIZERS.map(Some);
            let latency = known.map(|kind| settings.live_latency(kind));
            assert_eq!(latency.into_iter().max(), Some(settings.live_latency(None)));
            let queued = known.map(|kind| settings.max_queued_samples(true, kind));
            assert_eq!(queued.into_iter().max(), Some(settings.max_queued_samples(true, None)));
        }
    }

    #[test]
    fn preset_that_a_version_does_not_offer_is_replaced() {
        let settings =
            Settings { diarization_preset: DiarizationPreset::TenSeconds, ..Default::default() };
        let [version_2, version_3] = engine::DiarizerVersion::ALL;
        assert_eq!(settings.substituted_preset(version_2), None);
        let expected = (DiarizationPreset::TenSeconds, DiarizationPreset::OneSecond);
        assert_eq!(settings.substituted_preset(version_3), Some(expected));
        let automatic = Settings::default();
        assert_eq!(automatic.substituted_preset(version_3), None);
    }

    #[test]
    fn auto_preset_is_the_only_one_of_a_diarizer_with_fixed_axes() {
        let [version, _] = engine::DiarizerVersion::ALL;
        let fixed_preset = Some(engine::DiarizationPreset::ThirtySeconds);
        let kind = Some(engine::DiarizerKind { version, fixed_preset });
        let settings = Settings {
            diarization_model: Some("sortformer.onnx".to_owned()),
            ..Default::default()
        };
        assert_eq!(settings.stream_options(true, kind).diarization.chunk_frames, 340);
        assert!(settings.live_latency(kind) > settings.live_latency(None));
        let second = engine::SAMPLE_RATE_HZ as usize;
        assert!(settings.max_queued_samples(true, kind) > 27 * second);
    }

    #[test]
    fn english_by_any_name() {
        let is_english = |code: &str| {
            Settings { language_code: code.to_owned(), ..Default::default() }.is_english()
        };
        assert!(is_english("en") && is_english("en-US") && is_english("EN_gb") && is_english(""));
        assert!(!is_english("de") && !is_english("enm"));
    }
}
