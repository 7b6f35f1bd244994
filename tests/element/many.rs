// SPDX-License-Identifier: MPL-2.0

//! Many elements in one process, and flushes from other threads.

use std::sync::mpsc;

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{ChunkLatency, DiarizationPreset};

#[test]
fn twenty_elements_share_a_model_that_is_loaded_once() {
    init_with_runtime();
    let models = HeldModels::new();
    let properties = [("model-dir", &*models.path()), ("diarization-preset", "lockstep")];
    let mut rigs: Vec<_> = (0..20).map(|_| Rig::new(&properties)).collect();
    models.release();

    // Half of the elements get the first file, the others the second.
    let audio = [audio("jfk.wav"), audio("news.wav")];
    std::thread::scope(|scope| {
        for (index, rig) in rigs.iter_mut().enumerate() {
            let samples = &audio[index % 2];
            scope.spawn(move || {
                rig.push_all(samples, 1600 + 100 * index);
                rig.finish();
            });
        }
    });
    let alone = [0, 1].map(|index: usize| engine_transcripts(&audio[index], live_options(), 0));
    assert!(alone.iter().all(|transcript| transcript.len() > 3));
    for (index, rig) in rigs.iter().enumerate() {
        assert_eq!(rig.transcripts(), alone[index % 2], "element {index}");
    }
}

#[test]
fn elements_stop_in_any_order() {
    let samples = audio("meeting.wav");
    let properties = [("diarization-preset", "lockstep")];
    let mut rigs: Vec<_> = (0..20).map(|_| Rig::new(&properties)).collect();
    for rig in &mut rigs {
        rig.push(0, &samples[..60 * 16_000]);
    }
    // All elements are working when they stop. Steps of 7, coprime to 20, visit each once.
    rigs[0].until(Entry::is_text);
    for index in (0..20).map(|index| index * 7 % 20) {
        if index == 4 {
            continue;
        }
        rigs[index].element.set_state(gst::State::Null).expect("stops");
    }
    // The remaining element is not disturbed.
    rigs[4].finish();
    assert_eq!(
        rigs[4].transcripts(),
        engine_transcripts(&samples[..60 * 16_000], live_options(), 0)
    );
}

#[test]
fn flushes_from_another_thread_leave_nothing_behind() {
    let properties = [("chunk-latency", "80ms"), ("diarization-preset", "lockstep")];
    let mut rig = Rig::new(&properties);
    let sink = Sink::of_speaker(&rig.element, "speaker_0");
    let source = rig.sinkpad().peer().expect("linked");
    let flusher = source.clone();
    let samples = audio("news.wav");
    let (pushed, results) = mpsc::channel();
    let (start_round, next_round) = mpsc::channel();
    let pushing = std::thread::spawn(move || {
        while next_round.recv().is_ok() {
            let segment = gst::FormattedSegment::<gst::ClockTime>::new();
            source.push_event(gst::event::Segment::new(&segment));
            let pieces = samples.chunks(1600).cycle().enumerate();
            let flow = pieces.map(|(index, piece)| {
                let pts = (index * 1600) as u64 * SAMPLE_NS;
                let flow = source.push(f32_buffer(Some(pts), piece));
                let _ = pushed.send(flow);
                flow
            });
            let error = flow.into_iter().find_map(Result::err);
            assert_eq!(error, Some(gst::FlowError::Flushing));
        }
    });
    start_round.send(()).expect("a thread that pushes");
    for round in 0..300 {
        // Each round flushes after a different number of buffers.
        for _ in 0..round % 31 {
            results.recv_timeout(TIMEOUT).expect("more audio").expect("accepted");
        }
        assert!(flusher.push_event(gst::event::FlushStart::new()));
        while results.recv_timeout(TIMEOUT).expect("the end of the round").is_ok() {}
        assert!(flusher.push_event(gst::event::FlushStop::new(true)));
        if round < 299 {
            start_round.send(()).expect("a thread that pushes");
        }
    }
    drop(start_round);
    pushing.join().expect("no panic");
    rig.posted("multitalkerasr/transcript");

    // The next stream starts afresh.
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    rig.push_event(gst::event::Segment::new(&segment));
    let samples = audio("jfk.wav");
    rig.push_all(&samples, 4000);
    rig.finish();
    let options = with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms80);
    let found = rig.transcripts();
    assert_eq!(found, engine_transcripts(&samples, options, 0));
    assert!(!found.is_empty());
    sink.until_eos();
}
