// SPDX-License-Identifier: MPL-2.0

//! Runs each example as a user does, on a file longer than the diarizer's look-ahead. Other
//! software reads the output, which is compared with the transcript of the engine alone.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use multitalker_asr::SegLstRow;
use serde_json::Value;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    speaker: String,
    words: String,
    start_ms: u64,
    end_ms: u64,
}

/// Parses rows of SegLST and sorts them by speaker and time.
fn sorted(rows: Vec<Value>) -> Vec<Row> {
    let ms = |value: &Value| (value.as_f64().expect("seconds") * 1000.0).round() as u64;
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| Row {
            speaker: text(&row["speaker"]),
            words: text(&row["words"]),
            start_ms: ms(&row["start_time"]),
            end_ms: ms(&row["end_time"]),
        })
        .collect();
    rows.sort_by(|a, b| (&a.speaker, a.start_ms).cmp(&(&b.speaker, b.start_ms)));
    rows
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = test_support::limit::output(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    output.stdout
}

/// Video with the demo's conversation, models whose words contain `&`, `<` and `-->`, and the
/// expected rows.
struct Bench {
    folder: tempfile::TempDir,
    models: PathBuf,
    media: PathBuf,
    expected: Vec<Row>,
}

impl Bench {
    fn get() -> &'static Self {
        static BENCH: OnceLock<Bench> = OnceLock::new();
        BENCH.get_or_init(Self::make)
    }

    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let built = test_support::built();
        let plugin = "libgstmultitalkerasr.so";
        std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
        std::os::unix::fs::symlink(
            built.join("deps").join(plugin),
            folder.path().join("plugins").join(plugin),
        )
        .expect("a link");

        let models = folder.path().join("models");
        std::fs::create_dir(&models).expect("a folder");
        let demo = test_support::data().join("demo-models");
        for entry in std::fs::read_dir(&demo).expect("models") {
            let entry = entry.expect("a file");
            std::fs::copy(entry.path(), models.join(entry.file_name())).expect("copied");
        }
        let tokenizer = std::fs::read(demo.join("tokenizer.model")).expect("readable");
        let tokenizer = replace(&tokenizer, "▁london", "▁a&<b>c");
        let tokenizer = replace(&tokenizer, "▁the", "▁-->");
        std::fs::write(models.join("tokenizer.model"), tokenizer).expect("written");

        let audio = test_support::data().join("demo/conversation.wav");
        // The name needs quoting.
        let media = folder.path().join("it's a talk.mkv");
        run(Command::new("gst-launch-1.0")
            .args("videotestsrc num-buffers=500 pattern=black !".split(' '))
            .args(
                "video/x-raw,width=640,height=360,framerate=10/1 ! vp8enc deadline=1 !".split(' '),
            )
            .args("matroskamux name=mux ! filesink".split(' '))
            .arg(format!("location={}", media.display()))
            .args(["filesrc", &format!("location={}", audio.display()), "!"])
            .args("wavparse ! flacenc ! mux.".split(' ')));

        let seglst = folder.path().join("expected.json");
        run(Command::new(test_support::transcribe_wav())
            .arg("--model-dir")
            .arg(&models)
            .arg("--diarization-model")
            .arg(models.join("sortformer.onnx"))
            .arg("--seglst")
            .arg(&seglst)
            .arg(&audio));
        let rows = std::fs::read(seglst).expect("written");
        let expected = sorted(serde_json::from_slice(&rows).expect("SegLST"));
        for special in ["a&<b>c", "-->"] {
            assert!(expected.iter().any(|row| row.words.contains(special)), "{expected:?}");
        }
        let end_ms = expected.iter().map(|row| row.end_ms).max();
        assert!(end_ms > Some(31_400), "longer than the look-ahead");
        Self { folder, models, media, expected }
    }

    fn with_plugin(&self, mut command: Command, name: &str) -> Command {
        let plugins = self.folder.path().join("plugins");
        command.env("GST_REGISTRY", plugins.join(format!("registry-{name}")));
        command.env("GST_PLUGIN_PATH", plugins);
        command
    }

    fn example(&self, name: &str) -> Command {
        let command = Command::new(repository().join("examples").join(name));
        let mut command = self.with_plugin(command, name);
        command
            .env("MODEL_DIR", &self.models)
            .env("DIARIZATION_MODEL", self.models.join("sortformer.onnx"));
        command
    }

    /// Runs an example on the media and returns the path of its output.
    fn output(&self, example: &str, name: &str) -> PathBuf {
        let output = self.folder.path().join(name);
        run(self.example(example).arg(&self.media).arg(&output));
        output
    }
}

