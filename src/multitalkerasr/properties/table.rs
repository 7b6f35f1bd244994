// SPDX-License-Identifier: MPL-2.0

//! The table of properties. Each entry has the description, the getter and the setter of one of
//! them.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use crate::multitalkerasr::properties::cue_properties;
use crate::multitalkerasr::properties::settings::{LiveSettings, RunSettings, Settings};
use crate::multitalkerasr::text::speaker::SpeakerNames;

/// One property.
pub struct Property {
    pspec: glib::ParamSpec,
    access: Access,
}

/// Access to the value of a property.
enum Access {
    Run(fn(&RunSettings) -> glib::Value, fn(&mut RunSettings, &glib::Value)),
    Live(fn(&LiveSettings) -> glib::Value, fn(&mut LiveSettings, &glib::Value)),
}

impl Property {
    /// Creates a property that is mutable in READY and takes effect at the next change to PAUSED.
    pub fn run(
        pspec: glib::ParamSpec,
        get: fn(&RunSettings) -> glib::Value,
        set: fn(&mut RunSettings, &glib::Value),
    ) -> Self {
        Self { pspec, access: Access::Run(get, set) }
    }

    /// Creates a property that is mutable in PLAYING and takes effect immediately.
    fn live(
        pspec: glib::ParamSpec,
        get: fn(&LiveSettings) -> glib::Value,
        set: fn(&mut LiveSettings, &glib::Value),
    ) -> Self {
        Self { pspec, access: Access::Live(get, set) }
    }
}

