// SPDX-License-Identifier: MPL-2.0

//! Tests the element as the transcriber of `transcriberbin`, which captions video.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::{Arc, Mutex, Once};

use cea708_types::CCDataParser;
use cea708_types::tables::Code;
use gst::prelude::*;
use multitalker_asr::{Event, ModelOptions, StreamOptions};

fn init() {
    static INIT: Once = Once::new();
    test_support::limit::watch();
    INIT.call_once(|| {
        element_rig::init_with_runtime();
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/release");
        gst::Registry::get().scan_path(&plugins);
        assert!(
            gst::ElementFactory::find("transcriberbin").is_some(),
            "no transcriberbin in {}: run tools/setup.sh tests",
            plugins.display()
        );
        // The bin creates an `awstranscriber` in its constructor and does not work without one.
        let factory = gst::ElementFactory::find("multitalkerasr").expect("registered");
        let type_ = factory.load().expect("loaded").element_type();
        gst::Element::register(None, "awstranscriber", gst::Rank::NONE, type_).expect("registers");
    });
}

/// Creates a transcriber with the demo models.
fn transcriber(properties: &[(&str, &str)]) -> gst::Element {
    init();
    let models = test_support::data().join("demo-models");
    let element = gst::ElementFactory::make("multitalkerasr")
        .property("model-dir", models.display().to_string())
        .property("diarization-model", models.join("sortformer.onnx").display().to_string())
        .property("speaker-prefix", ">> ")
        .build()
        .expect("registered");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    element
}

/// Duration of the conversation, and of the silence in which the last words are emitted.
const AUDIO_S: u32 = 19;
const SILENCE_S: u32 = 5;

fn samples() -> Vec<f32> {
    let mut samples = test_support::read_wav(&test_support::data().join("demo/conversation.wav"));
    samples.truncate(AUDIO_S as usize * 16_000);
    samples.resize((AUDIO_S + SILENCE_S) as usize * 16_000, 0.0);
    samples
}

/// Returns the words that the engine recognizes, with `>>` at each change of speaker.
fn expected_tokens() -> Vec<String> {
    let models = test_support::data().join("demo-models");
    let events = element_rig::engine_events_of(
        &ModelOptions {
            model_dir: models.clone(),
            diarization_model: Some(models.join("sortformer.onnx")),
            ..Default::default()
        },
        &samples(),
        StreamOptions::default(),
    );
    let mut words: Vec<_> = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Word { speaker, word } => Some((word.start_sample, speaker, word.text)),
            _ => None,
        })
        .collect();
    words.sort_by_key(|(start, speaker, _)| (*start, *speaker));
    let mut tokens = Vec::new();
    let mut current = None;
    for (_, speaker, text) in words {
        if current.replace(speaker) != Some(speaker) {
            tokens.push(">>".to_owned());
        }
        tokens.push(text);
    }
    tokens
}

