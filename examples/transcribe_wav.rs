// SPDX-License-Identifier: MPL-2.0

//! Transcribes a WAV file with the engine alone, without GStreamer.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use gstmultitalkerasr::engine::{
    Canceller, ChunkLatency, DiarizationPreset, Model, ModelOptions, Output, Precision,
    RuntimeOptions, SAMPLE_RATE_HZ, SegLstRow, Segment, Stream, StreamOptions, TargetMode,
};
use hound::{SampleFormat, WavReader};
use indicatif::{ProgressBar, ProgressStyle};

/// Prints who said what and when in a 16 kHz mono WAV file.
#[derive(Parser)]
struct Arguments {
    /// The audio.
    file: PathBuf,
    /// Folder with the encoder, the decoder and the tokenizer.
    #[arg(long)]
    model_dir: PathBuf,
    /// The Sortformer file; without it there is one speaker.
    #[arg(long)]
    diarization_model: Option<PathBuf>,
    /// Which of the files in the folder are taken.
    #[arg(long, value_enum, default_value = "auto")]
    precision: PrecisionArgument,
    /// Chunk of the recogniser in milliseconds: 1120, 560, 160 or 80.
    #[arg(long, default_value_t = 1120)]
    chunk_latency: u32,
    /// Operating point of the diariser.
    #[arg(long, value_enum, default_value = "30s")]
    diarization_preset: PresetArgument,
    /// Probability from which a speaker is taken to speak.
    #[arg(long, default_value_t = 0.5)]
    activity_threshold: f32,
    /// At most so many speakers.
    #[arg(long)]
    max_speakers: Option<usize>,
    /// How the other speakers are masked.
    #[arg(long, value_enum, default_value = "probability")]
    target_mode: TargetArgument,
    /// Pause in milliseconds that ends a segment.
    #[arg(long, default_value_t = 800)]
    segment_pause: u32,
    /// Longest segment in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    max_segment_duration: u32,
    /// Threads of one inference; 0 chooses.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// The ONNX Runtime library.
    #[arg(long)]
    onnxruntime_library: Option<PathBuf>,
    /// Writes the segments to this file as SegLST (JSON).
    #[arg(long)]
    seglst: Option<PathBuf>,
    /// Writes who speaks when to this file as RTTM.
    #[arg(long)]
    rttm: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum PrecisionArgument {
    Auto,
    Int8,
    Fp32,
}

#[derive(Clone, Copy, ValueEnum)]
enum PresetArgument {
    Lockstep,
    #[value(name = "1s")]
    OneSecond,
    #[value(name = "10s")]
    TenSeconds,
    #[value(name = "30s")]
    ThirtySeconds,
}

#[derive(Clone, Copy, ValueEnum)]
enum TargetArgument {
    Probability,
    Nemo,
}

impl Arguments {
    fn model_options(&self) -> ModelOptions {
        ModelOptions {
            model_dir: self.model_dir.clone(),
            diarization_model: self.diarization_model.clone(),
            precision: match self.precision {
                PrecisionArgument::Auto => Precision::Auto,
                PrecisionArgument::Int8 => Precision::Int8,
                PrecisionArgument::Fp32 => Precision::Fp32,
            },
            runtime: RuntimeOptions {
                library: self.onnxruntime_library.clone(),
                intra_op_threads: self.threads,
                ..Default::default()
            },
        }
    }

