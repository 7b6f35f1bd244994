// SPDX-License-Identifier: MPL-2.0

//! Tests models and options that are refused, and full disks.

use super::*;

/// Asserts that the tool fails with one line that contains `expected`, and that nothing is written.
#[track_caller]
fn assert_refused(models: &Path, options: &[&str], expected: &str) {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().join("out");
    let output = run(tool("prepare.py").arg(models).arg(&folder).args(options));
    assert_one_line(&output, expected);
    assert_eq!(std::fs::read_dir(out.path()).expect("a folder").count(), 0, "{expected}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("rewriting"), "{expected}: too late");
}

#[track_caller]
fn assert_one_line(output: &Output, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.contains(expected), "{expected} is not in: {stderr}");
    assert!(!stderr.contains("Traceback") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn what_is_missing_is_named() {
    let empty = tempfile::tempdir().expect("a folder");
    assert_refused(
        &empty.path().join("none"),
        &[],
        "expected a folder with the models, found none",
    );
    assert_refused(empty.path(), &[], "expected encoder.onnx or encoder.int8.onnx, found neither");
    let given = published("dynamo", &["int8.onnx", "tokenizer.model"]);
    assert_refused(given.path(), &[], "expected tokenizer.model, found none");
    let given = published("dynamo", &["int8.onnx", "encoder.onnx.data"]);
    assert_refused(
        given.path(),
        &[],
        "encoder.onnx: expected its weights in encoder.onnx.data, found no such file",
    );
    let (fp32, int8) =
        (tiny_models().join("sortformer.onnx"), tiny_models().join("sortformer.int8.onnx"));
    let twice = [fp32, int8].map(|path| format!("--diarization-model={}", path.display()));
    let twice = twice.each_ref().map(String::as_str);
    assert_refused(&tiny_models(), &twice, "found sortformer.onnx twice");
    let prepared = folder_of([
        test_support::data().join("prepared-models/encoder.onnx"),
        test_support::data().join("prepared-models/decoder_joint.onnx"),
        tiny_models().join("tokenizer.model"),
    ]);
    assert_refused(prepared.path(), &[], "encoder.onnx is prepared already");
}

#[test]
fn what_is_no_model_is_named() {
    let change = |file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>, expected: &str| {
        let given = published("dynamo", &["int8.onnx"]);
        let path = given.path().join(file);
        let bytes = std::fs::read(&path).expect("a file");
        std::fs::write(&path, change(bytes)).expect("written");
        assert_refused(given.path(), &[], expected);
    };
    let pointer = |_| POINTER.as_bytes().to_vec();
    let page = |_| b"<!DOCTYPE html>\n<html>Not found</html>".to_vec();
    let third = |bytes: Vec<u8>| bytes[..bytes.len() / 3].to_vec();
    let sortformer = |_| std::fs::read(tiny_models().join("sortformer.onnx")).expect("a file");
    change(
        "encoder.onnx",
        &pointer,
        "encoder.onnx: expected an ONNX file, found a Git LFS pointer",
    );
    change("encoder.onnx.data", &pointer, "in encoder.onnx.data, found a Git LFS pointer");
    change("tokenizer.model", &pointer, "expected a SentencePiece model, found a Git LFS pointer");
    change(
        "decoder_joint.onnx",
        &page,
        "decoder_joint.onnx: expected an ONNX file, found a web page",
    );
    change("decoder_joint.onnx", &|_| Vec::new(), "found an empty file");
    change(
        "encoder.onnx",
        &third,
        "encoder.onnx: expected an ONNX file, found another or an incomplete file",
    );
    change("encoder.onnx.data", &third, "bytes of at least ");
    change("encoder.onnx", &sortformer, "found no input processed_signal");
    change("decoder_joint.onnx", &sortformer, "found no input encoder_outputs");
}

#[test]
fn diarizers_of_other_forms_are_refused() {
    let option = |path: &Path| format!("--diarization-model={}", path.display());
    let fake = test_support::data().join("fake-models/sortformer-40ms.onnx");
    assert_refused(
        &tiny_models(),
        &[&option(&fake)],
        "expected a streaming Sortformer with frames of 80 ms",
    );
    let joint = tiny_models().join("decoder_joint.onnx");
    assert_refused(
        &tiny_models(),
        &[&option(&joint)],
        "expected a Sortformer's ONNX file, found no input spkcache",
    );

    let folder = tempfile::tempdir().expect("a folder");
    let fixed = folder.path().join("fixed.onnx");
    let script = "import sys, onnx
model = onnx.load(sys.argv[1])
for tensor, size in zip(model.graph.input[::2], (3048, 188, 40)):
    tensor.type.tensor_type.shape.dim[1].dim_value = size
onnx.save(model, sys.argv[2])";
    let sortformer = tiny_models().join("sortformer.onnx");
    assert!(
        run(Command::new(python()).args(["-c", script]).args([&sortformer, &fixed]))
            .status
            .success()
    );
    assert_refused(
        &tiny_models(),
        &[&option(&fixed)],
        "any length along axis 1 of chunk, found 3048",
    );
}

#[test]
fn options_that_make_no_sense_are_named() {
    let output = run(tool("prepare.py").arg(tiny_models()).args(["out", "--max-chunks", "0"]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("--max-chunks: expected at least 1, found 0"), "{stderr}");
    let output = run(tool("prepare.py").args([tiny_models(), tiny_models()]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("need a separate folder"), "{stderr}");
}

/// Limits the size of files, which fails like a full disk.
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let out = tempfile::tempdir().expect("a folder");
    let prepare = tool("prepare.py");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 500; exec \"$@\"", "sh"]).arg(prepare.get_program());
    limited.args(prepare.get_args()).arg(tiny_models()).arg(out.path().join("out"));
    assert_one_line(&run(&mut limited), "encoder.onnx could not be written: File too large");
    assert_eq!(std::fs::read_dir(out.path()).expect("a folder").count(), 0);
}
