// SPDX-License-Identifier: MPL-2.0

//! Tests the example without GStreamer: supported and unsupported files, and complete outputs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hound::{SampleFormat, WavSpec, WavWriter};
use multitalker_asr::SegLstRow;
use test_support::{data, read_wav, transcribe_wav};

/// Runs the example with the tiny models, a diarizer and more arguments.
fn transcribe<A: AsRef<OsStr>>(
    audio: &Path,
    diarizer: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Output {
    Command::new(transcribe_wav())
        .arg("--model-dir")
        .arg(data().join("tiny-models"))
        .arg("--diarization-model")
        .arg(diarizer)
        .args(["--precision", "fp32", "--diarization-preset", "lockstep"])
        .args(arguments)
        .arg(audio)
        .output()
        .expect("cargo builds the examples with the tests")
}

fn sortformer() -> PathBuf {
    data().join("tiny-models/sortformer.onnx")
}

/// Returns the single line of an error without the program's name.
#[track_caller]
fn error_line(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let line = stderr.strip_prefix("transcribe_wav: ").unwrap_or_else(|| panic!("{stderr}"));
    assert_eq!(line.trim_end().lines().count(), 1, "{stderr}");
    line.trim_end().to_owned()
}

fn write_wav(path: &Path, spec: WavSpec, samples: &[f32]) {
    let mut writer = WavWriter::create(path, spec).expect("a file");
    for sample in samples {
        match spec.sample_format {
            SampleFormat::Float => writer.write_sample(*sample).expect("written"),
            SampleFormat::Int => {
                let scale = 2_f32.powi(i32::from(spec.bits_per_sample) - 1);
                writer.write_sample((sample * scale) as i32).expect("written");
            }
        }
    }
    writer.finalize().expect("written");
}

const S16: WavSpec = WavSpec {
    channels: 1,
    sample_rate: 16_000,
    bits_per_sample: 16,
    sample_format: SampleFormat::Int,
};

#[test]
fn all_sample_formats_give_the_same_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let audio = read_wav(&data().join("audio/news.wav"));
    let text = |spec: WavSpec| {
        let path = folder.path().join("news.wav");
        write_wav(&path, spec, &audio[..8 * 16_000]);
        let output = transcribe::<&str>(&path, &sortformer(), []);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let expected = text(S16);
    assert!(expected.lines().count() > 3, "{expected}");
    for (bits_per_sample, sample_format) in
        [(24, SampleFormat::Int), (32, SampleFormat::Int), (32, SampleFormat::Float)]
    {
        let spec = WavSpec { bits_per_sample, sample_format, ..S16 };
        assert_eq!(text(spec), expected, "{spec:?}");
    }
}

#[test]
fn unsupported_audio_is_an_error_of_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bad.wav");
    let error = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        let line = error_line(&transcribe::<&str>(&path, &sortformer(), []));
        for part in [&*path.to_string_lossy(), "expected a WAV file of 16000 Hz", "found "] {
            assert!(line.contains(part), "{part} is not in: {line}");
        }
        line
    };
    let wav = |spec: WavSpec, samples: usize| {
        write_wav(&path, spec, &vec![0.1; samples]);
        fs::read(&path).expect("readable")
    };
    assert!(error(&wav(S16, 0)).contains("no samples"));
    let found = error(&wav(WavSpec { sample_rate: 8000, ..S16 }, 800));
    assert!(found.contains("8000 Hz and 1 channel"), "{found}");
    let found = error(&wav(WavSpec { channels: 2, ..S16 }, 800));
    assert!(found.contains("16000 Hz and 2 channels"), "{found}");
    let whole = wav(S16, 800);
    for length in [0, 3, 11, 20, 35, 43, 44 + 801] {
        error(&whole[..length]);
    }
    error(b"RIFF are not enough to make a WAV file of this");
    // Each byte of the header takes its extreme values.
    for index in 0..44 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[index] = value;
            fs::write(&path, &damaged).expect("written");
            let mut example = Command::new(transcribe_wav());
            let output = example.args(["--model-dir", "/nowhere"]).arg(&path).output();
            let line = error_line(&output.expect("runs"));
            assert!(
                line.contains("found ") || line.contains("/nowhere was not found"),
                "byte {index} as {value}: {line}"
            );
        }
    }
    let line = error_line(&transcribe::<&str>(folder.path(), &sortformer(), []));
    assert!(line.contains(&*folder.path().to_string_lossy()), "{line}");
    let line = error_line(&transcribe::<&str>(Path::new("/nowhere.wav"), &sortformer(), []));
    assert!(line.contains("/nowhere.wav"), "{line}");
}

