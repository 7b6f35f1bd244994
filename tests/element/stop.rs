// SPDX-License-Identifier: MPL-2.0

//! Flushes, stops and starts interrupt whatever is in progress and leave nothing behind.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{ChunkLatency, DiarizationPreset};
use test_support::slow_diarizer;

#[test]
fn flush_in_the_middle_drops_all_and_starts_afresh() {
    let before = &audio("meeting.wav")[..50 * 16_000];
    let after = &audio("jfk.wav");
    // With one thread and several cores, the recognizer runs concurrently with the diarizer.
    let presets =
        [("lockstep", DiarizationPreset::Lockstep), ("30s", DiarizationPreset::ThirtySeconds)];
    for ((name, preset), threads) in presets.into_iter().flat_map(|it| [(it, "0"), (it, "1")]) {
        let mut rig = Rig::new(&[
            ("chunk-latency", "80ms"),
            ("diarization-preset", name),
            ("intra-op-threads", threads),
        ]);
        // Much of this buffer is still unrecognized when the first word comes out.
        rig.push(0, before);
        rig.until(Entry::is_text);
        rig.push_event(gst::event::FlushStart::new());
        rig.push_event(gst::event::FlushStop::new(true));
        rig.until(|entry| *entry == Entry::FlushStop);
        let recognized = rig.posted("multitalkerasr/transcript").len();

        rig.push_event(gst::event::Segment::new(&segment(50, 50, 0)));
        rig.push(50 * SECOND_NS, after);
        let entries = rig.finish();
        let options = with_preset(preset, ChunkLatency::Ms80);
        let expected = engine_transcripts(after, options.clone(), 50 * SECOND_NS);
        assert_eq!(rig.transcripts(), expected);
        assert!(!expected.is_empty());
        assert!(entries.iter().all(|entry| match entry {
            Entry::Buffer { pts, .. } => *pts >= 50 * SECOND_NS,
            _ => true,
        }));
        let seglst: String = rig.element.emit_by_name("get-transcripts", &[]);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&seglst).expect("JSON");
        assert_eq!(rows.len(), expected.len(), "the transcript log did not restart");
        let all = engine_transcripts(before, options, 0).len();
        assert!(recognized < all, "the flush came too late: {recognized} of {all}");
    }
}

#[test]
fn flush_before_any_audio_does_no_harm() {
    let samples = &audio("jfk.wav")[..64_000];
    let mut rig = Rig::new(&[]);
    rig.push_event(gst::event::FlushStart::new());
    rig.push_event(gst::event::FlushStop::new(true));
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push_all(samples, 4096);
    rig.finish();
    let expected = engine_transcripts(samples, file_options(), 0);
    assert_eq!(rig.transcripts(), expected);
    assert!(!expected.is_empty());
}

#[test]
fn flushes_at_any_moment_leave_nothing_behind() {
    let mut rig = Rig::new(&[
        ("chunk-latency", "160ms"),
        ("diarization-preset", "lockstep"),
        // With one thread and several cores, flushes also interrupt networks that run concurrently.
        ("intra-op-threads", "1"),
    ]);
    let source = rig.sinkpad().peer().expect("linked");
    let (flushed, next_round) = mpsc::channel();
    let (refused, end_of_round) = mpsc::channel();
    // Gaps of 300 ms add drains to interrupt, and gaps of 100 ms are filled.
    let samples = audio("news.wav");
    let pushing = std::thread::spawn(move || {
        while next_round.recv().is_ok() {
            source.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
            let mut pts = 0;
            for (index, piece) in samples.chunks(4000).cycle().enumerate() {
                if let Err(error) = source.push(f32_buffer(Some(pts), piece)) {
                    let _ = refused.send(error);
                    break;
                }
                pts += piece.len() as u64 * SAMPLE_NS;
                pts += [0, 100_000_000, 0, 300_000_000][index % 4];
            }
        }
    });
    flushed.send(()).expect("a thread that pushes");
    for round in 0..40 {
        let mut left = round % 7;
        rig.until(|entry| {
            left -= i32::from(matches!(entry, Entry::Gap { .. } | Entry::Buffer { .. }));
            left < 0
        });
        rig.push_event(gst::event::FlushStart::new());
        // Real sources also wait here; otherwise they might not notice the flush.
        let error = end_of_round.recv_timeout(TIMEOUT).expect("the end of the round");
        assert_eq!(error, gst::FlowError::Flushing);
        rig.push_event(gst::event::FlushStop::new(true));
        rig.until(|entry| *entry == Entry::FlushStop);
        if round < 39 {
            flushed.send(()).expect("a thread that pushes");
        }
    }
    drop(flushed);
    pushing.join().expect("no panic");
    rig.posted("multitalkerasr/transcript");

    let after = &audio("jfk.wav");
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push(0, after);
    rig.finish();
    let options = with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms160);
    assert_eq!(rig.transcripts(), engine_transcripts(after, options, 0));
}