/// Replaces a piece of the tokenizer with another of the same length.
fn replace(data: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    // The length before and the score after the text match only a whole piece.
    let marked = |piece: &str| [&[piece.len() as u8], piece.as_bytes(), &[0x15]].concat();
    let (from, to) = (marked(from), marked(to));
    let at = data.windows(from.len()).position(|part| part == from).expect("a piece");
    let mut data = data.to_vec();
    data[at..at + to.len()].copy_from_slice(&to);
    data
}

fn reader() -> Command {
    let mut command = Command::new(repository().join(".venv/bin/python"));
    command.arg(repository().join("tests/read_media.py"));
    command
}

fn read(file: &Path) -> Vec<Row> {
    sorted(serde_json::from_slice(&run(reader().arg(file))).expect("JSON"))
}

#[test]
fn text_formats_hold_the_transcript() {
    let bench = Bench::get();
    let files = ["talk.vtt", "talk.srt", "talk.json", "talk.rttm"]
        .map(|name| bench.folder.path().join(name));
    run(bench.example("transcribe.py").arg(&bench.media).args(&files));
    let [vtt, srt, seglst, rttm] = files;
    assert_eq!(read(&vtt), bench.expected);
    assert_eq!(read(&srt), bench.expected);
    assert_eq!(read(&seglst), bench.expected);
    let without_words = |row: &Row| Row { words: String::new(), ..row.clone() };
    assert_eq!(read(&rttm), bench.expected.iter().map(without_words).collect::<Vec<_>>());
    let rows: Vec<SegLstRow> =
        serde_json::from_slice(&std::fs::read(seglst).expect("written")).expect("SegLST");
    assert_eq!(rows[0].session_id, "it's a talk");
}

