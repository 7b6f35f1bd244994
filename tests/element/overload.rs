// SPDX-License-Identifier: MPL-2.0

//! Live sources that the element cannot keep up with, and sinks that block.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use element_rig::*;
use gst::prelude::*;
use multitalker_asr::{Canceller, Event, Model, ModelOptions, Stream};
use test_support::slow_diarizer;

/// Blocks `src` at the first word. Returns a channel that is signaled then, and a function that
/// unblocks the pad.
fn block_at_first_word(rig: &Rig) -> (mpsc::Receiver<()>, impl FnOnce() + use<>) {
    let (sender, blocked) = mpsc::channel();
    let pad = rig.srcpad();
    let mask = gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER;
    let id = pad.add_probe(mask, move |_, _| {
        // The test may have ended.
        let _ = sender.send(());
        gst::PadProbeReturn::Ok
    });
    let id = id.expect("a probe that was not called at once");
    (blocked, move || pad.remove_probe(id))
}

/// A range of dropped audio, in stream time.
#[derive(Clone, Debug)]
struct Dropped {
    start: u64,
    end: u64,
    cause: String,
}

/// Reads the ranges of dropped audio from the warnings.
fn dropped(messages: &[gst::Message]) -> Vec<Dropped> {
    let warnings = warnings(messages);
    let dropped = warnings.iter().filter_map(|warning| {
        let details = warning.details()?;
        let time = |field| details.get::<gst::ClockTime>(field).expect("a time").nseconds();
        if details.name() != "multitalkerasr/dropped" {
            return None;
        }
        let (start, end) = (time("start-time"), time("end-time"));
        let cause: String = details.get("cause").expect("a string");
        let text = warning.error().message().to_owned();
        let (code, reason) = match cause.as_str() {
            "downstream" => (gst::CoreError::Pad, "Downstream blocks"),
            _ => (gst::CoreError::TooLazy, "Cannot keep up"),
        };
        let time = gst::ClockTime::from_nseconds;
        let expected = format!("{reason}: dropped audio from {} to {}", time(start), time(end));
        assert_eq!((warning.error().kind(), text), (Some(code), expected));
        Some(Dropped { start, end, cause })
    });
    dropped.collect()
}

/// Returns start and end of the only range of dropped audio.
#[track_caller]
fn dropped_once(messages: &[gst::Message], cause: &str) -> (u64, u64) {
    let [dropped] = &dropped(messages)[..] else { panic!("{messages:#?}") };
    assert_eq!(dropped.cause, cause);
    (dropped.start, dropped.end)
}

fn qos(messages: &[gst::Message]) -> Vec<(Option<u64>, u64, u64)> {
    messages
        .iter()
        .filter_map(|message| match message.view() {
            gst::MessageView::Qos(qos) => {
                assert!(qos.live());
                let (processed, dropped) = qos.stats();
                let samples = |value: gst::GenericFormattedValue| value.value() as u64;
                let duration = qos.duration().map(|duration| duration.nseconds());
                Some((duration, samples(processed), samples(dropped)))
            }
            _ => None,
        })
        .collect()
}

/// Returns the engine's segments for the audio around the dropped ranges, with the speakers kept.
fn engine_transcripts_around(samples: &[f32], dropped: &[Dropped]) -> Vec<Transcript> {
    let model = test_support::tiny_model_options();
    let model = Model::load(&model, &Canceller::new()).expect("a model");
    let options = live_options();
    let mut stream = Stream::new(model, options).expect("valid options");
    let mut all = Vec::new();
    let index = |ns: u64| (ns / SAMPLE_NS) as usize;
    let mut base_ns = 0;
    for range in dropped.iter().map(Some).chain([None]) {
        let rest = &samples[index(base_ns)..];
        let events = match range {
            // Decoding up to the drop needs the next few samples; undecoded audio was dropped.
            Some(range) if range.cause == "recognition" => {
                let end = index(range.start - base_ns) + 8000;
                let mut events = stream.push(&rest[..end.min(rest.len())]).expect("inference");
                events.extend(stream.take_remaining());
                events
            }
            _ => {
                let end = range.map_or(rest.len(), |range| index(range.start - base_ns));
                let mut events = stream.push(&rest[..end]).expect("inference");
                events.extend(stream.finish().expect("inference"));
                events
            }
        };
        all.extend(events.iter().filter_map(|event| match event {
            Event::Segment(segment) => Some(engine_transcript(segment, base_ns)),
            _ => None,
        }));
        stream.resume();
        base_ns = range.map_or(base_ns, |range| range.end);
    }
    all
}

