// SPDX-License-Identifier: MPL-2.0

//! `make models` against a hub on loopback (`hub.py`), with everything that can go wrong on the way,
//! and the demo on what it fetched.

#![cfg(target_os = "linux")]

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

/// Bytes that huggingface_hub writes at a time.
const CHUNK: u64 = 10 << 20;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Bytes that differ from one to the next.
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

/// A hub with files under their published names, and a folder into which they are fetched.
struct Bench {
    folder: TempDir,
    hub: Child,
    endpoint: String,
    /// Files that the hub serves and the test made.
    made: Option<TempDir>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.hub.kill();
        let _ = self.hub.wait();
    }
}

impl Bench {
    /// With the files of `models` as the recognizer, its `sortformer.onnx` as each diarizer, and
    /// some of the hub's settings.
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

    /// With a large encoder of no meaning, and small files beside it.
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

    /// The table of the published files, with the sizes and hashes of the test's diarizer.
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

    /// Where the recognizer's file of this name is downloaded to.
    fn download(&self, name: &str) -> PathBuf {
        self.models().join("published/recognizer-int8").join(RECOGNIZER).join(name)
    }

    /// With nothing of the user's own settings.
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

    /// The tool, without the step that prepares the models.
    fn tool(&self, options: &[&str]) -> Command {
        let mut command = self.unlicensed(options);
        command.env("ACCEPT_LICENSE", "yes");
        command
    }

    /// What the hub was asked for since the last call.
    fn requests(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.path().join("log")).expect("UTF-8");
        std::fs::write(self.folder.path().join("log"), "").expect("written");
        log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Statuses and ranges of the downloads of the encoder.
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
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The one line that it ends with.
fn refusal(command: Command) -> String {
    let output = run(command);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("fetch.py: ") && said.trim_end().lines().count() == 1, "{said}");
    said
}

/// All files below a folder, by their names.
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

fn later(offset: u64) -> (u64, Option<String>) {
    (206, Some(format!("bytes={offset}-")))
}

#[test]
fn a_cut_connection_goes_on_where_it_broke() {
    let cut = json!({"faults": {ENCODER: {"cut": 15 << 20}}});
    let (bench, encoder) = Bench::with_large_file(cut);
    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
    assert_eq!(bench.downloads_of_encoder(), [(200, None), later(CHUNK)]);
}

#[test]
fn a_reset_connection_goes_on_where_it_broke() {
    // What was sent last is lost with the connection, so either the first or both chunks arrive.
    let reset = json!({"faults": {ENCODER: {"cut": 23 << 20, "reset": true}}});
    let (bench, encoder) = Bench::with_large_file(reset);
    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
    let [(200, None), second] = &bench.downloads_of_encoder()[..] else { panic!("two requests") };
    assert!([later(CHUNK), later(2 * CHUNK)].contains(second), "{second:?}");
}

#[test]
fn a_connection_that_brings_nothing_is_given_up() {
    let cut = json!({"faults": {ENCODER: {"cut": 0, "reset": true, "times": 1000}}});
    let (bench, _) = Bench::with_large_file(cut);
    let said = refusal(bench.tool(&[]));
    assert!(
        said.contains("encoder.int8.onnx: the connection broke after 0 bytes of 25.2 MB"),
        "{said}"
    );
    assert!(!bench.download(ENCODER).exists() && !bench.pair().exists());
    assert!(bench.downloads_of_encoder().len() < 40);
}

