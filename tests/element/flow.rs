// SPDX-License-Identifier: MPL-2.0

//! Flow returns of downstream elements that reach upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use element_rig::*;
use gst::prelude::*;

#[test]
fn what_downstream_returns_reaches_upstream() {
    init_with_runtime();
    let element = element(&[("diarization-preset", "lockstep")]);
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(|_, _, _| Err(gst::FlowError::Eos))
        .build();
    sink.set_active(true).expect("activates");
    let source = gst::Pad::new(gst::PadDirection::Src);
    source.set_active(true).expect("activates");
    source.link(&element.static_pad("sink").expect("a pad")).expect("links");
    element.static_pad("src").expect("a pad").link(&sink).expect("links");
    element.set_state(gst::State::Playing).expect("starts");
    source.push_event(gst::event::StreamStart::new("test"));
    source.push_event(gst::event::Caps::new(&F32_CAPS.parse::<gst::Caps>().expect("caps")));
    source.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    let samples = audio("meeting.wav");
    let refused = samples.chunks(1600).enumerate().find_map(|(index, piece)| {
        let pts = (index * 1600) as u64 * SAMPLE_NS;
        source.push(f32_buffer(Some(pts), piece)).err()
    });
    assert_eq!(refused, Some(gst::FlowError::Eos));
    element.set_state(gst::State::Null).expect("stops");
}

/// Pushes audio until a push fails, and returns the error.
fn refusal(rig: &mut Rig, samples: &[f32]) -> Option<gst::FlowError> {
    samples.chunks(1600).enumerate().find_map(|(index, piece)| {
        rig.harness.push(f32_buffer(Some((index * 1600) as u64 * SAMPLE_NS), piece)).err()
    })
}

#[test]
fn another_stream_is_taken_after_the_end_of_one() {
    init_with_runtime();
    let samples = audio("news.wav");
    let mut rig = Rig::without_sink(element(&[("diarization-preset", "lockstep")]));
    let returns_eos = Arc::new(AtomicBool::new(true));
    let sink_returns_eos = returns_eos.clone();
    let sink = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, _| match sink_returns_eos.load(Ordering::SeqCst) {
            true => Err(gst::FlowError::Eos),
            false => Ok(gst::FlowSuccess::Ok),
        })
        .build();
    sink.set_active(true).expect("activates");
    rig.srcpad().link(&sink).expect("links");
    assert_eq!(refusal(&mut rig, &samples), Some(gst::FlowError::Eos));
    assert_eq!(rig.harness.push(f32_buffer(Some(0), &samples)), Err(gst::FlowError::Eos));

    returns_eos.store(false, Ordering::SeqCst);
    rig.until(Entry::is_text);
    rig.push_event(gst::event::StreamStart::new("next"));
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push_all(&samples, 1600);
    let entries = rig.finish();
    let is_start = |entry: &Entry| *entry == Entry::Other(gst::EventType::StreamStart);
    let next = entries.iter().position(is_start).expect("the next stream");
    let lockstep = live_options();
    assert_eq!(buffers(&entries[next..]).len(), engine_words(&samples, lockstep).len());
}

#[test]
fn audio_is_taken_again_once_someone_is_linked() {
    init_with_runtime();
    let samples = audio("news.wav");
    let mut rig = Rig::without_sink(element(&[("diarization-preset", "lockstep")]));
    assert_eq!(refusal(&mut rig, &samples), Some(gst::FlowError::NotLinked));
    let sink = Sink::on(rig.srcpad(), "ANY", Ok(gst::FlowSuccess::Ok));
    rig.push(100 * SECOND_NS, &samples);
    rig.push_event(gst::event::Eos::new());
    let lockstep = live_options();
    let entries = sink.until_eos();
    let texts = buffers(&entries).into_iter().filter(|(pts, _)| *pts >= 100 * SECOND_NS);
    assert_eq!(texts.count(), engine_words(&samples, lockstep).len());
}
