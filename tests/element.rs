// SPDX-License-Identifier: MPL-2.0

//! The element: what it says of itself, and that it tells what the engine tells.

mod rig;

use std::f32::consts::TAU;

use gst::prelude::*;
use multitalker_asr::{
    ChunkLatency, DiarizationPreset, Event, ModelOptions, SegLstRow, StreamOptions, TargetMode,
};
use rig::*;

/// The engine's options for the element's defaults, with a source that is live or not.
fn defaults(live: bool) -> StreamOptions {
    let of = match live {
        true => DiarizationPreset::Lockstep,
        false => DiarizationPreset::ThirtySeconds,
    };
    with_preset(of, ChunkLatency::Ms1120)
}

#[track_caller]
fn assert_said(rig: &Rig, expected: &[Said]) {
    let said = rig.said();
    assert!(!expected.is_empty(), "a test that expects nothing tests nothing");
    assert_eq!(said, expected);
}

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
            other => panic!("a pad {other}"),
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
        ("precision", "GstMultitalkerAsrPrecision", "auto"),
        ("chunk-latency", "GstMultitalkerAsrChunkLatency", "1120ms"),
        ("diarization-preset", "GstMultitalkerAsrDiarizationPreset", "auto"),
        ("activity-threshold", "gfloat", "0.5"),
        ("max-speakers", "guint", "0"),
        ("target-mode", "GstMultitalkerAsrTargetMode", "probability"),
        ("text-unit", "GstMultitalkerAsrTextUnit", "word"),
        ("segment-pause", "guint", "800"),
        ("max-segment-duration", "guint", "10000"),
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
            // gst-inspect-1.0 puts it into one line.
            assert!(pspec.blurb().is_some_and(|blurb| (16..160).contains(&blurb.len())), "{name}");
            let value = element.property_value(name);
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
        "a property is missing in this test"
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
    assert_eq!(element.property::<Option<String>>("model-dir"), None, "empty is unset");
}

#[test]
fn file_pipelines_give_what_the_engine_gives() {
    init_with_runtime();
    for name in ["jfk.wav", "news.wav", "meeting.wav"] {
        let properties = tiny_models();
        let pipeline = file_pipeline(&test_support::data().join("audio").join(name), &properties);
        let messages = play(&pipeline);
        pipeline.set_state(gst::State::Null).expect("stops");
        assert_eq!(messages.last().map(|m| m.type_()), Some(gst::MessageType::Eos), "{name}");
        let posted = structures(messages.iter().cloned(), "multitalkerasr/transcript");
        let said: Vec<_> = posted.iter().map(said).collect();
        assert_eq!(said, engine_said(&audio(name), defaults(false), 0), "{name}");
        assert!(said.len() > 3, "{name}");
        for message in posted {
            let start = message.get::<gst::ClockTime>("start-time");
            assert_eq!(message.get("running-time"), start, "{message}");
            let confidence: f64 = message.get("confidence").expect("a double");
            assert!((0.0..=1.0).contains(&confidence), "{message}");
        }
    }
}

#[test]
fn properties_reach_the_engine() {
    let samples = &audio("news.wav");
    let chunk_latency = ChunkLatency::Ms160;
    let base = StreamOptions {
        chunk_latency,
        diarization: DiarizationPreset::OneSecond.operating_point(chunk_latency),
        activity_threshold: 0.3,
        max_speakers: Some(2),
        target_mode: TargetMode::Nemo,
        segment_pause_ms: 240,
        max_segment_ms: 2000,
        fill_batches: false,
    };
    let mut rig = Rig::new(&[
        ("chunk-latency", "160ms"),
        ("diarization-preset", "1s"),
        ("activity-threshold", "0.3"),
        ("max-speakers", "2"),
        ("target-mode", "nemo"),
        ("segment-pause", "240"),
        ("max-segment-duration", "2000"),
    ]);
    rig.push_all(samples, 4096);
    rig.finish();
    let expected = engine_said(samples, base, 0);
    assert_said(&rig, &expected);
    assert!(expected.iter().all(|said| said.speaker < 2));
}

