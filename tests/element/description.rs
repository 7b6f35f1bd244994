// SPDX-License-Identifier: MPL-2.0

//! Description of the element: its templates and properties.

use element_rig::*;
use gst::prelude::*;

#[test]
fn says_what_it_is() {
    init();
    let factory = gst::ElementFactory::find("multitalkerasr").expect("registered");
    assert_eq!(factory.rank(), gst::Rank::NONE);
    assert_eq!(factory.klass(), "Text/Audio/Filter");
    let templates: Vec<_> = factory
        .static_pad_templates()
        .iter()
        .map(|pad| (pad.name_template().to_string(), pad.presence(), pad.caps()))
        .collect();
    let native = |format: &str| match cfg!(target_endian = "little") {
        true => format!("{format}LE"),
        false => format!("{format}BE"),
    };
    for (name, presence, caps) in &templates {
        match name.as_str() {
            "src" | "speaker_%u" => assert_eq!(
                caps.to_string(),
                "text/x-raw, format=(string)utf8; text/x-raw, format=(string)pango-markup; \
                 application/x-json"
            ),
            "unsynced_src" => assert_eq!(caps.to_string(), "application/x-json"),
            "sink" => {
                for format in ["F32", "S16"] {
                    let audio: gst::Caps = gst::Caps::builder("audio/x-raw")
                        .field("format", native(format))
                        .field("rate", 16_000)
                        .field("channels", 1)
                        .field("layout", "interleaved")
                        .build();
                    assert!(audio.is_subset(caps), "{audio} in {caps}");
                }
                assert_eq!(caps.structure(0).map(|s| s.get::<i32>("rate")), Some(Ok(16_000)));
            }
            other => panic!("unexpected pad {other}"),
        }
        let expected = match name.as_str() {
            "speaker_%u" => gst::PadPresence::Request,
            _ => gst::PadPresence::Always,
        };
        assert_eq!(*presence, expected, "{name}");
    }
    assert_eq!(templates.len(), 4);
}

