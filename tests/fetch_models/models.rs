// SPDX-License-Identifier: MPL-2.0

//! Tests the preparation of each publisher's models, and the demo on them.

use super::*;

#[test]
fn files_of_each_publisher_are_prepared() {
    for (exporter, publisher, form) in
        [("torchscript", "smcleod", "fp32"), ("dynamo", "altunenes", "int8")]
    {
        let models = tempfile::tempdir().expect("a folder");
        let published = test_support::data().join("published").join(exporter);
        let files = std::fs::read_dir(published).expect("models");
        let sortformer = test_support::data().join("tiny-models/sortformer.onnx");
        for path in files.map(|entry| entry.expect("a file").path()).chain([sortformer]) {
            let name = path.file_name().expect("a name");
            std::fs::copy(&path, models.path().join(name)).expect("copied");
        }
        let bench = Bench::new(models.path(), json!({}));
        // The last of repeated options wins.
        let options = ["--recognizer", publisher, "--form", form, "--prepare", "yes"];
        succeeds(bench.tool(&options));
        let options = ModelOptions {
            model_dir: bench.pair(),
            diarization_model: Some(bench.pair().join("sortformer.onnx")),
            ..Default::default()
        };
        Model::load(&options, &Canceller::new()).expect("the prepared models load");
    }
}

#[test]
fn models_that_cannot_be_prepared_are_kept() {
    let (bench, _) = Bench::with_large_file(json!({}));
    let output = run(bench.tool(&["--prepare", "yes"]));
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("prepare.py: "), "{stderr}");
    assert!(
        stderr.contains("The downloads are kept, and PREPARE=no uses them without changes"),
        "{stderr}"
    );
    assert!(bench.download(ENCODER).exists() && !bench.pair().exists());
}

/// Links a checkout in a folder, with a `models` folder of its own.
fn checkout(folder: &Path) {
    for name in ["Makefile", "Cargo.toml", "tools", "testdata", ".venv", ".onnxruntime"] {
        std::os::unix::fs::symlink(repository().join(name), folder.join(name)).expect("a link");
    }
    let release = folder.join("target/release");
    std::fs::create_dir_all(&release).expect("a folder");
    let plugin = "libgstmultitalkerasr.so";
    std::os::unix::fs::symlink(
        test_support::built().join("deps").join(plugin),
        release.join(plugin),
    )
    .expect("a link");
}

#[test]
fn make_models_is_what_make_demo_runs_on() {
    let bench = Bench::new(&demo_models(), json!({}));
    let root = bench.folder.path().join("checkout");
    std::fs::create_dir(&root).expect("a folder");
    checkout(&root);
    let mut make = bench.with_hub(Command::new("make"));
    make.arg("models")
        .arg(format!("PUBLISHED={}", bench.table().display()))
        .arg("ACCEPT_LICENSE=yes")
        .current_dir(&root)
        .stdin(Stdio::null());
    let printed = succeeds(make);
    assert!(printed.contains("models/multitalker: the models are ready"), "{printed}");
    assert!(printed.contains("prepared models compared with the given ones"), "{printed}");

    let mut demo = Command::new("tools/demo.sh");
    demo.current_dir(&root)
        .env_remove("MODEL_DIR")
        .env_remove("GST_PLUGIN_PATH")
        .env("GST_REGISTRY", root.join("registry"));
    let printed = succeeds(demo);
    assert!(printed.contains("Using the models in models/multitalker"), "{printed}");
    assert!(
        printed.contains(
            "model-dir=models/multitalker diarization-model=models/multitalker/sortformer.onnx"
        ),
        "{printed}"
    );
    let (recognized, expected) = printed.split_once("Reference transcript:").expect("both");
    let words = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| Some(line.split_once("] speaker ")?.1));
        lines.flat_map(str::split_whitespace).map(ToOwned::to_owned).collect()
    };
    // The models are quantized twice, so a few words may differ.
    let (mut recognized, expected) = (words(recognized), words(expected));
    let missing = expected.iter().filter(|word| {
        let place = recognized.iter().position(|other| other == *word);
        place.map(|place| recognized.swap_remove(place)).is_none()
    });
    let missing = missing.count();
    assert!(expected.len() > 100 && missing * 20 < expected.len(), "{missing}: {printed}");
}
