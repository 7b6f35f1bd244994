// SPDX-License-Identifier: MPL-2.0

//! Loads each file of a model with random damage. The model either loads or fails with one error
//! that names the file, without a panic or an abort, within 10 s and 1 GiB.
//!
//! Worker processes load and run the damaged models, so that the test survives an abort.
//! `MULTITALKER_MUTANTS=N` sets the number of mutants per file, and
//! `MULTITALKER_MUTANT=FILE:SEED-SEED cargo test --test damaged_models worker -- --ignored
//! --nocapture` repeats some of them.

#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, Error, Model, ModelOptions, Precision,
    RuntimeOptions, SpeakerEmbeddingModel, Stream, StreamOptions,
};
use prost::encoding::{decode_varint, encode_varint};

/// The files of `tiny-models`.
const FILES: [&str; 8] = [
    "encoder.onnx",
    "encoder.int8.onnx",
    "decoder_joint.onnx",
    "decoder_joint.int8.onnx",
    "sortformer.onnx",
    "sortformer.int8.onnx",
    "tokenizer.model",
    "multitalker_config.json",
];

/// The files of `speaker-embedding`.
const SPEAKER_EMBEDDINGS: [&str; 2] = ["3d-speaker.onnx", "nemo.onnx"];

const MUTANTS_PER_FILE: u64 = 500;
const MUTANTS_PER_PROCESS: u64 = 125;

const MAX_TIME: Duration = Duration::from_secs(10);
const MAX_RESIDENT_KIB: u64 = 1 << 20;
const MAX_MESSAGE_BYTES: usize = 8 << 10;

/// Environment variable that names the file and the seeds of a worker.
const MUTANT: &str = "MULTITALKER_MUTANT";

#[test]
fn damaged_files_are_named_or_load() {
    let mutants = std::env::var("MULTITALKER_MUTANTS")
        .map_or(MUTANTS_PER_FILE, |mutants| mutants.parse().expect("a number"));
    let files = || FILES.into_iter().chain(SPEAKER_EMBEDDINGS);
    let jobs: VecDeque<_> = files()
        .flat_map(|file| {
            (0..mutants)
                .step_by(MUTANTS_PER_PROCESS as usize)
                .map(move |start| (file, start..(start + MUTANTS_PER_PROCESS).min(mutants)))
        })
        .collect();
    let (jobs, outcomes) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((file, seeds)) = jobs.lock().expect("no panic").pop_front() else {
                        return;
                    };
                    let found = run_worker(file, seeds);
                    outcomes.lock().expect("no panic").extend(found);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no panic");
    for file in files() {
        let count = |start: &str| {
            let outcomes = outcomes.iter().filter(|outcome| outcome.file == file);
            outcomes.filter(|outcome| outcome.text.starts_with(start)).count()
        };
        println!("{file}: {} load, {} give an error", count("loads"), count("error"));
    }
    let failures: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_failure()).collect();
    let mut report = String::new();
    for Outcome { file, seed, text } in &failures {
        let _ = writeln!(report, "{MUTANT}={file}:{seed}-{}: {text}", seed + 1);
    }
    assert!(failures.is_empty(), "{} of {} fail:\n{report}", failures.len(), outcomes.len());
    assert_eq!(outcomes.len() as u64, mutants * files().count() as u64);
}

struct Outcome {
    file: &'static str,
    seed: u64,
    text: String,
}

impl Outcome {
    fn is_failure(&self) -> bool {
        !self.text.starts_with("loads") && !self.text.starts_with("error")
    }
}

/// Runs these mutants in a process, and restarts it after a mutant that crashes or hangs it.
fn run_worker(file: &'static str, mut seeds: Range<u64>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    while !seeds.is_empty() {
        let mut worker = Command::new(std::env::current_exe().expect("a path"))
            .args(["worker", "--exact", "--ignored", "--nocapture"])
            .env(MUTANT, format!("{file}:{}-{}", seeds.start, seeds.end))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        let output = BufReader::new(worker.stdout.take().expect("piped"));
        let (lines, received) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let end = loop {
            match received.recv_timeout(3 * MAX_TIME) {
                Ok(line) => {
                    let Some(outcome) = line.strip_prefix("mutant ") else { continue };
                    let (seed, text) = outcome.split_once(' ').expect("a seed");
                    seeds.start = seed.parse::<u64>().expect("a number") + 1;
                    let text = text.to_owned();
                    outcomes.push(Outcome { file, seed: seeds.start - 1, text });
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break None,
                Err(mpsc::RecvTimeoutError::Timeout) => break Some("nothing in 30 s"),
            }
        };
        if end.is_some() {
            worker.kill().expect("still there");
        }
        let status = worker.wait().expect("ends");
        reader.join().expect("no panic");
        if !seeds.is_empty() {
            let text = end.map_or_else(|| format!("the process ended: {status}"), str::to_owned);
            outcomes.push(Outcome { file, seed: seeds.start, text });
            seeds.start += 1;
        }
    }
    outcomes
}

