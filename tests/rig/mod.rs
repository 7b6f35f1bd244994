// SPDX-License-Identifier: MPL-2.0

//! The element with everything that goes in and out of it in the hands of a test.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::Path;
use std::sync::{Once, mpsc};
use std::time::Duration;

use gst::prelude::*;
use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, Event, Model, ModelOptions, Segment, Stream,
    StreamOptions, Word, hold_loading, release_loading,
};

use test_support::{data, limit, read_wav, require_runtime, tiny_model_options};

/// Nothing takes so long unless it hangs.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Nanoseconds of a sample at 16 kHz.
pub const SAMPLE_NS: u64 = 62_500;

pub const SECOND_NS: u64 = 1_000_000_000;

pub const F32_CAPS: &str = "audio/x-raw,format=F32LE,rate=16000,channels=1,layout=interleaved";
pub const S16_CAPS: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

/// Initializes GStreamer with the plugin, and limits the time of the test.
pub fn init() {
    static INIT: Once = Once::new();
    limit::watch();
    INIT.call_once(|| {
        gst::init().expect("GStreamer");
        gstmultitalkerasr::plugin_register_static().expect("the plugin");
    });
}

/// As [`init`], where the models run.
pub fn init_with_runtime() {
    init();
    require_runtime();
}

/// Whether the tracer `latency` can be used: that of GStreamer 1.26 never lets `gst-launch-1.0` end,
/// with whatever elements.
pub fn has_latency_tracer() -> bool {
    let (major, minor, ..) = gst::version();
    (major, minor) < (1, 26)
}

pub fn models() -> String {
    data().join("tiny-models").display().to_string()
}

/// The engine's options where the element has this preset and chunk, and else its defaults.
pub fn with_preset(preset: DiarizationPreset, chunk_latency: ChunkLatency) -> StreamOptions {
    StreamOptions {
        chunk_latency,
        diarization: preset.operating_point(chunk_latency),
        ..Default::default()
    }
}

/// A segment that begins so many seconds into the stream.
pub fn segment(start_s: u64, time_s: u64, base_s: u64) -> gst::FormattedSegment<gst::ClockTime> {
    let mut segment = gst::FormattedSegment::new();
    segment.set_start(gst::ClockTime::from_seconds(start_s));
    segment.set_time(gst::ClockTime::from_seconds(time_s));
    segment.set_base(gst::ClockTime::from_seconds(base_s));
    segment
}

/// A folder of models that are loaded when the test releases them.
pub struct HeldModels(tempfile::TempDir);

impl HeldModels {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for entry in std::fs::read_dir(models()).expect("the models") {
            let file = entry.expect("a file");
            std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
        }
        hold_loading(folder.path());
        Self(folder)
    }

    pub fn path(&self) -> String {
        self.0.path().display().to_string()
    }

    /// Lets one who loads them go on.
    pub fn release(&self) {
        release_loading(self.0.path());
    }
}

/// The element's properties with the tiny models, as in a pipeline's description.
pub fn tiny_models() -> String {
    format!("model-dir={} diarization-model={} precision=fp32", models(), sortformer())
}

pub fn sortformer() -> String {
    data().join("tiny-models/sortformer.onnx").display().to_string()
}

pub fn audio(name: &str) -> Vec<f32> {
    read_wav(&data().join("audio").join(name))
}

/// An element with the trained models and other properties.
pub fn demo_element(properties: &[(&str, &str)]) -> gst::Element {
    let folder = data().join("demo-models");
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("registered");
    element.set_property("model-dir", folder.display().to_string());
    element.set_property("diarization-model", folder.join("sortformer.onnx").display().to_string());
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    element
}

/// The conversation that the trained models understand.
pub fn conversation() -> Vec<f32> {
    read_wav(&data().join("demo/conversation.wav"))
}

/// An element with the tiny models and other properties.
pub fn element(properties: &[(&str, &str)]) -> gst::Element {
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("registered");
    element.set_property("model-dir", models());
    element.set_property("diarization-model", sortformer());
    // The words of the 8-bit files depend on the processor.
    element.set_property_from_str("precision", "fp32");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    element
}

