// SPDX-License-Identifier: MPL-2.0

//! The pads that text leaves by: one for each speaker, formats, and what comes and goes.

#![cfg(feature = "element")]

mod common;
#[path = "common/rig.rs"]
mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gst::prelude::*;
use gstmultitalkerasr::engine::{ChunkLatency, DiarizationPreset, Output, StreamOptions, Word};
use rig::*;

fn options() -> StreamOptions {
    with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms1120)
}

fn lockstep(more: &[(&str, &str)]) -> Rig {
    Rig::new(&[&[("diarization-preset", "lockstep")], more].concat())
}

/// The words that the engine tells of some audio, by start and speaker.
fn engine_words(samples: &[f32]) -> Vec<(usize, Word)> {
    let mut words: Vec<_> = engine_outputs(samples, options())
        .into_iter()
        .filter_map(|output| match output {
            Output::Word { speaker, word } => Some((speaker, word)),
            _ => None,
        })
        .collect();
    words.sort_by_key(|(speaker, word)| (word.start_sample, *speaker));
    words
}

fn words_of(words: &[(usize, Word)], speaker: usize) -> Vec<(u64, &str)> {
    words
        .iter()
        .filter(|(of, _)| *of == speaker)
        .map(|(_, word)| (word.start_sample * SAMPLE_NS, word.text.as_str()))
        .collect()
}

fn kinds(entries: &[Entry], count: usize) -> Vec<&'static str> {
    let kinds = entries.iter().map(|entry| match entry {
        Entry::Other(gst::EventType::StreamStart) => "stream-start",
        Entry::Other(gst::EventType::Tag) => "tag",
        Entry::Other(_) => "other",
        Entry::Caps(_) => "caps",
        Entry::Segment(_) => "segment",
        Entry::Gap { .. } => "gap",
        Entry::Buffer { .. } => "buffer",
        Entry::Eos => "eos",
        _ => "custom",
    });
    kinds.take(count).collect()
}

#[test]
fn every_speaker_has_a_pad() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let words = engine_words(samples);
    let mut rig = lockstep(&[]);
    let sinks: Vec<_> = (0..4).map(|_| Sink::of_speaker(&rig.element, "speaker_%u")).collect();
    rig.push_all(samples, 4096);
    let all = rig.finish();
    let mut stream_ids = vec![rig.srcpad().stream_id().expect("an id")];
    let mut speakers_with_words = 0;
    for (speaker, sink) in sinks.iter().enumerate() {
        assert_eq!(sink.pad.name(), format!("speaker_{speaker}"));
        let entries = sink.until_eos();
        assert_eq!(kinds(&entries, 4), ["stream-start", "caps", "segment", "tag"]);
        let expected = words_of(&words, speaker);
        assert_eq!(buffers(&entries), expected);
        speakers_with_words += usize::from(!expected.is_empty());
        let end = assert_continuous(&entries, 0);
        let audio_end = samples.len() as u64 * SAMPLE_NS;
        assert!((audio_end..audio_end + 80_000_000).contains(&end), "{end} of {audio_end}");
        let changes = entries.iter().filter(|entry| matches!(entry, Entry::SpeakerChange(_)));
        assert_eq!(changes.count(), usize::from(!expected.is_empty()), "once");
        stream_ids.push(sink.pad.stream_id().expect("an id"));
    }
    assert!(speakers_with_words > 2, "{speakers_with_words} speakers speak");
    assert_eq!(buffers(&all).len(), words.len(), "src has them all");
    stream_ids.sort();
    stream_ids.dedup();
    assert_eq!(stream_ids.len(), 5, "{stream_ids:?}");
}

