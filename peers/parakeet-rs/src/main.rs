// SPDX-License-Identifier: MPL-2.0

//! Transcribes a WAV file with parakeet-rs and prints its time and memory as JSON. Arguments: the
//! file, the folder of the models, the Sortformer file, the seconds of audio, the threads.

use std::error::Error;
use std::time::Instant;

use parakeet_rs::{ExecutionConfig, MultitalkerASR};

const SAMPLE_RATE_HZ: usize = 16_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [audio, models, sortformer, seconds, threads] = arguments.as_slice() else {
        return Err("expected AUDIO MODELS SORTFORMER SECONDS THREADS".into());
    };
    let mut reader = hound::WavReader::open(audio)?;
    let samples: Result<Vec<i16>, _> =
        reader.samples::<i16>().take(seconds.parse::<usize>()? * SAMPLE_RATE_HZ).collect();
    let samples: Vec<f32> = samples?.into_iter().map(|s| f32::from(s) / 32_768.0).collect();

    let start = Instant::now();
    let config = ExecutionConfig::new().with_intra_threads(threads.parse()?);
    let mut model = MultitalkerASR::from_pretrained(models, sortformer, Some(config))?;
    let load_s = start.elapsed().as_secs_f64();

    // This loop follows the example `multitalker` of parakeet-rs, without its final silence.
    let start = Instant::now();
    for chunk in samples.chunks_exact(model.chunk_audio_samples()) {
        model.transcribe_chunk(chunk)?;
    }
    let run_s = start.elapsed().as_secs_f64();

    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak_kib: f64 =
        peak.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?.parse()?;
    println!(
        r#"{{"load_s":{load_s},"run_s":{run_s},"audio_s":{},"peak_mib":{},"speakers":{}}}"#,
        samples.len() as f64 / SAMPLE_RATE_HZ as f64,
        peak_kib / 1024.0,
        model.get_transcripts().len()
    );
    Ok(())
}