/// What crossed the pads of the element.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Buffer { pts: u64, duration: u64, text: String },
    Gap { pts: u64, duration: u64 },
    SpeakerChange(String),
    NewItem { speaker: String, content: String, running_time: u64, duration: u64 },
    FinalTranscript,
    Caps(String),
    Segment(gst::FormattedSegment<gst::ClockTime>),
    FlushStart,
    FlushStop,
    Eos,
    Other(gst::EventType),
}

impl Entry {
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Buffer { .. })
    }
}

fn entry(data: &gst::PadProbeData) -> Option<Entry> {
    if let gst::PadProbeData::Buffer(buffer) = data {
        let map = buffer.map_readable().expect("readable");
        return Some(Entry::Buffer {
            pts: buffer.pts().expect("a PTS").nseconds(),
            duration: buffer.duration().expect("a duration").nseconds(),
            text: std::str::from_utf8(&map).expect("UTF-8").to_owned(),
        });
    }
    let gst::PadProbeData::Event(event) = data else { return None };
    let custom = |structure: &gst::StructureRef| {
        let text = |field| structure.get::<String>(field).expect("a string");
        let time = |field| structure.get::<gst::ClockTime>(field).expect("a time").nseconds();
        match structure.name().as_str() {
            "rstranscribe/speaker-change" => Entry::SpeakerChange(text("speaker")),
            "rstranscribe/final-transcript" => Entry::FinalTranscript,
            "rstranscribe/new-item" => Entry::NewItem {
                speaker: text("speaker"),
                content: text("content"),
                running_time: time("running-time"),
                duration: time("duration"),
            },
            _ => Entry::Other(event.type_()),
        }
    };
    Some(match event.view() {
        gst::EventView::Gap(gap) => {
            let (pts, duration) = gap.get();
            Entry::Gap { pts: pts.nseconds(), duration: duration.expect("a duration").nseconds() }
        }
        gst::EventView::CustomDownstream(event) => custom(event.structure()?),
        gst::EventView::CustomUpstream(event) => custom(event.structure()?),
        gst::EventView::Caps(caps) => Entry::Caps(caps.caps().to_string()),
        gst::EventView::Segment(segment) => {
            Entry::Segment(segment.segment().downcast_ref().expect("a segment in TIME").clone())
        }
        gst::EventView::FlushStart(_) => Entry::FlushStart,
        gst::EventView::FlushStop(_) => Entry::FlushStop,
        gst::EventView::Eos(_) => Entry::Eos,
        _ => Entry::Other(event.type_()),
    })
}

/// Records what leaves the element, also upstream.
pub fn record(element: &gst::Element) -> mpsc::Receiver<Entry> {
    let (sender, receiver) = mpsc::channel();
    record_pad(&element.static_pad("src").expect("an always pad"), DOWNSTREAM, &sender);
    let sinkpad = element.static_pad("sink").expect("an always pad");
    record_pad(&sinkpad, gst::PadProbeType::EVENT_UPSTREAM, &sender);
    receiver
}

const DOWNSTREAM: gst::PadProbeType = gst::PadProbeType::BUFFER
    .union(gst::PadProbeType::EVENT_DOWNSTREAM)
    .union(gst::PadProbeType::EVENT_FLUSH);

fn record_pad(pad: &gst::Pad, mask: gst::PadProbeType, sender: &mpsc::Sender<Entry>) {
    let sender = sender.clone();
    pad.add_probe(mask, move |_, info| {
        if let Some(entry) = info.data.as_ref().and_then(entry) {
            // A test that has seen enough is gone.
            let _ = sender.send(entry);
        }
        gst::PadProbeReturn::Ok
    });
}

/// A sink on one of the element's source pads.
pub struct Sink {
    /// The element's.
    pub pad: gst::Pad,
    /// The test's.
    pub peer: gst::Pad,
    /// What reached it.
    pub entries: mpsc::Receiver<Entry>,
}

impl Sink {
    /// On a pad of a speaker, which is requested.
    pub fn of_speaker(element: &gst::Element, name: &str) -> Self {
        let pad = element.request_pad_simple(name).expect("a pad");
        Self::on(pad, "ANY", Ok(gst::FlowSuccess::Ok))
    }