#[test]
fn segments_of_a_speaker_are_whole() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let mut rig = lockstep(&[("text-unit", "segment"), ("speaker-prefix", "{n}: ")]);
    let sinks: Vec<_> = (0..4).map(|_| Sink::of_speaker(&rig.element, "speaker_%u")).collect();
    rig.push_all(samples, 4096);
    rig.finish();
    let said = engine_said(samples, options(), 0);
    for (speaker, sink) in (0..).zip(&sinks) {
        let entries = sink.until_eos();
        let expected: Vec<_> = said
            .iter()
            .filter(|said| said.speaker == speaker)
            .map(|said| (said.start, format!("{}: {}", speaker + 1, said.text)))
            .collect();
        let found: Vec<_> =
            buffers(&entries).into_iter().map(|(pts, text)| (pts, text.to_owned())).collect();
        assert_eq!(found, expected);
        assert_continuous(&entries, 0);
    }
    assert!(said.len() > 3);
}

/// Words of one speaker begin while those of another go on.
#[test]
fn people_who_talk_at_once_come_out_one_after_the_other() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let words = engine_words(samples);
    let overlaps = words
        .windows(2)
        .filter(|pair| pair[0].0 != pair[1].0 && pair[1].1.start_sample < pair[0].1.end_sample);
    assert!(overlaps.count() > 3, "people talk at once");
    let mut rig = lockstep(&[]);
    rig.push_all(samples, 4096);
    let entries = rig.finish();
    let expected: Vec<_> = words
        .iter()
        .map(|(speaker, word)| {
            (speaker.to_string(), word.start_sample * SAMPLE_NS, word.text.as_str())
        })
        .collect();
    let mut current = String::new();
    let mut found = Vec::new();
    for entry in &entries {
        match entry {
            Entry::SpeakerChange(speaker) => current.clone_from(speaker),
            Entry::Buffer { pts, text, .. } => found.push((current.clone(), *pts, text.as_str())),
            _ => (),
        }
    }
    assert_eq!(found, expected);
    assert_continuous(&entries, 0);
}

#[test]
fn src_need_not_be_linked() {
    init_with_runtime();
    let element = element(&[("diarization-preset", "lockstep")]);
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), None);
    harness.set_live(false);
    harness.set_src_caps_str(F32_CAPS);
    let samples = audio("news.wav");
    // Of two pads one leads nowhere.
    let unlinked = element.request_pad_simple("speaker_0").expect("a pad");
    let sink = Sink::of_speaker(&element, "speaker_1");
    for (index, piece) in samples.chunks(4096).enumerate() {
        let pts = (index * 4096) as u64 * SAMPLE_NS;
        harness.push(f32_buffer(Some(pts), piece)).expect("taken");
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    let words = engine_words(&samples);
    assert_eq!(buffers(&sink.until_eos()), words_of(&words, 1));
    assert!(!words_of(&words, 0).is_empty() && !words_of(&words, 1).is_empty());
    element.release_request_pad(&unlinked);
    element.set_state(gst::State::Null).expect("stops");
}

#[test]
fn nothing_linked_is_an_error() {
    init_with_runtime();
    let element = element(&[("diarization-preset", "lockstep")]);
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), None);
    harness.set_live(false);
    harness.set_src_caps_str(F32_CAPS);
    for _ in 0..4 {
        element.request_pad_simple("speaker_%u").expect("a pad");
    }
    let refused = audio("meeting.wav").chunks(1600).enumerate().find_map(|(index, piece)| {
        let pts = (index * 1600) as u64 * SAMPLE_NS;
        harness.push(f32_buffer(Some(pts), piece)).err()
    });
    assert_eq!(refused, Some(gst::FlowError::NotLinked));
    element.set_state(gst::State::Null).expect("stops");
}

#[test]
fn flows_of_the_pads_are_combined() {
    // A speaker's pad that has had enough stops nobody.
    let samples = audio("news.wav");
    let mut rig = lockstep(&[]);
    let pad = rig.element.request_pad_simple("speaker_0").expect("a pad");
    let sink = Sink::on(pad, "ANY", Err(gst::FlowError::Eos));
    rig.push_all(&samples, 4096);
    assert_eq!(buffers(&rig.finish()).len(), engine_words(&samples).len());
    sink.until_eos();

    // One that fails stops all.
    let mut rig = lockstep(&[]);
    let pad = rig.element.request_pad_simple("speaker_0").expect("a pad");
    let _sink = Sink::on(pad, "ANY", Err(gst::FlowError::Error));
    let refused = samples.chunks(1600).enumerate().find_map(|(index, piece)| {
        rig.harness.push(f32_buffer(Some((index * 1600) as u64 * SAMPLE_NS), piece)).err()
    });
    assert_eq!(refused, Some(gst::FlowError::Error));
}