#[test]
fn live_audio_never_waits_and_what_is_dropped_is_told() {
    let mut rig = Rig::new(&[("overload-policy", "drop")]);
    rig.harness.set_live(true);
    let (blocked, unblock) = block_at_first_word(&rig);
    let samples = &audio("meeting.wav")[..60 * 16_000];
    // The worker takes a single buffer at once.
    let (before, after) = samples.split_at(10 * 16_000);
    rig.push(0, before);
    blocked.recv_timeout(TIMEOUT).expect("a word");
    // Recognition is blocked, but the element still accepts all audio.
    for (index, piece) in after.chunks(1600).enumerate() {
        rig.push((before.len() + index * 1600) as u64 * SAMPLE_NS, piece);
    }
    unblock();
    let entries = rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    let (start, end) = dropped_once(&messages, "downstream");
    // The queue holds the chunk and 2 s, and at least half of it remains.
    let audio_end = 60 * SECOND_NS;
    let left = audio_end - end;
    assert!((1_500_000_000..=3_120_000_000).contains(&left), "{left} ns were left");
    assert!(start < 12 * SECOND_NS, "{start}");

    let [(Some(duration), processed, samples_dropped)] = qos(&messages)[..] else {
        panic!("{messages:#?}")
    };
    assert_eq!(duration, end - start);
    assert_eq!((processed * SAMPLE_NS, samples_dropped * SAMPLE_NS), (start, end - start));

    // Nothing before or after the drop is lost, and a gap covers it.
    let expected = engine_transcripts_around(samples, &dropped(&messages));
    assert_eq!(transcripts(&messages), expected);
    let covers = |entry: &Entry| match entry {
        Entry::Gap { pts, duration } => *pts <= start + 80_000_000 && pts + duration >= end,
        _ => false,
    };
    assert!(entries.iter().any(covers), "{start} to {end}: {entries:?}");
    assert_continuous(&entries, 0);
}

#[test]
fn overload_is_relieved_before_audio_is_dropped() {
    let mut rig = Rig::new(&[]);
    rig.harness.set_live(true);
    let samples = audio("meeting.wav");
    // While the long buffer is recognized, the queue is over a quarter full but does not overflow.
    let (before, after) = samples.split_at(samples.len() - 2 * 16_000);
    rig.push(0, before);
    let mut entries = rig.until(Entry::is_text);
    for (index, piece) in after.chunks(1600).enumerate() {
        // The sleep spreads the pushes beyond the time in which the first word is pushed.
        std::thread::sleep(Duration::from_millis(10));
        rig.push((before.len() + index * 1600) as u64 * SAMPLE_NS, piece);
    }
    entries.extend(rig.finish());
    let messages: Vec<_> = rig.bus.iter().collect();
    let qos = qos(&messages);
    assert!(!qos.is_empty());
    assert!(
        qos.iter().all(|(duration, _, dropped)| duration.is_none() && *dropped == 0),
        "{qos:?}"
    );
    assert!(assert_continuous(&entries, 0) >= samples.len() as u64 * SAMPLE_NS);
}

