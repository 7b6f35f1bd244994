// SPDX-License-Identifier: MPL-2.0

//! Values of the properties, in two groups: those that a run of the element reads once, and those
//! that take effect at any time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::multitalkerasr::input::timeline::Alignment;
use crate::multitalkerasr::properties::cue_settings::CueSettings;
use crate::multitalkerasr::properties::enums::{
    ChunkLatency, DiarizationPreset, ExecutionProvider, OnDiscontinuity, OptimizationLevel,
    OverloadPolicy, Precision, TargetMode, TextUnit, VocabularyFilterMethod,
};
use crate::multitalkerasr::text::speaker::SpeakerNames;
use multitalker_asr as engine;
use multitalker_asr::lock::lock;

/// Minimum processing time in the latency of a live pipeline.
pub const MIN_COMPUTE_MS: u32 = 100;

/// Value of `latency` that adds nothing to the latency and desynchronizes the text.
const DESYNCHRONIZED: u32 = u32::MAX;

/// Settings that take effect at the change from READY to PAUSED and stay until the change back.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSettings {
    pub model_dir: Option<String>,
    pub diarization_model: Option<String>,
    pub speaker_embedding_model: Option<String>,
    /// 0 for the threshold of the model.
    pub speaker_threshold: f32,
    pub speakers_dir: Option<String>,
    pub speakers_store: Option<String>,
    /// Whether words are recognized, or only the speakers are told apart.
    pub recognize: bool,
    pub precision: Precision,
    pub chunk_latency: ChunkLatency,
    pub diarization_preset: DiarizationPreset,
    pub activity_threshold: f32,
    /// 0 for no limit besides the diarizer's.
    pub max_speakers: u32,
    pub target_mode: TargetMode,
    pub text_unit: TextUnit,
    pub segment_pause_ms: u32,
    pub max_segment_duration_ms: u32,
    pub cues: CueSettings,
    pub execution_provider: ExecutionProvider,
    pub device: u32,
    pub intra_op_threads: u32,
    pub optimization_level: OptimizationLevel,
    pub onnxruntime_library: Option<String>,
    pub language_code: String,
    pub alignment: Alignment,
}

impl Default for RunSettings {
    fn default() -> Self {
        let engine = engine::StreamOptions::default();
        Self {
            model_dir: None,
            diarization_model: None,
            speaker_embedding_model: None,
            speaker_threshold: 0.0,
            speakers_dir: None,
            speakers_store: None,
            recognize: true,
            precision: Precision::default(),
            chunk_latency: ChunkLatency::default(),
            diarization_preset: DiarizationPreset::default(),
            activity_threshold: engine.activity_threshold,
            max_speakers: 0,
            target_mode: TargetMode::default(),
            text_unit: TextUnit::default(),
            segment_pause_ms: engine.segment_pause_ms,
            max_segment_duration_ms: engine.max_segment_ms,
            cues: CueSettings::default(),
            execution_provider: ExecutionProvider::default(),
            device: 0,
            intra_op_threads: 0,
            optimization_level: OptimizationLevel::default(),
            onnxruntime_library: None,
            language_code: "en".to_owned(),
            alignment: Alignment::default(),
        }
    }
}

impl RunSettings {
    /// Returns the networks to load, or `None` without a `model-dir` if words are recognized.
    pub fn model_options(&self) -> Option<engine::ModelOptions> {
        let model_dir = self.model_dir.as_ref().map(PathBuf::from);
        Some(engine::ModelOptions {
            model_dir: match self.recognize {
                true => model_dir?,
                false => model_dir.unwrap_or_default(),
            },
            diarization_model: self.diarization_model.as_ref().map(Into::into),
            recognize: self.recognize,
            precision: self.precision.into(),
            runtime: self.runtime_options(),
        })
    }

    /// Returns the options of ONNX Runtime.
    pub fn runtime_options(&self) -> engine::RuntimeOptions {
        engine::RuntimeOptions {
            library: self.onnxruntime_library.as_ref().map(Into::into),
            execution_provider: self.execution_provider.into(),
            device: self.device,
            intra_op_threads: self.intra_op_threads as usize,
            optimization_level: self.optimization_level.into(),
        }
    }

    /// Returns whether `language-code` is the language of the models.
    pub fn is_english(&self) -> bool {
        let language = self.language_code.split(['-', '_']).next().unwrap_or_default();
        ["", "en", "eng"].iter().any(|english| language.eq_ignore_ascii_case(english))
    }
}

/// A file that is read again each time that its property is set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListFile {
    path: Option<String>,
    /// Number of times that a path was set.
    revision: u64,
}

impl ListFile {
    /// Path of the file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref().map(Path::new)
    }

    /// Value of the property.
    pub fn value(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Sets the path, which may be the previous one.
    pub fn set(&mut self, path: Option<String>) {
        self.revision += u64::from(path.is_some());
        self.path = path;
    }
}