    /// With caps that it takes and the result of each buffer.
    pub fn on(pad: gst::Pad, caps: &str, flow: Result<gst::FlowSuccess, gst::FlowError>) -> Self {
        let template = gst::PadTemplate::new(
            "sink",
            gst::PadDirection::Sink,
            gst::PadPresence::Always,
            &caps.parse().expect("caps"),
        );
        let template = template.expect("name and presence go together");
        let peer = gst::Pad::builder_from_template(&template)
            .chain_function(move |_, _, _| flow)
            .event_function(|_, _, _| true)
            .build();
        let (sender, entries) = mpsc::channel();
        record_pad(&peer, DOWNSTREAM, &sender);
        peer.set_active(true).expect("activates");
        pad.link(&peer).expect("links");
        Self { pad, peer, entries }
    }

    /// What comes up to an entry, and this.
    #[track_caller]
    pub fn until(&self, is_last: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        until(&self.entries, is_last)
    }

    /// What comes up to EOS, and this.
    #[track_caller]
    pub fn until_eos(&self) -> Vec<Entry> {
        self.until(|entry| *entry == Entry::Eos)
    }
}

#[track_caller]
fn until(entries: &mpsc::Receiver<Entry>, mut is_last: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
    let mut found = Vec::new();
    loop {
        let entry = entries.recv_timeout(TIMEOUT).expect("more to come out");
        found.push(entry.clone());
        if is_last(&entry) {
            return found;
        }
    }
}

/// The words that the engine tells of some audio, by start and speaker.
pub fn engine_words(samples: &[f32], options: StreamOptions) -> Vec<(usize, Word)> {
    let mut words: Vec<_> = engine_outputs(samples, options)
        .into_iter()
        .filter_map(|output| match output {
            Event::Word { speaker, word } => Some((speaker, word)),
            _ => None,
        })
        .collect();
    words.sort_by_key(|(speaker, word)| (word.start_sample, *speaker));
    words
}

/// The kinds of the first so many of these.
pub fn kinds(entries: &[Entry], count: usize) -> Vec<&'static str> {
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

/// PTS and text of the buffers among these.
pub fn buffers(entries: &[Entry]) -> Vec<(u64, &str)> {
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Buffer { pts, text, .. } => Some((*pts, text.as_str())),
            _ => None,
        })
        .collect()
}

/// What a latency query on a source pad gives.
#[track_caller]
pub fn latency_of(pad: &gst::Pad) -> (bool, gst::ClockTime, Option<gst::ClockTime>) {
    let mut query = gst::query::Latency::new();
    assert!(pad.query(&mut query), "the query is answered");
    query.result()
}

/// An element between a source and a sink that are the test.
pub struct Rig {
    pub harness: gst_check::Harness,
    pub element: gst::Element,
    pub bus: gst::Bus,
    pub entries: mpsc::Receiver<Entry>,
}

impl Rig {
    /// With the tiny models and other properties, F32 audio and a source that is not live.
    pub fn new(properties: &[(&str, &str)]) -> Self {
        Self::with_caps(properties, F32_CAPS)
    }

    pub fn with_caps(properties: &[(&str, &str)], caps: &str) -> Self {
        init_with_runtime();
        Self::of(element(properties), Some(caps))
    }

    /// Without caps the test sends all events itself.
    pub fn of(element: gst::Element, caps: Option<&str>) -> Self {
        Self::around(element, caps, Some("src"))
    }

    /// As [`Self::new`], with the diarizer in lockstep.
    pub fn lockstep(properties: &[(&str, &str)]) -> Self {
        Self::new(&[&[("diarization-preset", "lockstep")], properties].concat())
    }

    /// With F32 audio and a source that is not live; the test links `src`, or does not.
    pub fn without_sink(element: gst::Element) -> Self {
        Self::around(element, Some(F32_CAPS), None)
    }

