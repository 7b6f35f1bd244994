// SPDX-License-Identifier: MPL-2.0

//! Seeks, rates and segments in file pipelines.

use std::sync::mpsc;

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::SegLstRow;

fn paused_pipeline() -> (gst::Pipeline, gst::Bus) {
    init_with_runtime();
    let news = test_support::data().join("audio/news.wav");
    let pipeline = file_pipeline(&news, &tiny_models());
    pipeline.set_state(gst::State::Paused).expect("starts");
    let bus = pipeline.bus().expect("a pipeline has one");
    wait_for(&bus, gst::MessageType::AsyncDone);
    (pipeline, bus)
}

/// Returns the transcript log that is posted before EOS.
#[track_caller]
fn transcript_log(messages: Vec<gst::Message>) -> Vec<SegLstRow> {
    assert_eq!(messages.last().map(|m| m.type_()), Some(gst::MessageType::Eos));
    let posted = structures(messages.into_iter(), "multitalkerasr/transcripts");
    let seglst: String = posted.last().expect("a transcript log").get("seglst").expect("a string");
    serde_json::from_str(&seglst).expect("SegLST")
}

fn rows(transcripts: &[Transcript]) -> Vec<(String, String, f64)> {
    let mut sorted = transcripts.to_vec();
    sorted.sort_by_key(|transcript| transcript.start);
    sorted
        .iter()
        .map(|transcript| {
            (transcript.speaker.to_string(), transcript.text.clone(), transcript.start as f64 / 1e9)
        })
        .collect()
}

#[test]
fn seeks_give_the_words_of_the_new_place() {
    let samples = audio("news.wav");
    let (pipeline, bus) = paused_pipeline();
    // Each seek, forward or backward, comes before the previous one has reached EOS.
    for second in [8, 3, 12, 0, 5] {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        pipeline.seek_simple(flags, gst::ClockTime::from_seconds(second)).expect("seeks");
        wait_for(&bus, gst::MessageType::AsyncDone);
    }
    let messages = play(&pipeline);
    pipeline.set_state(gst::State::Null).expect("stops");
    let found: Vec<_> = transcript_log(messages)
        .into_iter()
        .map(|row| (row.speaker, row.words, row.start_time))
        .collect();
    let expected = rows(&engine_transcripts(&samples[5 * 16_000..], file_options(), 5 * SECOND_NS));
    assert_eq!(found, expected);
    assert!(!expected.is_empty());
}

#[test]
fn what_comes_after_a_seek_has_its_seqnum() {
    let (pipeline, _) = paused_pipeline();
    let asr = pipeline.by_name("asr").expect("the element");
    let (sender, seqnums) = mpsc::channel();
    for (pad, mask) in
        [("src", gst::PadProbeType::EVENT_DOWNSTREAM), ("sink", gst::PadProbeType::EVENT_UPSTREAM)]
    {
        let sender = sender.clone();
        let pad = asr.static_pad(pad).expect("an always pad");
        pad.add_probe(mask, move |_, info| {
            let event = info.event().expect("an event");
            // The test may have ended.
            let _ = sender.send((event.type_(), event.seqnum()));
            gst::PadProbeReturn::Ok
        });
    }
    let seek = gst::event::Seek::builder(
        1.0,
        gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
        gst::SeekType::Set,
        gst::ClockTime::from_seconds(3),
        gst::SeekType::None,
        gst::ClockTime::NONE,
    );
    let seqnum = gst::Seqnum::next();
    assert!(pipeline.send_event(seek.seqnum(seqnum).build()));
    play(&pipeline);
    pipeline.set_state(gst::State::Null).expect("stops");
    // Events before the flush have earlier seqnums, so the check starts at the last segment.
    let seqnums: Vec<_> = seqnums.try_iter().collect();
    let is_segment = |(type_, _): &(gst::EventType, _)| *type_ == gst::EventType::Segment;
    let segment = seqnums.iter().rposition(is_segment).expect("a segment");
    use gst::EventType::{CustomDownstream, CustomUpstream, Gap, Segment};
    for type_ in [Segment, Gap, CustomDownstream, CustomUpstream] {
        let of_type = seqnums[segment..].iter().filter(|(event_type, _)| *event_type == type_);
        let of_type: Vec<_> = of_type.map(|(_, seqnum)| *seqnum).collect();
        assert!(!of_type.is_empty(), "{type_:?}");
        assert!(of_type.iter().all(|found| *found == seqnum), "{type_:?}: {of_type:?}");
    }
}

#[test]
fn part_of_a_file_gives_its_words() {
    let samples = audio("news.wav");
    let (pipeline, bus) = paused_pipeline();
    let seconds = gst::ClockTime::from_seconds;
    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
    let set = gst::SeekType::Set;
    pipeline.seek(1.0, flags, set, seconds(4), set, seconds(9)).expect("seeks");
    wait_for(&bus, gst::MessageType::AsyncDone);
    let messages = play(&pipeline);
    pipeline.set_state(gst::State::Null).expect("stops");
    let found: Vec<_> = transcript_log(messages)
        .into_iter()
        .map(|row| (row.speaker, row.words, row.start_time))
        .collect();
    let part = &samples[4 * 16_000..9 * 16_000];
    assert_eq!(found, rows(&engine_transcripts(part, file_options(), 4 * SECOND_NS)));
    assert!(!found.is_empty());
}

#[test]
fn another_rate_is_one_clear_error() {
    let (pipeline, bus) = paused_pipeline();
    let set = gst::SeekType::Set;
    let end = gst::ClockTime::from_seconds(5);
    // Upstream decides whether a seek that leads to an error succeeds.
    let _ = pipeline.seek(2.0, gst::SeekFlags::FLUSH, set, gst::ClockTime::ZERO, set, end);
    let message = wait_for(&bus, gst::MessageType::Error);
    pipeline.set_state(gst::State::Null).expect("stops");
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    assert_eq!(message.src().map(|source| source.name()), Some("asr".into()));
    let text = error.error().message().to_owned();
    assert!(text.contains("expected 1") && text.contains("found 2"), "{text}");
}

#[test]
fn several_segments_follow_each_other() {
    let samples = audio("jfk.wav");
    let mut rig = Rig::new(&[]);
    // As in a playlist, each segment starts at 0, and its base is the end of the previous one.
    let mut expected = Vec::new();
    let mut running_times = Vec::new();
    for (index, part) in samples.chunks(4 * 16_000).enumerate() {
        let base = 4 * index as u64 * SECOND_NS;
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_base(gst::ClockTime::from_nseconds(base));
        rig.push_event(gst::event::Segment::new(&segment));
        rig.push_all(part, 1600);
        let of_part = engine_transcripts(part, file_options(), 0);
        running_times.extend(of_part.iter().map(|transcript| base + transcript.start));
        expected.extend(of_part);
    }
    rig.finish();
    let messages = rig.posted("multitalkerasr/transcript");
    assert_eq!(messages.iter().map(transcript).collect::<Vec<_>>(), expected);
    let found: Vec<_> = messages
        .iter()
        .map(|message| message.get::<gst::ClockTime>("running-time").expect("a time").nseconds())
        .collect();
    assert_eq!(found, running_times);
    assert!(expected.len() > 3);
}

#[test]
fn long_buffers_equal_short_ones() {
    let samples = audio("meeting.wav");
    let samples = &samples[..40 * 16_000];
    let mut rig = Rig::new(&[]);
    rig.push_all(samples, 10 * 16_000);
    rig.finish();
    let found = rig.transcripts();
    assert_eq!(found, engine_transcripts(samples, file_options(), 0));
}
