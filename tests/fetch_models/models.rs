// SPDX-License-Identifier: MPL-2.0

//! Models of each publisher, prepared.

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
        // The last of two equal options counts.
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
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("prepare.py: "), "{said}");
    assert!(
        said.contains("The downloads are kept, and PREPARE=no uses them without changes"),
        "{said}"
    );
    assert!(bench.download(ENCODER).exists() && !bench.pair().exists());
}

/// A checkout whose `models` are its own.
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
    let said = succeeds(make);
    assert!(said.contains("models/multitalker: the models are ready"), "{said}");
    assert!(said.contains("prepared models compared with the given ones"), "{said}");

    let mut demo = Command::new("tools/demo.sh");
    demo.current_dir(&root)
        .env_remove("MODEL_DIR")
        .env_remove("GST_PLUGIN_PATH")
        .env("GST_REGISTRY", root.join("registry"));
    let said = succeeds(demo);
    assert!(said.contains("Using the models in models/multitalker"), "{said}");
    assert!(
        said.contains(
            "model-dir=models/multitalker diarization-model=models/multitalker/sortformer.onnx"
        ),
        "{said}"
    );
    let (heard, expected) = said.split_once("Reference transcript:").expect("both");
    let words = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| Some(line.split_once("] speaker ")?.1));
        lines.flat_map(str::split_whitespace).map(ToOwned::to_owned).collect()
    };
    // Twice in 8 bits, they are not quite what they were.
    let (mut heard, expected) = (words(heard), words(expected));
    let missing = expected.iter().filter(|word| {
        let place = heard.iter().position(|other| other == *word);
        place.map(|place| heard.swap_remove(place)).is_none()
    });
    let missing = missing.count();
    assert!(expected.len() > 100 && missing * 20 < expected.len(), "{missing}: {said}");
}