#[test]
fn without_a_diarizer_there_is_one_speaker() {
    // The random model has nothing to say to speech here, but much to a tone.
    let samples: Vec<f32> =
        (0..6 * 16_000).map(|i| 0.8 * (i as f32 * 440.0 * TAU / 16_000.0).sin()).collect();
    let samples = samples.as_slice();
    let mut rig = Rig::new(&[("diarization-model", "")]);
    rig.push_all(samples, 4096);
    rig.finish();
    let model = ModelOptions { diarization_model: None, ..test_support::tiny_model_options() };
    let outputs = engine_outputs_of(&model, samples, defaults(false));
    let expected: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Event::Segment(segment) => Some(said_by_engine(segment, 0)),
            _ => None,
        })
        .collect();
    assert_said(&rig, &expected);
}

#[test]
fn live_sources_get_lockstep() {
    let samples = &audio("news.wav");
    let mut rig = Rig::new(&[]);
    rig.harness.set_live(true);
    rig.push(0, samples);
    rig.finish();
    assert_said(&rig, &engine_said(samples, defaults(true), 0));
}

#[test]
fn size_of_buffers_changes_nothing() {
    let samples = &audio("jfk.wav")[..48_000];
    let expected = engine_said(samples, defaults(false), 0);
    for size in [1, 159, 1024, 48_000] {
        let mut rig = Rig::new(&[]);
        rig.push_all(samples, size);
        rig.finish();
        assert_said(&rig, &expected);
    }
}

#[test]
fn s16_gives_what_f32_gives() {
    let samples = audio("jfk.wav");
    let integers: Vec<i16> = samples.iter().map(|sample| (sample * 32_768.0) as i16).collect();
    let mut rig = Rig::with_caps(&[], S16_CAPS);
    for (index, piece) in integers.chunks(1600).enumerate() {
        let pts = (index * 1600) as u64 * SAMPLE_NS;
        rig.harness.push(s16_buffer(Some(pts), piece)).expect("taken");
    }
    let from_s16 = rig.finish();
    assert_said(&rig, &engine_said(&samples, defaults(false), 0));

    let mut rig = Rig::new(&[]);
    rig.push_all(&samples, 1600);
    let is_text =
        |entries: Vec<Entry>| -> Vec<_> { entries.into_iter().filter(Entry::is_text).collect() };
    assert_eq!(is_text(rig.finish()), is_text(from_s16));
}

#[test]
fn words_come_out_in_order_and_none_is_lost() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let mut rig = Rig::new(&[]);
    rig.push_all(samples, 4096);
    let entries = rig.finish();

    let mut expected: Vec<_> = engine_outputs(samples, defaults(false))
        .into_iter()
        .filter_map(|output| match output {
            Event::Word { speaker, word } => Some((word.start_sample, speaker, word)),
            _ => None,
        })
        .collect();
    expected.sort_by_key(|(start, speaker, _)| (*start, *speaker));
    assert!(expected.iter().any(|(_, speaker, _)| *speaker != expected[0].1), "people talk");

    let buffers: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Buffer { pts, duration, text } => Some((*pts, *duration, text.as_str())),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(start, _, word)| {
            let duration = (word.end_sample - start) * SAMPLE_NS;
            (start * SAMPLE_NS, duration, word.text.as_str())
        })
        .collect();
    assert_eq!(buffers, expected);
}

#[test]
fn segments_come_out_in_order_and_none_is_lost() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let properties = [("text-unit", "segment"), ("speaker-prefix", "Speaker {n}: ")];
    let mut rig = Rig::new(&properties);
    rig.push_all(samples, 4096);
    let entries = rig.finish();
    let mut expected = engine_said(samples, defaults(false), 0);
    expected.sort_by_key(|said| (said.start, said.speaker));
    let expected: Vec<_> = expected
        .iter()
        .map(|said| Entry::Buffer {
            pts: said.start,
            duration: said.end - said.start,
            text: format!("Speaker {}: {}", said.speaker + 1, said.text),
        })
        .collect();
    let buffers: Vec<_> = entries.into_iter().filter(Entry::is_text).collect();
    assert_eq!(buffers, expected);
    assert!(buffers.len() > 3);
}

#[test]
fn buffers_and_gaps_cover_all_time() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    for unit in ["word", "segment"] {
        let mut rig = Rig::new(&[("text-unit", unit), ("diarization-preset", "lockstep")]);
        rig.push_all(samples, 4096);
        let end = assert_continuous(&rig.finish(), 0);
        let audio_end = samples.len() as u64 * SAMPLE_NS;
        assert!((audio_end..audio_end + 80_000_000).contains(&end), "{end} of {audio_end}");
    }
}

