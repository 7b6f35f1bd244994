// SPDX-License-Identifier: MPL-2.0

//! Measures how the work grows with the speakers, the streams and the length of the audio.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, Model, ModelOptions, RuntimeOptions, Stream,
    StreamOptions,
};

use crate::{SAMPLE_RATE_HZ, peak_mib, read_wav};

/// Activity threshold below the probability of silent speakers in models made with `--active`, so
/// that the maximum number of speakers is active.
const EVERYBODY: f32 = 0.001;

/// Prints a table of the requested measurements.
#[derive(Args)]
pub struct Growth {
    /// WAV file of 16 kHz, mono, 16 bits; repeated as often as needed.
    audio: PathBuf,
    #[arg(long)]
    models: PathBuf,
    #[arg(long)]
    diarization_model: PathBuf,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Seconds of audio for the measurements of speakers and streams.
    #[arg(long, default_value_t = 20)]
    seconds: usize,
    /// Numbers of speakers, live at 1120 ms; all of them speak all the time.
    #[arg(long, value_delimiter = ',', required_unless_present_any = ["streams", "lengths"])]
    speakers: Vec<usize>,
    /// Numbers of streams on one model, live at 1120 ms.
    #[arg(long, value_delimiter = ',')]
    streams: Vec<usize>,
    /// Lengths of a file in seconds.
    #[arg(long, value_delimiter = ',')]
    lengths: Vec<usize>,
}

pub fn print(growth: &Growth) -> Result<(), Box<dyn Error>> {
    let audio = read_wav(&growth.audio, usize::MAX)?;
    let options = ModelOptions {
        model_dir: growth.models.clone(),
        diarization_model: Some(growth.diarization_model.clone()),
        runtime: RuntimeOptions { intra_op_threads: growth.threads, ..Default::default() },
        ..Default::default()
    };
    let model = Model::load(&options, &Canceller::new())?;
    println!("| what | s for 1 s | median | longest | MiB |\n|---|---|---|---|---|");
    let seconds = growth.seconds;
    for &speakers in &growth.speakers {
        let options =
            StreamOptions { max_speakers: Some(speakers), activity_threshold: EVERYBODY, ..live() };
        let ms = transcribe(&model, &audio, seconds, options)?;
        report(&format!("{speakers} speakers"), seconds, ms);
    }
    for &streams in &growth.streams {
        let start = Instant::now();
        let run = || transcribe(&model, &audio, seconds, live()).map_err(|e| e.to_string());
        let results: Vec<Result<Vec<f64>, String>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..streams).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("panic".into()))).collect()
        });
        let mut all = Vec::new();
        for result in results {
            all.extend(result?);
        }
        let total = start.elapsed().as_secs_f64() / (streams * seconds) as f64;
        all.sort_by(f64::total_cmp);
        println!(
            "| {streams} streams | {total:.4} | {:.0} | {:.0} | {:.0} |",
            all[all.len() / 2],
            all[all.len() - 1],
            peak_mib()?
        );
    }
    for &length in &growth.lengths {
        let chunk_latency = ChunkLatency::default();
        let diarization = DiarizationPreset::ThirtySeconds.operating_point(chunk_latency);
        let options = StreamOptions { chunk_latency, diarization, ..Default::default() };
        let ms = transcribe(&model, &audio, length, options)?;
        report(&format!("file of {length} s"), length, ms);
    }
    Ok(())
}

fn live() -> StreamOptions {
    StreamOptions::default()
}

fn report(name: &str, seconds: usize, mut ms: Vec<f64>) {
    ms.sort_by(f64::total_cmp);
    println!(
        "| {name} | {:.4} | {:.0} | {:.0} | {:.0} |",
        ms.iter().sum::<f64>() / 1000.0 / seconds as f64,
        ms[ms.len() / 2],
        ms[ms.len() - 1],
        peak_mib().unwrap_or(0.0)
    );
}

/// Returns the milliseconds of each push of 1120 ms and of `finish`.
fn transcribe(
    model: &Arc<Model>,
    audio: &[f32],
    seconds: usize,
    options: StreamOptions,
) -> Result<Vec<f64>, multitalker_asr::Error> {
    let piece = options.chunk_latency.ms() as usize * SAMPLE_RATE_HZ / 1000;
    let mut stream = Stream::new(model.clone(), options)?;
    let mut samples = audio.iter().copied().cycle().take(seconds * SAMPLE_RATE_HZ);
    let mut taken = Vec::new();
    loop {
        let piece: Vec<f32> = samples.by_ref().take(piece).collect();
        let start = Instant::now();
        if piece.is_empty() {
            stream.finish()?;
        } else {
            stream.push(&piece)?;
        }
        taken.push(start.elapsed().as_secs_f64() * 1000.0);
        if piece.is_empty() {
            return Ok(taken);
        }
    }
}