/// The table, in the order of `gst-inspect-1.0`.
static PROPERTIES: LazyLock<Vec<Property>> = LazyLock::new(|| {
    let run = RunSettings::default();
    let live = LiveSettings::default();
    let mut properties = vec![
        Property::run(
            glib::ParamSpecString::builder("model-dir")
                .nick("Model directory")
                .blurb(
                    "Folder with encoder[.int8].onnx, decoder_joint[.int8].onnx, \
                     tokenizer.model and multitalker_config.json",
                )
                .mutable_ready()
                .build(),
            |run| run.model_dir.to_value(),
            |run, value| run.model_dir = path(value),
        ),
        Property::run(
            glib::ParamSpecString::builder("diarization-model")
                .nick("Diarization model")
                .blurb(
                    "Streaming Sortformer ONNX file, or RTTM file with the turns of the audio \
                     (unset or empty: a single speaker)",
                )
                .mutable_ready()
                .build(),
            |run| run.diarization_model.to_value(),
            |run, value| run.diarization_model = path(value),
        ),
        Property::run(
            glib::ParamSpecString::builder("speaker-embedding-model")
                .nick("Speaker embedding model")
                .blurb(
                    "ONNX file of a speaker verification model, to recognize people by their \
                     voices (unset or empty: no one is recognized)",
                )
                .mutable_ready()
                .build(),
            |run| run.speaker_embedding_model.to_value(),
            |run, value| run.speaker_embedding_model = path(value),
        ),
        Property::run(
            glib::ParamSpecFloat::builder("speaker-threshold")
                .nick("Speaker threshold")
                .blurb(
                    "Cosine similarity from which two voices are considered the same person's \
                     (0: the threshold of the model)",
                )
                .minimum(0.0)
                .maximum(0.999)
                .default_value(run.speaker_threshold)
                .mutable_ready()
                .build(),
            |run| run.speaker_threshold.to_value(),
            |run, value| run.speaker_threshold = checked(value),
        ),
        Property::run(
            glib::ParamSpecString::builder("speakers-dir")
                .nick("Speakers directory")
                .blurb(
                    "Folder with recordings of people to recognize, as files NAME.wav or folders \
                     NAME, of at least 5 s each (unset or empty: none)",
                )
                .mutable_ready()
                .build(),
            |run| run.speakers_dir.to_value(),
            |run, value| run.speakers_dir = path(value),
        ),
        Property::run(
            glib::ParamSpecString::builder("speakers-store")
                .nick("Speakers store")
                .blurb(
                    "File that keeps the voices and names of all people for later runs (unset or \
                     empty: nothing is kept)",
                )
                .mutable_ready()
                .build(),
            |run| run.speakers_store.to_value(),
            |run, value| run.speakers_store = path(value),
        ),
        Property::run(
            glib::ParamSpecBoolean::builder("recognize")
                .nick("Recognize")
                .blurb(
                    "Whether words are recognized; otherwise model-dir is not needed, and messages \
                     state who is active",
                )
                .default_value(run.recognize)
                .mutable_ready()
                .build(),
            |run| run.recognize.to_value(),
            |run, value| run.recognize = checked(value),
        ),
        Property::run(
            glib::ParamSpecEnum::builder_with_default("precision", run.precision)
                .nick("Precision")
                .blurb(
                    "Model files to load from model-dir (auto: int8 on the CPU, fp32 \
                     elsewhere)",
                )
                .mutable_ready()
                .build(),
            |run| run.precision.to_value(),
            |run, value| run.precision = checked(value),
        ),
        Property::run(
            glib::ParamSpecEnum::builder_with_default("chunk-latency", run.chunk_latency)
                .nick("Chunk latency")
                .blurb(
                    "Duration of the audio that the recognizer decodes at once; adds to \
                     latency",
                )
                .mutable_ready()
                .build(),
            |run| run.chunk_latency.to_value(),
            |run, value| run.chunk_latency = checked(value),
        ),
        Property::run(
            glib::ParamSpecEnum::builder_with_default("diarization-preset", run.diarization_preset)
                .nick("Diarization preset")
                .blurb(
                    "Look-ahead of the diarizer; adds to latency. A preset that its version \
                     does not offer is replaced by a shorter one, with a warning",
                )
                .mutable_ready()
                .build(),
            |run| run.diarization_preset.to_value(),
            |run, value| run.diarization_preset = checked(value),
        ),
        Property::run(
            glib::ParamSpecFloat::builder("activity-threshold")
                .nick("Activity threshold")
                .blurb(
                    "Probability above which a speaker is considered active and is \
                     recognized (more than 0 and less than 1)",
                )
                .minimum(0.0)
                .maximum(1.0)
                .default_value(run.activity_threshold)
                .mutable_ready()
                .build(),
            |run| run.activity_threshold.to_value(),
            |run, value| run.activity_threshold = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("max-speakers")
                .nick("Maximum number of speakers")
                .blurb("Maximum number of speakers; later speakers are ignored (0: no limit)")
                .default_value(run.max_speakers)
                .mutable_ready()
                .build(),
            |run| run.max_speakers.to_value(),
            |run, value| run.max_speakers = checked(value),
        ),
        Property::run(
            glib::ParamSpecEnum::builder_with_default("target-mode", run.target_mode)
                .nick("Target mode")
                .blurb(
                    "Encoder input that represents the other speakers; published accuracy \
                     was measured with nemo",
                )
                .mutable_ready()
                .build(),
            |run| run.target_mode.to_value(),
            |run, value| run.target_mode = checked(value),
        ),
        Property::run(
            glib::ParamSpecEnum::builder_with_default("text-unit", run.text_unit)
                .nick("Text unit")
                .blurb("Content of a text buffer: one word, one segment, or one caption cue")
                .mutable_ready()
                .build(),
            |run| run.text_unit.to_value(),
            |run, value| run.text_unit = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("segment-pause")
                .nick("Segment pause")
                .blurb("Pause in a speaker's speech that ends a segment, in ms")
                .default_value(run.segment_pause_ms)
                .mutable_ready()
                .build(),
            |run| run.segment_pause_ms.to_value(),
            |run, value| run.segment_pause_ms = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("max-segment-duration")
                .nick("Maximum segment duration")
                .blurb("Maximum duration of a segment, in ms")
                .minimum(1000)
                .default_value(run.max_segment_duration_ms)
                .mutable_ready()
                .build(),
            |run| run.max_segment_duration_ms.to_value(),
            |run, value| run.max_segment_duration_ms = checked(value),
        ),
        Property::live(
            glib::ParamSpecString::builder("phrases")
                .nick("Phrases")
                .blurb(
                    "File with a phrase to boost on each line, and after a tab its score \
                     (unset: none); it is read again whenever the property is set",
                )
                .mutable_playing()
                .build(),
            |live| live.phrases.file.value().to_value(),
            |live, value| live.phrases.file.set(path(value)),
        ),
        Property::live(
            gst::ParamSpecArray::builder("additional-vocabulary")
                .nick("Additional vocabulary")
                .blurb("Additional phrases to boost, each as a line of the file")
                .element_spec(&glib::ParamSpecString::builder("phrase").build())
                .mutable_playing()
                .build(),
            |live| gst::Array::new(&live.phrases.additional).to_value(),
            |live, value| live.phrases.additional = texts(value),
        ),
        Property::live(
            glib::ParamSpecFloat::builder("phrase-boost")
                .nick("Phrase boost")
                .blurb("Factor of the scores of all phrases (0: no phrase is boosted)")
                .minimum(0.0)
                .maximum(100.0)
                .default_value(live.phrases.boost)
                .mutable_playing()
                .build(),
            |live| live.phrases.boost.to_value(),
            |live, value| live.phrases.boost = checked(value),
        ),
        Property::live(
            glib::ParamSpecString::builder("vocabulary-filter")
                .nick("Vocabulary filter")
                .blurb(
                    "File with a word to filter on each line (unset: none); it is read again \
                     whenever the property is set",
                )
                .mutable_playing()
                .build(),
            |live| live.filter.file.value().to_value(),
            |live, value| live.filter.file.set(path(value)),
        ),
        Property::live(
            glib::ParamSpecEnum::builder_with_default(
                "vocabulary-filter-method",
                live.filter.method,
            )
            .nick("Vocabulary filter method")
            .blurb("Treatment of the words that the vocabulary filter lists")
            .mutable_playing()
            .build(),
            |live| live.filter.method.to_value(),
            |live, value| live.filter.method = checked(value),
        ),
        Property::live(
            glib::ParamSpecBoxed::builder::<gst::Structure>("speaker-names")
                .nick("Speaker names")
                .blurb("Names of the speakers by their index, e.g. 'names,0=Alice,1=Bob'")
                .mutable_playing()
                .build(),
            |live| live.speaker_names.to_structure().to_value(),
            |live, value| {
                let names = checked::<Option<gst::Structure>>(value);
                live.speaker_names =
                    names.map(|names| SpeakerNames::from_structure(&names)).unwrap_or_default();
            },
        ),
        Property::live(
            glib::ParamSpecString::builder("speaker-prefix")
                .nick("Speaker prefix")
                .blurb(
                    "Text before each segment or, with text-unit=word and cue, each change of \
                     speaker; {n} is the number from 1, {name} the name, e.g. '{name}: '",
                )
                .default_value(Some(live.speaker_prefix.as_str()))
                .mutable_playing()
                .build(),
            |live| live.speaker_prefix.to_value(),
            |live, value| live.speaker_prefix = text(value),
        ),
        Property::live(
            glib::ParamSpecString::builder("speaker-colors")
                .nick("Speaker colors")
                .blurb(
                    "Colors of the speakers in pango-markup and cues, in Pango's notation, separated \
                     by commas; cycled when there are more speakers than colors",
                )
                .default_value(Some(live.speaker_colors.as_str()))
                .mutable_playing()
                .build(),
            |live| live.speaker_colors.to_value(),
            |live, value| live.speaker_colors = text(value),
        ),
        Property::run(
            glib::ParamSpecEnum::builder_with_default("execution-provider", run.execution_provider)
                .nick("Execution provider")
                .blurb(
                    "Hardware on which ONNX Runtime computes; only auto falls back to the \
                     CPU",
                )
                .mutable_ready()
                .build(),
            |run| run.execution_provider.to_value(),
            |run, value| run.execution_provider = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("device")
                .nick("Device")
                .blurb("Device index of the execution provider")
                .default_value(run.device)
                .mutable_ready()
                .build(),
            |run| run.device.to_value(),
            |run, value| run.device = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("intra-op-threads")
                .nick("Intra-op threads")
                .blurb(
                    "Number of threads per inference, and of speakers decoded in parallel \
                     (0: the number of processor cores, at most 4)",
                )
                .default_value(run.intra_op_threads)
                .mutable_ready()
                .build(),
            |run| run.intra_op_threads.to_value(),
            |run, value| run.intra_op_threads = checked(value),
        ),
        Property::run(
            glib::ParamSpecEnum::builder_with_default("optimization-level", run.optimization_level)
                .nick("Optimization level")
                .blurb("Graph optimizations that ONNX Runtime applies at load time")
                .mutable_ready()
                .build(),
            |run| run.optimization_level.to_value(),
            |run, value| run.optimization_level = checked(value),
        ),
        Property::run(
            glib::ParamSpecString::builder("onnxruntime-library")
                .nick("ONNX Runtime library")
                .blurb(
                    "Path of libonnxruntime.so (unset: ORT_DYLIB_PATH, then the plugin's \
                     folder, then the system's libraries)",
                )
                .mutable_ready()
                .build(),
            |run| run.onnxruntime_library.to_value(),
            |run, value| run.onnxruntime_library = path(value),
        ),
        Property::live(
            glib::ParamSpecEnum::builder_with_default("on-discontinuity", live.on_discontinuity)
                .nick("On discontinuity")
                .blurb("Whether speaker numbering restarts or is kept after a gap in the audio")
                .mutable_playing()
                .build(),
            |live| live.on_discontinuity.to_value(),
            |live, value| live.on_discontinuity = checked(value),
        ),
        Property::live(
            glib::ParamSpecEnum::builder_with_default("overload-policy", live.overload_policy)
                .nick("Overload policy")
                .blurb("Reaction to live audio that arrives faster than it can be recognized")
                .mutable_playing()
                .build(),
            |live| live.overload_policy.to_value(),
            |live, value| live.overload_policy = checked(value),
        ),
        Property::live(
            glib::ParamSpecUInt::builder("latency")
                .nick("Latency")
                .blurb(
                    "Processing time to add to the algorithmic latency of live pipelines, \
                     in ms, at least 100 (4294967295: add no latency, desynchronize the \
                     text)",
                )
                .default_value(live.latency_ms)
                .mutable_playing()
                .build(),
            |live| live.compute_ms().to_value(),
            |live, value| live.latency_ms = checked(value),
        ),
        Property::live(
            glib::ParamSpecUInt::builder("lateness")
                .nick("Lateness")
                .blurb("Delay to add to the text, in ms, from the next segment event on")
                .default_value(live.lateness_ms)
                .mutable_playing()
                .build(),
            |live| live.lateness_ms.to_value(),
            |live, value| live.lateness_ms = checked(value),
        ),
        Property::run(
            glib::ParamSpecString::builder("language-code")
                .nick("Language code")
                .blurb("Language of the speech; the models support only English")
                .default_value(Some(run.language_code.as_str()))
                .mutable_ready()
                .build(),
            |run| run.language_code.to_value(),
            |run, value| run.language_code = text(value),
        ),
        Property::live(
            glib::ParamSpecString::builder("session-id")
                .nick("Session id")
                .blurb("Name of the conversation in messages and SegLST rows")
                .default_value(Some(live.session_id.as_str()))
                .mutable_playing()
                .build(),
            |live| live.session_id.to_value(),
            |live, value| live.session_id = text(value),
        ),
        Property::live(
            glib::ParamSpecBoolean::builder("post-partials")
                .nick("Post partials")
                .blurb(
                    "Post multitalkerasr/partial messages with the words of segments in \
                     progress",
                )
                .default_value(live.post_partials)
                .mutable_playing()
                .build(),
            |live| live.post_partials.to_value(),
            |live, value| live.post_partials = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt64::builder("alignment-threshold")
                .nick("Alignment threshold")
                .blurb("Timestamp deviations below this, in ns, are treated as jitter")
                .minimum(1)
                .maximum(u64::MAX - 1)
                .default_value(run.alignment.threshold.nseconds())
                .mutable_ready()
                .build(),
            |run| run.alignment.threshold.nseconds().to_value(),
            |run, value| run.alignment.threshold = time(value),
        ),
        Property::run(
            glib::ParamSpecUInt64::builder("discont-wait")
                .nick("Discontinuity wait")
                .blurb(
                    "Time for which timestamps must deviate before audio is realigned, in \
                     ns; not after lost data or for 200 ms and more",
                )
                .maximum(u64::MAX - 1)
                .default_value(run.alignment.discont_wait.nseconds())
                .mutable_ready()
                .build(),
            |run| run.alignment.discont_wait.nseconds().to_value(),
            |run, value| run.alignment.discont_wait = time(value),
        ),
        Property::live(
            glib::ParamSpecUInt::builder("max-transcripts")
                .nick("Maximum number of transcripts")
                .blurb(
                    "Maximum number of finished segments to keep for get-transcripts and \
                     multitalkerasr/transcripts; the oldest are dropped (0: no limit)",
                )
                .default_value(live.max_transcripts)
                .mutable_playing()
                .build(),
            |live| live.max_transcripts.to_value(),
            |live, value| live.max_transcripts = checked(value),
        ),
    ];
    properties.extend(cue_properties::properties());
    properties
});

