// SPDX-License-Identifier: MPL-2.0

//! `tools/prepare-models` on the tiny models: what it writes says the same, and what it cannot use
//! is named.

#![cfg(unix)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use gstmultitalkerasr::engine::{self, Canceller, Model, ModelOptions, Stream, StreamOptions};
use tempfile::TempDir;

fn tool(name: &str) -> Command {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(repository.join(".venv/bin/python"));
    command.arg(repository.join("tools/prepare-models").join(name));
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The tiny models, prepared with these options.
fn prepared(options: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut prepare = tool("prepare.py");
    let output =
        run(prepare.arg(common::data().join("tiny-models")).arg(folder.path()).args(options));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

/// What the fp32 models in `folder` hear, and the runs of the encoder.
fn heard(folder: &Path) -> (Vec<engine::Segment>, usize) {
    let options = ModelOptions {
        model_dir: folder.to_owned(),
        diarization_model: Some(folder.join("sortformer.onnx")),
        precision: engine::Precision::Fp32,
        ..Default::default()
    };
    let model = Model::load(&options, &Canceller::new()).expect("loads");
    let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
    stream.enable_trace();
    let audio = common::read_wav(&common::data().join("audio/meeting.wav"));
    let mut outputs = stream.push(&audio).expect("inference runs");
    outputs.extend(stream.finish().expect("inference runs"));
    let segments = outputs.into_iter().filter_map(|output| match output {
        engine::Output::Segment(segment) => Some(segment),
        engine::Output::Word { .. } | engine::Output::Partial(_) => None,
    });
    (segments.collect(), stream.trace().expect("enabled above").encoder_runs)
}

#[test]
fn prepared_models_say_the_same_in_fewer_runs() {
    let texts = |segments: &[engine::Segment]| -> Vec<_> {
        segments.iter().map(|s| (s.speaker, s.start_sample(), s.end_sample(), s.text())).collect()
    };
    let (expected, runs) = heard(&common::data().join("tiny-models"));
    let (found, fewer_runs) = heard(prepared(&["--precision", "fp32"]).path());
    assert!(expected.len() > 10);
    assert_eq!(texts(&found), texts(&expected));
    assert!(fewer_runs < runs, "{fewer_runs} and {runs}");
}

#[test]
fn time_is_measured_for_every_graph() {
    let given = common::data().join("tiny-models");
    let prepared = prepared(&[]);
    for name in ["encoder", "decoder_joint", "sortformer"] {
        let files = [given.join(name), prepared.path().join(name)]
            .map(|path| path.with_extension("int8.onnx"));
        let output = run(tool("measure.py").args(["--runs", "2"]).args(files));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows = String::from_utf8_lossy(&output.stdout).matches(".int8.onnx | ").count();
        assert_eq!(rows, 2, "{name}");
    }
    let both = ["--runs", "2", "--speakers", "2", "--mel-frames", "560"];
    let output = run(tool("measure.py").args(both).arg(prepared.path().join("encoder.int8.onnx")));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_cannot_be_prepared_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (models, out) = (folder.path().join("models"), folder.path().join("out"));
    std::fs::create_dir(&models).expect("created");
    let tiny = common::data().join("tiny-models");
    let given = |file: &str| std::fs::copy(tiny.join(file), models.join(file)).expect("copied");
    let refused = |options: &[&str], expected: &str| {
        let output = run(tool("prepare.py").arg(&models).arg(&out).args(options));
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{expected} is not in: {said}");
        assert!(!out.exists());
    };
    refused(&["--max-chunks", "0"], "--max-chunks: expected at least 1, found 0");
    refused(&[], "expected encoder.onnx or encoder.int8.onnx, found neither");
    for file in ["encoder.onnx", "decoder_joint.onnx", "multitalker_config.json"] {
        given(file);
    }
    refused(&[], "expected tokenizer.model, found none");
    given("tokenizer.model");
    let (fp32, int8) = (tiny.join("sortformer.onnx"), tiny.join("sortformer.int8.onnx"));
    let twice = [fp32, int8].map(|path| format!("--diarization-model={}", path.display()));
    refused(&twice.each_ref().map(String::as_str), "found sortformer.onnx twice");
    std::fs::write(models.join("multitalker_config.json"), r#"{"encoder": {}}"#).expect("written");
    refused(&[], "expected encoder.chunk_size in mel frames, found None");
}
