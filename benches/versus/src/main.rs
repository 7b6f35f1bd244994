// SPDX-License-Identifier: MPL-2.0

//! Runs the engine and the crate parakeet-rs on one audio file, one after the other in separate
//! processes, and prints a table.

mod growth;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::{Args, Parser, Subcommand, ValueEnum};
use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, Model, ModelOptions, RuntimeOptions, Stream,
    StreamOptions,
};
use serde::{Deserialize, Serialize};

const SAMPLE_RATE_HZ: usize = 16_000;

/// Compares the engine with parakeet-rs; `ORT_DYLIB_PATH` names the ONNX Runtime of both.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs all systems one after the other and prints a table.
    Table(Table),
    /// Shows how the engine's work grows: seconds per second of audio, ms per chunk (median and
    /// longest), peak memory in MiB.
    Growth(growth::Growth),
    /// Runs one system and prints its time and memory as JSON.
    Run(Run),
}

#[derive(Args)]
struct Table {
    /// WAV file of 16 kHz, mono, 16 bits.
    audio: PathBuf,
    /// Program built from `peers/parakeet-rs`.
    #[arg(long)]
    peer: PathBuf,
    /// Folder with the published files.
    #[arg(long)]
    models: PathBuf,
    /// Published Sortformer file.
    #[arg(long)]
    diarization_model: PathBuf,
    /// Folder with the prepared models, including `sortformer.int8.onnx`.
    #[arg(long)]
    prepared: Option<PathBuf>,
    /// Maximum number of seconds of audio.
    #[arg(long, default_value_t = 56)]
    seconds: usize,
    /// Number of threads of the engine.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Numbers of threads of parakeet-rs; ratios are relative to the first.
    #[arg(long, value_delimiter = ',', default_value = "2,4")]
    peer_threads: Vec<usize>,
    /// Number of runs of each system; the table shows medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

#[derive(Args)]
struct Run {
    audio: PathBuf,
    models: PathBuf,
    diarization_model: PathBuf,
    seconds: usize,
    threads: usize,
    #[arg(long, value_enum)]
    system: System,
}

#[derive(Clone, Copy, ValueEnum)]
enum System {
    Lockstep,
    #[value(name = "30s")]
    ThirtySeconds,
}

/// Time and memory of a run.
#[derive(Serialize, Deserialize)]
struct Measurement {
    load_s: f64,
    run_s: f64,
    audio_s: f64,
    peak_mib: f64,
    speakers: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().command {
        Task::Table(table) => print_table(&table),
        Task::Growth(growth) => growth::print(&growth),
        Task::Run(run) => {
            println!("{}", serde_json::to_string(&measure(&run)?)?);
            Ok(())
        }
    }
}

fn print_table(table: &Table) -> Result<(), Box<dyn Error>> {
    // The peer hangs if it finds no ONNX Runtime.
    let runtime = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    if !runtime.as_ref().is_some_and(|path| path.is_file()) {
        return Err(format!("ORT_DYLIB_PATH: expected an ONNX Runtime, found {runtime:?}").into());
    }
    // The peer prefers the int8 files of a folder, as the engine does.
    let mut rows = Vec::new();
    for &threads in &table.peer_threads {
        rows.push(("parakeet-rs 0.3.6, int8", None, None, threads));
    }
    for (name, system) in [("file", Some(System::ThirtySeconds)), ("live", Some(System::Lockstep))]
    {
        rows.push((
            if name == "file" { "file, int8" } else { "live, int8" },
            system,
            None,
            table.threads,
        ));
        if let Some(prepared) = &table.prepared {
            let name = if name == "file" { "file, prepared int8" } else { "live, prepared int8" };
            rows.push((name, system, Some(prepared), table.threads));
        }
    }
    let mut measured: Vec<Vec<Measurement>> = rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..table.rounds {
        for ((_, system, prepared, threads), measured) in rows.iter().zip(&mut measured) {
            measured.push(run_alone(table, *system, *prepared, *threads)?);
        }
    }
    println!(
        "| what | threads | s for 1 s of audio | times as fast | load s | peak MiB | speakers |\n\
         |---|---|---|---|---|---|---|"
    );
    let factor = |runs: &[Measurement]| median(runs.iter().map(|m| m.run_s / m.audio_s));
    let first = factor(&measured[0]);
    for ((name, _, _, threads), runs) in rows.iter().zip(&measured) {
        println!(
            "| {name} | {threads} | {:.3} | {:.2} | {:.1} | {:.0} | {} |",
            factor(runs),
            first / factor(runs),
            median(runs.iter().map(|m| m.load_s)),
            median(runs.iter().map(|m| m.peak_mib)),
            runs[0].speakers
        );
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs one system, or the peer if `system` is `None`, in a separate process to measure its peak
/// memory.
fn run_alone(
    table: &Table,
    system: Option<System>,
    prepared: Option<&PathBuf>,
    threads: usize,
) -> Result<Measurement, Box<dyn Error>> {
    let models = prepared.unwrap_or(&table.models);
    let sortformer = prepared.map(|folder| folder.join("sortformer.int8.onnx"));
    let sortformer = sortformer.as_ref().unwrap_or(&table.diarization_model);
    let mut command = match system {
        Some(system) => {
            let mut command = Command::new(std::env::current_exe()?);
            let system = system.to_possible_value().ok_or("a hidden system")?;
            command.args(["run", "--system", system.get_name()]);
            command
        }
        None => Command::new(&table.peer),
    };
    command.arg(&table.audio).arg(models).arg(sortformer);
    command.args([table.seconds.to_string(), threads.to_string()]);
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    // Libraries may print as well.
    let text = String::from_utf8(output.stdout)?;
    Ok(serde_json::from_str(text.lines().last().ok_or("no output")?)?)
}

fn measure(run: &Run) -> Result<Measurement, Box<dyn Error>> {
    let samples = read_wav(&run.audio, run.seconds * SAMPLE_RATE_HZ)?;
    let (load_s, run_s, speakers) = match run.system {
        System::Lockstep => engine(run, &samples, DiarizationPreset::Lockstep)?,
        System::ThirtySeconds => engine(run, &samples, DiarizationPreset::ThirtySeconds)?,
    };
    let audio_s = samples.len() as f64 / SAMPLE_RATE_HZ as f64;
    Ok(Measurement { load_s, run_s, audio_s, peak_mib: peak_mib()?, speakers })
}

fn engine(
    run: &Run,
    samples: &[f32],
    preset: DiarizationPreset,
) -> Result<(f64, f64, usize), Box<dyn Error>> {
    let start = Instant::now();
    let options = ModelOptions {
        model_dir: run.models.clone(),
        diarization_model: Some(run.diarization_model.clone()),
        runtime: RuntimeOptions { intra_op_threads: run.threads, ..Default::default() },
        ..Default::default()
    };
    let model = Model::load(&options, &Canceller::new())?;
    let load_s = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let chunk_latency = ChunkLatency::default();
    let diarization = preset.operating_point(chunk_latency);
    let mut stream =
        Stream::new(model, StreamOptions { chunk_latency, diarization, ..Default::default() })?;
    stream.enable_trace();
    for chunk in samples.chunks(chunk_latency.ms() as usize * SAMPLE_RATE_HZ / 1000) {
        // The element pushes a file in the same way.
        stream.push_deferred(chunk)?;
    }
    stream.finish()?;
    let run_s = start.elapsed().as_secs_f64();
    let speakers = &stream.trace().ok_or("no trace")?.speakers;
    Ok((load_s, run_s, speakers.iter().filter(|speaker| !speaker.chunks.is_empty()).count()))
}

fn read_wav(path: &Path, at_most: usize) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut reader =
        hound::WavReader::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let spec = reader.spec();
    if (spec.sample_rate as usize, spec.channels, spec.bits_per_sample) != (SAMPLE_RATE_HZ, 1, 16) {
        return Err(format!("{}: expected 16 kHz, mono, 16 bits", path.display()).into());
    }
    let samples: Result<Vec<i16>, _> = reader.samples::<i16>().take(at_most).collect();
    Ok(samples?.into_iter().map(|sample| f32::from(sample) / 32_768.0).collect())
}

/// Returns the peak resident memory of this process.
fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 =
        line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?.parse()?;
    Ok(kib / 1024.0)
}
