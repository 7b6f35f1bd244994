// SPDX-License-Identifier: MPL-2.0

//! Source pads: one for each speaker, requested and released at any time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{ChunkLatency, DiarizationPreset, Event, Word};

fn words_of(words: &[(usize, Word)], speaker: usize) -> Vec<(u64, &str)> {
    words
        .iter()
        .filter(|(word_speaker, _)| *word_speaker == speaker)
        .map(|(_, word)| (word.start_sample * SAMPLE_NS, word.text.as_str()))
        .collect()
}

#[test]
fn every_speaker_has_a_pad() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let words = engine_words(samples, live_options());
    let mut rig = Rig::lockstep(&[]);
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
        assert_eq!(changes.count(), usize::from(!expected.is_empty()), "speaker changes");
        stream_ids.push(sink.pad.stream_id().expect("an id"));
    }
    assert!(speakers_with_words > 2, "{speakers_with_words} speakers speak");
    assert_eq!(buffers(&all).len(), words.len(), "src lacks words");
    stream_ids.sort();
    stream_ids.dedup();
    assert_eq!(stream_ids.len(), 5, "{stream_ids:?}");
}

#[test]
fn segments_of_a_speaker_are_whole() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let mut rig = Rig::lockstep(&[("text-unit", "segment"), ("speaker-prefix", "{n}: ")]);
    let sinks: Vec<_> = (0..4).map(|_| Sink::of_speaker(&rig.element, "speaker_%u")).collect();
    rig.push_all(samples, 4096);
    rig.finish();
    let all = engine_transcripts(samples, live_options(), 0);
    for (speaker, sink) in (0..).zip(&sinks) {
        let entries = sink.until_eos();
        let expected: Vec<_> = all
            .iter()
            .filter(|transcript| transcript.speaker == speaker)
            .map(|transcript| (transcript.start, format!("{}: {}", speaker + 1, transcript.text)))
            .collect();
        let found: Vec<_> =
            buffers(&entries).into_iter().map(|(pts, text)| (pts, text.to_owned())).collect();
        assert_eq!(found, expected);
        assert_continuous(&entries, 0);
    }
    assert!(all.len() > 3);
}

/// Words of one speaker begin before words of another end.
#[test]
fn people_who_talk_at_once_come_out_one_after_the_other() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let words = engine_words(samples, live_options());
    let overlaps = words
        .windows(2)
        .filter(|pair| pair[0].0 != pair[1].0 && pair[1].1.start_sample < pair[0].1.end_sample);
    assert!(overlaps.count() > 3, "too few overlaps");
    let mut rig = Rig::lockstep(&[]);
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
    let mut rig = Rig::without_sink(element(&[("diarization-preset", "lockstep")]));
    let samples = audio("news.wav");
    // One of the two pads is not linked.
    let unlinked = rig.element.request_pad_simple("speaker_0").expect("a pad");
    let sink = Sink::of_speaker(&rig.element, "speaker_1");
    rig.push_all(&samples, 4096);
    rig.push_event(gst::event::Eos::new());
    let words = engine_words(&samples, live_options());
    assert_eq!(buffers(&sink.until_eos()), words_of(&words, 1));
    assert!(!words_of(&words, 0).is_empty() && !words_of(&words, 1).is_empty());
    rig.element.release_request_pad(&unlinked);
}

#[test]
fn nothing_linked_is_an_error() {
    init_with_runtime();
    let mut rig = Rig::without_sink(element(&[("diarization-preset", "lockstep")]));
    for _ in 0..4 {
        rig.element.request_pad_simple("speaker_%u").expect("a pad");
    }
    let refused = audio("meeting.wav").chunks(1600).enumerate().find_map(|(index, piece)| {
        let pts = (index * 1600) as u64 * SAMPLE_NS;
        rig.harness.push(f32_buffer(Some(pts), piece)).err()
    });
    assert_eq!(refused, Some(gst::FlowError::NotLinked));
}

#[test]
fn nothing_linked_is_an_error_of_short_audio_too() {
    init_with_runtime();
    let mut rig = Rig::without_sink(element(&[]));
    // No word comes out before EOS, and no later push can return the error.
    rig.push(0, &audio("jfk.wav")[..16_000]);
    rig.push_event(gst::event::Eos::new());
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    let text = error.error().message().to_owned();
    assert!(text.contains("No source pad is linked"), "{text}");
}