    fn around(element: gst::Element, caps: Option<&str>, src: Option<&str>) -> Self {
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let entries = record(&element);
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), src);
        harness.set_live(false);
        if let Some(caps) = caps {
            harness.set_src_caps_str(caps);
        }
        Self { harness, element, bus, entries }
    }

    pub fn sinkpad(&self) -> gst::Pad {
        self.element.static_pad("sink").expect("an always pad")
    }

    pub fn srcpad(&self) -> gst::Pad {
        self.element.static_pad("src").expect("an always pad")
    }

    #[track_caller]
    pub fn push(&mut self, pts_ns: u64, samples: &[f32]) {
        self.harness.push(f32_buffer(Some(pts_ns), samples)).expect("taken");
    }

    /// Pushes samples from PTS 0 in buffers of at most `size` samples.
    #[track_caller]
    pub fn push_all(&mut self, samples: &[f32], size: usize) {
        for (index, piece) in samples.chunks(size).enumerate() {
            self.push((index * size) as u64 * SAMPLE_NS, piece);
        }
    }

    #[track_caller]
    pub fn push_event(&mut self, event: gst::Event) {
        assert!(self.harness.push_event(event.clone()), "{event:?} was refused");
    }

    /// Sends EOS and returns all that came out to then.
    #[track_caller]
    pub fn finish(&mut self) -> Vec<Entry> {
        self.push_event(gst::event::Eos::new());
        self.until(|entry| *entry == Entry::Eos)
    }

    /// What comes out up to an entry, and this.
    #[track_caller]
    pub fn until(&self, is_last: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        until(&self.entries, is_last)
    }

    /// Structures of the element messages with a name; takes all messages until now, among which
    /// there must be no error.
    #[track_caller]
    pub fn posted(&self, name: &str) -> Vec<gst::Structure> {
        let messages: Vec<_> = self.bus.iter().collect();
        let is_error = |message: &&gst::Message| message.type_() == gst::MessageType::Error;
        assert_eq!(messages.iter().find(is_error).map(|error| format!("{error:?}")), None);
        structures(messages.into_iter(), name)
    }

    /// What the messages of whole segments say.
    pub fn said(&self) -> Vec<Said> {
        self.posted("multitalkerasr/transcript").iter().map(said).collect()
    }

    /// Waits for a message.
    #[track_caller]
    pub fn wait_for(&self, type_: gst::MessageType) -> gst::Message {
        wait_for(&self.bus, type_)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.element.set_state(gst::State::Null);
    }
}

#[track_caller]
pub fn wait_for(bus: &gst::Bus, type_: gst::MessageType) -> gst::Message {
    let timeout = gst::ClockTime::try_from(TIMEOUT).expect("in range");
    bus.timed_pop_filtered(timeout, &[type_]).unwrap_or_else(|| panic!("no {type_:?} message"))
}

pub fn structures(messages: impl Iterator<Item = gst::Message>, name: &str) -> Vec<gst::Structure> {
    messages
        .filter(|message| message.type_() == gst::MessageType::Element)
        .filter_map(|message| message.structure().map(ToOwned::to_owned))
        .filter(|structure| structure.name() == name)
        .collect()
}

pub fn warnings(messages: &[gst::Message]) -> Vec<gst::message::Warning<gst::Message>> {
    messages
        .iter()
        .filter_map(|message| match message.view() {
            gst::MessageView::Warning(warning) => Some(warning.to_owned()),
            _ => None,
        })
        .collect()
}

/// What the messages of whole segments among these say.
pub fn transcripts(messages: &[gst::Message]) -> Vec<Said> {
    let messages = messages.iter().cloned();
    structures(messages, "multitalkerasr/transcript").iter().map(said).collect()
}

pub fn f32_buffer(pts_ns: Option<u64>, samples: &[f32]) -> gst::Buffer {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    buffer(pts_ns, samples.len(), bytes)
}

/// A buffer after lost data.
pub fn discont_buffer(pts_ns: u64, samples: &[f32]) -> gst::Buffer {
    let mut buffer = f32_buffer(Some(pts_ns), samples);
    buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
    buffer
}

pub fn s16_buffer(pts_ns: Option<u64>, samples: &[i16]) -> gst::Buffer {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    buffer(pts_ns, samples.len(), bytes)
}

fn buffer(pts_ns: Option<u64>, samples: usize, bytes: Vec<u8>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    let writable = buffer.get_mut().expect("a new buffer");
    writable.set_pts(pts_ns.map(gst::ClockTime::from_nseconds));
    writable.set_duration(gst::ClockTime::from_nseconds(samples as u64 * SAMPLE_NS));
    buffer
}

/// What someone said, with times in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub speaker: u32,
    pub text: String,
    pub start: u64,
    pub end: u64,
    pub words: Vec<(String, u64, u64)>,
}

