// SPDX-License-Identifier: MPL-2.0

//! Which folders make a model, and what is said of those that do not.

use std::path::Path;
use std::sync::Arc;

use multitalker_asr::{
    Canceller, ChunkLatency, Error, ExecutionProvider, Model, ModelOptions, Precision,
    RuntimeOptions, Stream, StreamOptions,
};
use serde_json::Value;
use tempfile::TempDir;
use test_support::{data, tiny_model_options};

/// A copy of the tiny models without a diarizer, and with only these files.
fn folder_with(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in files {
        let from = data().join("tiny-models").join(file);
        std::fs::copy(&from, folder.path().join(file)).expect("a copy");
    }
    folder
}

const FP32: [&str; 3] = ["encoder.onnx", "decoder_joint.onnx", "tokenizer.model"];
const CONFIG: &str = "multitalker_config.json";

fn load(folder: &Path, precision: Precision) -> Result<Arc<Model>, Error> {
    let options =
        ModelOptions { model_dir: folder.to_owned(), precision, ..ModelOptions::default() };
    Model::load(&options, &Canceller::new())
}

/// A folder whose config has another value at `pointer`.
fn with_config(pointer: &str, value: Value) -> TempDir {
    let folder = folder_with(&FP32);
    let text = std::fs::read_to_string(data().join("tiny-models").join(CONFIG)).expect("readable");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    *config.pointer_mut(pointer).expect("an entry that there is") = value;
    std::fs::write(folder.path().join(CONFIG), config.to_string()).expect("written");
    folder
}

#[test]
fn graphs_tell_enough_without_a_config() {
    let folder = folder_with(&FP32);
    let model = load(folder.path(), Precision::Auto).expect("loads");
    let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
    let audio = test_support::read_wav(&data().join("audio/news.wav"));
    assert!(!stream.push(&audio).expect("inference runs").is_empty());
}

#[test]
fn precision_chooses_the_files() {
    let only_fp32 = folder_with(&FP32);
    assert!(load(only_fp32.path(), Precision::Auto).is_ok());
    let error = load(only_fp32.path(), Precision::Int8).err().expect("no such file");
    assert!(error.to_string().contains("decoder_joint.int8.onnx was not found"), "{error}");
    let both = folder_with(&["encoder.int8.onnx", "decoder_joint.int8.onnx", "tokenizer.model"]);
    assert!(load(both.path(), Precision::Auto).is_ok(), "int8 where it is");
    assert!(load(both.path(), Precision::Fp32).is_err());
}