/// Phrases to boost.
#[derive(Clone, Debug, PartialEq)]
pub struct PhraseSettings {
    /// A list with a phrase on each line.
    pub file: ListFile,
    /// Further lines of the list.
    pub additional: Vec<String>,
    /// Strength, 0 for off.
    pub boost: f32,
}

impl Default for PhraseSettings {
    fn default() -> Self {
        Self { file: ListFile::default(), additional: Vec::new(), boost: 1.0 }
    }
}

/// Words to filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterSettings {
    /// A list with a word on each line.
    pub file: ListFile,
    pub method: VocabularyFilterMethod,
}

/// Settings that may change while the element runs.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveSettings {
    pub phrases: PhraseSettings,
    pub filter: FilterSettings,
    pub speaker_names: SpeakerNames,
    pub speaker_prefix: String,
    /// Separated by commas.
    pub speaker_colors: String,
    pub on_discontinuity: OnDiscontinuity,
    pub overload_policy: OverloadPolicy,
    pub latency_ms: u32,
    pub lateness_ms: u32,
    pub session_id: String,
    pub post_partials: bool,
    /// 0 for no limit.
    pub max_transcripts: u32,
}

impl LiveSettings {
    pub const DEFAULT_LATENCY_MS: u32 = 500;

    /// Returns the processing time in the latency of a live pipeline: `latency`, but at least the
    /// minimum.
    pub fn compute_ms(&self) -> u32 {
        self.latency_ms.max(MIN_COMPUTE_MS)
    }

    /// Returns whether text is dated at the time of its output instead of the time of the speech.
    pub fn is_desynchronized(&self) -> bool {
        self.latency_ms == DESYNCHRONIZED
    }

    /// Returns the delay to add to the text's running time.
    pub fn lateness(&self) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(u64::from(self.lateness_ms))
    }
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            phrases: PhraseSettings::default(),
            filter: FilterSettings::default(),
            speaker_names: SpeakerNames::default(),
            speaker_prefix: String::new(),
            // Pango's green differs between its versions.
            speaker_colors: "white,yellow,cyan,#00ff00".to_owned(),
            on_discontinuity: OnDiscontinuity::default(),
            overload_policy: OverloadPolicy::default(),
            latency_ms: Self::DEFAULT_LATENCY_MS,
            lateness_ms: 0,
            session_id: String::new(),
            post_partials: false,
            max_transcripts: 100_000,
        }
    }
}

/// The current settings of an element. Readers share them; a change replaces them.
#[derive(Debug, Default)]
pub struct Settings(Mutex<Values>);

#[derive(Debug, Default)]
struct Values {
    /// Settings of the next run.
    next: Arc<RunSettings>,
    /// Settings of the current run, if there is one.
    run: Option<Arc<RunSettings>>,
    live: Arc<LiveSettings>,
}

impl Settings {
    /// Fixes the settings of a run.
    pub fn start_run(&self) -> Arc<RunSettings> {
        let mut values = lock(&self.0);
        let next = values.next.clone();
        values.run.insert(next).clone()
    }

    /// Ends the run.
    pub fn end_run(&self) {
        lock(&self.0).run = None;
    }

    /// Returns the settings of the current run, otherwise those of the next one.
    pub fn run(&self) -> Arc<RunSettings> {
        let values = lock(&self.0);
        values.run.as_ref().unwrap_or(&values.next).clone()
    }

    /// Returns the settings of the next run.
    pub fn next_run(&self) -> Arc<RunSettings> {
        lock(&self.0).next.clone()
    }

    /// Returns the live settings.
    pub fn live(&self) -> Arc<LiveSettings> {
        lock(&self.0).live.clone()
    }

    /// Changes the settings of the next run.
    pub fn change_next_run(&self, change: impl FnOnce(&mut RunSettings)) {
        change(Arc::make_mut(&mut lock(&self.0).next));
    }

    /// Changes the live settings.
    pub fn change_live(&self, change: impl FnOnce(&mut LiveSettings)) {
        change(Arc::make_mut(&mut lock(&self.0).live));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_by_any_name() {
        let is_english = |code: &str| {
            RunSettings { language_code: code.to_owned(), ..Default::default() }.is_english()
        };
        assert!(is_english("en") && is_english("en-US") && is_english("EN_gb") && is_english(""));
        assert!(!is_english("de") && !is_english("enm"));
    }

    #[test]
    fn run_keeps_its_settings() {
        let settings = Settings::default();
        let run = settings.start_run();
        settings.change_next_run(|next| next.device = 1);
        settings.change_live(|live| live.lateness_ms = 2);
        assert_eq!((run.device, settings.run().device, settings.next_run().device), (0, 0, 1));
        assert_eq!(settings.live().lateness_ms, 2);
        settings.end_run();
        assert_eq!(settings.run().device, 1);
    }
}
