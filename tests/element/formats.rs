// SPDX-License-Identifier: MPL-2.0

//! Output formats: plain text, markup with colors, JSON, and the buffer meta.

use std::sync::Arc;

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{Event, Word};

/// Returns the texts that `src` pushes to a sink with these caps.
#[track_caller]
pub fn texts_with_caps(samples: &[f32], caps: &str, properties: &[(&str, &str)]) -> Vec<String> {
    init_with_runtime();
    let properties = [&[("diarization-preset", "lockstep")], properties].concat();
    let mut rig = Rig::without_sink(element(&properties));
    let sink = Sink::on(rig.srcpad(), caps, Ok(gst::FlowSuccess::Ok));
    rig.push(0, samples);
    rig.push_event(gst::event::Eos::new());
    let entries = sink.until_eos();
    let found = entries.iter().find_map(|entry| match entry {
        Entry::Caps(caps) => Some(caps.parse::<gst::Caps>().expect("caps")),
        _ => None,
    });
    let found = found.expect("caps");
    assert!(
        found.is_fixed() && found.can_intersect(&caps.parse::<gst::Caps>().expect("caps")),
        "{found}"
    );
    buffers(&entries).into_iter().map(|(_, text)| text.to_owned()).collect()
}

#[test]
fn markup_has_a_color_for_each_speaker() {
    let samples = audio("news.wav");
    let words = engine_words(&samples, live_options());
    let markup = "text/x-raw,format=pango-markup";
    for (properties, colors) in [
        (&[][..], ["white", "yellow", "cyan", "#00ff00"]),
        (&[("speaker-colors", "red,#123456")][..], ["red", "#123456", "red", "#123456"]),
    ] {
        let expected: Vec<_> = words
            .iter()
            .map(|(speaker, word)| {
                let text = gst::glib::markup_escape_text(&word.text);
                format!(r#"<span foreground="{}">{text}</span>"#, colors[*speaker])
            })
            .collect();
        assert_eq!(texts_with_caps(&samples, markup, properties), expected);
    }
    // Special characters in the prefix are escaped.
    let texts = texts_with_caps(&samples, markup, &[("speaker-prefix", "<{n}> & ")]);
    assert!(texts[0].contains("&lt;1&gt; &amp; ") || texts[0].contains("&lt;2&gt; &amp; "));
}

#[test]
fn utf8_is_preferred_to_what_else_is_taken() {
    let samples = audio("news.wav");
    let expected: Vec<_> =
        engine_words(&samples, live_options()).into_iter().map(|(_, word)| word.text).collect();
    let caps = "application/x-json; text/x-raw,format={pango-markup,utf8}";
    assert_eq!(texts_with_caps(&samples, caps, &[]), expected);
}

#[track_caller]
fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

/// Parses a JSON object that is exactly one line.
#[track_caller]
fn json_line(text: &str) -> serde_json::Value {
    let line = text.strip_suffix('\n').expect("a newline at the end");
    assert!(!line.contains('\n'), "{text}");
    json(line)
}

fn json_words(words: &[Word]) -> serde_json::Value {
    let seconds = |sample: u64| (sample * SAMPLE_NS) as f64 / 1e9;
    words
        .iter()
        .map(|word| {
            serde_json::json!({
                "word": word.text,
                "start": seconds(word.start_sample),
                "end": seconds(word.end_sample),
                // The confidence has the digits of an f32.
                "confidence": json(&word.confidence.to_string()),
            })
        })
        .collect()
}

#[test]
fn json_says_all_of_a_word() {
    let samples = audio("news.wav");
    let properties = [("session-id", "news \"1\""), ("speaker-prefix", "unwanted")];
    let texts = texts_with_caps(&samples, "application/x-json", &properties);
    let words = engine_words(&samples, live_options());
    assert_eq!(texts.len(), words.len());
    for (text, (speaker, word)) in texts.iter().zip(&words) {
        let words = json_words(std::slice::from_ref(word));
        let expected = serde_json::json!({
            "kind": "word",
            "session_id": "news \"1\"",
            "speaker": speaker,
            "text": word.text,
            "start": words[0]["start"],
            "end": words[0]["end"],
            "confidence": words[0]["confidence"],
            "words": words,
        });
        assert_eq!(json_line(text), expected);
    }
}

#[test]
fn json_says_all_of_a_segment() {
    let samples = audio("news.wav");
    let texts = texts_with_caps(&samples, "application/x-json", &[("text-unit", "segment")]);
    let mut expected = engine_transcripts(&samples, live_options(), 0);
    expected.sort_by_key(|transcript| (transcript.start, transcript.speaker));
    assert_eq!(texts.len(), expected.len());
    for (text, transcript) in texts.iter().zip(&expected) {
        let json = json_line(text);
        assert_eq!(json["kind"], "segment");
        assert_eq!(json["text"], transcript.text);
        assert_eq!(json["speaker"], transcript.speaker);
        assert_eq!(json["start"], transcript.start as f64 / 1e9);
        assert_eq!(json["end"], transcript.end as f64 / 1e9);
        assert_eq!(json["words"].as_array().map(Vec::len), Some(transcript.words.len()));
    }
}

#[test]
fn caps_that_do_not_fit_are_one_clear_error() {
    init_with_runtime();
    let element = element(&[("diarization-preset", "lockstep")]);
    let src = element.static_pad("src").expect("a pad");
    // The template fits, so linking succeeds and negotiation fails.
    let sink = Sink::on(src, "text/x-raw", Ok(gst::FlowSuccess::Ok));
    sink.peer.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        if let Some(query) = info.query_mut()
            && let gst::QueryViewMut::Caps(caps) = query.view_mut()
        {
            let other = "text/x-raw,format=other".parse::<gst::Caps>().expect("caps");
            let filtered = caps.filter_owned().map(|filter| filter.intersect(&other));
            caps.set_result(&filtered.unwrap_or(other));
            return gst::PadProbeReturn::Handled;
        }
        gst::PadProbeReturn::Ok
    });
    let mut rig = Rig::without_sink(element);
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    let text = error.error().message().to_owned();
    assert!(error.error().matches(gst::CoreError::Negotiation), "{error:?}");
    assert!(text.contains("expected") && text.contains("format=(string)other"), "{text}");
    let samples = audio("news.wav");
    let refused = samples.chunks(1600).enumerate().find_map(|(index, piece)| {
        rig.harness.push(f32_buffer(Some(index as u64 * 1600 * SAMPLE_NS), piece)).err()
    });
    assert_eq!(refused, Some(gst::FlowError::NotNegotiated));
    rig.element.set_state(gst::State::Null).expect("stops");
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Error]).is_none(), "more than one error");
}