/// Runs some mutants of one file in this process.
#[test]
#[ignore = "is started by damaged_files_are_named_or_load"]
fn worker() {
    let mutants = std::env::var(MUTANT).expect("FILE:SEED-SEED in MULTITALKER_MUTANT");
    let (file, seeds) = mutants.split_once(':').expect("FILE:SEED-SEED");
    let (start, end) = seeds.split_once('-').expect("SEED-SEED");
    let seeds = start.parse::<u64>().expect("a number")..end.parse().expect("a number");
    limit_address_space();
    // This ends the line that the test harness has begun.
    println!();

    let is_embedding = SPEAKER_EMBEDDINGS.contains(&file);
    let tiny = test_support::data().join("tiny-models");
    let source = match is_embedding {
        true => test_support::data().join("speaker-embedding"),
        false => tiny.clone(),
    };
    let folder = tempfile::tempdir().expect("a folder");
    for name in FILES.into_iter().filter(|name| *name != file) {
        // These networks are shared with the undamaged model.
        std::os::unix::fs::symlink(tiny.join(name), folder.path().join(name)).expect("linked");
    }
    let sound = Model::load(&options(&tiny, file), &Canceller::new()).expect("loads");
    let samples = test_support::read_wav(&test_support::data().join("audio/jfk.wav"));
    for seed in seeds {
        let mutant = folder.path().join(file);
        std::fs::write(&mutant, damaged(&source, file, seed)).expect("written");
        reset_peak();
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(|| match is_embedding {
            true => load_and_embed(&mutant, &samples),
            false => load_and_run(folder.path(), file, &samples),
        });
        let (elapsed, peak_kib) = (started.elapsed(), peak_kib());
        let text = match outcome {
            Err(_) => "panicked".to_owned(),
            _ if elapsed > MAX_TIME => format!("took {elapsed:?}"),
            _ if peak_kib > MAX_RESIDENT_KIB => format!("took {peak_kib} KiB"),
            Ok(Ok(())) => "loads".to_owned(),
            Ok(Err(error)) if !error.contains(file) => format!("names another file: {error}"),
            Ok(Err(error)) if error.len() > MAX_MESSAGE_BYTES => format!("{} bytes", error.len()),
            Ok(Err(error)) => format!("error: {error}"),
        };
        println!("mutant {seed} {}", text.replace(['\n', '\r'], " "));
    }
    drop(sound);
}

fn options(folder: &Path, file: &str) -> ModelOptions {
    let is_int8 = file.contains(".int8.");
    let sortformer = if is_int8 { "sortformer.int8.onnx" } else { "sortformer.onnx" };
    ModelOptions {
        model_dir: folder.to_owned(),
        diarization_model: Some(folder.join(sortformer)),
        precision: if is_int8 { Precision::Int8 } else { Precision::Fp32 },
        runtime: RuntimeOptions { intra_op_threads: 1, ..Default::default() },
        ..Default::default()
    }
}

/// Loads the model and transcribes 2 s, or returns the message of the error.
fn load_and_run(folder: &Path, file: &str, samples: &[f32]) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let model = Model::load(&options(folder, file), &Canceller::new()).map_err(text)?;
    for warning in model.warnings() {
        assert!(warning.to_string().contains(file) && warning.to_string().len() < 4096);
    }
    let chunk_latency = ChunkLatency::default();
    let options = StreamOptions {
        diarization: DiarizationPreset::Lockstep.operating_point(chunk_latency),
        ..StreamOptions::default()
    };
    // A config may exclude this length of chunk.
    let mut stream = match Stream::new(model, options) {
        Err(Error::InvalidOption { .. }) => return Ok(()),
        stream => stream.map_err(text)?,
    };
    stream.push(&samples[..32_000]).map_err(text)?;
    stream.finish().map_err(text)?;
    Ok(())
}

/// Loads a speaker-embedding model and embeds 2 s, or returns the message of the error.
fn load_and_embed(path: &Path, samples: &[f32]) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let runtime = RuntimeOptions { intra_op_threads: 1, ..Default::default() };
    let canceller = Canceller::new();
    let model = SpeakerEmbeddingModel::load(path, &runtime, &canceller).map_err(text)?;
    let embedding = model.embed(&samples[..32_000], &canceller).map_err(text)?;
    assert!(embedding.len() == model.dimension() && embedding.iter().all(|x| x.is_finite()));
    Ok(())
}

/// Limits the memory of this process, since a model may allocate any amount.
fn limit_address_space() {
    let limit = libc::rlimit { rlim_cur: 8 << 30, rlim_max: 8 << 30 };
    // SAFETY: the pointer is to a value that outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

/// Resets the measurement of the peak of the resident set.
fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// SplitMix64 generator (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Returns a position below `len`, often near the ends, which hold the structure of a graph.
    fn place(&mut self, len: usize) -> usize {
        match self.below(4) {
            0 => self.below(len),
            1 => len - 1 - self.below((len / 20).max(1)),
            2 => self.below((len / 20).max(1)),
            _ => self.below((len / 4).max(1)),
        }
    }

    fn range(&mut self, len: usize, longest: usize) -> Range<usize> {
        let start = self.place(len);
        start..(start + 1 + self.below(longest)).min(len)
    }
}