    fn stream_options(&self) -> Result<StreamOptions, String> {
        let chunk_latency = ChunkLatency::ALL
            .into_iter()
            .find(|chunk| chunk.ms() == self.chunk_latency)
            .ok_or_else(|| {
                format!(
                    "chunk latency: expected 1120, 560, 160 or 80, found {}",
                    self.chunk_latency
                )
            })?;
        let preset = match self.diarization_preset {
            PresetArgument::Lockstep => DiarizationPreset::Lockstep,
            PresetArgument::OneSecond => DiarizationPreset::OneSecond,
            PresetArgument::TenSeconds => DiarizationPreset::TenSeconds,
            PresetArgument::ThirtySeconds => DiarizationPreset::ThirtySeconds,
        };
        Ok(StreamOptions {
            chunk_latency,
            diarization: preset.operating_point(chunk_latency),
            activity_threshold: self.activity_threshold,
            max_speakers: self.max_speakers,
            target_mode: match self.target_mode {
                TargetArgument::Probability => TargetMode::Probability,
                TargetArgument::Nemo => TargetMode::Nemo,
            },
            segment_pause_ms: self.segment_pause,
            max_segment_ms: self.max_segment_duration,
            full_runs: self.diarization_model.is_none(),
        })
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("transcribe_wav: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let options = arguments.stream_options()?;
    let samples = read_samples(&arguments.file)?;
    let model = Model::load(&arguments.model_options(), &Canceller::new())?;
    let mut stream = Stream::new(model, options)?;

    let progress = ProgressBar::new(samples.len() as u64 / u64::from(SAMPLE_RATE_HZ));
    progress.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} s, {eta} left")?);
    let mut segments = Vec::new();
    let mut tell = |outputs: Vec<Output>| {
        for output in outputs {
            if let Output::Segment(segment) = output {
                progress.suspend(|| println!("{}", line(&segment)));
                segments.push(segment);
            }
        }
    };
    for second in samples.chunks(SAMPLE_RATE_HZ as usize) {
        match stream.push(second) {
            Ok(outputs) => tell(outputs),
            Err(error) => {
                tell(stream.salvage());
                return Err(error.into());
            }
        }
        progress.inc(1);
    }
    tell(stream.finish()?);
    progress.finish_and_clear();

    segments.sort_by_key(Segment::start_sample);
    let session = arguments.file.file_stem().unwrap_or_default().to_string_lossy();
    let rows: Vec<SegLstRow> = segments.iter().map(|segment| row(segment, &session)).collect();
    if let Some(path) = &arguments.seglst {
        write(path, |file| Ok(serde_json::to_writer_pretty(file, &rows)?))?;
    }
    if let Some(path) = &arguments.rttm {
        write(path, |file| {
            for row in &rows {
                writeln!(file, "{}", row.rttm())?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The samples of a file in the one format that the models take, from -1 to 1.
fn read_samples(path: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut reader =
        WavReader::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let spec = reader.spec();
    if spec.sample_rate != SAMPLE_RATE_HZ || spec.channels != 1 {
        return Err(format!(
            "{}: expected {SAMPLE_RATE_HZ} Hz and 1 channel, found {} Hz and {} (convert it with \
             `sox IN -r {SAMPLE_RATE_HZ} -c 1 OUT.wav`)",
            path.display(),
            spec.sample_rate,
            spec.channels
        )
        .into());
    }
    let samples: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect(),
        SampleFormat::Int => {
            let scale = 1.0 / (1_u32 << (spec.bits_per_sample - 1)) as f32;
            reader.samples::<i32>().map(|sample| Ok(sample? as f32 * scale)).collect()
        }
    };
    samples.map_err(|error| format!("{}: {error}", path.display()).into())
}

fn seconds(sample: u64) -> f64 {
    sample as f64 / f64::from(SAMPLE_RATE_HZ)
}

fn line(segment: &Segment) -> String {
    let time = |sample| {
        let seconds = seconds(sample);
        format!("{}:{:05.2}", (seconds / 60.0) as u64, seconds % 60.0)
    };
    format!(
        "[{} - {}] speaker {}: {}",
        time(segment.start_sample()),
        time(segment.end_sample()),
        segment.speaker + 1,
        segment.text()
    )
}

fn row(segment: &Segment, session: &str) -> SegLstRow {
    SegLstRow {
        session_id: session.to_owned(),
        speaker: segment.speaker.to_string(),
        words: segment.text(),
        start_time: seconds(segment.start_sample()),
        end_time: seconds(segment.end_sample()),
    }
}

fn write(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut file = BufWriter::new(file);
    content(&mut file)?;
    Ok(file.flush()?)
}