#[test]
fn time_goes_on_in_silence() {
    // With these precisely, no word is open at the end of the second chunk.
    let mut rig = Rig::new(&[("diarization-preset", "lockstep"), ("precision", "fp32")]);
    rig.push_all(&[0.0; 16_000 * 3], 1600);
    // Before EOS: two chunks of 1.12 s are decoded.
    let two_chunks = 2 * 1_120_000_000;
    rig.until(|entry| {
        matches!(entry, Entry::Gap { pts, duration } if pts + duration >= two_chunks)
            || matches!(entry, Entry::Buffer { pts, duration, .. } if pts + duration >= two_chunks)
    });
}

#[test]
fn events_come_in_their_order() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let mut rig = Rig::new(&[]);
    rig.push_all(samples, 4096);
    let entries = rig.finish();
    let position = |matches: fn(&Entry) -> bool| entries.iter().position(matches);
    let caps = position(|entry| matches!(entry, Entry::Caps(_)));
    let segment = position(|entry| matches!(entry, Entry::Segment(_)));
    assert_eq!(entries[0], Entry::Other(gst::EventType::StreamStart));
    assert!(caps < segment && segment < position(Entry::is_text), "{entries:?}");

    let mut speaker = None;
    let mut item: Option<(&str, &str, u64, u64)> = None;
    let mut after_final = false;
    let (mut changes, mut finals) = (0, 0);
    for entry in &entries {
        match entry {
            Entry::SpeakerChange(now) => {
                assert_ne!(speaker, Some(now), "a change to the same speaker");
                assert!(item.is_none(), "between an item and its buffer");
                speaker = Some(now);
                changes += 1;
            }
            Entry::NewItem { speaker: of, content, running_time, duration } => {
                assert_eq!(speaker, Some(of), "the change comes first");
                item = Some((of, content, *running_time, *duration));
            }
            Entry::Buffer { pts, duration, text } => {
                let (_, content, running_time, item_duration) = item.take().expect("an item");
                assert_eq!(
                    (content, running_time, item_duration),
                    (text.as_str(), *pts, *duration)
                );
            }
            Entry::FinalTranscript => {
                assert!(!after_final, "two ends of one segment");
                finals += 1;
            }
            _ => (),
        }
        after_final = match entry {
            Entry::FinalTranscript => true,
            Entry::Buffer { .. } | Entry::SpeakerChange(_) => false,
            _ => after_final,
        };
    }
    assert!(changes > 3 && finals > 3, "{changes} changes, {finals} finals");
}

#[test]
fn final_transcript_comes_before_the_change_of_speaker() {
    // Segments as units are whole, so each is followed by its end.
    let mut rig = Rig::new(&[("text-unit", "segment")]);
    rig.push_all(&audio("news.wav"), 4096);
    let entries: Vec<_> = rig
        .finish()
        .into_iter()
        .filter(|e| e.is_text() || matches!(e, Entry::FinalTranscript | Entry::SpeakerChange(_)))
        .collect();
    let mut expect_final = false;
    for entry in &entries {
        assert_eq!(expect_final, *entry == Entry::FinalTranscript, "{entries:?}");
        expect_final = entry.is_text();
    }
    assert!(entries.len() > 6);
}

#[test]
fn prefix_marks_changes_of_speaker() {
    let mut rig = Rig::new(&[("speaker-prefix", "[{n}] ")]);
    rig.push_all(&audio("news.wav"), 4096);
    let mut prefix = None;
    let mut words = 0;
    for entry in rig.finish() {
        match entry {
            Entry::SpeakerChange(speaker) => {
                let number: u32 = speaker.parse().expect("a number");
                prefix = Some(format!("[{}] ", number + 1));
            }
            Entry::Buffer { text, .. } => {
                words += 1;
                match prefix.take() {
                    Some(prefix) => assert!(text.starts_with(&prefix), "{text} after {prefix}"),
                    None => assert!(!text.starts_with('['), "{text}"),
                }
            }
            Entry::NewItem { content, .. } => assert!(!content.starts_with('['), "{content}"),
            _ => (),
        }
    }
    assert!(words > 10);
}