/// Pipeline in which `transcriberbin` captions the conversation and that writes a video file.
struct Captioning {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    /// Audio sink pad of the bin, which owns the transcriber.
    audio_pad: gst::Pad,
    /// Texts that the transcribers pushed.
    pushed: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

impl Captioning {
    fn start(transcriber: &gst::Element) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let audio = folder.path().join("audio.wav");
        test_support::write_wav(&audio, &samples());
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc name=video num-buffers={} pattern=black ! \
             video/x-raw,format=I420,width=64,height=64,framerate=30/1 ! captions.sink_video \
             filesrc location={} ! wavparse name=audio ! captions.sink_audio \
             transcriberbin name=captions mux-method=cea708 \
               cc-caps=closedcaption/x-cea-708,format=cc_data \
             captions.src_audio ! fakesink async=false \
             captions.src_video ! x264enc tune=zerolatency speed-preset=ultrafast ! h264parse ! \
             matroskamux ! filesink async=false location={}",
            (AUDIO_S + SILENCE_S) * 30,
            audio.display(),
            folder.path().join("video.mkv").display(),
        ));
        let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("one");
        let named = |name| pipeline.by_name(name).expect("named");
        let bin = named("captions");
        let this = Self {
            bus: pipeline.bus().expect("a pipeline has one"),
            audio_pad: bin.static_pad("sink_audio").expect("an always pad"),
            pushed: Arc::default(),
            folder,
            pipeline: pipeline.clone(),
        };
        this.use_transcriber(transcriber);

        // The bin accepts video only in PLAYING, and audio only after the caps of the video.
        let block = |pad: &gst::Pad| {
            let block = |_: &gst::Pad, _: &mut gst::PadProbeInfo| gst::PadProbeReturn::Ok;
            pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, block).expect("a new block")
        };
        let video = named("video").static_pad("src").expect("an always pad");
        let video_block = block(&video);
        let audio = named("audio").static_pad("src").expect("an always pad");
        let audio_block = Mutex::new(Some(block(&audio)));
        bin.static_pad("sink_video").expect("an always pad").add_probe(
            gst::PadProbeType::BUFFER,
            move |_, _| {
                if let Some(block) = audio_block.lock().expect("no panic").take() {
                    audio.remove_probe(block);
                }
                gst::PadProbeReturn::Remove
            },
        );
        pipeline.set_state(gst::State::Playing).expect("starts");
        pipeline.state(gst::ClockTime::NONE).0.expect("plays");
        video.remove_probe(video_block);
        this
    }

    fn use_transcriber(&self, transcriber: &gst::Element) {
        let pushed = self.pushed.clone();
        transcriber.static_pad("src").expect("an always pad").add_probe(
            gst::PadProbeType::BUFFER,
            move |_, info| {
                let text = info.buffer().and_then(|buffer| buffer.map_readable().ok());
                let text = String::from_utf8(text.expect("readable").to_vec()).expect("UTF-8");
                pushed.lock().expect("no panic").push(text);
                gst::PadProbeReturn::Ok
            },
        );
        self.audio_pad.set_property("transcriber", transcriber);
    }

    /// Pops messages up to the first that matches, and fails on an error.
    #[track_caller]
    fn wait_for(&self, mut matches: impl FnMut(&gst::Message) -> bool) {
        loop {
            let timeout = gst::ClockTime::try_from(element_rig::TIMEOUT).expect("in range");
            let message = self.bus.timed_pop(timeout).expect("more messages");
            assert_ne!(message.type_(), gst::MessageType::Error, "{message:?}");
            if matches(&message) {
                return;
            }
        }
    }

    #[track_caller]
    fn wait_for_transcript(&self) {
        self.wait_for(|message| {
            message.structure().is_some_and(|message| message.name() == "multitalkerasr/transcript")
        });
    }

    /// Switches captioning off, and waits until the transcriber has stopped.
    #[track_caller]
    fn pass_through(&self, transcriber: &gst::Element) {
        self.audio_pad.set_property("passthrough", true);
        self.wait_for(|message| match message.view() {
            gst::MessageView::StateChanged(change) => {
                message.src() == Some(transcriber.upcast_ref())
                    && change.current() == gst::State::Ready
                    && change.old() == gst::State::Paused
            }
            _ => false,
        });
    }

    fn pushed(&self) -> Vec<String> {
        self.pushed.lock().expect("no panic").clone()
    }

    /// Plays to the end and reads the captions out of the file.
    #[track_caller]
    fn finish(self) -> Captions {
        self.wait_for(|message| message.type_() == gst::MessageType::Eos);
        self.pipeline.set_state(gst::State::Null).expect("stops");
        Captions::of(&self.folder.path().join("video.mkv"))
    }

    /// Plays to the end and checks that the captions hold the words of `before` and the words after
    /// the passthrough.
    #[track_caller]
    fn finish_and_check(self, before: &[String]) {
        let pushed = self.pushed.clone();
        let captions = self.finish();
        let pushed = pushed.lock().expect("no panic");
        assert_captioned(&captions, before, &pushed[before.len()..]);
    }
}

