// SPDX-License-Identifier: MPL-2.0

//! Runs `tools/prepare-models` on the tiny models in all published forms: the prepared models give
//! the same words, and unusable input is reported before any work is done.

#![cfg(unix)]

mod refusals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use multitalker_asr::{
    Canceller, ChunkLatency, Model, ModelOptions, OperatingPoint, Stream, StreamOptions, Trace,
};
use serde::Deserialize;
use tempfile::TempDir;

/// Exporters whose folders are in `testdata/published`.
const FORMS: [&str; 2] = ["torchscript", "dynamo"];
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\nsize 2300000000\n";

fn tool(name: &str) -> Command {
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/prepare-models").join(name));
    command
}

/// Returns the Python interpreter that has the packages of the tool.
fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python")
}

fn run(command: &mut Command) -> Output {
    test_support::limit::output(command)
}

fn tiny_models() -> PathBuf {
    test_support::data().join("tiny-models")
}

/// Creates a folder with copies of these files.
fn folder_of(files: impl IntoIterator<Item = PathBuf>) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in files {
        let name = file.file_name().expect("a file");
        std::fs::copy(&file, folder.path().join(name)).expect("copied");
    }
    folder
}

/// Copies a published folder, except the files whose names end in one of `without`.
fn published(form: &str, without: &[&str]) -> TempDir {
    let folder = test_support::data().join("published").join(form);
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file"));
    folder_of(
        files
            .map(|entry| entry.path())
            .filter(|path| without.iter().all(|end| !path.to_string_lossy().ends_with(end))),
    )
}

/// Prepares the models of `given` with these options; returns them and the output of the tool.
fn prepare(given: &Path, options: &[&str]) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(tool("prepare.py").arg(given).arg(folder.path()).args(options));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Loads the fp32 models in `folder` with the diarizer of the tiny models.
fn load(folder: &Path) -> Arc<Model> {
    let options =
        ModelOptions { model_dir: folder.to_owned(), ..test_support::tiny_model_options() };
    Model::load(&options, &Canceller::new()).unwrap_or_else(|e| panic!("{folder:?}: {e}"))
}

#[derive(Deserialize)]
struct Expected {
    audio: String,
    chunk_mel_frames: usize,
    diar_chunk: usize,
    diar_right: usize,
    fifo_len: usize,
    spkcache_len: usize,
    spkcache_update_period: usize,
    speakers: BTreeMap<String, BTreeMap<usize, ExpectedSpeaker>>,
}

#[derive(Deserialize)]
struct ExpectedSpeaker {
    tokens: Vec<usize>,
    frames: Vec<u64>,
}