#[test]
fn flows_of_the_pads_are_combined() {
    // EOS from a speaker's pad does not stop the others.
    let samples = audio("news.wav");
    let mut rig = Rig::lockstep(&[]);
    let pad = rig.element.request_pad_simple("speaker_0").expect("a pad");
    let sink = Sink::on(pad, "ANY", Err(gst::FlowError::Eos));
    rig.push_all(&samples, 4096);
    assert_eq!(buffers(&rig.finish()).len(), engine_words(&samples, live_options()).len());
    sink.until_eos();

    // An error from one pad stops all.
    let mut rig = Rig::lockstep(&[]);
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
    let words = engine_words(samples, live_options());
    let half = samples.len() / 2;
    let words_after = |speaker: &usize| {
        let late = |word: &Word| word.start_sample > half as u64;
        words.iter().filter(|(it, word)| it == speaker && late(word)).count()
    };
    let speaker = (0..4).max_by_key(words_after).expect("speakers");
    // The last word that is certain to come out before the second half.
    let starts = words.iter().map(|(_, word)| word.start_sample);
    let certain = starts.filter(|start| *start < half as u64 - 5 * 16_000).max().expect("words");
    let certain = certain * SAMPLE_NS;
    let mut rig = Rig::lockstep(&[]);
    let leaves = Sink::of_speaker(&rig.element, &format!("speaker_{}", (speaker + 1) % 4));
    rig.push_all(&samples[..half], 4096);
    let before = rig.until(|entry| matches!(entry, Entry::Buffer { pts, .. } if *pts >= certain));

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
    assert!(start >= certain, "it starts at {start}, before {certain}");
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
    let words = engine_events(&samples, options)
        .iter()
        .filter(|event| matches!(event, Event::Word { .. }))
        .count();
    assert_eq!(buffers(&entries).len(), words);
    rig.posted("multitalkerasr/transcript");
}

#[test]
fn pad_that_is_released_while_another_pushes_stops_nobody() {
    init_with_runtime();
    let texts = |releases: bool| -> Vec<(u64, String)> {
        // With the preset for files, many words come out at once.
        let mut rig = Rig::without_sink(demo_element(&[]));
        let stays = Sink::of_speaker(&rig.element, "speaker_0");
        let goes = Sink::of_speaker(&rig.element, "speaker_1").pad;
        let (element, texts) = (rig.element.downgrade(), AtomicUsize::new(0));
        stays.peer.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if texts.fetch_add(1, Ordering::SeqCst) == 2 && releases {
                element.upgrade().expect("an element that is pushing").release_request_pad(&goes);
            }
            gst::PadProbeReturn::Ok
        });
        rig.push_all(&conversation(), 1600);
        rig.push_event(gst::event::Eos::new());
        let entries = stays.until_eos();
        buffers(&entries).into_iter().map(|(pts, text)| (pts, text.to_owned())).collect()
    };
    let undisturbed = texts(false);
    assert!(undisturbed.len() > 20);
    assert_eq!(texts(true), undisturbed);
}