/// Returns the descriptions of the properties.
pub fn pspecs() -> Vec<glib::ParamSpec> {
    PROPERTIES.iter().map(|property| property.pspec.clone()).collect()
}

/// Returns the value of a property. A property of the run has its value for the next run.
pub fn get(settings: &Settings, name: &str) -> glib::Value {
    match access(name) {
        Access::Run(get, _) => get(&settings.next_run()),
        Access::Live(get, _) => get(&settings.live()),
    }
}

/// Sets a property to a value of its type.
pub fn set(settings: &Settings, name: &str, value: &glib::Value) {
    match access(name) {
        Access::Run(_, set) => settings.change_next_run(|run| set(run, value)),
        Access::Live(_, set) => settings.change_live(|live| set(live, value)),
    }
}

fn access(name: &str) -> &'static Access {
    let property = PROPERTIES.iter().find(|property| property.pspec.name() == name);
    &property.expect("GObject checks names against the table").access
}

/// Returns a value of the type that the description of the property guarantees.
pub fn checked<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value.get().unwrap_or_else(|_| unreachable!("GObject checks types against the table"))
}

fn text(value: &glib::Value) -> String {
    checked::<Option<String>>(value).unwrap_or_default()
}

fn texts(value: &glib::Value) -> Vec<String> {
    let values = checked::<gst::Array>(value);
    values.iter().filter_map(|value| value.get::<Option<String>>().ok().flatten()).collect()
}

fn path(value: &glib::Value) -> Option<String> {
    checked::<Option<String>>(value).filter(|path| !path.is_empty())
}

fn time(value: &glib::Value) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(checked(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_defaults_are_those_of_the_settings() {
        gst::init().expect("GStreamer");
        let settings = Settings::default();
        for Property { pspec, access } in PROPERTIES.iter() {
            let is_live = pspec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING);
            assert_eq!(is_live, matches!(access, Access::Live(..)), "{}", pspec.name());
            let (default, value) = (pspec.default_value(), get(&settings, pspec.name()));
            // GStreamer cannot print a structure that is NULL.
            match (value.get::<Option<gst::Structure>>(), default.get::<Option<gst::Structure>>()) {
                (Ok(value), Ok(default)) => assert_eq!(value, default, "{}", pspec.name()),
                _ => assert_eq!(format!("{value:?}"), format!("{default:?}"), "{}", pspec.name()),
            }
            set(&settings, pspec.name(), default);
        }
        assert_eq!(*settings.next_run(), RunSettings::default());
        assert_eq!(*settings.live(), LiveSettings::default());
    }
}
