// SPDX-License-Identifier: MPL-2.0

//! Tests streams from a real RTSP server, seeks in a file, and GStreamer's debugging tools.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

use element_rig::Transcript;
use gst::prelude::*;
use multitalker_asr::{self, ModelOptions, StreamOptions};

fn conversation() -> PathBuf {
    test_support::data().join("demo/conversation.wav")
}

fn demo_models() -> String {
    let models = test_support::data().join("demo-models");
    let diarizer = models.join("sortformer.onnx");
    format!("model-dir={} diarization-model={}", models.display(), diarizer.display())
}

/// Returns the transcript of the engine for a part of the conversation.
fn engine_transcript(from_s: f64, to_s: f64) -> Vec<Transcript> {
    let models = test_support::data().join("demo-models");
    let sample = |seconds: f64| (seconds * 16_000.0).round() as usize;
    let samples = test_support::read_wav(&conversation());
    let events = element_rig::engine_events_of(
        &ModelOptions {
            model_dir: models.clone(),
            diarization_model: Some(models.join("sortformer.onnx")),
            ..Default::default()
        },
        &samples[sample(from_s)..sample(to_s)],
        StreamOptions::default(),
    );
    let segments = events.iter().filter_map(|event| match event {
        multitalker_asr::Event::Segment(segment) => Some(element_rig::engine_transcript(
            segment,
            sample(from_s) as u64 * element_rig::SAMPLE_NS,
        )),
        _ => None,
    });
    segments.collect()
}

/// Returns the segments that are posted before EOS.
#[track_caller]
fn transcripts_to_eos(pipeline: &gst::Pipeline) -> Vec<Transcript> {
    let messages = element_rig::play(pipeline);
    let last = messages.last().expect("one");
    assert_eq!(last.type_(), gst::MessageType::Eos, "{last:?}");
    let posted = element_rig::structures(messages.into_iter(), "multitalkerasr/transcript");
    posted.iter().map(element_rig::transcript).collect()
}

#[test]
fn seeks_give_the_words_of_the_new_place() {
    element_rig::init_with_runtime();
    let properties = format!("{} diarization-preset=lockstep", demo_models());
    let pipeline = element_rig::file_pipeline(&conversation(), &properties);
    let asr = pipeline.by_name("asr").expect("named");
    pipeline.set_state(gst::State::Paused).expect("starts");
    pipeline.state(gst::ClockTime::NONE).0.expect("prerolls");
    // Seek forward before any text is posted, back after the end, and to a range.
    for (from_s, to_s) in [(27.0, 50.0), (9.9, 50.0), (16.0, 26.5)] {
        let time = |seconds: f64| gst::ClockTime::from_nseconds((seconds * 1e9) as u64);
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        pipeline
            .seek(1.0, flags, gst::SeekType::Set, time(from_s), gst::SeekType::Set, time(to_s))
            .expect("a seekable file");
        let expected = engine_transcript(from_s, to_s);
        assert!(expected.len() >= 3, "{expected:?}");
        assert_eq!(transcripts_to_eos(&pipeline), expected, "from {from_s} s to {to_s} s");
        let rows: String = asr.emit_by_name("get-transcripts", &[]);
        let rows: Vec<multitalker_asr::SegLstRow> = serde_json::from_str(&rows).expect("SegLST");
        assert_eq!(rows.len(), expected.len(), "the transcript covers the new range");
    }
    pipeline.set_state(gst::State::Null).expect("stops");
}