#[test]
fn nothing_is_saved_where_downstream_blocks() {
    let mut rig = Rig::new(&[]);
    rig.harness.set_live(true);
    let (blocked, unblock) = block_at_first_word(&rig);
    let samples = &audio("meeting.wav")[..15 * 16_000];
    let (before, after) = samples.split_at(13 * 16_000);
    rig.push(0, before);
    blocked.recv_timeout(TIMEOUT).expect("a word");
    for (index, piece) in after.chunks(1600).enumerate() {
        rig.push((before.len() + index * 1600) as u64 * SAMPLE_NS, piece);
    }
    unblock();
    rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    assert!(qos(&messages).is_empty() && warnings(&messages).is_empty(), "{messages:#?}");
    assert_eq!(transcripts(&messages), engine_transcripts_around(samples, &[]));
}

/// Decoding audio that is queued before a drop would only delay the text that follows.
#[test]
fn nothing_is_decoded_on_the_way_to_a_hole() {
    let mut rig = Rig::new(&[("overload-policy", "drop")]);
    rig.harness.set_live(true);
    // From the segment on, the worker spends its time on recognition.
    rig.push(0, &[0.0; 160]);
    rig.until(|entry| matches!(entry, Entry::Segment(_)));
    let samples = [&[0.0; 160], &audio("meeting.wav")[..60 * 16_000]].concat();
    for (index, piece) in samples[160..].chunks(1600).enumerate() {
        rig.push((160 + index * 1600) as u64 * SAMPLE_NS, piece);
    }
    let entries = rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    let ranges = dropped(&messages);
    assert!(ranges.iter().any(|range| range.cause == "recognition"), "{ranges:?}");
    let (_, _, samples_dropped) = *qos(&messages).last().expect("a QoS message for each range");
    let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert_eq!(samples_dropped * SAMPLE_NS, total);
    assert_eq!(transcripts(&messages), engine_transcripts_around(&samples, &ranges), "{ranges:?}");
    assert_continuous(&entries, 0);
}

#[test]
fn live_audio_does_not_wait_for_the_model() {
    init_with_runtime();
    let models = HeldModels::new();
    let element = element(&[("model-dir", &models.path()), ("overload-policy", "drop")]);
    let mut rig = Rig::of(element, Some(F32_CAPS));
    rig.harness.set_live(true);
    let samples = &audio("meeting.wav")[..30 * 16_000];
    rig.push_all(samples, 1600);
    models.release();
    let entries = rig.finish();
    let messages: Vec<_> = rig.bus.iter().collect();
    let (start, end) = dropped_once(&messages, "recognition");
    assert_eq!(start, 0);
    assert!(end > 26 * SECOND_NS, "{end}");
    let expected = engine_transcripts_around(samples, &dropped(&messages));
    assert_eq!(transcripts(&messages), expected);
    assert_continuous(&entries, 0);
}

#[test]
fn files_wait() {
    // A live source would lose audio here.
    let mut rig = Rig::new(&[("overload-policy", "drop"), ("diarization-preset", "lockstep")]);
    let (blocked, unblock) = block_at_first_word(&rig);
    let source = rig.sinkpad().peer().expect("linked");
    let samples = audio("meeting.wav")[..30 * 16_000].to_vec();
    let all = samples.clone();
    let (sender, last) = mpsc::channel();
    let pushing = std::thread::spawn(move || {
        for (index, piece) in samples.chunks(1600).enumerate() {
            let pts = (index * 1600) as u64 * SAMPLE_NS;
            source.push(f32_buffer(Some(pts), piece)).expect("accepted");
            let _ = sender.send(pts);
        }
    });
    blocked.recv_timeout(TIMEOUT).expect("a word");
    unblock();
    pushing.join().expect("no panic");
    rig.finish();
    assert_eq!(last.try_iter().count(), 300);
    let messages: Vec<_> = rig.bus.iter().collect();
    assert!(warnings(&messages).is_empty() && qos(&messages).is_empty());
    let options = live_options();
    assert_eq!(transcripts(&messages), engine_transcripts(&all, options, 0));
}