#[test]
fn pads_come_and_go_while_running() {
    let samples = &audio("meeting.wav")[..60 * 16_000];
    let words = engine_words(samples);
    let half = samples.len() / 2;
    let says_after = |speaker: &usize| {
        let late = |word: &Word| word.start_sample > half as u64;
        words.iter().filter(|(of, word)| of == speaker && late(word)).count()
    };
    let speaker = (0..4).max_by_key(says_after).expect("speakers");
    let mut rig = lockstep(&[]);
    let leaves = Sink::of_speaker(&rig.element, &format!("speaker_{}", (speaker + 1) % 4));
    rig.push_all(&samples[..half], 4096);
    let before =
        rig.until(|entry| matches!(entry, Entry::Buffer { pts, .. } if *pts > 20 * SECOND_NS));

    rig.element.release_request_pad(&leaves.pad);
    assert!(leaves.pad.parent().is_none() && leaves.pad.peer().is_none());
    let comes = Sink::of_speaker(&rig.element, &format!("speaker_{speaker}"));
    for (index, piece) in samples[half..].chunks(4096).enumerate() {
        rig.push((half + index * 4096) as u64 * SAMPLE_NS, piece);
    }
    let after = rig.finish();
    assert_eq!(buffers(&before).len() + buffers(&after).len(), words.len());

    let entries = comes.until_eos();
    assert_eq!(kinds(&entries, 4), ["stream-start", "caps", "segment", "tag"]);
    let first = entries.iter().find_map(|entry| match entry {
        Entry::Gap { pts, .. } | Entry::Buffer { pts, .. } => Some(*pts),
        _ => None,
    });
    let start = first.expect("text or gaps");
    assert!(start > 19 * SECOND_NS, "nothing of before: {start}");
    assert_continuous(&entries, start);
    let found = buffers(&entries);
    let expected = words_of(&words, speaker);
    assert!(found.len() > 3 && found.len() < expected.len(), "{}", found.len());
    assert_eq!(found, expected[expected.len() - found.len()..]);
    assert!(leaves.entries.try_iter().all(|entry| entry != Entry::Eos));
}

#[test]
fn pads_that_come_and_go_at_any_moment_disturb_nobody() {
    let samples = audio("news.wav");
    let mut rig = Rig::new(&[("diarization-preset", "lockstep"), ("chunk-latency", "160ms")]);
    let element = rig.element.clone();
    let done = Arc::new(AtomicBool::new(false));
    let is_done = done.clone();
    let others = std::thread::spawn(move || {
        let mut rounds = 0;
        while rounds < 100 || !is_done.load(Ordering::SeqCst) {
            let sinks: Vec<_> = (0..4).map(|_| Sink::of_speaker(&element, "speaker_%u")).collect();
            if rounds % 2 == 0 {
                sinks[rounds % 4].until(|entry| matches!(entry, Entry::Other(_)));
            }
            sinks.iter().for_each(|sink| element.release_request_pad(&sink.pad));
            rounds += 1;
        }
    });
    rig.push_all(&samples, 1600);
    let entries = rig.finish();
    done.store(true, Ordering::SeqCst);
    others.join().expect("no panic");
    let options = with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms160);
    let words = engine_outputs(&samples, options)
        .iter()
        .filter(|output| matches!(output, Output::Word { .. }))
        .count();
    assert_eq!(buffers(&entries).len(), words);
    rig.posted("multitalkerasr/transcript");
}