#[test]
fn another_sink_may_want_another_format() {
    let samples = audio("news.wav");
    let half = samples.len() / 4;
    let mut rig = Rig::lockstep(&[]);
    let first = Sink::of_speaker(&rig.element, "speaker_1");
    rig.push(0, &samples[..half]);
    // Once this event is out, the worker is idle.
    rig.push_event(gst::event::CustomDownstream::new(gst::Structure::new_empty("test")));
    let is_marker = |entry: &Entry| *entry == Entry::Other(gst::EventType::CustomDownstream);
    let before = first.until(is_marker);
    assert!(before.contains(&Entry::Caps("text/x-raw, format=(string)utf8".to_owned())));
    first.pad.unlink(&first.peer).expect("unlinks");
    let second = Sink::on(first.pad.clone(), "application/x-json", Ok(gst::FlowSuccess::Ok));
    rig.push(half as u64 * SAMPLE_NS, &samples[half..]);
    rig.finish();
    let entries = second.until_eos();
    let caps: Vec<_> = entries.iter().filter(|entry| matches!(entry, Entry::Caps(_))).collect();
    assert_eq!(caps.last(), Some(&&Entry::Caps("application/x-json".to_owned())));
    let texts = buffers(&entries);
    assert!(!texts.is_empty());
    for (_, text) in texts {
        assert_eq!(json_line(text)["speaker"], 1);
    }
}

#[test]
fn buffers_carry_the_meta() {
    let samples = audio("news.wav");
    let mut rig = Rig::lockstep(&[("text-unit", "segment")]);
    let metas = Arc::new(std::sync::Mutex::new(Vec::new()));
    let found = metas.clone();
    rig.srcpad().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().expect("a buffer");
        let meta = gst::meta::CustomMeta::from_buffer(buffer, "MultitalkerItemMeta");
        found.lock().expect("no panic").push(meta.expect("the meta").structure().to_owned());
        gst::PadProbeReturn::Ok
    });
    rig.push_all(&samples, 4096);
    rig.finish();
    // The meta has the same values as the messages.
    let mut messages = rig.posted("multitalkerasr/transcript");
    messages.sort_by_key(|message| (transcript(message).start, transcript(message).speaker));
    let metas = metas.lock().expect("no panic");
    assert_eq!(metas.len(), messages.len());
    for (meta, message) in metas.iter().zip(&messages) {
        assert_eq!(meta.get::<u32>("speaker"), message.get::<u32>("speaker-id"));
        assert_eq!(meta.get::<f64>("confidence"), message.get::<f64>("confidence"));
        let words = |structure: &gst::Structure| -> Vec<String> {
            let words = structure.get::<gst::Array>("words").expect("an array");
            words.iter().map(|w| format!("{:?}", w.get::<gst::Structure>())).collect()
        };
        assert_eq!(words(meta), words(message));
    }
    assert!(metas.len() > 3);
}

#[test]
fn unsynced_pad_has_segments_in_progress_and_their_ends() {
    let samples = audio("news.wav");
    let mut rig = Rig::lockstep(&[]);
    let pad = rig.element.static_pad("unsynced_src").expect("an always pad");
    let sink = Sink::on(pad, "application/x-json", Ok(gst::FlowSuccess::Ok));
    rig.push_all(&samples, 4096);
    rig.finish();
    let entries = sink.until_eos();
    assert_eq!(kinds(&entries, 3), ["stream-start", "caps", "segment"]);
    let found: Vec<_> = buffers(&entries).into_iter().map(|(_, text)| json_line(text)).collect();
    let expected: Vec<_> = engine_events(&samples, live_options())
        .iter()
        .filter_map(|event| match event {
            Event::Partial(partial) => {
                Some(("partial", partial.speaker, partial.text(), json_words(&partial.words)))
            }
            Event::Segment(segment) => {
                Some(("segment", segment.speaker, segment.text(), json_words(&segment.words)))
            }
            _ => None,
        })
        .collect();
    assert_eq!(found.len(), expected.len());
    for (found, (kind, speaker, text, words)) in found.iter().zip(expected) {
        assert_eq!((&found["kind"], &found["speaker"]), (&kind.into(), &speaker.into()));
        assert_eq!((&found["text"], &found["words"]), (&text.into(), &words));
    }
    let pts: Vec<_> = buffers(&entries).into_iter().map(|(pts, _)| pts).collect();
    assert!(pts.is_sorted() && pts.len() > 6);
}