/// Blocks the element's output, fills its queue from another thread, and returns a channel for the
/// result of pushing.
fn fill(rig: &Rig) -> mpsc::Receiver<Result<gst::FlowSuccess, gst::FlowError>> {
    let (blocked, is_blocked) = mpsc::channel();
    let mask =
        gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    rig.srcpad().add_probe(mask, move |_, info| {
        // Sticky events and gaps pass; only words are blocked.
        if matches!(info.data, Some(gst::PadProbeData::Buffer(_))) {
            let _ = blocked.send(());
            return gst::PadProbeReturn::Ok;
        }
        gst::PadProbeReturn::Pass
    });
    let (ended, end) = mpsc::channel();
    let source = rig.sinkpad().peer().expect("linked");
    let samples = audio("meeting.wav");
    std::thread::spawn(move || {
        let mut pts = 0;
        loop {
            for piece in samples.chunks(8000) {
                if let Err(error) = source.push(f32_buffer(Some(pts), piece)) {
                    let _ = ended.send(Err(error));
                    return;
                }
                pts += piece.len() as u64 * SAMPLE_NS;
            }
        }
    });
    is_blocked.recv_timeout(TIMEOUT).expect("a word");
    end
}

#[test]
fn flush_releases_all_who_wait() {
    let mut rig = Rig::new(&[("diarization-preset", "lockstep")]);
    let end = fill(&rig);
    assert!(end.try_recv().is_err(), "pushing ended before the flush");
    rig.push_event(gst::event::FlushStart::new());
    assert_eq!(end.recv_timeout(TIMEOUT), Ok(Err(gst::FlowError::Flushing)));
    rig.push_event(gst::event::FlushStop::new(true));
}

#[test]
fn stopping_releases_all_who_wait() {
    let rig = Rig::new(&[("diarization-preset", "lockstep")]);
    let end = fill(&rig);
    rig.element.set_state(gst::State::Null).expect("stops");
    assert_eq!(end.recv_timeout(TIMEOUT), Ok(Err(gst::FlowError::Flushing)));
}

#[test]
fn queue_is_bounded() {
    let mut rig = Rig::new(&[("diarization-preset", "lockstep")]);
    let source = rig.sinkpad().peer().expect("linked");
    let (pushed, buffers) = mpsc::channel();
    source.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data {
            let _ = pushed.send(buffer.pts().expect("a PTS").nseconds());
        }
        gst::PadProbeReturn::Ok
    });
    let end = fill(&rig);
    // The first word lies within the first seconds. The queue adds 3.12 s, and the waiting buffer
    // comes after it.
    while let Ok(pts) = buffers.recv_timeout(Duration::from_secs(1)) {
        assert!(pts < 10 * SECOND_NS, "{pts} ns were pushed");
    }
    rig.push_event(gst::event::FlushStart::new());
    assert_eq!(end.recv_timeout(TIMEOUT), Ok(Err(gst::FlowError::Flushing)));
}

/// Starts an element whose worker runs the diarizer for minutes.
fn rig_in_a_long_run(folder: &Path) -> Rig {
    let diarizer = slow_diarizer(folder, 20_000_000).display().to_string();
    let mut rig = Rig::lockstep(&[("diarization-model", &diarizer)]);
    push_into_a_long_run(&mut rig);
    rig
}

/// Pushes audio and returns once the worker has taken it.
fn push_into_a_long_run(rig: &mut Rig) {
    // The first buffer fills the queue, so the second has to wait for the worker.
    for index in 0..2 {
        rig.push(index * 10 * SECOND_NS, &[0.0; 160_000]);
    }
    // The run has usually begun by then.
    std::thread::sleep(Duration::from_millis(100));
}

#[test]
fn stopping_in_the_middle_is_quick() {
    init_with_runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let rig = rig_in_a_long_run(folder.path());
    let start = Instant::now();
    rig.element.set_state(gst::State::Null).expect("stops");
    assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
}

#[test]
fn flush_in_the_middle_is_quick() {
    init_with_runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let mut rig = rig_in_a_long_run(folder.path());
    for _ in 0..3 {
        let start = Instant::now();
        rig.push_event(gst::event::FlushStart::new());
        rig.push_event(gst::event::FlushStop::new(true));
        rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
        push_into_a_long_run(&mut rig);
        assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
    }
}