#[test]
fn has_properties_as_documented() {
    init();
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("registered");
    let ready = [
        ("model-dir", "gchararray", "NULL"),
        ("diarization-model", "gchararray", "NULL"),
        ("speaker-embedding-model", "gchararray", "NULL"),
        ("speaker-threshold", "gfloat", "0"),
        ("speakers-dir", "gchararray", "NULL"),
        ("speakers-store", "gchararray", "NULL"),
        ("recognize", "gboolean", "true"),
        ("precision", "GstMultitalkerAsrPrecision", "auto"),
        ("chunk-latency", "GstMultitalkerAsrChunkLatency", "1120ms"),
        ("diarization-preset", "GstMultitalkerAsrDiarizationPreset", "auto"),
        ("activity-threshold", "gfloat", "0.5"),
        ("max-speakers", "guint", "0"),
        ("target-mode", "GstMultitalkerAsrTargetMode", "probability"),
        ("text-unit", "GstMultitalkerAsrTextUnit", "word"),
        ("segment-pause", "guint", "800"),
        ("max-segment-duration", "guint", "10000"),
        ("max-columns", "guint", "37"),
        ("max-lines", "guint", "2"),
        ("max-screen-lines", "guint", "4"),
        ("min-cue-duration", "guint", "1000"),
        ("max-cue-duration", "guint", "7000"),
        ("max-cps", "gfloat", "20"),
        ("max-wpm", "gfloat", "180"),
        ("min-cue-gap", "guint", "80"),
        ("start-lead", "guint", "250"),
        ("simultaneous", "GstMultitalkerAsrSimultaneous", "stack"),
        ("execution-provider", "GstMultitalkerAsrExecutionProvider", "cpu"),
        ("device", "guint", "0"),
        ("intra-op-threads", "guint", "0"),
        ("optimization-level", "GstMultitalkerAsrOptimizationLevel", "enable-all"),
        ("onnxruntime-library", "gchararray", "NULL"),
        ("language-code", "gchararray", "en"),
        ("alignment-threshold", "guint64", "40000000"),
        ("discont-wait", "guint64", "1000000000"),
    ];
    let playing = [
        ("phrases", "gchararray", "NULL"),
        ("additional-vocabulary", "GstValueArray", "<  >"),
        ("phrase-boost", "gfloat", "1"),
        ("speaker-names", "GstStructure", "NULL"),
        ("vocabulary-filter", "gchararray", "NULL"),
        ("vocabulary-filter-method", "GstMultitalkerAsrVocabularyFilterMethod", "mask"),
        ("speaker-prefix", "gchararray", ""),
        ("speaker-colors", "gchararray", "white,yellow,cyan,#00ff00"),
        ("on-discontinuity", "GstMultitalkerAsrOnDiscontinuity", "reset"),
        ("overload-policy", "GstMultitalkerAsrOverloadPolicy", "degrade"),
        ("latency", "guint", "500"),
        ("lateness", "guint", "0"),
        ("session-id", "gchararray", ""),
        ("post-partials", "gboolean", "false"),
        ("max-transcripts", "guint", "100000"),
    ];
    let mutability = gst::PARAM_FLAG_MUTABLE_READY | gst::PARAM_FLAG_MUTABLE_PLAYING;
    for (table, flag) in [
        (&ready[..], gst::PARAM_FLAG_MUTABLE_READY),
        (&playing[..], gst::PARAM_FLAG_MUTABLE_PLAYING),
    ] {
        for &(name, type_, default) in table {
            let pspec = element.find_property(name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(pspec.value_type().name(), type_, "{name}");
            assert_eq!(pspec.flags() & mutability, flag, "{name}");
            // gst-inspect-1.0 prints the blurb on one line.
            assert!(pspec.blurb().is_some_and(|blurb| (16..160).contains(&blurb.len())), "{name}");
            let value = element.property_value(name);
            if type_ == "GstStructure" {
                assert_eq!((value.get::<Option<gst::Structure>>(), default), (Ok(None), "NULL"));
                continue;
            }
            assert_eq!(value.compare(pspec.default_value()), Some(std::cmp::Ordering::Equal));
            let text = match value.get::<Option<String>>() {
                Ok(text) => text.unwrap_or_else(|| "NULL".to_owned()),
                Err(_) => value.serialize().expect("a value").to_string(),
            };
            assert_eq!(text, default, "{name}");
        }
    }
    let own =
        element.list_properties().iter().filter(|p| p.owner_type() == element.type_()).count();
    let read_only = ["max-observed-delay"];
    for name in read_only {
        let pspec = element.find_property(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(!pspec.flags().contains(gst::glib::ParamFlags::WRITABLE), "{name}");
    }
    assert_eq!(
        own,
        ready.len() + playing.len() + read_only.len(),
        "a property is missing from this test"
    );
}

#[test]
fn keeps_what_is_set() {
    init();
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("registered");
    for (name, values) in [
        ("precision", &["auto", "int8", "fp32"][..]),
        ("chunk-latency", &["1120ms", "560ms", "160ms", "80ms"]),
        ("diarization-preset", &["auto", "lockstep", "320ms", "640ms", "1s", "10s", "30s"]),
        ("target-mode", &["probability", "nemo"]),
        ("text-unit", &["word", "segment"]),
        (
            "execution-provider",
            &["auto", "cpu", "cuda", "tensorrt", "openvino", "coreml", "directml", "rocm"],
        ),
        ("optimization-level", &["disable-all", "enable-basic", "enable-extended", "enable-all"]),
        ("on-discontinuity", &["reset", "keep"]),
        ("overload-policy", &["degrade", "drop"]),
        ("max-speakers", &["2"]),
        ("activity-threshold", &["0.25"]),
        ("segment-pause", &["400"]),
        ("session-id", &["meeting"]),
        ("model-dir", &["models"]),
        ("alignment-threshold", &["20000000"]),
        ("discont-wait", &["0"]),
        ("max-transcripts", &["0"]),
    ] {
        for value in values {
            element.set_property_from_str(name, value);
            let text = element.property_value(name).serialize().expect("a value");
            assert_eq!(text.trim_matches('"'), *value, "{name}");
        }
    }
    element.set_property("model-dir", "");
    assert_eq!(
        element.property::<Option<String>>("model-dir"),
        None,
        "an empty string unsets the property"
    );
}