fn expected(name: &str) -> Expected {
    let path = test_support::data().join("expected").join(name);
    let text = std::fs::read_to_string(&path).expect("a readable file");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn trace(model: &Arc<Model>, expected: &Expected) -> Trace {
    let chunk = ChunkLatency::ALL.into_iter().find(|c| c.mel_frames() == expected.chunk_mel_frames);
    let options = StreamOptions {
        chunk_latency: chunk.expect("a supported chunk length"),
        diarization: OperatingPoint {
            chunk_frames: expected.diar_chunk,
            right_context_frames: expected.diar_right,
            fifo_frames: expected.fifo_len,
            update_period_frames: expected.spkcache_update_period,
            speaker_cache_frames: expected.spkcache_len,
        },
        ..Default::default()
    };
    let mut stream = Stream::new(model.clone(), options).expect("options that fit");
    stream.enable_trace();
    let samples = test_support::read_wav(&test_support::data().join("audio").join(&expected.audio));
    stream.push(&samples).expect("inference runs");
    stream.finish().expect("inference runs");
    stream.trace().expect("enabled above").clone()
}

/// Asserts that the models give the tokens of NeMo; returns the number of encoder runs and chunks.
#[track_caller]
fn assert_gives_expected_tokens(model: &Arc<Model>, name: &str) -> (usize, usize) {
    let expected = expected(name);
    let trace = trace(model, &expected);
    let speakers = &expected.speakers["probability"];
    assert!(speakers.values().any(|speaker| !speaker.tokens.is_empty()), "{name}");
    for (index, speaker) in speakers {
        let (frames, tokens): (Vec<_>, Vec<_>) =
            trace.speakers[*index].tokens.iter().map(|token| (token.frame, token.id)).unzip();
        assert_eq!(tokens, speaker.tokens, "{name}, speaker {index}");
        assert_eq!(frames, speaker.frames, "{name}, speaker {index}");
    }
    (trace.encoder_runs, trace.speakers.iter().map(|speaker| speaker.chunks.len()).sum())
}

#[test]
fn both_published_forms_give_the_expected_tokens_in_fewer_runs() {
    let without_config: [&str; 2] = ["int8.onnx", "config.json"];
    for (form, without) in [
        ("torchscript", &without_config[..1]),
        ("dynamo", &without_config[..1]),
        ("dynamo", &without_config),
    ] {
        let given = published(form, without);
        let (prepared, _) = prepare(given.path(), &["--precision", "fp32"]);
        let config = prepared.path().join("multitalker_config.json");
        assert_eq!(config.exists(), without.len() == 1, "{form}");
        let model = load(prepared.path());
        for name in ["news-80ms.json", "news-1120ms.json", "jfk-1120ms.json"] {
            assert_gives_expected_tokens(&model, name);
        }
        let (runs, chunks) = assert_gives_expected_tokens(&model, "meeting-diar-30s.json");
        assert!(runs < chunks / 3, "{form}: {runs} runs of {chunks} chunks");
    }
}

/// Other versions of the exporters derive the type of a constant from another tensor, omit the
/// slice of a cache that only several chunks exceed, and store a constant node's tensor in a file.
#[test]
fn a_graph_that_was_written_differently_becomes_the_same() {
    let script = "import sys, onnx
from onnx import helper, numpy_helper
model = onnx.load(sys.argv[1], load_external_data=False)
graph = model.graph
made_by = {name: node for node in graph.node for name in node.output}
cut = made_by[made_by['cache_last_channel_next'].input[0]]
assert cut.op_type == 'Slice'
made_by['cache_last_channel_next'].input[0] = cut.input[0]
low = next(t.name for t in graph.initializer if not t.dims and t.data_type == 1 and t.raw_data
           and numpy_helper.to_array(t) == -10000)
nodes = []
for node in graph.node:
    if node.op_type == 'Where' and node.input[1] == low:
        nodes.append(helper.make_node('CastLike', [low, node.input[2]], [node.output[0] + '_low']))
        node.input[1] = node.output[0] + '_low'
    nodes.append(node)
assert len(nodes) > len(graph.node)
table = next(t for t in graph.initializer if len(t.dims) == 3 and t.data_location and t.dims[0] == 1)
constant = onnx.NodeProto(op_type='Constant', output=[table.name])
constant.attribute.add(name='value', type=onnx.AttributeProto.TENSOR).t.CopyFrom(table)
graph.initializer.remove(table)
nodes.insert(0, constant)
del graph.node[:]
graph.node.extend(nodes)
onnx.save(model, sys.argv[1])";
    let given = published("dynamo", &["int8.onnx"]);
    let encoder = given.path().join("encoder.onnx");
    let output = run(Command::new(python()).args(["-c", script]).arg(encoder));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (prepared, printed) = prepare(given.path(), &["--precision", "fp32"]);
    for done in ["3 attention masks to sums", "5 chunks and any number of speakers per run"] {
        assert!(printed.contains(done), "{done} is not in: {printed}");
    }
    let (runs, chunks) =
        assert_gives_expected_tokens(&load(prepared.path()), "meeting-diar-30s.json");
    assert!(runs < chunks / 3, "{runs} runs of {chunks} chunks");
}

#[test]
fn both_published_forms_become_the_same_products() {
    let heavy = "import sys, onnx, collections
for file in sys.argv[1:]:
    graph = onnx.load(file, load_external_data=False).graph
    count = collections.Counter(n.op_type for n in graph.node)
    print(*[count[o] for o in 'MatMul Conv Softmax LayerNormalization Sigmoid Where Pad Attention LSTM'.split()])";
    let folders = FORMS.map(|form| {
        let given = published(form, &["int8.onnx"]);
        prepare(given.path(), &["--precision", "fp32"]).0
    });
    for name in ["encoder.onnx", "decoder_joint.onnx"] {
        let files = folders.each_ref().map(|folder| folder.path().join(name));
        let output = run(Command::new(python()).args(["-c", heavy]).args(files));
        let counts = String::from_utf8_lossy(&output.stdout).into_owned();
        let (torchscript, dynamo) = counts.trim_end().split_once('\n').expect("two lines");
        // Pads are not compared: the no-op pads of the dynamo exporter are constants and are
        // removed.
        let without_pads = |line: &str| -> Vec<String> {
            let fields = line.split(' ').enumerate().filter(|(index, _)| *index != 6);
            fields.map(|(_, field)| field.to_owned()).collect()
        };
        assert_eq!(without_pads(torchscript), without_pads(dynamo), "{name}");
    }
}

#[test]
fn eight_bits_are_compared_as_floats() {
    for form in FORMS {
        let given = published(form, &["encoder.onnx", "encoder.onnx.data", "joint.onnx"]);
        let (prepared, printed) = prepare(given.path(), &["--precision", "fp32"]);
        assert!(printed.contains("8-bit operations converted to floats"), "{form}: {printed}");
        assert!(
            printed.contains("prepared models compared with the given ones as floats"),
            "{form}: {printed}"
        );
        assert!(printed.contains("tokens that differ                           0        limit 0"));
        let config = "multitalker_config.json";
        let [before, after] =
            [&given, &prepared].map(|folder| std::fs::read(folder.path().join(config)));
        assert_eq!(before.expect("a file"), after.expect("a file"));
    }
    let given = published("dynamo", &["encoder.onnx", "encoder.onnx.data", "joint.onnx"]);
    let (prepared, printed) = prepare(given.path(), &[]);
    assert!(printed.contains("weights to signed int8 per channel"), "{printed}");
    assert!(prepared.path().join("encoder.int8.onnx").exists());
}

#[test]
fn what_a_config_says_or_not_makes_no_folder_unusable() {
    let prepare_with = |config: &str| {
        let given = published("dynamo", &["int8.onnx"]);
        std::fs::write(given.path().join("multitalker_config.json"), config).expect("written");
        let out = tempfile::tempdir().expect("a folder");
        let output =
            run(tool("prepare.py").args([given.path(), out.path()]).args(["--precision", "fp32"]));
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (config, warning) in [
        (r#"{"encoder": {"att_context_size": [70, 13], "other": null}}"#, ""),
        ("{nonsense", "expected JSON, found: "),
        ("null", "expected an object with the entry encoder, found none"),
        (
            r#"{"encoder": {"chunk_size": "112"}}"#,
            "expected encoder.chunk_size in mel frames, found '112'",
        ),
    ] {
        let (success, stderr) = prepare_with(config);
        assert!(success, "{config}: {stderr}");
        assert!(
            stderr.contains(warning) && stderr.is_empty() == warning.is_empty(),
            "{config}: {stderr}"
        );
    }
    let (success, stderr) = prepare_with(r#"{"encoder": {"chunk_size": 56}}"#);
    assert!(!success);
    assert!(
        stderr.contains("expected encoder.chunk_size 112 as in the encoder, found 56"),
        "{stderr}"
    );
}

#[test]
fn links_of_a_download_cache_are_followed() {
    let (blobs, links) =
        (published("dynamo", &["int8.onnx"]), tempfile::tempdir().expect("a folder"));
    for (number, entry) in std::fs::read_dir(blobs.path()).expect("a folder").enumerate() {
        let entry = entry.expect("a file");
        let blob = blobs.path().join(format!("blob-{number}"));
        std::fs::rename(entry.path(), &blob).expect("renamed");
        std::os::unix::fs::symlink(blob, links.path().join(entry.file_name())).expect("a link");
    }
    let (prepared, _) = prepare(links.path(), &["--precision", "fp32"]);
    assert!(!prepared.path().join("encoder.onnx").is_symlink());
}

#[test]
fn version_3_is_prepared_with_chunks_of_whole_frames() {
    let fake = test_support::data().join("fake-models/sortformer-v3.onnx");
    let fake = format!("--diarization-model={}", fake.display());
    let (_, printed) = prepare(&tiny_models(), &["--precision", "fp32", &fake]);
    assert!(printed.contains("sortformer-v3.onnx: probabilities at 10 ms, mean"), "{printed}");
}

#[test]
fn prepared_models_give_the_same_in_gst_launch() {
    let sortformer = tiny_models().join("sortformer.onnx");
    let given = published("dynamo", &["int8.onnx", "config.json"]);
    std::fs::copy(&sortformer, given.path().join("sortformer.onnx")).expect("copied");
    let (prepared, _) = prepare(given.path(), &["--precision", "fp32"]);
    let plugins = tempfile::tempdir().expect("a folder");
    let library = "libgstmultitalkerasr.so";
    let built = test_support::built().join("deps").join(library);
    std::os::unix::fs::symlink(built, plugins.path().join(library)).expect("a link");
    let [expected, found] = [&tiny_models(), prepared.path()].map(|models: &Path| {
        let audio = test_support::data().join("audio/jfk.wav");
        let transcript = plugins.path().join("segments.json");
        let output = run(Command::new("gst-launch-1.0")
            .args(["-q", "filesrc"])
            .arg(format!("location={}", audio.display()))
            .args("! wavparse ! multitalkerasr precision=fp32".split(' '))
            .arg(format!("model-dir={}", models.display()))
            .arg(format!("diarization-model={}", models.join("sortformer.onnx").display()))
            .args(["!", "filesink"])
            .arg(format!("location={}", transcript.display()))
            .env("GST_PLUGIN_PATH", plugins.path())
            .env("GST_REGISTRY", plugins.path().join("registry")));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(&transcript).expect("written")
    });
    assert!(expected.len() > 50, "{expected}");
    assert_eq!(found, expected);
}

#[test]
fn time_is_measured_for_every_graph() {
    let (given, (prepared, _)) = (tiny_models(), prepare(&tiny_models(), &[]));
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
fn a_second_run_replaces_the_first_and_leaves_the_given_files_alone() {
    let given = published("torchscript", &["int8.onnx"]);
    let listing = |folder: &Path| -> BTreeMap<_, _> {
        let entries =
            std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("a file").path());
        entries.map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
    };
    let before = listing(given.path());
    let (prepared, _) = prepare(given.path(), &["--precision", "fp32"]);
    let first = listing(prepared.path());
    let again =
        run(tool("prepare.py").args([given.path(), prepared.path()]).args(["--precision", "fp32"]));
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(
        listing(prepared.path()).keys().collect::<Vec<_>>(),
        first.keys().collect::<Vec<_>>()
    );
    assert!(listing(given.path()) == before, "the given files changed");
}