impl Drop for Captioning {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Captions and frame count of a video file.
struct Captions {
    frames: usize,
    cea608: Vec<String>,
    cea708: Vec<String>,
}

impl Captions {
    fn of(file: &Path) -> Self {
        let pipeline = gst::parse::launch(&format!(
            "filesrc location={} ! matroskademux ! h264parse name=video ! ccextractor name=cc ! \
             fakesink cc.caption ! tee name=t \
             t. ! queue ! ccconverter ! closedcaption/x-cea-608,format=raw ! cea608tott ! \
             text/x-raw ! fakesink name=cea608 async=false \
             t. ! queue ! closedcaption/x-cea-708,format=cc_data ! fakesink name=cea708 async=false",
            file.display()
        ));
        let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("one");
        let taken = |name, pad| {
            let buffers = Arc::new(Mutex::new(Vec::new()));
            let taken = buffers.clone();
            let pad = pipeline.by_name(name).expect("named").static_pad(pad).expect("always");
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let data = info.buffer().and_then(|buffer| buffer.map_readable().ok());
                taken.lock().expect("no panic").push(data.expect("readable").to_vec());
                gst::PadProbeReturn::Ok
            });
            buffers
        };
        let (video, cea608, cea708) =
            (taken("video", "src"), taken("cea608", "sink"), taken("cea708", "sink"));
        let messages = element_rig::play(&pipeline);
        pipeline.set_state(gst::State::Null).expect("stops");
        let last = messages.last().expect("one");
        assert_eq!(last.type_(), gst::MessageType::Eos, "{last:?}");
        let frames = video.lock().expect("no panic").len();
        let cea608 = cea608.lock().expect("no panic").concat();
        let cea708 = cea708.lock().expect("no panic");
        Self {
            frames,
            cea608: tokens(&String::from_utf8(cea608).expect("UTF-8")),
            cea708: tokens(&text_of_service_1(&cea708)),
        }
    }
}

/// Number of columns of CEA-608. `cea608tott` emits a row when it scrolls away, so the last row is
/// missing.
const ROW: usize = 32;

fn tokens(text: &str) -> Vec<String> {
    text.split_whitespace().map(ToOwned::to_owned).collect()
}

/// Decodes the characters of CEA-708 service 1 from the `cc_data` of frames.
fn text_of_service_1(frames: &[Vec<u8>]) -> String {
    let mut parser = CCDataParser::new();
    let mut text = String::new();
    for frame in frames {
        // The parser needs the header that GStreamer omits.
        let count = u8::try_from(frame.len() / 3).expect("at most 31 triples");
        let data = [&[0x80 | 0x40 | count, 0xff], frame.as_slice()].concat();
        parser.push(&data).expect("valid cc_data");
        while let Some(packet) = parser.pop_packet() {
            for service in packet.services().iter().filter(|service| service.number() == 1) {
                for code in service.codes() {
                    text.push(match code {
                        Code::CR => '\n',
                        code => code.char().unwrap_or_default(),
                    });
                }
            }
        }
    }
    text.replace('\0', "")
}

#[test]
fn two_speakers_are_captioned() {
    let transcriber = transcriber(&[]);
    let expected = expected_tokens();
    assert!(expected.iter().filter(|token| *token == ">>").count() >= 6, "{expected:?}");
    let captions = Captioning::start(&transcriber).finish();
    assert_eq!(captions.frames as u32, (AUDIO_S + SILENCE_S) * 30);
    assert_eq!(captions.cea708, expected);
    let rest = expected.strip_prefix(&*captions.cea608).expect("the same words");
    assert!(rest.join(" ").len() <= ROW, "{rest:?}");
}

/// Asserts that the captions hold the text pushed before a stop, except what was still in transit,
/// and all text pushed after it.
#[track_caller]
fn assert_captioned(captions: &Captions, before: &[String], after: &[String]) {
    let before = tokens(&before.join(" "));
    let after = tokens(&after.join(" "));
    let shown = captions.cea708.strip_suffix(&*after);
    let shown =
        shown.unwrap_or_else(|| panic!("{:?} does not end with {after:?}", captions.cea708));
    assert!(before.starts_with(shown), "{before:?} does not begin with {shown:?}");
    assert!(!shown.is_empty() && !after.is_empty());
    assert_eq!(captions.frames as u32, (AUDIO_S + SILENCE_S) * 30, "video frames were lost");
}

