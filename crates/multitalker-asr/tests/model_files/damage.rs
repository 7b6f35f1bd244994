// SPDX-License-Identifier: MPL-2.0

//! Tests files that are missing, damaged, of another kind or inaccessible.

use std::path::Path;

use multitalker_asr::{Canceller, Model, ModelOptions, Precision, Stream, StreamOptions};
use tempfile::TempDir;
use test_support::data;

use super::{CONFIG, assert_contains, load};

/// Files of a complete model, apart from the weights beside the graphs.
const FILES: [&str; 4] =
    ["encoder.onnx", "decoder_joint.onnx", "tokenizer.model", "sortformer.onnx"];

/// Returns the error of loading a published model whose folder `spoil` has changed.
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

#[test]
fn file_of_another_kind_is_named_with_a_remedy() {
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
fn weights_that_are_missing_or_cut_are_named_with_a_remedy() {
    for form in ["torchscript", "dynamo"] {
        let error = error_of(form, |folder| {
            std::fs::remove_file(folder.join("encoder.onnx.data")).expect("removed");
        });
        let remedy = "download encoder.onnx.data into the same folder";
        assert_contains(&error, &["/encoder.onnx.data was not found", "of encoder.onnx", remedy]);
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
fn runtime_that_is_too_old_for_the_file_is_named_with_a_remedy() {
    // The opset is the last field of the file, and the version of the format is the first.
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
        let remedy = "use a newer ONNX Runtime, or a file of an older opset";
        let name = "/decoder_joint.onnx as ";
        assert_contains(&error, &[name, found, "by pytorch", "libonnxruntime", remedy]);
    }
}

#[cfg(unix)]
#[test]
fn irregular_file_is_named_at_once() {
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
fn file_without_permission_is_an_error() {
    use std::os::unix::fs::PermissionsExt;

    let all = |mode| std::fs::Permissions::from_mode(mode);
    for name in ["encoder.onnx", "tokenizer.model", "encoder.onnx.data"] {
        let folder = published("torchscript");
        std::fs::set_permissions(folder.path(), all(0o755)).expect("changed");
        std::fs::set_permissions(folder.path().join(name), all(0o000)).expect("changed");
        let path = folder.path().to_owned();
        let load = move || {
            // File permissions do not apply to root, so this thread becomes the user nobody.
            // SAFETY: the call takes no pointer, and the thread ends with this closure.
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

    // Weights behind a link give the same results as weights in the folder.
    let direct = published("dynamo");
    let direct = load(direct.path(), Precision::Fp32).expect("loads");
    let audio = test_support::read_wav(&data().join("audio/jfk.wav"));
    let [linked, direct] = [model, direct].map(|model| {
        let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
        format!("{:?}", stream.push(&audio).expect("inference runs"))
    });
    assert_eq!(linked, direct);
}
