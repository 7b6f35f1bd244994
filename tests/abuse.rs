// SPDX-License-Identifier: MPL-2.0

//! Runs 10,000 cycles of random abuse: nothing panics, aborts or hangs, GLib reports no criticals,
//! and the transcripts are correct afterwards. `SEED=… cargo test --test abuse` runs other cycles.

#![cfg(unix)]

use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use element_rig::*;
use fastrand::Rng;
use gst::prelude::*;
use multitalker_asr::{ChunkLatency, DiarizationPreset};
use test_support::{limit, require_runtime};

const CYCLES: usize = 10_000;
const THREADS: usize = 4;

/// Longest time a cycle may wait for a sink in PAUSED, which blocks the pushing thread.
const MAX_HELD: Duration = Duration::from_millis(100);

/// Runs the abuse in a child process, because GLib reads `G_DEBUG` when it is loaded.
#[test]
fn ten_thousand_cycles_of_abuse_do_no_harm() {
    if std::env::var_os("ABUSE").is_some() {
        let seed = std::env::var("SEED").expect("a seed").parse().expect("a number");
        return abuse_all(seed);
    }
    require_runtime();
    let seed = std::env::var("SEED").unwrap_or_else(|_| "1".to_owned());
    let output = limit::output(
        Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "ten_thousand_cycles_of_abuse_do_no_harm", "--nocapture"])
            .envs([("ABUSE", "1"), ("SEED", &seed), ("G_DEBUG", "fatal-criticals")]),
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    // GStreamer warns about much of the abuse.
    let relevant = stderr.lines().filter(|line| !line.is_empty() && !line.contains("WARNING"));
    let last: Vec<_> = relevant.collect();
    assert!(
        output.status.success(),
        "SEED={seed}: {:?}\n{}",
        output.status,
        last[last.len().saturating_sub(60)..].join("\n")
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("of abuse: "), "the child did not run: {printed}");
    println!("{printed}");
}

fn abuse_all(seed: u64) {
    init_with_runtime();
    // Keeps the model loaded, so that each start is quick.
    let _keeper = Rig::new(&[]);
    let counts = Counts::default();
    let samples = &audio("meeting.wav");
    std::thread::scope(|scope| {
        for index in 0..THREADS {
            let counts = &counts;
            scope.spawn(move || {
                let seed = seed.wrapping_mul(1_000_003).wrapping_add(index as u64);
                abuse(&Patient::new(counts), samples, seed);
            });
        }
    });
    println!("{CYCLES} cycles of abuse: {counts:?}");
    // The test is only meaningful if enough data gets through.
    let Counts { buffers, texts, .. } = &counts;
    let (buffers, texts) = (buffers.load(Ordering::Relaxed), texts.load(Ordering::Relaxed));
    assert!(buffers > 2 * CYCLES && texts > CYCLES / 40, "{counts:?}");
}

#[derive(Debug, Default)]
struct Counts {
    /// Buffers that the element accepted.
    buffers: AtomicUsize,
    /// Buffers that the element pushed.
    texts: Arc<AtomicUsize>,
    /// Cycles that only a state change ended.
    held: AtomicUsize,
}

/// Element between a bare source pad and sinks that come and go.
struct Patient<'a> {
    pipeline: gst::Pipeline,
    element: gst::Element,
    source: gst::Pad,
    /// 0: not live, 1: live, otherwise the latency query fails.
    live: Arc<AtomicU32>,
    counts: &'a Counts,
}