#[test]
fn pad_that_comes_while_its_text_waits_has_it() {
    let samples = audio("meeting.wav");
    // No core is left for a recogniser that is behind, so once an event is out, the worker waits.
    let cores = std::thread::available_parallelism().expect("a number").to_string();
    let mut rig = lockstep(&[
        ("text-unit", "segment"),
        ("speaker-prefix", "{n}: "),
        ("intra-op-threads", &cores),
    ]);
    let mut all = Vec::new();
    let texts_of = |entries: &[Entry], speaker: usize| -> Vec<(u64, String)> {
        let of_speaker = format!("{}: ", speaker + 1);
        let own = buffers(entries).into_iter().filter(|(_, text)| text.starts_with(&of_speaker));
        own.map(|(pts, text)| (pts, text.to_owned())).collect()
    };
    let mut posted = [0; 4];
    let mut late = None;
    for (index, piece) in samples.chunks(1600).enumerate() {
        rig.push(index as u64 * 1600 * SAMPLE_NS, piece);
        if late.is_some() {
            continue;
        }
        rig.push_event(gst::event::CustomDownstream::new(gst::Structure::new_empty("test")));
        all.extend(rig.until(|entry| *entry == Entry::Other(gst::EventType::CustomDownstream)));
        rig.said().iter().for_each(|said| posted[said.speaker as usize] += 1);
        let waits = |speaker: &usize| texts_of(&all, *speaker).len() < posted[*speaker];
        late = (0..4).find(waits).map(|speaker| {
            let sink = Sink::of_speaker(&rig.element, &format!("speaker_{speaker}"));
            (speaker, sink, texts_of(&all, speaker).len())
        });
    }
    all.extend(rig.finish());
    let (speaker, sink, before) = late.expect("text that waits for another speaker's");
    let own = sink.until_eos();
    assert_eq!(texts_of(&own, speaker), texts_of(&all, speaker)[before..]);
}

#[test]
fn pad_that_comes_after_the_end_is_told_of_it() {
    let mut rig = lockstep(&[]);
    rig.push_all(&audio("news.wav")[..32_000], 4096);
    rig.finish();
    let sink = Sink::of_speaker(&rig.element, "speaker_0");
    assert_eq!(kinds(&sink.until_eos(), 5), ["stream-start", "caps", "segment", "tag", "eos"]);
}

#[test]
fn pads_have_the_numbers_of_speakers() {
    init_with_runtime();
    let element = element(&[]);
    let request = |name: &str| element.request_pad_simple(name).map(|pad| pad.name().to_string());
    assert_eq!(request("speaker_2").as_deref(), Some("speaker_2"));
    assert_eq!(request("speaker_%u").as_deref(), Some("speaker_0"));
    // Before the model is loaded nobody knows.
    assert_eq!(request("speaker_7").as_deref(), Some("speaker_7"));
    assert_eq!(request("speaker_8"), None);

    let rig = Rig::of(element.clone(), Some(F32_CAPS));
    let message = rig.wait_for(gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
    let text = warning.error().message().to_owned();
    assert!(text.contains("speaker_7") && text.contains("4 speakers"), "{text}");
    assert_eq!(request("speaker_4"), None);
    assert_eq!(request("speaker_3").as_deref(), Some("speaker_3"));
}

#[test]
fn flush_reaches_all_pads() {
    let samples = audio("news.wav");
    let mut rig = lockstep(&[]);
    let sink = Sink::of_speaker(&rig.element, "speaker_0");
    rig.push_all(&samples, 4096);
    rig.until(Entry::is_text);
    rig.push_event(gst::event::FlushStart::new());
    rig.push_event(gst::event::FlushStop::new(true));
    sink.until(|entry| *entry == Entry::FlushStart);
    sink.until(|entry| *entry == Entry::FlushStop);
    rig.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    rig.push_all(&samples, 4096);
    rig.finish();
    let entries = sink.until_eos();
    assert!(matches!(entries[0], Entry::Segment(_)), "{:?}", entries[0]);
    assert_eq!(buffers(&entries), words_of(&engine_words(&samples), 0));
    assert_continuous(&entries, 0);
}

/// What leaves `src` for a sink that takes these caps.
#[track_caller]
fn texts_with_caps(samples: &[f32], caps: &str, properties: &[(&str, &str)]) -> Vec<String> {
    init_with_runtime();
    let element = element(&[&[("diarization-preset", "lockstep")], properties].concat());
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), None);
    harness.set_live(false);
    harness.set_src_caps_str(F32_CAPS);
    let src = element.static_pad("src").expect("a pad");
    let sink = Sink::on(src, caps, Ok(gst::FlowSuccess::Ok));
    harness.push(f32_buffer(Some(0), samples)).expect("taken");
    assert!(harness.push_event(gst::event::Eos::new()));
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
    element.set_state(gst::State::Null).expect("stops");
    buffers(&entries).into_iter().map(|(_, text)| text.to_owned()).collect()
}

