// SPDX-License-Identifier: MPL-2.0

//! Runs `make models` against a hub on loopback (`hub.py`) that injects failures, and the demo on
//! the fetched models.

#![cfg(target_os = "linux")]

mod downloads;
mod hub;
mod models;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use multitalker_asr::{Canceller, Model, ModelOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

const RECOGNIZER: &str = "smcleod/multitalker-parakeet-streaming-0.6b-v1-onnx-int8";
const DIARIZERS: &str = "altunenes/parakeet-rs";
const V2: &str = "diar_streaming_sortformer_4spk-v2.onnx";
const V2_1: &str = "diar_streaming_sortformer_4spk-v2.1.onnx";
const V3: &str = "nemotron-3-diarization/nemotron3_diar_v3.onnx";
const ENCODER: &str = "encoder.int8.onnx";
const TOKEN: &str = "hf_of_the_test";

/// Number of bytes that huggingface_hub writes at a time.
const CHUNK: u64 = 10 << 20;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Generates pseudorandom bytes.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

/// Hub with files under their published names, and a folder into which they are fetched.
struct Bench {
    folder: TempDir,
    hub: Child,
    endpoint: String,
    /// Folder with the files that the test created and the hub serves.
    made: Option<TempDir>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The hub may have ended already.
        let _ = self.hub.kill();
        let _ = self.hub.wait();
    }
}

impl Bench {
    /// Starts a hub with the files of `models` as the recognizer, its `sortformer.onnx` as each
    /// diarizer, and `settings` that override its own.
    fn new(models: &Path, settings: Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sortformer = models.join("sortformer.onnx");
        let files: serde_json::Map<_, _> = std::fs::read_dir(models)
            .expect("models")
            .map(|entry| entry.expect("a file").path())
            .filter(|path| path != &sortformer)
            .map(|path| {
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                (name, path.display().to_string().into())
            })
            .collect();
        let mut config = json!({
            "prefix": "/mirror",
            "token": TOKEN,
            "log": folder.path().join("log"),
            "repos": {
                RECOGNIZER: {"files": files},
                DIARIZERS: {"files": {V2: sortformer, V2_1: sortformer, V3: sortformer}},
            },
        });
        for (name, path) in files {
            let name = format!("multitalker-parakeet-streaming-0.6b-v1/{name}");
            config["repos"][DIARIZERS]["files"][name] = path;
        }
        for (key, value) in settings.as_object().expect("an object") {
            config[key] = value.clone();
        }
        let path = folder.path().join("hub.json");
        std::fs::write(&path, config.to_string()).expect("written");
        std::fs::write(folder.path().join("log"), "").expect("written");
        let mut hub = Command::new("python3")
            .arg(repository().join("tests/hub.py"))
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut port = String::new();
        BufReader::new(hub.stdout.take().expect("piped")).read_line(&mut port).expect("a port");
        let endpoint = format!("http://127.0.0.1:{}/mirror", port.trim());
        let bench = Self { folder, hub, endpoint, made: None };
        bench.write_table(&std::fs::read(sortformer).expect("the diarizer"));
        bench
    }

    /// Starts a hub with a large encoder of random bytes and small files; returns the encoder too.
    fn with_large_file(settings: Value) -> (Self, Vec<u8>) {
        let models = tempfile::tempdir().expect("a folder");
        let encoder = noise(24 << 20);
        std::fs::write(models.path().join(ENCODER), &encoder).expect("written");
        for name in ["decoder_joint.int8.onnx", "tokenizer.model", "multitalker_config.json"] {
            std::fs::write(models.path().join(name), name).expect("written");
        }
        std::fs::write(models.path().join("sortformer.onnx"), "a diarizer").expect("written");
        let mut bench = Self::new(models.path(), settings);
        bench.made = Some(models);
        (bench, encoder)
    }

    /// Writes the table of the published files, with the size and hash of the test's diarizer.
    fn write_table(&self, diarizer: &[u8]) {
        let table = repository().join("tools/fetch-models/published.toml");
        let table = std::fs::read_to_string(table).expect("UTF-8");
        let lines = table.lines().map(|line| match line.split_once(", size = ") {
            Some((path, _)) => {
                format!("{path}, size = {}, sha256 = \"{}\" }},", diarizer.len(), sha256(diarizer))
            }
            None if line.starts_with("revision = ") => "revision = \"main\"".to_owned(),
            None => line.to_owned(),
        });
        let table = lines.collect::<Vec<_>>().join("\n");
        assert_eq!(table.matches("sha256 = ").count(), 3);
        std::fs::write(self.table(), table).expect("written");
    }

    fn table(&self) -> PathBuf {
        self.folder.path().join("published.toml")
    }

    fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    fn pair(&self) -> PathBuf {
        self.models().join("multitalker")
    }

    /// Returns the path to which the recognizer's file of this name is downloaded.
    fn download(&self, name: &str) -> PathBuf {
        self.models().join("published/recognizer-int8").join(RECOGNIZER).join(name)
    }

    /// Points the command to the hub and removes the user's own settings.
    fn with_hub(&self, mut command: Command) -> Command {
        for name in
            ["HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN_PATH", "ACCEPT_LICENSE"]
        {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.folder.path().join("hf")).env("HF_ENDPOINT", &self.endpoint);
        command
    }

    fn unlicensed(&self, options: &[&str]) -> Command {
        let mut command = self.with_hub(Command::new(repository().join(".venv/bin/python")));
        command
            .arg(repository().join("tools/fetch-models/fetch.py"))
            .args(["--prepare", "no"])
            .arg("--published")
            .arg(self.table())
            .arg("--models")
            .arg(self.models())
            .args(options)
            .stdin(Stdio::null());
        command
    }

    /// Returns a command that runs the tool without the step that prepares the models.
    fn tool(&self, options: &[&str]) -> Command {
        let mut command = self.unlicensed(options);
        command.env("ACCEPT_LICENSE", "yes");
        command
    }

    /// Returns the requests to the hub since the last call.
    fn requests(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.path().join("log")).expect("UTF-8");
        std::fs::write(self.folder.path().join("log"), "").expect("written");
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Returns the statuses and ranges of the downloads of the encoder.
    fn downloads_of_encoder(&self) -> Vec<(u64, Option<String>)> {
        let is_content = |entry: &Value| {
            let path = entry["path"].as_str().expect("a path");
            entry["method"] == "GET" && path == format!("{RECOGNIZER}/{ENCODER}")
        };
        let range = |entry: &Value| entry["range"].as_str().map(ToOwned::to_owned);
        self.requests()
            .iter()
            .filter(|entry| is_content(entry))
            .map(|entry| (entry["status"].as_u64().expect("a status"), range(entry)))
            .collect()
    }
}

fn sha256(data: &[u8]) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    child.stdin.take().expect("piped").write_all(data).expect("written");
    let output = child.wait_with_output().expect("runs");
    String::from_utf8(output.stdout).expect("ASCII")[..64].to_owned()
}

fn run(mut command: Command) -> Output {
    test_support::limit::output(&mut command)
}

fn succeeds(command: Command) -> String {
    let output = run(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asserts that the command fails, and returns the single line that it prints.
fn refusal(command: Command) -> String {
    let output = run(command);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.starts_with("fetch.py: ") && stderr.trim_end().lines().count() == 1, "{stderr}");
    stderr
}

/// Returns the names of all files below a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return names };
    for entry in entries.map(|entry| entry.expect("a file")) {
        if entry.file_type().expect("a type").is_dir() {
            names.extend(self::names(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names
}

fn demo_models() -> PathBuf {
    test_support::data().join("demo-models")
}