impl<'a> Patient<'a> {
    fn new(counts: &'a Counts) -> Self {
        let pipeline = gst::Pipeline::new();
        let element = element(&[("chunk-latency", "160ms"), ("diarization-preset", "lockstep")]);
        pipeline.add(&element).expect("a new element");
        pipeline.bus().expect("a pipeline has one").set_sync_handler(|_, message| {
            if let gst::MessageView::Error(error) = message.view() {
                let text = error.error().message().to_owned();
                if text.starts_with("Panicked") {
                    eprintln!("{text}");
                    std::process::abort();
                }
            }
            gst::BusSyncReply::Drop
        });
        let live = Arc::new(AtomicU32::new(0));
        let answer = live.clone();
        let source = gst::Pad::builder(gst::PadDirection::Src)
            .name("source")
            .event_function(|_, _, _| true)
            .query_function(move |pad, parent, query| match query.view_mut() {
                gst::QueryViewMut::Latency(query) => {
                    let live = answer.load(Ordering::Relaxed);
                    query.set(live == 1, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                    live < 2
                }
                _ => gst::Pad::query_default(pad, parent, query),
            })
            .build();
        source.set_active(true).expect("activates");
        source.link(&element.static_pad("sink").expect("an always pad")).expect("links");
        let texts = counts.texts.clone();
        element.static_pad("src").expect("an always pad").add_probe(
            gst::PadProbeType::BUFFER,
            move |_, _| {
                texts.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            },
        );
        Self { pipeline, element, source, live, counts }
    }

    /// Links a new sink to a source pad, or removes the one that is linked.
    fn toggle(&self, pad: &gst::Pad, rng: &mut Rng) {
        if let Some(peer) = pad.peer() {
            let _ = pad.unlink(&peer);
            if let Some(sink) = peer.parent_element() {
                let _ = self.pipeline.remove(&sink);
                let _ = sink.set_state(gst::State::Null);
            }
            return;
        }
        let sink = gst::ElementFactory::make("fakesink")
            .property("sync", rng.u8(0..8) == 0)
            .property("async", rng.u8(0..4) == 0)
            .build()
            .expect("a core element");
        self.pipeline.add(&sink).expect("a new element");
        let _ = pad.link(&sink.static_pad("sink").expect("an always pad"));
        let _ = sink.sync_state_with_parent();
    }

    /// Acts as an application does while audio flows.
    fn control(&self, rng: &mut Rng) {
        match rng.u8(0..20) {
            0..5 => set_property(&self.element, rng),
            5..9 => {
                let states = [gst::State::Null, gst::State::Ready, gst::State::Paused];
                let _ = self.pipeline.set_state(states[rng.usize(0..3)]);
                let _ = self.pipeline.set_state(gst::State::Playing);
            }
            9 => drop(self.pipeline.set_state(gst::State::Paused)),
            10..12 => {
                let names = ["speaker_0", "speaker_1", "speaker_7", "speaker_%u", "speaker_99"];
                let name = names[rng.usize(0..5)];
                // GStreamer reports a critical if an application requests an existing pad.
                if self.element.static_pad(name).is_none()
                    && let Some(pad) = self.element.request_pad_simple(name)
                    && rng.bool()
                {
                    self.toggle(&pad, rng);
                }
            }
            12..14 => {
                let pads = self.element.src_pads();
                let pad = &pads[rng.usize(0..pads.len())];
                if pad.name().starts_with("speaker_") {
                    self.element.release_request_pad(pad);
                    if let Some(peer) = pad.peer() {
                        let _ = pad.unlink(&peer);
                    }
                }
            }
            14..16 => {
                let pads = self.element.src_pads();
                self.toggle(&pads[rng.usize(0..pads.len())], rng);
            }
            16 => self.live.store(rng.u32(0..3), Ordering::Relaxed),
            17..19 => query(&self.element, rng),
            _ => drop(self.element.emit_by_name::<String>("get-transcripts", &[])),
        }
    }
}

/// Sets a random property and reads it back.
fn set_property(element: &gst::Element, rng: &mut Rng) {
    let values: &[(&str, &[&str])] = &[
        ("activity-threshold", &["0.1", "0.5", "0.9"]),
        ("chunk-latency", &["80ms", "160ms"]),
        ("diarization-preset", &["lockstep", "1s", "auto", "30s"]),
        ("language-code", &["en", "de"]),
        ("lateness", &["0", "1000", "4294967295"]),
        ("latency", &["0", "500", "4294967295"]),
        ("max-segment-duration", &["1000", "10000"]),
        ("max-speakers", &["0", "1", "99"]),
        ("on-discontinuity", &["keep", "reset"]),
        ("overload-policy", &["degrade", "drop"]),
        ("post-partials", &["true", "false"]),
        ("segment-pause", &["0", "800"]),
        ("session-id", &["", "a \"session\""]),
        ("speaker-colors", &["", "red", "white,#zz"]),
        ("speaker-prefix", &["", "{n}{n}: <&"]),
        ("target-mode", &["probability", "nemo"]),
        ("text-unit", &["word", "segment"]),
    ];
    let (name, values) = values[rng.usize(0..values.len())];
    element.set_property_from_str(name, values[rng.usize(0..values.len())]);
    for name in [name, "max-observed-delay"] {
        drop(element.property_value(name));
    }
}

/// Sends a query to one of the pads, but none that is serialized with the stream, which may be
/// blocked.
fn query(element: &gst::Element, rng: &mut Rng) {
    let pads = element.pads();
    let pad = &pads[rng.usize(0..pads.len())];
    let caps: gst::Caps = CAPS[rng.usize(0..CAPS.len())].parse().expect("caps");
    let _ = match rng.u8(0..6) {
        0 => pad.query(&mut gst::query::Latency::new()),
        1 => pad.query(&mut gst::query::Position::new(gst::Format::Time)),
        2 => pad.query(&mut gst::query::Duration::new(gst::Format::Bytes)),
        3 => pad.query(&mut gst::query::Caps::new(Some(&caps))),
        4 => pad.query(&mut gst::query::AcceptCaps::new(&caps)),
        _ => pad.query(&mut gst::query::Seeking::new(gst::Format::Time)),
    };
}

const CAPS: [&str; 7] = [
    F32_CAPS,
    S16_CAPS,
    "audio/x-raw,format=F32LE,rate=48000,channels=1,layout=interleaved",
    "audio/x-raw,format=S16LE,rate=16000,channels=2,layout=interleaved",
    "audio/x-raw",
    "video/x-raw,format=I420,width=2,height=2,framerate=1/1",
    "text/x-raw,format=utf8",
];

/// Returns a random time, mostly a sensible one.
fn time(rng: &mut Rng, sensible: gst::ClockTime) -> gst::ClockTime {
    match rng.u8(0..24) {
        0 => gst::ClockTime::ZERO,
        1 => gst::ClockTime::from_nseconds(1 << 62),
        2 => gst::ClockTime::MAX,
        3 => gst::ClockTime::from_seconds(rng.u64(0..200_000)),
        4..8 => sensible + gst::ClockTime::from_mseconds(rng.u64(0..500)),
        8..10 => sensible.saturating_sub(gst::ClockTime::from_mseconds(rng.u64(0..500))),
        _ => sensible,
    }
}

/// Builds a buffer of audio, which may be malformed.
fn buffer(rng: &mut Rng, samples: &[f32], position: &mut gst::ClockTime) -> gst::Buffer {
    let sizes = [0, 1, 7, 160, 160, 800, 1600, 1600, 3200, 4800];
    let size = match rng.u8(0..200) {
        0 => 48_000,
        _ => sizes[rng.usize(0..sizes.len())],
    };
    let start = rng.usize(0..samples.len() - size);
    let mut piece = samples[start..start + size].to_vec();
    if rng.u8(0..8) == 0 {
        let odd = [f32::NAN, f32::INFINITY, -1e38, 1e-40];
        piece
            .iter_mut()
            .step_by(1 + rng.usize(0..50))
            .for_each(|sample| *sample = odd[rng.usize(0..4)]);
    }
    let mut bytes: Vec<u8> = piece.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    if rng.u8(0..10) == 0 {
        bytes.extend_from_slice(&[0x7f; 3][..rng.usize(1..4)]);
    }
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    let fields = buffer.get_mut().expect("a new buffer");
    let pts = time(rng, *position);
    let duration = gst::ClockTime::from_nseconds(size as u64 * SAMPLE_NS);
    fields.set_pts((rng.u8(0..50) > 0).then_some(pts));
    fields.set_duration((rng.u8(0..6) > 0).then(|| time(rng, duration)));
    if rng.u8(0..10) == 0 {
        fields.set_flags(gst::BufferFlags::DISCONT);
    }
    if rng.u8(0..20) == 0 {
        fields.set_flags(gst::BufferFlags::GAP);
    }
    // One jump into the far future is enough.
    if pts < gst::ClockTime::from_seconds(1_000_000) {
        *position = pts + duration;
    }
    buffer
}

fn segment_event(rng: &mut Rng) -> gst::Event {
    match rng.u8(0..10) {
        0 => gst::event::Segment::new(&gst::FormattedSegment::<gst::format::Bytes>::new()),
        1 => gst::event::Segment::new(&gst::FormattedSegment::<gst::format::Default>::new()),
        2 => {
            let mut segment = segment(0, 0, 0);
            segment.set_rate([-1.0, 0.5, 2.0][rng.usize(0..3)]);
            gst::event::Segment::new(&segment)
        }
        kind => {
            let mut segment = segment(rng.u64(0..3), rng.u64(0..3), rng.u64(0..3));
            if kind == 3 {
                segment.set_stop(gst::ClockTime::from_mseconds(rng.u64(3000..9000)));
            }
            gst::event::Segment::new(&segment)
        }
    }
}

/// Performs one random action of upstream or downstream.
fn stream(patient: &Patient, rng: &mut Rng, samples: &[f32], position: &mut gst::ClockTime) {
    let push = |event: gst::Event| {
        let _ = patient.source.push_event(event);
    };
    match rng.u8(0..80) {
        0 => push(gst::event::StreamStart::new("another")),
        1 | 2 => {
            let caps = CAPS[rng.usize(0..CAPS.len())].parse::<gst::Caps>().expect("caps");
            push(gst::event::Caps::new(&caps));
        }
        3 | 4 => push(segment_event(rng)),
        5 => (0..1 + rng.u8(0..2)).for_each(|_| push(gst::event::Eos::new())),
        6 => {
            push(gst::event::FlushStart::new());
            push(gst::event::FlushStop::new(rng.bool()));
            push(segment_event(rng));
        }
        7 => match rng.bool() {
            true => push(gst::event::FlushStart::new()),
            false => push(gst::event::FlushStop::new(rng.bool())),
        },
        8..11 => {
            for _ in 0..rng.u8(1..20) {
                let length = gst::ClockTime::from_mseconds([10, 150, 500][rng.usize(0..3)]);
                let gap = gst::event::Gap::builder(time(rng, *position));
                push(gap.duration((rng.u8(0..9) > 0).then(|| time(rng, length))).build());
                *position += length;
            }
        }
        11 => push(gst::event::Tag::new(gst::TagList::new())),
        12 => push(gst::event::SegmentDone::new(time(rng, *position))),
        13 => {
            let structure = gst::Structure::new_empty("abuse");
            push(match rng.bool() {
                true => gst::event::CustomDownstream::new(structure),
                false => gst::event::CustomDownstreamOob::new(structure),
            });
        }
        14 => {
            let pads = patient.element.src_pads();
            let seek = gst::event::Seek::new(
                [1.0, -1.0, 0.5][rng.usize(0..3)],
                gst::SeekFlags::FLUSH,
                gst::SeekType::Set,
                time(rng, *position),
                gst::SeekType::None,
                gst::ClockTime::NONE,
            );
            pads[rng.usize(0..pads.len())].send_event(seek);
        }
        15 => {
            let caps = CAPS[rng.usize(0..CAPS.len())].parse::<gst::Caps>().expect("caps");
            let _ = match rng.bool() {
                true => {
                    patient.source.peer_query(&mut gst::query::Allocation::new(Some(&caps), true))
                }
                false => patient.source.peer_query(&mut gst::query::Drain::new()),
            };
            query(&patient.element, rng);
        }
        _ => {
            let buffer = buffer(rng, samples, position);
            if patient.source.push(buffer).is_ok() {
                patient.counts.buffers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Begins a well-formed stream, as far as possible.
fn begin(patient: &Patient, rng: &mut Rng) {
    let source = &patient.source;
    source.push_event(gst::event::FlushStop::new(true));
    source.push_event(gst::event::StreamStart::new("abuse"));
    let caps = [F32_CAPS, S16_CAPS][rng.usize(0..2)].parse::<gst::Caps>().expect("caps");
    source.push_event(gst::event::Caps::new(&caps));
    source.push_event(gst::event::Segment::new(&segment(0, 0, 0)));
    let src = patient.element.static_pad("src").expect("an always pad");
    if !src.is_linked() && rng.u8(0..4) > 0 {
        patient.toggle(&src, rng);
    }
}

/// Abuses one element from two threads: one is the stream, the other the application, which
/// unblocks the stream.
fn abuse(patient: &Patient, samples: &[f32], seed: u64) {
    let (cycle, cycles) = mpsc::channel::<u64>();
    let (end, ended) = mpsc::channel::<()>();
    let (rest, rested) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for seed in cycles {
                let mut rng = Rng::with_seed(seed);
                (0..rng.u8(0..3)).for_each(|_| patient.control(&mut rng));
                if ended.recv_timeout(MAX_HELD).is_err() {
                    // The application gives up waiting.
                    let _ = patient.pipeline.set_state(gst::State::Null);
                    patient.counts.held.fetch_add(1, Ordering::Relaxed);
                    if ended.recv_timeout(TIMEOUT).is_err() {
                        eprintln!("a cycle hangs, seed {seed}");
                        std::process::abort();
                    }
                    let _ = patient.pipeline.set_state(gst::State::Playing);
                }
                rest.send(()).expect("it runs");
            }
        });
        let _ = patient.pipeline.set_state(gst::State::Playing);
        let mut position = gst::ClockTime::ZERO;
        for index in 0..CYCLES / THREADS {
            let mut rng = Rng::with_seed(seed.wrapping_add((index as u64) << 32));
            cycle.send(rng.u64(..)).expect("it runs");
            if rng.u8(0..4) > 0 {
                position = gst::ClockTime::ZERO;
                begin(patient, &mut rng);
            }
            for _ in 0..12 {
                stream(patient, &mut rng, samples, &mut position);
            }
            end.send(()).expect("it runs");
            // Without this wait the stream would finish long before the application.
            if rested.recv_timeout(2 * TIMEOUT).is_err() {
                eprintln!("a change of state hangs in cycle {index}");
                std::process::abort();
            }
        }
        drop(cycle);
    });
    check(patient, samples);
}

/// Asserts that the element still produces the same transcripts as the engine.
fn check(patient: &Patient, samples: &[f32]) {
    patient.pipeline.set_state(gst::State::Null).expect("stops");
    for pad in patient.element.src_pads() {
        if let Some(peer) = pad.peer() {
            pad.unlink(&peer).expect("linked");
        }
    }
    let _ = patient.source.unlink(&patient.element.static_pad("sink").expect("an always pad"));
    patient.pipeline.remove(&patient.element).expect("in the pipeline");
    let fresh = element(&[]);
    for property in fresh.list_properties() {
        if property.flags().contains(gst::glib::ParamFlags::WRITABLE)
            && !["name", "parent"].contains(&property.name())
        {
            patient
                .element
                .set_property_from_value(property.name(), &fresh.property_value(property.name()));
        }
    }
    let mut rig = Rig::of(patient.element.clone(), Some(F32_CAPS));
    rig.push_all(&samples[..20 * 16_000], 1600);
    rig.finish();
    let options = with_preset(DiarizationPreset::ThirtySeconds, ChunkLatency::Ms1120);
    let expected = engine_transcripts(&samples[..20 * 16_000], options, 0);
    assert!(!expected.is_empty());
    assert_eq!(rig.transcripts(), expected);
}