/// `gst_pad_link` emits `linked` before it sends the event that triggers negotiation.
#[test]
fn text_that_meets_a_pad_while_it_is_linked_is_negotiated() {
    init_with_runtime();
    let samples = audio("news.wav");
    let (first, second) = samples.split_at(samples.len() / 2);
    for was_linked in [false, true] {
        let mut rig = Rig::without_sink(element(&[("diarization-preset", "lockstep")]));
        let of_speaker = Sink::of_speaker(&rig.element, "speaker_0");
        let srcpad = rig.srcpad();
        if was_linked {
            let before = Sink::on(srcpad.clone(), "text/x-raw", Ok(gst::FlowSuccess::Ok));
            rig.push_all(first, 1600);
            before.until(Entry::is_text);
            srcpad.unlink(&before.peer).expect("unlinks");
        } else {
            rig.push_all(first, 1600);
            of_speaker.until(Entry::is_text);
        }

        let source = rig.sinkpad().peer().expect("linked");
        let audio = f32_buffer(Some(first.len() as u64 * SAMPLE_NS), second);
        srcpad.connect_linked(move |_, peer| {
            let (sender, has_text) = mpsc::channel();
            peer.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                // Only the first buffer is awaited.
                let _ = sender.send(());
                gst::PadProbeReturn::Ok
            });
            let _ = source.push(audio.clone());
            let _ = has_text.recv_timeout(Duration::from_secs(10));
        });
        let sink = Sink::on(srcpad, "application/x-json", Ok(gst::FlowSuccess::Ok));
        rig.push_event(gst::event::Eos::new());
        let entries = sink.until_eos();
        let position = |wanted: fn(&Entry) -> bool| entries.iter().position(wanted);
        let caps = position(|entry| matches!(entry, Entry::Caps(caps) if caps.contains("json")));
        assert!(caps < position(Entry::is_text), "{entries:?}");
        let last = engine_words(&samples, live_options()).pop().expect("words").1;
        let last_text = buffers(&entries).pop().expect("text").1.to_owned();
        assert!(last_text.contains(&last.text), "{last_text} is of {last:?}");
        rig.posted("multitalkerasr/transcript");
    }
}

#[test]
fn pad_that_comes_while_its_text_waits_has_it() {
    let samples = audio("meeting.wav");
    // No core is left to run the recognizer concurrently, so the worker is idle once an event is
    // out.
    let cores = std::thread::available_parallelism().expect("a number").to_string();
    let mut rig = Rig::lockstep(&[
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
        rig.transcripts().iter().for_each(|transcript| posted[transcript.speaker as usize] += 1);
        let waits = |speaker: &usize| texts_of(&all, *speaker).len() < posted[*speaker];
        late = (0..4).find(waits).map(|speaker| {
            let sink = Sink::of_speaker(&rig.element, &format!("speaker_{speaker}"));
            (speaker, sink, texts_of(&all, speaker).len())
        });
    }
    all.extend(rig.finish());
    let (speaker, sink, before) = late.expect("text that waits for another speaker");
    let own = sink.until_eos();
    assert_eq!(texts_of(&own, speaker), texts_of(&all, speaker)[before..]);
}

#[test]
fn pad_that_comes_after_the_end_is_told_of_it() {
    let mut rig = Rig::lockstep(&[]);
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
    // The number of speakers is unknown until the model is loaded.
    assert_eq!(request("speaker_7").as_deref(), Some("speaker_7"));
    assert_eq!(request("speaker_8"), None);

    let rig = Rig::of(element.clone(), Some(F32_CAPS));
    let message = rig.wait_for(gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = message.view() else { unreachable!() };
    let text = warning.error().message().to_owned();
    assert!(text.contains("speaker_7") && text.contains("4 speakers"), "{text}");
    // The loaded model sets the limit, not the model of the next run.
    element.set_property("model-dir", "elsewhere");
    assert_eq!(request("speaker_4"), None);
    assert_eq!(request("speaker_3").as_deref(), Some("speaker_3"));
}

#[test]
fn flush_reaches_all_pads() {
    let samples = audio("news.wav");
    let mut rig = Rig::lockstep(&[]);
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
    assert_eq!(buffers(&entries), words_of(&engine_words(&samples, live_options()), 0));
    assert_continuous(&entries, 0);
}

#[test]
fn unsynced_pad_alone_is_enough() {
    init_with_runtime();
    let mut rig = Rig::without_sink(element(&[("diarization-preset", "lockstep")]));
    let pad = rig.element.static_pad("unsynced_src").expect("an always pad");
    let sink = Sink::on(pad, "application/x-json", Ok(gst::FlowSuccess::Ok));
    let samples = audio("news.wav");
    rig.push_all(&samples, 1600);
    rig.push_event(gst::event::Eos::new());
    let entries = sink.until_eos();
    let texts = buffers(&entries);
    let segments = texts.iter().filter(|(_, text)| text.contains(r#""kind":"segment""#));
    let expected = engine_transcripts(&samples, live_options(), 0);
    assert_eq!(segments.count(), expected.len());
    assert_eq!(rig.transcripts(), expected);
}