#[test]
fn markup_has_a_colour_for_each_speaker() {
    let samples = audio("news.wav");
    let words = engine_words(&samples);
    let markup = "text/x-raw,format=pango-markup";
    for (properties, colours) in [
        (&[][..], ["white", "yellow", "cyan", "#00ff00"]),
        (&[("speaker-colors", "red,#123456")][..], ["red", "#123456", "red", "#123456"]),
    ] {
        let expected: Vec<_> = words
            .iter()
            .map(|(speaker, word)| {
                let text = gst::glib::markup_escape_text(&word.text);
                format!(r#"<span foreground="{}">{text}</span>"#, colours[*speaker])
            })
            .collect();
        assert_eq!(texts_with_caps(&samples, markup, properties), expected);
    }
    // Of the prefix what is special is escaped.
    let texts = texts_with_caps(&samples, markup, &[("speaker-prefix", "<{n}> & ")]);
    assert!(texts[0].contains("&lt;1&gt; &amp; ") || texts[0].contains("&lt;2&gt; &amp; "));
}

#[test]
fn utf8_is_preferred_to_what_else_is_taken() {
    let samples = audio("news.wav");
    let expected: Vec<_> = engine_words(&samples).into_iter().map(|(_, word)| word.text).collect();
    let caps = "application/x-json; text/x-raw,format={pango-markup,utf8}";
    assert_eq!(texts_with_caps(&samples, caps, &[]), expected);
}

#[track_caller]
fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
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
                // In the digits of an f32.
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
    let words = engine_words(&samples);
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
        assert_eq!(json(text), expected);
    }
}

#[test]
fn json_says_all_of_a_segment() {
    let samples = audio("news.wav");
    let texts = texts_with_caps(&samples, "application/x-json", &[("text-unit", "segment")]);
    let mut said = engine_said(&samples, options(), 0);
    said.sort_by_key(|said| (said.start, said.speaker));
    assert_eq!(texts.len(), said.len());
    for (text, said) in texts.iter().zip(&said) {
        let json = json(text);
        assert_eq!(json["kind"], "segment");
        assert_eq!(json["text"], said.text);
        assert_eq!(json["speaker"], said.speaker);
        assert_eq!(json["start"], said.start as f64 / 1e9);
        assert_eq!(json["end"], said.end as f64 / 1e9);
        assert_eq!(json["words"].as_array().map(Vec::len), Some(said.words.len()));
    }
}

#[test]
fn caps_that_do_not_fit_are_one_clear_error() {
    init_with_runtime();
    let element = element(&[("diarization-preset", "lockstep")]);
    let src = element.static_pad("src").expect("a pad");
    let rig_bus = gst::Bus::new();
    element.set_bus(Some(&rig_bus));
    // Linking with a template that fits, so that it is negotiation that fails.
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
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), None);
    harness.set_live(false);
    harness.set_src_caps_str(F32_CAPS);
    let message = wait_for(&rig_bus, gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    let text = error.error().message().to_owned();
    assert!(error.error().matches(gst::CoreError::Negotiation), "{error:?}");
    assert!(text.contains("expected") && text.contains("format=(string)other"), "{text}");
    harness.play();
    let samples = audio("news.wav");
    let refused = samples.chunks(1600).enumerate().find_map(|(index, piece)| {
        harness.push(f32_buffer(Some(index as u64 * 1600 * SAMPLE_NS), piece)).err()
    });
    assert_eq!(refused, Some(gst::FlowError::NotNegotiated));
    element.set_state(gst::State::Null).expect("stops");
    assert!(rig_bus.pop_filtered(&[gst::MessageType::Error]).is_none(), "told once");
}