/// Returns the file with one to three damages.
fn damaged(folder: &Path, file: &str, seed: u64) -> Vec<u8> {
    let mut bytes = std::fs::read(folder.join(file)).expect("readable");
    let hash = |hash: u64, byte| hash.wrapping_mul(257).wrapping_add(u64::from(byte));
    let random = &mut Random(seed ^ file.bytes().fold(0, hash));
    let is_text = file.ends_with(".json");
    let damages = if random.below(4) == 0 { 2 + random.below(2) } else { 1 };
    for _ in 0..damages {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match random.below(20) {
            0..8 if is_text => replace_number(&mut bytes, random),
            0..8 => bytes = with_other_number(&bytes, random),
            8..11 => {
                for _ in 0..1 + random.below(3) {
                    let at = random.place(len);
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            11 => bytes.truncate(random.place(len)),
            12 => {
                let range = random.range(len, 1000);
                bytes[range].fill(0);
            }
            13 => {
                let range = random.range(len, 1000);
                bytes.drain(range);
            }
            14 => {
                let range = random.range(len, 1000);
                let copy = bytes[range].to_vec();
                let at = random.place(len);
                bytes.splice(at..at, copy);
            }
            15 => {
                // Another file, or the end of one, replaces the rest.
                let other = FILES[random.below(FILES.len())];
                let other = test_support::data().join("tiny-models").join(other);
                let other = std::fs::read(other).expect("readable");
                let from = if random.below(2) == 0 { 0 } else { random.place(other.len()) };
                bytes.truncate(if from == 0 { 0 } else { random.place(len) });
                bytes.extend(&other[from..]);
            }
            16 => {
                let at = random.place(len);
                let large: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
                let count = [5, large.len()][random.below(2)];
                bytes.splice(at..(at + 1).min(len), large[..count].iter().copied());
            }
            17 | 18 => replace_number(&mut bytes, random),
            _ => {
                let at = random.place(len);
                let noise: Vec<u8> =
                    (0..1 + random.below(16)).map(|_| random.next() as u8).collect();
                bytes.splice(at..at, noise);
            }
        }
    }
    bytes
}

/// Replaces a number written in digits with another one.
fn replace_number(bytes: &mut Vec<u8>, random: &mut Random) {
    let start = random.below(bytes.len());
    let digits = |byte: &u8| byte.is_ascii_digit();
    let Some(offset) = bytes[start..].iter().position(digits) else { return };
    let start = start + offset;
    let count = bytes[start..].iter().take_while(|byte| digits(byte)).count();
    let numbers = ["0", "-1", "17", "1000000", "1000000000", "18446744073709551615", "1e9", "nan"];
    let number = numbers[random.below(numbers.len())].bytes();
    bytes.splice(start..start + count, number);
}

/// Returns the protobuf message with another number somewhere and with valid lengths.
fn with_other_number(message: &[u8], random: &mut Random) -> Vec<u8> {
    let Some(fields) = fields(message) else { return message.to_vec() };
    // Most fields of a graph are weights and nodes; shapes and attributes are in small fields.
    let candidates: Vec<usize> = (0..fields.len())
        .filter(|&index| fields[index].number.is_some() || fields[index].value.len() < 1 << 20)
        .collect();
    if candidates.is_empty() {
        return message.to_vec();
    }
    let chosen = candidates[random.below(candidates.len())];
    let mut output = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        encode_varint(field.tag, &mut output);
        match field.number {
            Some(number) => {
                let others = [
                    0,
                    1,
                    2,
                    7,
                    number.wrapping_add(1),
                    1 << 16,
                    1 << 31,
                    1 << 40,
                    1 << 62,
                    u64::MAX,
                ];
                let other = others[random.below(others.len())];
                encode_varint(if index == chosen { other } else { number }, &mut output);
            }
            None if field.tag & 7 == 2 => {
                let value = match index == chosen {
                    true => with_other_number(field.value, random),
                    false => field.value.to_vec(),
                };
                encode_varint(value.len() as u64, &mut output);
                output.extend(value);
            }
            None => output.extend(field.value),
        }
    }
    output
}

struct Field<'a> {
    tag: u64,
    /// Value of a varint field.
    number: Option<u64>,
    value: &'a [u8],
}

/// Parses the fields of a protobuf message; returns `None` if the bytes are not a valid message.
fn fields(mut input: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !input.is_empty() {
        let tag = decode_varint(&mut input).ok()?;
        if tag >> 3 == 0 {
            return None;
        }
        let (number, length) = match tag & 7 {
            0 => (Some(decode_varint(&mut input).ok()?), 0),
            1 => (None, 8),
            2 => (None, usize::try_from(decode_varint(&mut input).ok()?).ok()?),
            5 => (None, 4),
            _ => return None,
        };
        let value = input.get(..length)?;
        input = &input[length..];
        fields.push(Field { tag, number, value });
    }
    Some(fields)
}