#[test]
fn config_that_differs_is_named() {
    for (pointer, value, entry, expected) in [
        ("/encoder/d_model", 512, "encoder.d_model", "64 by encoder.onnx"),
        ("/encoder/num_layers", 24, "encoder.num_layers", "3 by encoder.onnx"),
        ("/encoder/left_context", 70, "encoder.left_context", "28 by encoder.onnx"),
        ("/encoder/subsampling_factor", 4, "encoder.subsampling_factor", "8 by the features"),
        ("/decoder/vocab_size", 1024, "decoder.vocab_size", "96 by decoder_joint.onnx"),
        ("/decoder/pred_hidden", 640, "decoder.pred_hidden", "48 by decoder_joint.onnx"),
        ("/preprocessor/n_mels", 80, "preprocessor.n_mels", "128 by encoder.onnx"),
        ("/preprocessor/sample_rate", 8000, "preprocessor.sample_rate", "16000 by the features"),
    ] {
        let folder = with_config(pointer, value.into());
        let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
        let found = format!("found {value}");
        for part in [CONFIG, entry, expected, found.as_str()] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
    let folder = with_config("/preprocessor/normalize", "per_feature".into());
    let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
    assert!(error.contains("found per_feature"), "{error}");
}

/// The message for a folder with the fp32 models and this text as config.
fn with_text(text: &str) -> Result<Arc<Model>, Error> {
    let folder = folder_with(&FP32);
    std::fs::write(folder.path().join(CONFIG), text).expect("written");
    load(folder.path(), Precision::Fp32)
}

#[test]
fn context_of_another_size_is_refused_before_it_is_used() {
    for value in [
        "0",
        "1",
        "8",
        "10",
        "17",
        "1000",
        "1000000",
        "1000000000",
        "1099511627776",
        "9223372036854775808",
        "18446744073709551615",
        "-1",
        "9.5",
        "\"1000000000\"",
        "[0, 1000]",
    ] {
        for (key, other) in [("drop_extra_pre_encoded", "2"), ("unknown", "1")] {
            let config = format!(
                "{{\"encoder\": {{\"pre_encode_cache_size\": {value}, \"{key}\": {other}}}}}"
            );
            let error = with_text(&config).err().unwrap_or_else(|| panic!("{value} is refused"));
            let error = error.to_string();
            let entry = "encoder.pre_encode_cache_size: expected 9 by the encoder's subsampling";
            for part in [CONFIG, entry] {
                assert!(error.contains(part), "{part} is not in: {error}");
            }
        }
    }
    for value in ["9", "9.0", "\"9\"", "[0, 9]", "null"] {
        let config = format!("{{\"encoder\": {{\"pre_encode_cache_size\": {value}}}}}");
        assert_eq!(with_text(&config).expect("loads").warnings(), [], "{value}");
    }
}

#[test]
fn config_that_cannot_be_read_is_a_warning_and_the_graphs_count() {
    let long = "x".repeat(2 << 20);
    for text in ["", "no JSON", "[]", "{\"encoder\": ", "{\"a\": NaN}", long.as_str()] {
        let model = with_text(text).expect("loads");
        let [warning] = model.warnings() else { panic!("{:?}", model.warnings()) };
        let warning = warning.to_string();
        for part in [CONFIG, "is ignored: expected a JSON object, found", "of the graphs"] {
            assert!(warning.contains(part), "{part} is not in: {warning}");
        }
        assert!(warning.len() < 3000, "{} bytes", warning.len());
        assert!(Stream::new(model, StreamOptions::default()).is_ok());
    }
    let model = with_text("{\"encoder\": {\"d_model\": \"a lot\", \"att_context_size\": \"all\"}}");
    let model = model.expect("loads");
    let warnings: Vec<_> = model.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("encoder.d_model is ignored: expected a number"), "{warnings:?}");
    assert!(warnings[0].contains("found \"a lot\""), "{warnings:?}");
    assert!(warnings[1].contains("encoder.att_context_size is ignored"), "{warnings:?}");
}

