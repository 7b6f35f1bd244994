// SPDX-License-Identifier: MPL-2.0

//! `gst-launch-1.0` with the plugin file and the example without GStreamer, run as a user does,
//! print the same segments.

#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Stdio};

use test_support::limit;

/// Creates a folder with only the plugin, which `cargo test` leaves among the dependencies.
fn plugin_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "libgstmultitalkerasr.so";
    std::os::unix::fs::symlink(
        test_support::built().join("deps").join(name),
        folder.path().join(name),
    )
    .expect("a link");
    folder
}

fn lines(output: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8_lossy(output).lines().map(Into::into).collect();
    lines.sort();
    lines
}

/// Returns the lines of the transcript in the order of the messages on the bus.
fn printed_by_gst_launch(models: &Path, audio: &Path, properties: &[&str]) -> String {
    let plugins = plugin_folder();
    let diarizer = test_support::data().join("tiny-models/sortformer.onnx");
    let mut launch = Command::new("gst-launch-1.0");
    launch
        .args(["--messages", "filesrc"])
        .arg(format!("location={}", audio.display()))
        .args("! decodebin ! audioconvert ! audioresample ! multitalkerasr".split(' '))
        .arg(format!("model-dir={}", models.display()))
        .arg(format!("diarization-model={}", diarizer.display()))
        .args(properties)
        .args(["precision=fp32", "!", "fakesink"])
        .env("GST_PLUGIN_PATH", plugins.path())
        .env("GST_REGISTRY", plugins.path().join("registry"))
        .stdout(Stdio::piped());
    let mut launch = limit::spawn(&mut launch);
    let messages = launch.stdout.take().expect("piped");
    let printer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/print_transcript.py");
    let mut printer = Command::new(printer);
    printer.stdin(messages).stdout(Stdio::piped()).stderr(Stdio::piped());
    let printed = limit::finish(limit::spawn(&mut printer), "print_transcript.py");
    assert!(limit::finish(launch, "gst-launch-1.0").status.success());
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    String::from_utf8(printed.stdout).expect("UTF-8")
}

fn by_gst_launch(audio: &Path) -> Vec<String> {
    let models = test_support::data().join("tiny-models");
    lines(printed_by_gst_launch(&models, audio, &[]).as_bytes())
}

/// Compares published model folders, with and without their configuration, with the transcripts of
/// NeMo.
#[test]
fn published_forms_say_what_the_reference_says() {
    let without_spaces = |text: &str| text.split_whitespace().collect::<String>();
    for form in ["torchscript", "dynamo"] {
        let published = test_support::data().join("published").join(form);
        let bare = tempfile::tempdir().expect("a folder");
        for name in ["encoder.onnx", "encoder.onnx.data", "decoder_joint.onnx", "tokenizer.model"] {
            std::fs::copy(published.join(name), bare.path().join(name)).expect("copied");
        }
        for models in [&published, bare.path()] {
            for (name, chunk) in [("news-1120ms", "1120ms"), ("news-160ms", "160ms")] {
                let path = test_support::data().join(format!("expected/{name}.json"));
                let expected: serde_json::Value =
                    serde_json::from_reader(std::fs::File::open(path).expect("readable"))
                        .expect("JSON");
                let chunk = format!("chunk-latency={chunk}");
                let audio = test_support::data().join("audio/news.wav");
                let properties = ["diarization-preset=lockstep", &*chunk];
                let printed = printed_by_gst_launch(models, &audio, &properties);
                for speaker in 0..4 {
                    let prefix = format!("speaker {}: ", speaker + 1);
                    let text = printed.lines().filter_map(|line| Some(line.split_once(&prefix)?.1));
                    let text: String = text.map(without_spaces).collect();
                    let expected =
                        &expected["speakers"]["probability"][speaker.to_string()]["text"];
                    let expected = without_spaces(expected.as_str().expect("text"));
                    assert!(!expected.is_empty());
                    assert_eq!(text, expected, "{}, {name}, speaker {speaker}", models.display());
                }
            }
        }
    }
}

fn by_the_example(audio: &Path) -> Vec<String> {
    let models = test_support::data().join("tiny-models");
    // Cargo builds the examples with the tests.
    let output = limit::output(
        Command::new(test_support::transcribe_wav())
            .arg("--model-dir")
            .arg(&models)
            .arg("--diarization-model")
            .arg(models.join("sortformer.onnx"))
            .args(["--precision", "fp32"])
            .arg(audio),
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines(&output.stdout)
}

#[test]
fn gst_launch_and_the_example_agree() {
    for name in ["jfk.wav", "news.wav", "meeting.wav"] {
        let audio = test_support::data().join("audio").join(name);
        let expected = by_the_example(&audio);
        assert!(expected.len() > 5, "{name}: {expected:?}");
        assert_eq!(by_gst_launch(&audio), expected, "{name}");
    }
}

#[test]
fn nothing_is_left_behind() {
    let models = test_support::data().join("tiny-models");
    let plugins = plugin_folder();
    let tracers = match element_rig::has_latency_tracer() {
        true => "leaks;latency(flags=element)",
        false => "leaks",
    };
    let mut launch = Command::new("gst-launch-1.0");
    launch
        .args(["filesrc"])
        .arg(format!("location={}", test_support::data().join("audio/news.wav").display()))
        .args("! decodebin ! audioconvert ! audioresample ! multitalkerasr name=asr".split(' '))
        .arg(format!("model-dir={}", models.display()))
        .arg(format!("diarization-model={}", models.join("sortformer.onnx").display()))
        .args("! queue ! fakesink asr.speaker_0 ! queue ! fakesink asr.unsynced_src ! queue ! fakesink".split(' '))
        .env("GST_PLUGIN_PATH", plugins.path())
        .env("GST_REGISTRY", plugins.path().join("registry"))
        .env("GST_TRACERS", tracers)
        .env("GST_DEBUG", "GST_TRACER:7,multitalkerasr:5")
        .env("GST_DEBUG_NO_COLOR", "1");
    let output = limit::output(&mut launch);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}", output.status);
    let lines_with =
        |name: &str| log.lines().filter(|line| line.contains(name)).collect::<Vec<_>>();
    // The tracers and the debug category work.
    assert_eq!(!lines_with("element-latency,").is_empty(), element_rig::has_latency_tracer());
    assert!(!lines_with("multitalkerasr").is_empty());
    assert_eq!(lines_with(":0:: object-alive,"), Vec::<&str>::new());
    assert_eq!(lines_with("CRITICAL"), Vec::<&str>::new());
}

#[test]
fn the_example_says_what_is_wrong() {
    let example = || Command::new(test_support::transcribe_wav());
    let audio = test_support::data().join("audio/jfk.wav");
    let output = limit::output(example().args(["--model-dir", "/nowhere"]).arg(&audio));
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("/nowhere was not found: expected a folder with"), "{stderr}");
}