/// Makes an element with a diarizer that takes about `step` for each chunk.
fn slow_element(step: Duration, folder: &Path) -> gst::Element {
    let products = 5000;
    let model = ModelOptions {
        diarization_model: Some(slow_diarizer(folder, products)),
        ..test_support::tiny_model_options()
    };
    let model = Model::load(&model, &Canceller::new()).expect("a model");
    let mut stream = Stream::new(model, live_options()).expect("valid options");
    // The minimum of several runs counts because the machine may be busy.
    let taken = (0..4).map(|_| {
        let start = Instant::now();
        stream.push(&[0.0; 17_920]).expect("inference");
        start.elapsed()
    });
    let taken = taken.skip(1).min().expect("several runs");
    let products = step.as_secs_f64() / taken.as_secs_f64() * products as f64;
    println!("{products:.0} products take {step:?}");
    let diarizer = slow_diarizer(folder, products as u64).display().to_string();
    element(&[("diarization-model", &diarizer), ("overload-policy", "drop")])
}

#[test]
fn delay_under_overload_is_bounded() {
    init_with_runtime();
    // This is far too slow for chunks of 1.12 s.
    let step = Duration::from_secs(3);
    let folder = tempfile::tempdir().expect("a folder");
    let mut rig = Rig::of(slow_element(step, folder.path()), Some(F32_CAPS));
    rig.harness.set_live(true);
    rig.until(|entry| matches!(entry, Entry::Segment(_)));
    let clock = gst::SystemClock::obtain();
    rig.element.set_clock(Some(&clock)).expect("any clock will do");
    // A step's text and gaps come out together when it ends.
    let base = clock.time();
    rig.element.set_base_time(base);
    let (sender, pushes) = mpsc::channel();
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    rig.srcpad().add_probe(mask, move |_, info| {
        let now = Duration::from(clock.time().saturating_sub(base));
        let delay = info.buffer().map(|buffer| now - Duration::from(buffer.pts().expect("a PTS")));
        // The test may have ended.
        let _ = sender.send((now, delay));
        gst::PadProbeReturn::Ok
    });
    let start = Instant::now();
    let (mut pushed, mut lag) = (Duration::ZERO, Duration::ZERO);
    for piece in audio("meeting.wav")[..20 * 16_000].chunks(1600) {
        let pts = pushed.as_nanos() as u64;
        pushed += Duration::from_nanos(piece.len() as u64 * SAMPLE_NS);
        // A live source pushes audio only once it is recorded.
        std::thread::sleep(pushed.saturating_sub(start.elapsed()));
        lag = lag.max(start.elapsed().saturating_sub(pushed));
        rig.push(pts, piece);
    }
    // The rest of the queue is recognized at the end, so the bound does not apply to it.
    let while_live: Vec<_> = pushes.try_iter().collect();
    rig.finish();
    let dropped = dropped(&rig.bus.iter().collect::<Vec<_>>());
    println!("{while_live:?}, {dropped:?}");
    assert!(dropped.len() > 2);

    let (mut last, mut longest) = (Duration::ZERO, Duration::ZERO);
    for &(now, delay) in &while_live {
        longest = longest.max(now - last);
        last = now;
        // The bound is the sum of latency, queue and the step in progress.
        let bound = Duration::from_millis(2623 + 3120) + longest + lag;
        assert!(delay.is_none_or(|delay| delay < bound), "{delay:?} at {now:?}, bound {bound:?}");
    }
    assert!(longest > step / 2, "{longest:?}");
    let observed = u64::from(rig.element.property::<u32>("max-observed-delay"));
    let delays = while_live.into_iter().chain(pushes.try_iter()).filter_map(|(_, delay)| delay);
    let largest = delays.max().expect("text");
    let observed = Duration::from_millis(observed);
    assert!(step / 2 < observed && observed <= largest, "{observed:?} of {largest:?}");
}