#[test]
fn outputs_are_complete_or_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let news = data().join("audio/news.wav");
    let [seglst, rttm, activity] = ["news.json", "news.rttm", "activity.rttm"].map(path);
    let options = [
        OsStr::new("--seglst"),
        seglst.as_os_str(),
        OsStr::new("--rttm"),
        rttm.as_os_str(),
        OsStr::new("--activity-rttm"),
        activity.as_os_str(),
    ];
    fs::write(&seglst, "from an earlier run").expect("written");

    // The text before the error is printed, and no file changes.
    let fails = data().join("fake-models/sortformer-fails.onnx");
    let output = transcribe(&news, &fails, options);
    let line = error_line(&output);
    assert!(line.contains("sortformer-fails.onnx failed"), "{line}");
    let printed = String::from_utf8_lossy(&output.stdout).lines().count();
    assert!(printed > 3, "{printed} segments");
    assert_eq!(fs::read_to_string(&seglst).expect("still there"), "from an earlier run");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else");

    let output = transcribe(&news, &sortformer(), options);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout).lines().count();
    let rows: Vec<SegLstRow> =
        serde_json::from_slice(&fs::read(&seglst).expect("written")).expect("SegLST");
    assert_eq!(rows.len(), printed);
    assert_eq!(fs::read_to_string(&rttm).expect("written").lines().count(), printed);
    let turns = fs::read_to_string(&activity).expect("written");
    assert!(turns.lines().count() > 3 && turns.lines().all(|turn| turn.starts_with("SPEAKER ")));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3, "nothing else");

    let nowhere = path("missing/news.json");
    let output = transcribe(&news, &sortformer(), [OsStr::new("--seglst"), nowhere.as_os_str()]);
    assert!(error_line(&output).contains(&*nowhere.to_string_lossy()));
    assert!(output.stdout.is_empty(), "the error precedes the transcription");
}

#[cfg(unix)]
#[test]
fn output_may_be_a_device_or_a_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let news = data().join("audio/news.wav");
    let output =
        transcribe(&news, &sortformer(), ["--seglst", "/dev/stdout", "--rttm", "/dev/null"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"session_id\": \"news\""));
    assert!(!fs::metadata("/dev/null").expect("there").is_file());

    let (target, link) = (folder.path().join("target.json"), folder.path().join("link.json"));
    fs::write(&target, "old").expect("written");
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    let output = transcribe(&news, &sortformer(), [OsStr::new("--seglst"), link.as_os_str()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert_ne!(fs::read_to_string(&target).expect("there"), "old");
}

#[test]
fn turns_without_words_are_read_back_in_the_place_of_a_diarizer() {
    let folder = tempfile::tempdir().expect("a folder");
    let news = data().join("audio/news.wav");
    let turns = |diarizer: &Path, written: &str| {
        let rttm = folder.path().join(written);
        let output = Command::new(transcribe_wav())
            .args(["--no-recognize", "--diarization-preset", "lockstep", "--diarization-model"])
            .arg(diarizer)
            .arg("--rttm")
            .arg(&rttm)
            .arg(&news)
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(
            fs::read_to_string(&rttm).expect("written").lines().count(),
            printed.lines().count()
        );
        (rttm, printed)
    };
    let (rttm, printed) = turns(&sortformer(), "news.rttm");
    assert!(printed.lines().count() > 10, "{printed}");
    assert!(printed.lines().all(|line| line.contains("] speaker ")), "{printed}");
    let (again, printed) = turns(&rttm, "again.rttm");
    assert!(printed.lines().all(|line| !line.contains("speaker")), "names: {printed}");
    // As in NeMo, a time at the very boundary of a frame may count to the frame before.
    let durations = |path: &Path| {
        let mut durations = std::collections::BTreeMap::<String, f64>::new();
        for line in fs::read_to_string(path).expect("written").lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            *durations.entry(fields[7].to_owned()).or_default() +=
                fields[4].parse::<f64>().expect("a duration");
        }
        durations
    };
    let (before, after) = (durations(&rttm), durations(&again));
    assert_eq!(before.len(), 4, "{before:?}");
    for (speaker, duration) in before {
        let again = after[&speaker];
        assert!((again / duration - 1.0).abs() < 0.1, "{speaker}: {duration} s, then {again} s");
    }

    let output = transcribe(&news, &rttm, ["--max-speakers", "2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new(transcribe_wav()).arg(&news).output().expect("runs");
    let usage = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && usage.contains("--model-dir"), "{usage}");
}