#[test]
fn another_sink_may_want_another_format() {
    let samples = audio("news.wav");
    let half = samples.len() / 4;
    let mut rig = lockstep(&[]);
    let first = Sink::of_speaker(&rig.element, "speaker_1");
    rig.push(0, &samples[..half]);
    // Once all of it is out, the worker waits.
    rig.push_event(gst::event::CustomDownstream::new(gst::Structure::new_empty("test")));
    let is_it = |entry: &Entry| *entry == Entry::Other(gst::EventType::CustomDownstream);
    let before = first.until(is_it);
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
        assert_eq!(json(text)["speaker"], 1);
    }
}

#[test]
fn buffers_carry_the_meta() {
    let samples = audio("news.wav");
    let mut rig = lockstep(&[("text-unit", "segment")]);
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
    // What the messages say as well.
    let mut messages = rig.posted("multitalkerasr/transcript");
    messages.sort_by_key(|message| (said(message).start, said(message).speaker));
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
    let mut rig = lockstep(&[]);
    let pad = rig.element.static_pad("unsynced_src").expect("an always pad");
    let sink = Sink::on(pad, "application/x-json", Ok(gst::FlowSuccess::Ok));
    rig.push_all(&samples, 4096);
    rig.finish();
    let entries = sink.until_eos();
    assert_eq!(kinds(&entries, 3), ["stream-start", "caps", "segment"]);
    let found: Vec<_> = buffers(&entries).into_iter().map(|(_, text)| json(text)).collect();
    let expected: Vec<_> = engine_outputs(&samples, options())
        .iter()
        .filter_map(|output| match output {
            Output::Partial(partial) => {
                Some(("partial", partial.speaker, partial.text(), json_words(&partial.words)))
            }
            Output::Segment(segment) => {
                Some(("segment", segment.speaker, segment.text(), json_words(&segment.words)))
            }
            Output::Word { .. } => None,
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

#[test]
fn unsynced_pad_alone_is_enough() {
    init_with_runtime();
    let element = element(&[("diarization-preset", "lockstep")]);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let pad = element.static_pad("unsynced_src").expect("an always pad");
    let sink = Sink::on(pad, "application/x-json", Ok(gst::FlowSuccess::Ok));
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), None);
    harness.set_live(false);
    harness.set_src_caps_str(F32_CAPS);
    harness.play();
    let samples = audio("news.wav");
    for (index, piece) in samples.chunks(1600).enumerate() {
        let pts = (index * 1600) as u64 * SAMPLE_NS;
        harness.push(f32_buffer(Some(pts), piece)).expect("taken");
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    let entries = sink.until_eos();
    let kinds = buffers(&entries).into_iter().map(|(_, text)| json(text)["kind"].clone());
    let segments = kinds.filter(|kind| kind == "segment").count();
    assert_eq!(segments, engine_said(&samples, options(), 0).len());
    element.set_state(gst::State::Null).expect("stops");
    assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none());
}

#[test]
fn nobody_who_takes_the_text_is_an_error_at_the_end() {
    init_with_runtime();
    let element = element(&[]);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), None);
    harness.set_live(false);
    harness.set_src_caps_str(F32_CAPS);
    harness.play();
    // Too short for a word before its end.
    harness.push(f32_buffer(Some(0), &audio("jfk.wav")[..16_000])).expect("taken");
    assert!(harness.push_event(gst::event::Eos::new()));
    let message = wait_for(&bus, gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    let text = error.error().message().to_owned();
    assert!(text.contains("expected a source pad that is linked, found none"), "{text}");
    element.set_state(gst::State::Null).expect("stops");
}