#[test]
fn partials_are_posted_on_request() {
    let samples = &audio("news.wav");
    let mut rig = Rig::new(&[]);
    rig.push_all(samples, 4096);
    rig.finish();
    assert!(rig.posted("multitalkerasr/partial").is_empty());

    let mut rig = Rig::new(&[("post-partials", "true")]);
    rig.push_all(samples, 4096);
    rig.finish();
    let posted: Vec<_> = rig.posted("multitalkerasr/partial").iter().map(said).collect();
    let expected: Vec<_> = engine_outputs(samples, defaults(false))
        .iter()
        .filter_map(|output| match output {
            Event::Partial(partial) => Some((partial.speaker as u32, partial.text())),
            _ => None,
        })
        .collect();
    let posted: Vec<_> = posted.into_iter().map(|said| (said.speaker, said.text)).collect();
    assert_eq!(posted, expected);
    assert!(posted.len() > 3);
}

#[test]
fn conversation_is_told_at_the_end_and_on_request() {
    let samples = &audio("news.wav");
    let mut rig = Rig::new(&[("session-id", "news")]);
    let before: String = rig.element.emit_by_name("get-transcripts", &[]);
    assert_eq!(before, "[]");
    rig.push_all(samples, 4096);
    rig.finish();

    let posted = rig.posted("multitalkerasr/transcripts");
    let [message] = &posted[..] else { panic!("{posted:?}") };
    assert_eq!(message.get("session-id"), Ok("news"));
    let seglst: String = message.get("seglst").expect("a string");
    assert_eq!(rig.element.emit_by_name::<String>("get-transcripts", &[]), seglst);

    let rows: Vec<serde_json::Value> = serde_json::from_str(&seglst).expect("JSON");
    let mut expected = engine_said(samples, defaults(false), 0);
    expected.sort_by_key(|said| said.start);
    assert_eq!(rows.len(), expected.len());
    for (row, said) in rows.iter().zip(&expected) {
        let expected = serde_json::json!({
            "session_id": "news",
            "speaker": said.speaker.to_string(),
            "words": said.text,
            "start_time": said.start as f64 / 1e9,
            "end_time": said.end as f64 / 1e9,
        });
        assert_eq!(*row, expected);
    }
}

#[test]
fn log_of_transcripts_is_bounded() {
    let samples = &audio("news.wav");
    let expected = engine_said(samples, defaults(false), 0);
    let mut rig = Rig::new(&[("max-transcripts", "2")]);
    rig.push_all(samples, 4096);
    rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    let warnings = warnings(&messages);
    let [warning] = &warnings[..] else { panic!("one warning: {warnings:?}") };
    let warning = warning.error().message().to_owned();
    assert!(warning.contains("expected at most 2 segments (max-transcripts)"), "{warning}");

    let mut last: Vec<_> = expected[expected.len() - 2..].iter().collect();
    last.sort_by_key(|said| said.start);
    let last: Vec<_> = last.iter().map(|said| said.text.as_str()).collect();
    let seglst: String = rig.element.emit_by_name("get-transcripts", &[]);
    let rows: Vec<SegLstRow> = serde_json::from_str(&seglst).expect("SegLST");
    assert_eq!(rows.iter().map(|row| row.words.as_str()).collect::<Vec<_>>(), last);
    assert!(expected.len() > 3, "the oldest were dropped");
    let posted = structures(messages.into_iter(), "multitalkerasr/transcript");
    assert_eq!(posted.len(), expected.len(), "each was posted");
}

#[test]
fn eos_decodes_the_last_partial_chunk() {
    // Half a chunk more than three.
    let samples = &audio("jfk.wav")[..16_000 * 112 / 100 * 7 / 2];
    let whole_chunks = &samples[..16_000 * 112 / 100 * 3];
    let expected = engine_said(samples, defaults(false), 0);
    assert_ne!(expected, engine_said(whole_chunks, defaults(false), 0), "it matters");
    let mut rig = Rig::new(&[]);
    rig.push_all(samples, 1000);
    rig.finish();
    assert_said(&rig, &expected);
}

#[test]
fn eos_without_audio_goes_through() {
    let mut rig = Rig::new(&[]);
    let entries = rig.finish();
    assert!(!entries.iter().any(Entry::is_text));
    let seglst = rig.posted("multitalkerasr/transcripts")[0].get::<String>("seglst");
    assert_eq!(seglst, Ok("[]".to_owned()));
}

#[test]
fn other_language_is_a_warning() {
    let rig = Rig::new(&[("language-code", "de-DE")]);
    let message = rig.wait_for(gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
    assert!(warning.error().to_string().contains("de-DE"), "{warning:?}");

    let rig = Rig::new(&[("language-code", "en-US")]);
    rig.wait_for(gst::MessageType::Progress);
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Warning]).is_none());
}