#[test]
fn text_formats_have_the_names_of_speakers() {
    let bench = Bench::get();
    let files = ["named.vtt", "named.srt", "named.json", "named.rttm"]
        .map(|name| bench.folder.path().join(name));
    run(bench
        .example("transcribe.py")
        .env("SPEAKER_NAMES", r#"names,0=Ada,1="Bob <b> Lee""#)
        .arg(&bench.media)
        .args(&files));
    let texts = files.map(|file| std::fs::read_to_string(file).expect("written"));
    let expected = [
        ["<v Ada>", "<v Bob &lt;b&gt; Lee>"],
        ["\nAda: ", "\nBob <b> Lee: "],
        [r#""speaker": "Ada""#, r#""speaker": "Bob <b> Lee""#],
        ["<NA> <NA> Ada <NA> <NA>", "<NA> <NA> Bob_<b>_Lee <NA> <NA>"],
    ];
    for (text, parts) in texts.iter().zip(expected) {
        for part in parts {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!(!text.contains("Speaker "), "{text}");
    }
}

#[test]
fn matroska_has_a_track_for_each_speaker() {
    let bench = Bench::get();
    assert_eq!(read(&bench.output("to_matroska.sh", "talk.mkv")), bench.expected);
}

#[test]
fn mp4_has_a_track_for_each_speaker() {
    let bench = Bench::get();
    assert_eq!(read(&bench.output("to_mp4.sh", "talk.mp4")), bench.expected);
}

#[test]
fn audio_alone_gets_tracks_too() {
    let bench = Bench::get();
    let audio = test_support::data().join("demo/conversation.wav");
    for (example, name) in [("to_matroska.sh", "audio.mkv"), ("to_mp4.sh", "audio.mp4")] {
        let output = bench.folder.path().join(name);
        run(bench.example(example).args([&audio, &output]));
        assert_eq!(read(&output), bench.expected, "{example}");
    }
    let output =
        test_support::limit::output(bench.example("burn_in.sh").arg(&audio).arg("/nowhere.mkv"));
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, format!("burn_in.sh: no video in {}\n", audio.display()));
}

/// Uses a repository that was not built, and a plugin installed together with its ONNX Runtime.
#[test]
fn examples_take_the_runtime_of_an_installed_plugin() {
    let bench = Bench::get();
    let folder = tempfile::tempdir().expect("a folder");
    let examples = folder.path().join("examples");
    std::fs::create_dir(&examples).expect("a folder");
    for name in ["environment.sh", "to_matroska.sh", "transcribe.py", "live_transcript.py"] {
        std::fs::copy(repository().join("examples").join(name), examples.join(name))
            .expect("copied");
    }
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    let plugin = "libgstmultitalkerasr.so";
    std::fs::copy(test_support::built().join("deps").join(plugin), plugins.join(plugin))
        .expect("copied");
    let runtime = std::env::var_os("ORT_DYLIB_PATH").expect("set by cargo");
    std::os::unix::fs::symlink(runtime, plugins.join("libonnxruntime.so")).expect("a link");
    let example = |name: &str| {
        let mut command = Command::new(examples.join(name));
        command
            .env("GST_REGISTRY", folder.path().join("registry"))
            .env("GST_PLUGIN_PATH", &plugins)
            .env_remove("ORT_DYLIB_PATH")
            .env("MODEL_DIR", &bench.models)
            .env("DIARIZATION_MODEL", bench.models.join("sortformer.onnx"))
            .arg(&bench.media);
        command
    };
    for (name, output) in [("transcribe.py", "talk.json"), ("to_matroska.sh", "talk.mkv")] {
        let output = folder.path().join(output);
        run(example(name).arg(&output));
        assert_eq!(read(&output), bench.expected, "{name}");
    }
    let lines = String::from_utf8(run(&mut example("live_transcript.py"))).expect("UTF-8");
    assert_eq!(lines.lines().count(), bench.expected.len());
}

#[test]
fn names_of_files_are_taken_as_they_are() {
    let bench = Bench::get();
    let media = bench.folder.path().join("100% a#1?.mkv");
    std::fs::copy(&bench.media, &media).expect("copied");
    let output = bench.folder.path().join("a \"b\" 50%20.mkv");
    run(bench.example("to_matroska.sh").args([&media, &output]));
    assert_eq!(read(&output), bench.expected);

    // A different path to the same file.
    let same = bench.folder.path().join(".").join("100% a#1?.mkv");
    let before = std::fs::metadata(&media).expect("there").len();
    for example in ["to_matroska.sh", "to_mp4.sh", "burn_in.sh"] {
        let output = test_support::limit::output(bench.example(example).arg(&media).arg(&same));
        assert!(!output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr, format!("{example}: {} is the input\n", same.display()));
    }
    assert_eq!(std::fs::metadata(&media).expect("there").len(), before);
}

#[test]
fn without_a_diarizer_there_is_one_speaker() {
    let bench = Bench::get();
    for (example, name) in [("to_matroska.sh", "one.mkv"), ("to_mp4.sh", "one.mp4")] {
        let output = bench.folder.path().join(name);
        run(bench.example(example).env_remove("DIARIZATION_MODEL").args([&bench.media, &output]));
        let rows = read(&output);
        assert!(!rows.is_empty() && rows.iter().all(|row| row.speaker == "0"), "{rows:?}");
    }
}

#[test]
fn text_is_burned_in_with_colors() {
    let bench = Bench::get();
    let output = bench.output("burn_in.sh", "burned.mkv");
    // Frames in the middle of each segment, and one in silence.
    let middle = |row: &Row| (row.start_ms + row.end_ms) as f64 / 2000.0;
    let times: Vec<f64> = bench.expected.iter().map(middle).chain([0.1]).collect();
    let mut reader = reader();
    reader.arg("colors").arg(output).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = test_support::limit::spawn(&mut reader);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&serde_json::to_vec(&times).expect("JSON")).expect("written");
    drop(stdin);
    let output = test_support::limit::finish(child, "read_media.py");
    assert!(output.status.success());
    let pixels: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let count = |colors: &Value, name: &str| colors[name].as_u64().expect("a number");
    for (row, colors) in bench.expected.iter().zip(&pixels) {
        let color = if row.speaker == "0" { "white" } else { "yellow" };
        assert!(count(colors, color) > 50, "{row:?}: {colors}");
    }
    let silence = pixels.last().expect("one");
    assert_eq!((count(silence, "white"), count(silence, "yellow")), (0, 0));
}

/// Reads the README and the pages of the manual.
fn pages() -> Vec<String> {
    let pages = std::fs::read_dir(repository().join("docs")).expect("a folder");
    let pages = pages.map(|entry| entry.expect("a file").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("UTF-8");
    [repository().join("README.md")].into_iter().chain(pages).map(read).collect()
}

/// Runs the shell blocks of the README and the manual that use `meeting.mp4` or `meeting.wav`,
/// unchanged.
#[test]
fn pipelines_of_the_manual_work() {
    let bench = Bench::get();
    let pages = pages();
    let blocks = pages.iter().flat_map(|page| page.split("```sh\n").skip(1));
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let blocks: BTreeSet<&str> =
        blocks.filter(|block| block.contains("meeting.") && !block.contains("cargo run")).collect();
    assert!(blocks.len() >= 5, "{blocks:?}");
    for block in blocks {
        let folder = tempfile::tempdir().expect("a folder");
        let link = |name: &str, to: &Path| {
            std::os::unix::fs::symlink(to, folder.path().join(name)).expect("a link");
        };
        std::fs::create_dir(folder.path().join("models")).expect("a folder");
        link("models/multitalker", &bench.models);
        link("meeting.mp4", &bench.media);
        let data = test_support::data();
        link("models/speakers.onnx", &data.join("speaker-embedding/resemblyzer.onnx"));
        // The element writes into this folder.
        let ada = folder.path().join("people/Ada.ogg");
        std::fs::create_dir(folder.path().join("people")).expect("a folder");
        std::fs::copy(data.join("voices/enrolled/Ada/Ada.ogg"), ada).expect("copied");
        link("meeting.wav", &test_support::data().join("demo/conversation.wav"));
        link("examples", &repository().join("examples"));
        link("tools", &repository().join("tools"));
        let printed = run(bench
            .with_plugin(Command::new("bash"), "readme")
            .args(["-e", "-o", "pipefail", "-c", block])
            .current_dir(&folder));
        let files = std::fs::read_dir(&folder).expect("a folder").filter_map(|entry| {
            let entry = entry.expect("a file");
            entry.file_type().expect("a type").is_file().then(|| entry.path())
        });
        let written: Vec<_> =
            files.map(|path| (std::fs::read(&path).expect("readable"), path)).collect();
        for (data, path) in &written {
            assert!(!data.is_empty(), "{} of {block}", path.display());
        }
        let expected = match () {
            () if block.contains("recognize=false") => "speaker-ids=(uint)< 0 >",
            () if block.contains("speakers-dir") => "multitalkerasr/speaker,",
            () => "trains from berlin",
        };
        let has_text = |data: &[u8]| String::from_utf8_lossy(data).contains(expected);
        let in_file = written.iter().any(|(data, _)| has_text(data));
        assert!(in_file || has_text(&printed), "{block} wrote {written:?} and {printed:?}");
    }
}

#[test]
fn live_transcripts_are_colored() {
    let bench = Bench::get();
    let by_python = run(bench.example("live_transcript.py").arg(&bench.media));
    let by_rust = run(Command::new(test_support::built().join("examples/live_transcript"))
        .arg("--model-dir")
        .arg(&bench.models)
        .arg("--diarization-model")
        .arg(bench.models.join("sortformer.onnx"))
        .arg(&bench.media));
    let lines = |output: Vec<u8>| {
        let output = String::from_utf8(output).expect("UTF-8");
        let mut lines: Vec<String> = output.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    let mut expected: Vec<String> = bench
        .expected
        .iter()
        .map(|row| {
            let (color, name) = match row.speaker.as_str() {
                "0" => ("\x1b[97m", "Speaker 1"),
                _ => ("\x1b[93m", "Speaker 2"),
            };
            let start_s = row.start_ms as f64 / 1000.0;
            format!("{color}{start_s:7.2} s  {name}: {}\x1b[0m", row.words)
        })
        .collect();
    expected.sort();
    assert_eq!(lines(by_python), expected);
    assert_eq!(lines(by_rust), expected);
}

#[test]
fn examples_say_what_is_wrong() {
    let bench = Bench::get();
    let stderr = |command: &mut Command| {
        let output = test_support::limit::output(command);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for script in ["to_matroska.sh", "to_mp4.sh", "burn_in.sh"] {
        let usage = stderr(&mut bench.example(script));
        assert!(usage.starts_with(&format!("Usage: examples/{script} ")), "{usage}");
        let missing = stderr(bench.example(script).args(["/nowhere.mp4", "/tmp/none"]));
        assert_eq!(missing, format!("{script}: no file /nowhere.mp4\n"));
    }
    let missing = stderr(bench.example("transcribe.py").args(["/nowhere.mp4", "talk.vtt"]));
    assert!(missing.contains("/nowhere.mp4: no such file"), "{missing}");
    let format = stderr(bench.example("transcribe.py").arg(&bench.media).arg("talk.doc"));
    assert!(format.contains("talk.doc: expected a name that ends with one of .vtt"), "{format}");
    let model = stderr(
        bench
            .example("transcribe.py")
            .arg(&bench.media)
            .arg("talk.vtt")
            .env("MODEL_DIR", "/nowhere"),
    );
    assert!(model.contains("/nowhere was not found: expected a folder with"), "{model}");
    let source = stderr(bench.example("live_transcript.py").arg("/nowhere.mp4"));
    assert!(source.contains("live_transcript.py: source: Resource not found."), "{source}");
}