/// RTSP server in a child process, which serves the first sentences of the conversation.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(port: u16, wav: &Path) -> Self {
        test_support::limit::watch();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rtsp_server.py");
        let mut process = Command::new(script)
            .arg(port.to_string())
            .arg(wav)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("gir1.2-gst-rtsp-server-1.0, and a port");
        Self { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Client that keeps its recognizer while its source comes and goes.
struct Client {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    source: gst::Bin,
    /// Receives a value for each EOS of the source, which is dropped at the probe.
    ended: mpsc::Receiver<()>,
}

impl Client {
    fn connect(port: u16, properties: &str) -> Self {
        element_rig::init_with_runtime();
        let pipeline = gst::parse::launch(&format!(
            "queue name=audio ! multitalkerasr {} {properties} ! fakesink sync=false async=false \
             queue name=video ! fakesink sync=false async=false",
            demo_models()
        ));
        let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("one");
        let (end, ended) = mpsc::channel();
        for name in ["audio", "video"] {
            let end = end.clone();
            let pad = pipeline.by_name(name).expect("named").static_pad("sink").expect("always");
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                if !info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
                    return gst::PadProbeReturn::Ok;
                }
                // Sending fails when the test is over.
                let _ = end.send(());
                gst::PadProbeReturn::Handled
            });
        }
        let bus = pipeline.bus().expect("a pipeline has one");
        let source = Self::source(port);
        let this = Self { pipeline, bus, source, ended };
        this.attach();
        this.pipeline.set_state(gst::State::Playing).expect("starts");
        this
    }

    fn source(port: u16) -> gst::Bin {
        let description = format!(
            "rtspsrc location=rtsp://127.0.0.1:{port}/talk protocols=tcp latency=200 name=rtsp \
             rtsp. ! application/x-rtp,media=audio ! decodebin ! audioconvert ! \
             audioresample name=from_audio \
             rtsp. ! application/x-rtp,media=video ! decodebin ! videoconvert name=from_video"
        );
        let source = gst::parse::bin_from_description(&description, false).expect("a source");
        for name in ["audio", "video"] {
            let end = source.by_name(&format!("from_{name}")).expect("named");
            let pad = end.static_pad("src").expect("an always pad");
            let ghost = gst::GhostPad::builder_with_target(&pad).expect("a target").name(name);
            source.add_pad(&ghost.build()).expect("a new name");
        }
        source
    }

    fn attach(&self) {
        self.pipeline.add(&self.source).expect("a new element");
        for name in ["audio", "video"] {
            let sink = self.pipeline.by_name(name).expect("named");
            self.source.link_pads(Some(name), &sink, Some("sink")).expect("fits");
        }
    }

    fn reconnect(&mut self, port: u16) {
        // The source must finish sending EOS before it can be stopped.
        for _ in ["audio", "video"] {
            self.ended.recv_timeout(element_rig::TIMEOUT).expect("an EOS");
        }
        self.source.set_state(gst::State::Null).expect("stops");
        self.pipeline.remove(&self.source).expect("in the pipeline");
        self.source = Self::source(port);
        self.attach();
        self.source.sync_state_with_parent().expect("starts");
    }

    /// Returns whether the message was posted by the source or by one that was replaced.
    fn is_from_a_source(&self, message: &gst::MessageRef) -> bool {
        message.src().is_some_and(|src| {
            src.has_as_ancestor(&self.source) || !src.has_as_ancestor(&self.pipeline)
        })
    }

    /// Returns the segments that are posted up to a message that matches. Only sources may post
    /// errors.
    #[track_caller]
    fn receive_until(&self, mut matches: impl FnMut(&gst::Message) -> bool) -> Vec<Posted> {
        let (mut posted, mut seen) = (Vec::new(), Vec::new());
        loop {
            let timeout = gst::ClockTime::try_from(element_rig::TIMEOUT).expect("in range");
            let Some(message) = self.bus.timed_pop(timeout) else {
                panic!("no more messages after {seen:#?}");
            };
            if message.type_() == gst::MessageType::Error {
                assert!(self.is_from_a_source(&message), "{message:?}");
            }
            if let Some(message) = message.structure()
                && message.name() == "multitalkerasr/transcript"
            {
                posted.push(Posted {
                    transcript: element_rig::transcript(&message.to_owned()),
                    running_time: message.get("running-time").expect("a time"),
                });
            }
            if matches(&message) {
                return posted;
            }
            seen.push(message);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

#[derive(Debug)]
struct Posted {
    transcript: Transcript,
    running_time: gst::ClockTime,
}

/// Matches only a few words, because on a busy machine packets arrive too late to be played.
fn mentions_trains(message: &gst::Message) -> bool {
    message.structure().is_some_and(|message| {
        message.name() == "multitalkerasr/transcript"
            && element_rig::transcript(&message.to_owned()).text.contains("trains from")
    })
}

/// Plays a stream with two speakers that stops, then one that begins with the second of them.
/// Returns the number of this speaker in the second stream.
#[track_caller]
fn second_speaker_after_a_stop(properties: &str) -> u32 {
    let folder = tempfile::tempdir().expect("a folder");
    let samples = test_support::read_wav(&conversation());
    let wavs = [0.0..13.0, 4.3..11.0].map(|part: std::ops::Range<f64>| {
        let sample = |seconds: f64| (seconds * 16_000.0) as usize;
        let wav = folder.path().join(format!("from-{}.wav", part.start));
        test_support::write_wav(&wav, &samples[sample(part.start)..sample(part.end)]);
        wav
    });

    let server = Server::start(0, &wavs[0]);
    let port = server.port;
    let mut client = Client::connect(port, properties);
    // Both speakers have said their first sentences.
    let mut first = client.receive_until(mentions_trains);
    drop(server);
    // The data left in the closed connection decides which of the two is posted.
    let ends = [gst::MessageType::Warning, gst::MessageType::Error];
    first.extend(client.receive_until(|message| ends.contains(&message.type_())));
    let stopped_at = client.pipeline.current_running_time().expect("plays");

    let _server = Server::start(port, &wavs[1]);
    client.reconnect(port);
    let mut rest = client.receive_until(mentions_trains);
    // Words in progress when the stream stopped are posted when it resumes.
    let second = rest.split_off(rest.partition_point(|posted| posted.running_time < stopped_at));
    first.extend(rest);
    assert!(!second.is_empty(), "after {stopped_at}: {first:?}");

    assert!(first[0].transcript.text.starts_with("a storm is moving"), "{first:?}");
    assert_eq!(first[0].transcript.speaker, 0, "{first:?}");
    let speakers_of_trains = |posted: &[Posted]| {
        let transcripts = posted.iter().map(|posted| &posted.transcript);
        let of_trains = transcripts.filter(|transcript| transcript.text.contains("trains from"));
        of_trains.map(|transcript| transcript.speaker).collect::<Vec<_>>()
    };
    assert_eq!(speakers_of_trains(&first), [1], "{first:?}");
    let [speaker] = speakers_of_trains(&second)[..] else { panic!("{second:?}") };
    speaker
}

#[test]
fn rtsp_stream_comes_back_with_new_speakers() {
    assert_eq!(second_speaker_after_a_stop("on-discontinuity=reset"), 0);
}

#[test]
fn rtsp_stream_comes_back_with_known_speakers() {
    assert_eq!(second_speaker_after_a_stop("on-discontinuity=keep"), 1);
}

/// Runs `gst-launch-1.0` on the conversation, with debugging tools enabled by the environment.
fn launch(tools: &[(&str, &str)], folder: &Path) -> Output {
    let plugin = "libgstmultitalkerasr.so";
    let link = folder.join(plugin);
    std::os::unix::fs::symlink(test_support::built().join("deps").join(plugin), link)
        .expect("a link");
    let mut launch = Command::new("gst-launch-1.0");
    launch
        .args(["filesrc", &format!("location={}", conversation().display())])
        .args("! wavparse ! audioconvert ! audioresample ! multitalkerasr".split(' '))
        .args(demo_models().split(' '))
        .args("! tee name=t ! queue ! fakesink t. ! queue ! fakesink".split(' '))
        .env("GST_PLUGIN_PATH", folder)
        .env("GST_REGISTRY", folder.join("registry"))
        .env("G_DEBUG", "fatal-criticals")
        .env("GST_DEBUG_NO_COLOR", "1")
        .envs(tools.iter().copied());
    let output = test_support::limit::output(&mut launch);
    assert!(output.status.success(), "{output:?}");
    output
}

#[test]
fn graph_is_dumped() {
    let folder = tempfile::tempdir().expect("a folder");
    let graphs = folder.path().join("graphs");
    std::fs::create_dir(&graphs).expect("a folder");
    launch(&[("GST_DEBUG_DUMP_DOT_DIR", &graphs.display().to_string())], folder.path());
    let playing = std::fs::read_dir(graphs).expect("a folder").filter_map(|entry| {
        let path = entry.expect("a file").path();
        path.to_string_lossy().contains("PAUSED_PLAYING").then_some(path)
    });
    let graph = std::fs::read_to_string(playing.last().expect("a graph")).expect("text");
    for part in ["GstMultitalkerAsr", "model-dir=", "text/x-raw"] {
        assert!(graph.contains(part), "{part} in {graph}");
    }
}

#[test]
fn debug_log_tells_what_happens() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = launch(&[("GST_DEBUG", "multitalkerasr:5")], folder.path());
    let log = String::from_utf8_lossy(&output.stderr);
    let expected =
        ["Loading the model of", "Loaded the model of", "Live: false", "Draining at 0:00:50.0"];
    for part in expected {
        assert!(log.lines().any(|line| line.contains(part)), "{part} in {log}");
    }
    // The element logs these events, but no line per buffer.
    assert!(log.lines().count() < 200, "{} lines", log.lines().count());
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn tracers_find_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let tracers = match element_rig::has_latency_tracer() {
        true => "latency(flags=pipeline+element);leaks(check-refs=true)",
        false => "leaks(check-refs=true)",
    };
    let tools = [("GST_TRACERS", tracers), ("GST_DEBUG", "GST_TRACER:7")];
    let output = launch(&tools, folder.path());
    let log = String::from_utf8_lossy(&output.stderr);
    if element_rig::has_latency_tracer() {
        assert!(
            log.contains("element-latency") && log.contains("multitalkerasr0"),
            "the tracer did not run"
        );
    }
    let alive: Vec<_> =
        log.lines().filter(|line| line.contains(" object-alive, type-name=(string)G")).collect();
    assert!(alive.is_empty(), "{alive:?}");
}