/// The content of a `multitalkerasr/transcript` message.
pub fn said(message: &gst::Structure) -> Said {
    let time = |structure: &gst::StructureRef, field| {
        structure.get::<gst::ClockTime>(field).expect("a time").nseconds()
    };
    let words: gst::Array = message.get("words").expect("an array");
    let words = words.iter().map(|word| {
        let word: gst::Structure = word.get().expect("a structure");
        (word.get("word").expect("a string"), time(&word, "start"), time(&word, "end"))
    });
    Said {
        speaker: message.get("speaker-id").expect("a uint"),
        text: message.get("text").expect("a string"),
        start: time(message, "start-time"),
        end: time(message, "end-time"),
        words: words.collect(),
    }
}

/// The same of the engine, for audio that begins at a time.
pub fn said_by_engine(segment: &Segment, base_ns: u64) -> Said {
    let time = |sample: u64| base_ns + sample * SAMPLE_NS;
    let words = segment.words.iter();
    Said {
        speaker: segment.speaker as u32,
        text: segment.text(),
        start: time(segment.start_sample()),
        end: time(segment.end_sample()),
        words: words
            .map(|word| (word.text.clone(), time(word.start_sample), time(word.end_sample)))
            .collect(),
    }
}

/// What the engine makes of some audio with the tiny models.
pub fn engine_outputs(samples: &[f32], options: StreamOptions) -> Vec<Event> {
    engine_outputs_of(&tiny_model_options(), samples, options)
}

pub fn engine_outputs_of(
    model: &ModelOptions,
    samples: &[f32],
    options: StreamOptions,
) -> Vec<Event> {
    let model = Model::load(model, &Canceller::new()).expect("a model");
    let mut stream = Stream::new(model, options).expect("valid options");
    let mut outputs = stream.push(samples).expect("inference");
    outputs.extend(stream.finish().expect("inference"));
    outputs
}

/// The segments among them.
pub fn engine_said(samples: &[f32], options: StreamOptions, base_ns: u64) -> Vec<Said> {
    let outputs = engine_outputs(samples, options);
    outputs
        .iter()
        .filter_map(|output| match output {
            Event::Segment(segment) => Some(said_by_engine(segment, base_ns)),
            _ => None,
        })
        .collect()
}

/// Plays a pipeline up to EOS or an error, and returns all its messages.
#[track_caller]
pub fn play(pipeline: &gst::Pipeline) -> Vec<gst::Message> {
    let bus = pipeline.bus().expect("a pipeline has one");
    pipeline.set_state(gst::State::Playing).expect("starts");
    let mut messages = Vec::new();
    let timeout = gst::ClockTime::try_from(TIMEOUT).expect("in range");
    loop {
        let message = bus.timed_pop(timeout).expect("EOS or an error before the time is up");
        let type_ = message.type_();
        messages.push(message);
        if matches!(type_, gst::MessageType::Eos | gst::MessageType::Error) {
            return messages;
        }
    }
}

/// Writes 16 kHz mono audio as 16-bit integers.
pub fn write_wav(path: &Path, samples: &[f32]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).expect("a file");
    for sample in samples {
        writer.write_sample((sample * 32_768.0) as i16).expect("written");
    }
    writer.finalize().expect("written");
}

/// A pipeline of a WAV file, with properties of the element named `asr` in gst-launch syntax.
pub fn file_pipeline(file: &Path, properties: &str) -> gst::Pipeline {
    let description = format!(
        "filesrc location={} ! wavparse ! audioconvert ! audioresample ! \
         multitalkerasr name=asr {properties} ! fakesink sync=false",
        file.display()
    );
    let pipeline = gst::parse::launch(&description).expect("a pipeline");
    pipeline.downcast().expect("a pipeline")
}

/// Asserts that all is told from a time on, that gaps begin where what was before ends, that nothing goes back, and
/// returns the time that all reaches to.
#[track_caller]
pub fn assert_continuous(entries: &[Entry], start: u64) -> u64 {
    let (mut position, mut last_pts) = (start, start);
    for entry in entries {
        match entry {
            Entry::Buffer { pts, duration, .. } => {
                assert!(*pts >= last_pts, "{entry:?} after {last_pts}");
                assert!(*pts <= position, "{entry:?} leaves a hole after {position}");
                assert!(*duration > 0, "{entry:?}");
                last_pts = *pts;
                position = position.max(pts + duration);
            }
            Entry::Gap { pts, duration } => {
                assert_eq!(*pts, position, "{entry:?}");
                assert!(*duration > 0, "{entry:?}");
                position += duration;
                last_pts = position;
            }
            _ => (),
        }
    }
    position
}