#[test]
fn passthrough_and_back() {
    let transcriber = transcriber(&[]);
    let captioning = Captioning::start(&transcriber);
    captioning.wait_for_transcript();
    captioning.pass_through(&transcriber);
    let before = captioning.pushed();
    captioning.audio_pad.set_property("passthrough", false);
    captioning.wait_for_transcript();
    captioning.finish_and_check(&before);
}

#[test]
fn transcriber_is_replaced_while_running() {
    let transcriber_before = transcriber(&[]);
    let captioning = Captioning::start(&transcriber_before);
    captioning.wait_for_transcript();
    captioning.pass_through(&transcriber_before);
    let before = captioning.pushed();
    captioning.use_transcriber(&transcriber(&[("speaker-prefix", "-- ")]));
    captioning.audio_pad.set_property("passthrough", false);
    captioning.wait_for_transcript();
    let pushed = captioning.pushed.clone();
    let captions = captioning.finish();
    let pushed = pushed.lock().expect("no panic");
    assert!(pushed[before.len()].starts_with("-- "), "{pushed:?}");
    assert_captioned(&captions, &before, &pushed[before.len()..]);
}

#[test]
fn failure_falls_back_to_passthrough() {
    let models = test_support::data().join("fake-models");
    let fails = models.join("sortformer-fails.onnx").display().to_string();
    let captioning = Captioning::start(&transcriber(&[("diarization-model", &fails)]));
    let (sender, receiver) = std::sync::mpsc::channel();
    captioning.audio_pad.connect_notify(Some("passthrough"), move |pad, _| {
        // The test may be over.
        let _ = sender.send(pad.property::<bool>("passthrough"));
    });
    assert_eq!(receiver.recv_timeout(element_rig::TIMEOUT), Ok(true));
    let before = captioning.pushed();
    let working = transcriber(&[]);
    captioning.use_transcriber(&working);
    captioning.audio_pad.set_property("passthrough", false);
    captioning.wait_for_transcript();
    captioning.finish_and_check(&before);
}

/// Builds the chain without the bin, because the bin's CEA-608 encoder needs GStreamer 1.24.
#[test]
fn cea608_has_a_new_line_at_each_change_of_speaker() {
    let transcriber = transcriber(&[("diarization-preset", "lockstep")]);
    let folder = tempfile::tempdir().expect("a folder");
    let (audio, text) = (folder.path().join("audio.wav"), folder.path().join("captions.txt"));
    test_support::write_wav(&audio, &samples());
    let pipeline = gst::parse::launch(&format!(
        "filesrc location={} ! wavparse name=audio \
         textwrap name=text lines=2 ! tttocea608 mode=roll-up2 ! \
         closedcaption/x-cea-608,framerate=30/1 ! cea608tott ! \
         application/x-subtitle-vtt ! filesink location={}",
        audio.display(),
        text.display()
    ));
    let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("one");
    let named = |name| pipeline.by_name(name).expect("named");
    pipeline.add(&transcriber).expect("a new element");
    gst::Element::link_many([&named("audio"), &transcriber, &named("text")]).expect("fits");
    let messages = element_rig::play(&pipeline);
    let last = messages.last().expect("one");
    assert_eq!(last.type_(), gst::MessageType::Eos, "{last:?}");
    pipeline.set_state(gst::State::Null).expect("stops");

    let text = std::fs::read_to_string(text).expect("UTF-8");
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("WEBVTT") && !line.contains(" --> "))
        .collect();
    assert!(rows.iter().all(|row| row.rfind(">>").is_none_or(|at| at == 0)), "{text}");
    let expected = expected_tokens();
    let rest = expected.strip_prefix(&*tokens(&rows.join(" "))).expect("the same words");
    assert!(rest.join(" ").len() <= ROW, "{rest:?}");
}