#[test]
fn numbers_as_text_are_compared_too() {
    let error = with_text("{\"encoder\": {\"d_model\": \"512.0\"}}").err().expect("refused");
    let error = error.to_string();
    for part in [CONFIG, "encoder.d_model", "expected 64 by encoder.onnx", "found 512.0"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn messages_are_bounded() {
    let long = "x".repeat(900_000);
    let config = serde_json::json!({"preprocessor": {"normalize": long}}).to_string();
    let error = with_text(&config).err().expect("refused");
    assert!(error.to_string().len() < 3000 && format!("{error:?}").len() < 3000);
    let pairs = vec![[28, -1]; 100_000];
    let config = serde_json::json!({"encoder": {"att_context_size": [pairs, "x"]}}).to_string();
    let model = with_text(&config).expect("loads");
    assert!(model.warnings()[0].to_string().len() < 3000);
}

/// Every file of a whole model: without its `.data`, a folder has all weights in the graphs.
const FILES: [&str; 4] =
    ["encoder.onnx", "decoder_joint.onnx", "tokenizer.model", "sortformer.onnx"];

/// The error of the published model in a folder that `spoil` changed, with its diarizer.
fn error_of(form: &str, spoil: impl FnOnce(&Path)) -> String {
    let folder = published(form);
    spoil(folder.path());
    let options = ModelOptions {
        model_dir: folder.path().to_owned(),
        diarization_model: Some(folder.path().join("sortformer.onnx")),
        precision: Precision::Fp32,
        ..ModelOptions::default()
    };
    Model::load(&options, &Canceller::new()).err().expect("refused").to_string()
}

fn published(form: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(data().join("published").join(form)).expect("readable") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    let sortformer = "sortformer.onnx";
    std::fs::copy(data().join("tiny-models").join(sortformer), folder.path().join(sortformer))
        .expect("copied");
    folder
}

#[track_caller]
fn assert_contains(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn what_is_saved_in_place_of_a_file_is_named_with_the_way_out() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n";
    let safetensors = "\u{40}\0\0\0\0\0\0\0{\"__metadata__\":{}}";
    for (content, parts) in [
        (pointer, ["a Git LFS pointer", "git lfs pull"]),
        ("<!DOCTYPE html>\n<html><title>Log in</title>", ["an HTML page", "download the file"]),
        ("", ["an empty file", "download it again"]),
        ("PK\u{3}\u{4}\u{14}", ["a zip archive", "export"]),
        (safetensors, ["a safetensors file", "ONNX"]),
        ("{\"error\": \"not found\"}", ["a JSON document", ": a JSON"]),
    ] {
        for name in FILES {
            let error = error_of("torchscript", |folder| {
                std::fs::write(folder.join(name), content).expect("written");
            });
            assert_contains(&error, &[&format!("/{name} as "), parts[0], parts[1]]);
        }
    }
    for form in ["torchscript", "dynamo"] {
        let error = error_of(form, |folder| {
            std::fs::write(folder.join("encoder.onnx.data"), pointer).expect("written");
        });
        assert_contains(&error, &["/encoder.onnx.data as ", "a Git LFS pointer", "git lfs pull"]);
    }
}

#[test]
fn weights_that_are_missing_or_cut_are_named_with_the_way_out() {
    for form in ["torchscript", "dynamo"] {
        let error = error_of(form, |folder| {
            std::fs::remove_file(folder.join("encoder.onnx.data")).expect("removed");
        });
        let way_out = "download encoder.onnx.data into the same folder";
        assert_contains(&error, &["/encoder.onnx.data was not found", "of encoder.onnx", way_out]);
        let error = error_of(form, |folder| {
            let path = folder.join("encoder.onnx.data");
            std::fs::OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|f| f.set_len(1000))
                .expect("cut");
        });
        assert_contains(&error, &["/encoder.onnx.data as ", "1000 bytes", "download both again"]);
    }
}

#[test]
fn cut_files_are_named_with_their_size() {
    for name in FILES {
        let error = error_of("torchscript", |folder| {
            let bytes = std::fs::read(folder.join(name)).expect("readable");
            std::fs::write(folder.join(name), &bytes[..5000]).expect("written");
        });
        assert_contains(&error, &[&format!("/{name} as "), "5000 bytes", "download it again"]);
    }
}

#[test]
fn runtime_that_is_too_old_for_the_file_is_named_with_the_way_out() {
    // The opset is the last field of the file, the version of the format the first.
    let ends = |bytes: &[u8]| bytes.ends_with(b"B\x02\x10\x11") && bytes.starts_with(b"\x08\x08");
    for (is_opset, found) in [(true, "a graph of opset 99"), (false, "IR version 99")] {
        let error = error_of("torchscript", |folder| {
            let path = folder.join("decoder_joint.onnx");
            let mut bytes = std::fs::read(&path).expect("readable");
            assert!(ends(&bytes));
            let at = if is_opset { bytes.len() - 1 } else { 1 };
            bytes[at] = 99;
            std::fs::write(path, bytes).expect("written");
        });
        let way_out = "use a newer ONNX Runtime, or a file of an older opset";
        let name = "/decoder_joint.onnx as ";
        assert_contains(&error, &[name, found, "by pytorch", "libonnxruntime", way_out]);
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_named_at_once() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    let started = std::time::Instant::now();
    let make = |kind: &str, path: &Path| match kind {
        "a named pipe" => {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.expect("mkfifo").success());
        }
        "a folder" => std::fs::create_dir(path).expect("made"),
        "a socket" => drop(UnixListener::bind(path).expect("bound")),
        "a character device" => symlink("/dev/zero", path).expect("linked"),
        _ => symlink("nowhere", path).expect("linked"),
    };
    let kinds = ["a named pipe", "a folder", "a socket", "a character device", "a link to nowhere"];
    for kind in kinds {
        for name in FILES.into_iter().chain([CONFIG, "encoder.onnx.data"]) {
            let error = error_of("torchscript", |folder| {
                std::fs::remove_file(folder.join(name)).expect("removed");
                make(kind, &folder.join(name));
            });
            assert_contains(&error, &[&format!("/{name} as "), kind]);
        }
        for name in ["encoder.int8.onnx", "decoder_joint.int8.onnx"] {
            let folder = published("torchscript");
            std::fs::remove_file(folder.path().join(name)).expect("removed");
            make(kind, &folder.path().join(name));
            for precision in [Precision::Auto, Precision::Int8] {
                let error = load(folder.path(), precision).err().expect("refused").to_string();
                assert_contains(&error, &[&format!("/{name} as "), kind]);
            }
        }
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
}

#[cfg(target_os = "linux")]
#[test]
fn file_without_permission_says_so() {
    use std::os::unix::fs::PermissionsExt;

    let all = |mode| std::fs::Permissions::from_mode(mode);
    for name in ["encoder.onnx", "tokenizer.model", "encoder.onnx.data"] {
        let folder = published("torchscript");
        std::fs::set_permissions(folder.path(), all(0o755)).expect("changed");
        std::fs::set_permissions(folder.path().join(name), all(0o000)).expect("changed");
        let path = folder.path().to_owned();
        let load = move || {
            // The files' permissions do not hold for root; nobody's do, for this thread.
            // SAFETY: it takes no pointer, and the thread ends with this closure.
            unsafe { libc::setfsuid(65_534) };
            load(&path, Precision::Fp32).err().expect("refused").to_string()
        };
        let error = std::thread::spawn(load).join().expect("no panic");
        assert_contains(&error, &[&format!("/{name} as "), "permission denied"]);
    }
}

#[cfg(unix)]
#[test]
fn weights_behind_a_link_out_of_the_folder_are_read_with_a_warning() {
    let folder = published("dynamo");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (link, weights) = (folder.path().join("encoder.onnx.data"), elsewhere.path().join("w"));
    std::fs::rename(&link, &weights)
        .or_else(|_| std::fs::copy(&link, &weights).map(|_| ()))
        .expect("moved");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&weights, &link).expect("linked");
    let model = load(folder.path(), Precision::Fp32).expect("loads");
    let [warning] = model.warnings() else { panic!("{:?}", model.warnings()) };
    let bytes = std::fs::metadata(&weights).expect("there").len().to_string();
    assert_contains(
        &warning.to_string(),
        &["/encoder.onnx.data are behind a link", &bytes, "1.24.2"],
    );

    // The weights are the same.
    let direct = published("dynamo");
    let direct = load(direct.path(), Precision::Fp32).expect("loads");
    let audio = test_support::read_wav(&data().join("audio/jfk.wav"));
    let [linked, direct] = [model, direct].map(|model| {
        let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
        format!("{:?}", stream.push(&audio).expect("inference runs"))
    });
    assert_eq!(linked, direct);
}

#[test]
fn dimensions_beyond_reason_are_refused_by_the_graph_that_has_them() {
    // A dimension as protobuf: the input's name, then its shape.
    for (file, name, from, to) in [
        ("decoder_joint.onnx", "input_states_1", 2, "dimension 0 of input_states_1"),
        ("encoder.onnx", "cache_last_channel", 3, "dimension 1 of cache_last_channel"),
    ] {
        let folder = folder_with(&FP32);
        let path = folder.path().join(file);
        let graph = std::fs::read(&path).expect("readable");
        let graph = with_dimension(&graph, name, from, 1 << 31);
        std::fs::write(&path, graph).expect("written");
        let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
        assert_contains(&error, &[file, to, "2147483648"]);
    }
}

/// Puts `size` in place of the first dimension of the input `name` that is `from`.
fn with_dimension(graph: &[u8], name: &str, from: u8, size: u64) -> Vec<u8> {
    use prost::encoding::{decode_varint, encode_varint};

    /// The fields of a message: number, and the bytes of its value.
    fn edit(
        message: &[u8],
        path: &[u64],
        change: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Vec<u8> {
        let Some((&wanted, rest)) = path.split_first() else {
            return change(message).unwrap_or_else(|| message.to_vec());
        };
        let (mut input, mut output) = (message, Vec::new());
        while !input.is_empty() {
            let start = input;
            let tag = decode_varint(&mut input).expect("a tag");
            if tag & 7 == 2 {
                let length = decode_varint(&mut input).expect("a length") as usize;
                let (value, after) = input.split_at(length);
                input = after;
                let value =
                    if tag >> 3 == wanted { edit(value, rest, change) } else { value.to_vec() };
                encode_varint(tag, &mut output);
                encode_varint(value.len() as u64, &mut output);
                output.extend(value);
            } else {
                match tag & 7 {
                    0 => drop(decode_varint(&mut input).expect("a number")),
                    5 => input = &input[4..],
                    other => panic!("wire type {other}"),
                }
                output.extend(&start[..start.len() - input.len()]);
            }
        }
        output
    }
    let mut done = false;
    // ModelProto.graph.input, then the type, tensor type, shape and dimension of that input.
    edit(graph, &[7, 11], &mut |input| {
        let named = [&[0x0a, name.len() as u8], name.as_bytes()].concat();
        input.starts_with(&named).then(|| {
            edit(input, &[2, 1, 2, 1], &mut |dimension| {
                (!done && dimension == [8, from]).then(|| {
                    done = true;
                    let mut changed = vec![8];
                    encode_varint(size, &mut changed);
                    changed
                })
            })
        })
    })
}

#[test]
fn networks_are_shared_by_file_and_not_by_options() {
    let folder = folder_with(&["encoder.onnx", "decoder_joint.onnx", "tokenizer.model", CONFIG]);
    let path = folder.path();
    let with = |model_dir: &Path, diarization: bool, threads| {
        let options = ModelOptions {
            model_dir: model_dir.to_owned(),
            diarization_model: diarization.then(|| data().join("tiny-models/sortformer.onnx")),
            precision: Precision::Fp32,
            runtime: RuntimeOptions { intra_op_threads: threads, ..Default::default() },
        };
        Model::load(&options, &Canceller::new()).expect("loads")
    };
    let first = with(path, false, 1);
    assert!(first.shares_encoder_with(&with(path, true, 1)), "whatever the diarizer");
    assert!(first.shares_encoder_with(&with(&path.join("."), false, 1)), "by a detour");
    assert!(!first.shares_encoder_with(&with(path, false, 2)), "other threads");
    let other = tempfile::tempdir().expect("a folder");
    #[cfg(unix)]
    {
        for name in ["encoder.onnx", "decoder_joint.onnx"] {
            std::os::unix::fs::symlink(path.join(name), other.path().join(name)).expect("linked");
        }
        std::fs::copy(path.join("tokenizer.model"), other.path().join("tokenizer.model"))
            .expect("copied");
        assert!(first.shares_encoder_with(&with(other.path(), false, 1)), "another tokenizer");
    }
    let replacement = path.join("new");
    std::fs::copy(path.join("encoder.onnx"), &replacement).expect("copied");
    std::fs::rename(&replacement, path.join("encoder.onnx")).expect("replaced");
    assert!(!first.shares_encoder_with(&with(path, false, 1)), "a file that was replaced");
}

#[test]
fn prepared_for_no_chunks_is_refused() {
    let folder = folder_with(&FP32);
    let mut graph = std::fs::read(data().join("prepared-models/encoder.onnx")).expect("readable");
    // The entry as protobuf: a key and a value of one character.
    let entry = b"max_chunks\x12\x01";
    let at = graph.windows(entry.len()).position(|bytes| bytes == entry).expect("prepared");
    graph[at + entry.len()] = b'0';
    std::fs::write(folder.path().join(FP32[0]), graph).expect("written");
    let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
    for part in ["encoder.onnx", "max_chunks in the metadata", "expected a number", "found 0 ("] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn chunk_that_the_encoder_does_not_know_is_refused() {
    let folder = with_config("/encoder/att_context_size", serde_json::json!([[28, 13], [28, 0]]));
    let model = load(folder.path(), Precision::Fp32).expect("loads");
    for (chunk_latency, known) in [
        (ChunkLatency::Ms1120, true),
        (ChunkLatency::Ms560, false),
        (ChunkLatency::Ms160, false),
        (ChunkLatency::Ms80, true),
    ] {
        let options = StreamOptions { chunk_latency, ..StreamOptions::default() };
        match Stream::new(model.clone(), options) {
            Ok(_) => assert!(known, "{chunk_latency:?}"),
            Err(error) => {
                assert!(!known, "{chunk_latency:?}: {error}");
                assert!(error.to_string().contains("one of [14, 1] encoded frames"), "{error}");
            }
        }
    }
}

#[test]
fn provider_that_is_not_there_is_an_error_unless_auto() {
    let load = |execution_provider| {
        let runtime = RuntimeOptions { execution_provider, ..RuntimeOptions::default() };
        Model::load(&ModelOptions { runtime, ..tiny_model_options() }, &Canceller::new())
    };
    assert!(load(ExecutionProvider::Auto).is_ok());
    let error = load(ExecutionProvider::CoreMl).err().expect("only on another system").to_string();
    assert!(error.contains("execution provider coreml is not available"), "{error}");
    assert!(error.contains("offers cpu"), "{error}");
}

#[test]
fn number_of_threads_is_bounded() {
    for intra_op_threads in [1025, u32::MAX as usize, usize::MAX] {
        let runtime = RuntimeOptions { intra_op_threads, ..Default::default() };
        let options = ModelOptions { runtime, ..tiny_model_options() };
        let error = Model::load(&options, &Canceller::new()).err().expect("refused");
        assert!(matches!(error, Error::InvalidOption { .. }), "{error}");
        assert!(error.to_string().contains("at most 1024"), "{error}");
    }
}
