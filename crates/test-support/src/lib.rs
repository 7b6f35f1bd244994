// SPDX-License-Identifier: MPL-2.0

//! Test data, audio files, models and time limits, shared by the tests of the workspace.

pub mod limit;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use multitalker_asr::{Canceller, Model, ModelOptions, Precision};

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The folder with models, audio and expected results.
pub fn data() -> PathBuf {
    repository().join("testdata")
}

/// The folder where cargo builds the plugin and the examples.
pub fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    test.parent().and_then(Path::parent).expect("inside cargo's target directory").to_owned()
}

/// Builds the example `transcribe_wav` if it is out of date, and returns its path.
pub fn transcribe_wav() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = built();
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--locked", "--example", "transcribe_wav"])
            .args(["--package", "multitalker-asr", "--target-dir"])
            .arg(target.parent().expect("the target directory"))
            .current_dir(repository())
            .status()
            .expect("cargo runs");
        assert!(status.success(), "cargo could not build transcribe_wav");
        target.join("examples/transcribe_wav")
    })
}

/// Reads a 16 kHz mono file of 16-bit integers as samples from -1 to 1.
pub fn read_wav(path: &Path) -> Vec<f32> {
    let mut reader =
        hound::WavReader::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let spec = reader.spec();
    assert_eq!((spec.sample_rate, spec.channels, spec.bits_per_sample), (16_000, 1, 16));
    reader.samples::<i16>().map(|s| f32::from(s.expect("a sample")) / 32_768.0).collect()
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

/// Options for the fp32 models with random weights and their diarizer.
pub fn tiny_model_options() -> ModelOptions {
    let folder = data().join("tiny-models");
    ModelOptions {
        diarization_model: Some(folder.join("sortformer.onnx")),
        model_dir: folder,
        precision: Precision::Fp32,
        ..Default::default()
    }
}

/// Writes a fake diarizer that multiplies matrices `products` times in each step.
pub fn slow_diarizer(folder: &Path, products: u64) -> PathBuf {
    let graph = data().join("fake-models/sortformer-slow.onnx");
    let mut graph = std::fs::read(graph).expect("readable");
    let marker = b"how-slow";
    let at = graph.windows(marker.len()).position(|part| part == marker).expect("the marker");
    graph[at..at + marker.len()].copy_from_slice(&products.to_le_bytes());
    let path = folder.join(format!("{products}.onnx"));
    std::fs::write(&path, graph).expect("written");
    path
}

/// Bytes that Rust and C++ code of this process have allocated with `malloc` and not freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn allocated_bytes() -> usize {
    // SAFETY: `mallinfo2` only reads the allocator's counters.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Panics with instructions if ONNX Runtime is missing. `.cargo/config.toml` always sets its path.
#[track_caller]
pub fn require_runtime() {
    let library = std::env::var_os("ORT_DYLIB_PATH").unwrap_or_default();
    let library = Path::new(&library);
    // The dynamic loader searches for a bare name.
    let is_bare = library.file_name() == Some(library.as_os_str());
    assert!(
        is_bare || library.is_file(),
        "no ONNX Runtime at {library:?}: run `make setup`, which installs it there, or set \
         ORT_DYLIB_PATH to your libonnxruntime.so"
    );
}

/// Loads the model of [`tiny_model_options`].
pub fn tiny_model() -> Arc<Model> {
    require_runtime();
    Model::load(&tiny_model_options(), &Canceller::new()).expect("the models of the tests load")
}