#[test]
fn same_words_again_after_every_stop() {
    let samples = &audio("jfk.wav")[..64_000];
    let expected = engine_transcripts(samples, file_options(), 0);
    let mut rig = Rig::new(&[]);
    for state in [gst::State::Null, gst::State::Ready, gst::State::Null, gst::State::Ready] {
        rig.push_all(samples, 4000);
        rig.finish();
        assert_eq!(rig.transcripts(), expected);
        rig.element.set_state(state).expect("stops");
        rig.element.set_state(gst::State::Playing).expect("starts");
        // The element drops its sticky events when it stops.
        rig.push_event(gst::event::StreamStart::new("again"));
        rig.push_event(gst::event::Caps::new(&F32_CAPS.parse::<gst::Caps>().expect("caps")));
        rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    }
    assert!(!expected.is_empty());
}

/// Returns the types of the progress messages on a bus. Panics on an error message.
fn loading(bus: &gst::Bus) -> Vec<gst::ProgressType> {
    let progress = bus.iter().filter_map(|message| match message.view() {
        gst::MessageView::Progress(progress) => {
            let (type_, code, _) = progress.get();
            assert_eq!(code, "loading");
            Some(type_)
        }
        gst::MessageView::Error(error) => panic!("{error:?}"),
        _ => None,
    });
    progress.collect()
}

#[test]
fn stopping_while_loading_is_quick() {
    init_with_runtime();
    let models = HeldModels::new();
    let element = element(&[("model-dir", &models.path())]);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    // The model is never released.
    element.set_state(gst::State::Paused).expect("does not wait for the model");
    element.set_state(gst::State::Null).expect("stops");
    assert_eq!(loading(&bus), [gst::ProgressType::Start, gst::ProgressType::Canceled]);
}

#[test]
fn stopping_while_loading_leaves_nothing_behind() {
    init_with_runtime();
    for _ in 0..10 {
        let element = element(&[]);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        element.set_state(gst::State::Paused).expect("does not wait for the model");
        element.set_state(gst::State::Null).expect("stops");
        let loading = loading(&bus);
        assert_eq!(loading.len(), 2, "{loading:?}");
        assert_eq!(loading[0], gst::ProgressType::Start);
        assert!(
            [gst::ProgressType::Canceled, gst::ProgressType::Complete].contains(&loading[1]),
            "{loading:?}"
        );
    }
}

#[test]
fn loading_is_announced() {
    let rig = Rig::new(&[]);
    for expected in [gst::ProgressType::Start, gst::ProgressType::Complete] {
        let message = rig.wait_for(gst::MessageType::Progress);
        let gst::MessageView::Progress(progress) = message.view() else { unreachable!() };
        let (type_, code, text) = progress.get();
        assert_eq!((type_, code), (expected, "loading"));
        assert!(text.contains("tiny-models"), "{text}");
    }
}

#[test]
fn model_is_kept_until_it_was_used() {
    init_with_runtime();
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(models()).expect("the models") {
        let file = entry.expect("a file");
        std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
    }
    let element = element(&[("model-dir", &folder.path().display().to_string())]);
    let mut rig = Rig::of(element, Some(F32_CAPS));
    let complete = |rig: &Rig| loop {
        let message = rig.wait_for(gst::MessageType::Progress);
        let gst::MessageView::Progress(progress) = message.view() else { unreachable!() };
        match progress.type_() {
            gst::ProgressType::Start => (),
            type_ => return type_ == gst::ProgressType::Complete,
        }
    };
    assert!(complete(&rig));
    rig.element.set_state(gst::State::Null).expect("stops");
    // The file keeps its size and time but can no longer be loaded.
    let encoder = folder.path().join("encoder.onnx");
    let modified =
        std::fs::metadata(&encoder).and_then(|file| file.modified()).expect("a modification time");
    let mut file = std::fs::OpenOptions::new().write(true).open(&encoder).expect("writable");
    file.write_all(&[0xff; 64]).expect("written");
    file.set_modified(modified).expect("set");
    drop(file);

    // transcriberbin changes states in this order, and the model must not load twice.
    rig.element.set_state(gst::State::Paused).expect("starts");
    assert!(complete(&rig));
    rig.element.set_state(gst::State::Null).expect("stops");
    rig.element.set_state(gst::State::Playing).expect("starts");
    assert!(complete(&rig));
    rig.push_event(gst::event::StreamStart::new("again"));
    rig.push_event(gst::event::Caps::new(&F32_CAPS.parse::<gst::Caps>().expect("caps")));
    rig.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    rig.push(0, &[0.0; 16_000]);
    rig.finish();
    rig.element.set_state(gst::State::Null).expect("stops");

    // The model is freed after use.
    rig.element.set_state(gst::State::Paused).expect("starts");
    assert!(!complete(&rig));
}
