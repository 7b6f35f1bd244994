// SPDX-License-Identifier: MPL-2.0

//! Order of text, gaps and events.

use element_rig::*;
use multitalker_asr::Event;

#[test]
fn words_come_out_in_order_and_none_is_lost() {
    let samples = &audio("meeting.wav")[..40 * 16_000];
    let mut rig = Rig::new(&[]);
    rig.push_all(samples, 4096);
    let entries = rig.finish();

    let mut expected: Vec<_> = engine_events(samples, file_options())
        .into_iter()
        .filter_map(|event| match event {
            Event::Word { speaker, word } => Some((word.start_sample, speaker, word)),
            _ => None,
        })
        .collect();
    expected.sort_by_key(|(start, speaker, _)| (*start, *speaker));
    assert!(expected.iter().any(|(_, speaker, _)| *speaker != expected[0].1), "only one speaker");

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
    let mut expected = engine_transcripts(samples, file_options(), 0);
    expected.sort_by_key(|transcript| (transcript.start, transcript.speaker));
    let expected: Vec<_> = expected
        .iter()
        .map(|transcript| Entry::Buffer {
            pts: transcript.start,
            duration: transcript.end - transcript.start,
            text: format!("Speaker {}: {}", transcript.speaker + 1, transcript.text),
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
    init_with_runtime();
    // The trained models recognize nothing in silence.
    let mut rig = Rig::of(demo_element(&[("diarization-preset", "lockstep")]), Some(F32_CAPS));
    rig.push_all(&[0.0; 16_000 * 3], 1600);
    // Two chunks of 1.12 s are decoded before EOS.
    let two_chunks = 2 * 1_120_000_000;
    let entries = rig.until(
        |entry| matches!(entry, Entry::Gap { pts, duration } if pts + duration >= two_chunks),
    );
    assert!(!entries.iter().any(Entry::is_text), "{entries:?}");
    assert_continuous(&entries, 0);
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
                assert!(item.is_none(), "a change between an item and its buffer");
                speaker = Some(now);
                changes += 1;
            }
            Entry::NewItem { speaker: item_speaker, content, running_time, duration } => {
                assert_eq!(
                    speaker,
                    Some(item_speaker),
                    "the item is not preceded by its speaker change"
                );
                item = Some((item_speaker, content, *running_time, *duration));
            }
            Entry::Buffer { pts, duration, text } => {
                let (_, content, running_time, item_duration) = item.take().expect("an item");
                assert_eq!(
                    (content, running_time, item_duration),
                    (text.as_str(), *pts, *duration)
                );
            }
            Entry::FinalTranscript => {
                assert!(!after_final, "two final transcripts for one segment");
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
    // Each buffer is a whole segment, so a final transcript follows it.
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