#[test]
fn a_killed_download_goes_on_where_it_stopped() {
    let stall = json!({"faults": {ENCODER: {"stall": 15 << 20}}});
    let (bench, encoder) = Bench::with_large_file(stall);
    let mut child = bench.tool(&[]).stdout(Stdio::null()).spawn().expect("python");
    let folder = bench.download(ENCODER).parent().expect("a folder").to_owned();
    let deadline = Instant::now() + Duration::from_secs(60);
    let arrived = || {
        let incomplete = std::fs::read_dir(&folder).into_iter().flatten().find_map(|entry| {
            let entry = entry.expect("a file");
            entry.file_name().to_str()?.ends_with(".incomplete").then_some(entry)
        });
        incomplete.map_or(0, |entry| entry.metadata().expect("there").len())
    };
    while arrived() < CHUNK {
        assert!(Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(!bench.download(ENCODER).exists(), "half a file looks whole");
    assert_eq!(bench.downloads_of_encoder(), [(200, None)]);

    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
    assert_eq!(bench.downloads_of_encoder(), [later(CHUNK)]);
    assert!(!names(&bench.models()).iter().any(|name| name.ends_with(".incomplete")));
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_beginning() {
    let cut = json!({"faults": {ENCODER: {"cut": 15 << 20, "ignore_range": true}}});
    let (bench, encoder) = Bench::with_large_file(cut);
    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
}

#[test]
fn a_full_disk_leaves_nothing_that_looks_whole() {
    let (bench, encoder) = Bench::with_large_file(json!({}));
    // No file may grow beyond 12 MiB, which fails as a full disk does, for any user.
    let mut limited = bench.with_hub(Command::new("bash"));
    let tool = bench.tool(&[]);
    limited
        .args(["-c", r#"ulimit -f 12288 && exec "$@""#, "bash"])
        .arg(tool.get_program())
        .args(tool.get_args())
        .env("ACCEPT_LICENSE", "yes")
        .stdin(Stdio::null());
    let said = refusal(limited);
    let expected = "encoder.int8.onnx: File too large: received 12.6 MB of 25.2 MB. Free some";
    assert!(said.contains(expected), "{said}");
    assert!(!bench.download(ENCODER).exists() && !bench.pair().exists());
    bench.requests();

    succeeds(bench.tool(&[]));
    assert!(std::fs::read(bench.pair().join(ENCODER)).expect("there") == encoder);
    assert_eq!(bench.downloads_of_encoder(), [later(12 << 20)]);
}

#[test]
fn a_disk_that_is_too_small_is_found_before_the_download() {
    let size = json!({"faults": {ENCODER: {"size": 1_u64 << 60}}});
    let (bench, _) = Bench::with_large_file(size);
    let said = refusal(bench.tool(&[]));
    assert!(said.contains("models: expected 1,152,921,504,6"), "{said}");
    assert!(said.contains(" MB of free disk space for the downloads"), "{said}");
    assert!(bench.downloads_of_encoder().is_empty());
}

#[test]
fn a_file_with_another_hash_is_removed() {
    let damage = json!({"faults": {ENCODER: {"damage": true}}});
    let bench = Bench::new(&demo_models(), damage);
    let said = refusal(bench.tool(&[]));
    let expected = sha256(&std::fs::read(demo_models().join(ENCODER)).expect("there"));
    let file = bench.download(ENCODER);
    assert!(
        said.contains(&format!("{}: expected sha256 {expected}, found ", file.display())),
        "{said}"
    );
    assert!(names(file.parent().expect("a folder")).is_empty() && !bench.pair().exists());

    let small = json!({"faults": {"multitalker_config.json": {"damage": true}}});
    let said = refusal(Bench::new(&demo_models(), small).tool(&[]));
    assert!(said.contains("multitalker_config.json: expected git's sha1 "), "{said}");
}

#[test]
fn a_file_larger_than_announced_is_removed() {
    let size = json!({"faults": {ENCODER: {"size": 1000}}});
    let bench = Bench::new(&demo_models(), size);
    let said = refusal(bench.tool(&[]));
    assert!(said.contains(".incomplete: expected 1000 bytes, found more"), "{said}");
    assert!(names(bench.download(ENCODER).parent().expect("a folder")).is_empty());
}

#[test]
fn a_file_that_is_not_the_known_one_is_not_downloaded() {
    let bench = Bench::new(&demo_models(), json!({}));
    bench.write_table(b"another");
    let said = refusal(bench.tool(&[]));
    let found = std::fs::metadata(demo_models().join("sortformer.onnx")).expect("there").len();
    assert!(said.contains(&format!("{V2_1}: expected size 7, found {found}")), "{said}");
    assert!(bench.downloads_of_encoder().is_empty());
}

#[test]
fn a_hub_that_is_busy_is_asked_again() {
    let busy = json!({"faults": {ENCODER: {"busy": 2}, "tokenizer.model": {"busy": 1}}});
    let bench = Bench::new(&demo_models(), busy);
    assert!(succeeds(bench.tool(&[])).contains("the models are ready"));
}

#[test]
fn what_a_hub_refuses_is_said_in_one_line() {
    let without_encoder = json!({"repos": {RECOGNIZER: {"files": {}}}});
    let bench = Bench::new(&demo_models(), without_encoder);
    let said = refusal(bench.tool(&[]));
    let expected = format!(
        "{RECOGNIZER}: encoder.int8.onnx: expected this file in revision main at {}, found none",
        bench.endpoint
    );
    assert!(said.contains(&expected), "{said}");

    let said = refusal(Bench::new(&demo_models(), json!({"repos": {}})).tool(&[]));
    assert!(said.contains(&format!("{RECOGNIZER}: expected this repository at ")), "{said}");

    let bench = Bench::new(&demo_models(), json!({}));
    let elsewhere = |endpoint: &str| {
        let mut command = bench.tool(&[]);
        command.env("HF_ENDPOINT", endpoint);
        refusal(command)
    };
    let said = elsewhere("http://127.0.0.1:9");
    assert!(said.contains("cannot reach http://127.0.0.1:9: "), "{said}");
    assert!(said.contains("set HF_ENDPOINT to a mirror"), "{said}");
    let said = elsewhere("hf-mirror.example");
    assert!(said.contains("cannot reach hf-mirror.example: "), "{said}");
    let mut offline = bench.tool(&[]);
    offline.env("HF_HUB_OFFLINE", "1");
    let said = refusal(offline);
    assert!(said.contains("has to be downloaded, but HF_HUB_OFFLINE is set"), "{said}");

    let fault = json!({"faults": {ENCODER: {"status": 403}}});
    let said = refusal(Bench::new(&demo_models(), fault).tool(&[]));
    assert!(said.contains("encoder.int8.onnx: ") && said.contains("status 403"), "{said}");
}

#[test]
fn a_gated_repository_wants_a_token_which_only_the_hub_sees() {
    let mut repos = json!({RECOGNIZER: {"gated": true, "files": {}}, DIARIZERS: {"files": {}}});
    let demo = demo_models();
    for name in [ENCODER, "decoder_joint.int8.onnx", "tokenizer.model", "multitalker_config.json"] {
        repos[RECOGNIZER]["files"][name] = demo.join(name).display().to_string().into();
    }
    repos[DIARIZERS]["files"][V2_1] = demo.join("sortformer.onnx").display().to_string().into();
    let bench = Bench::new(&demo, json!({"repos": repos}));
    let said = refusal(bench.tool(&[]));
    let expected = format!("{RECOGNIZER} is gated: no token was found. Accept its conditions at ");
    assert!(said.contains(&expected) && said.contains("set HF_TOKEN"), "{said}");
    let mut wrong = bench.tool(&[]);
    wrong.env("HF_TOKEN", "hf_wrong");
    let said = refusal(wrong);
    assert!(said.contains("is gated: the token in use has no access"), "{said}");

    // As `hf auth login` leaves it.
    bench.requests();
    std::fs::create_dir_all(bench.folder.path().join("hf")).expect("a folder");
    std::fs::write(bench.folder.path().join("hf/token"), TOKEN).expect("written");
    succeeds(bench.tool(&[]));
    let requests = bench.requests();
    let of_host =
        |host: &str| -> Vec<_> { requests.iter().filter(|entry| entry["host"] == host).collect() };
    let bearer = json!(format!("Bearer {TOKEN}"));
    assert!(of_host("127.0.0.1").iter().any(|entry| entry["authorization"] == bearer));
    let elsewhere = of_host("localhost");
    assert!(elsewhere.len() >= 4, "{requests:?}");
    assert!(elsewhere.iter().all(|entry| entry["authorization"].is_null()), "{elsewhere:?}");
}

#[test]
fn the_license_is_asked_for_once() {
    let bench = Bench::new(&demo_models(), json!({}));
    let said = refusal(bench.unlicensed(&[]));
    assert!(said.contains("run the command on a terminal, or set ACCEPT_LICENSE=yes"), "{said}");
    assert!(bench.requests().is_empty(), "nothing is asked for before");

    let on_terminal = |answer: &str| {
        let tool = bench.unlicensed(&[]);
        let words = std::iter::once(tool.get_program()).chain(tool.get_args());
        let quoted: Vec<_> =
            words.map(|word| format!("'{}'", word.to_str().expect("UTF-8"))).collect();
        let mut script = bench.with_hub(Command::new("script"));
        script
            .args(["--quiet", "--return", "--command", &quoted.join(" "), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = test_support::limit::spawn(&mut script);
        child.stdin.take().expect("piped").write_all(answer.as_bytes()).expect("written");
        let output = test_support::limit::finish(child, "script");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (accepted, said) = on_terminal("no\n");
    assert!(!accepted && said.contains("Do you accept it? [y/N]"), "{said}");
    assert!(said.contains("NVIDIA Open Model License: https://www.nvidia.com/"), "{said}");
    assert!(said.contains("the license was not accepted, so nothing was downloaded"), "{said}");
    assert!(bench.requests().is_empty() && !bench.models().join("published").exists());

    let (accepted, said) = on_terminal("yes\n");
    assert!(accepted && said.contains("the models are ready"), "{said}");
    std::fs::remove_dir_all(bench.pair()).expect("removed");
    let said = succeeds(bench.unlicensed(&[]));
    assert!(!said.contains("License"), "{said}");

    // Another license is another question.
    let said = refusal(bench.unlicensed(&["--diarizer", "v2"]));
    assert!(said.contains("the license must be accepted first"), "{said}");
}

#[test]
fn later_runs_keep_to_the_first_commit_and_to_what_is_there() {
    let bench = Bench::new(&demo_models(), json!({}));
    succeeds(bench.tool(&[]));
    let paths = |requests: Vec<Value>| -> Vec<String> {
        requests.iter().map(|entry| entry["path"].as_str().expect("a path").to_owned()).collect()
    };
    assert!(paths(bench.requests()).iter().any(|path| path.contains("/resolve/main/")));
    let source: Value =
        serde_json::from_slice(&std::fs::read(bench.pair().join("SOURCE.json")).expect("written"))
            .expect("JSON");
    let commit = source["diarizer"]["commit"].as_str().expect("a commit").to_owned();
    assert_eq!((commit.len(), &source["recognizer"]["repo"]), (40, &json!(RECOGNIZER)));

    // The pair is there, so no hub is needed.
    let mut offline = bench.tool(&[]);
    offline.env("HF_ENDPOINT", "http://127.0.0.1:9");
    assert!(succeeds(offline).contains("the models are up to date"));

    // Another diarizer: what is there is looked at and not downloaded again.
    std::fs::remove_file(bench.pair().join(ENCODER)).expect("removed");
    succeeds(bench.tool(&["--diarizer", "v3"]));
    let requests = bench.requests();
    let downloads: Vec<_> = requests.iter().filter(|entry| entry["host"] == "localhost").collect();
    assert_eq!(downloads.len(), 1, "{downloads:?}");
    assert!(downloads[0]["path"].as_str().expect("a path").ends_with(V3));
    let asked = paths(requests);
    assert!(!asked.iter().any(|path| path.contains("/resolve/main/")), "{asked:?}");
    assert!(asked.iter().any(|path| path.contains(&format!("/resolve/{commit}/"))), "{asked:?}");
    assert!(bench.pair().join(ENCODER).exists());
}

#[test]
fn files_of_the_hub_cache_are_taken_from_there() {
    let bench = Bench::new(&demo_models(), json!({}));
    refusal(bench.tool(&["--form", "fp32"])); // finds the commit, and no such file
    let commits: Value = {
        succeeds(bench.tool(&[]));
        let file = std::fs::read(bench.models().join("revisions.json")).expect("written");
        serde_json::from_slice(&file).expect("JSON")
    };
    let commit = commits[format!("{RECOGNIZER}@main")].as_str().expect("a commit");
    std::fs::remove_dir_all(bench.models()).expect("removed");
    let repo = format!("hf/hub/models--{}", RECOGNIZER.replace('/', "--"));
    let snapshot = bench.folder.path().join(repo).join("snapshots").join(commit);
    std::fs::create_dir_all(&snapshot).expect("a folder");
    std::os::unix::fs::symlink(demo_models().join(ENCODER), snapshot.join(ENCODER))
        .expect("a link");
    bench.requests();
    succeeds(bench.tool(&[]));
    assert!(bench.downloads_of_encoder().is_empty());
    let metadata = std::fs::symlink_metadata(bench.download(ENCODER)).expect("there");
    assert!(metadata.is_file(), "a real file");
}

#[test]
fn a_folder_of_the_users_own_stays() {
    let bench = Bench::new(&demo_models(), json!({}));
    std::fs::create_dir_all(bench.pair()).expect("a folder");
    std::fs::write(bench.pair().join(ENCODER), "mine").expect("written");
    let said = refusal(bench.tool(&[]));
    assert!(
        said.contains("expected a folder of this tool with SOURCE.json, found one without"),
        "{said}"
    );
    assert_eq!(std::fs::read(bench.pair().join(ENCODER)).expect("there"), b"mine");
}

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
