// SPDX-License-Identifier: MPL-2.0

//! Transcribes a WAV file without GStreamer.

use std::error::Error;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use hound::{SampleFormat, WavReader, WavSpec};
use indicatif::{ProgressBar, ProgressStyle};
use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, ENCODED_FRAME_MS, Event, Model, ModelOptions,
    Precision, RuntimeOptions, SAMPLE_RATE_HZ, SegLstRow, Stream, StreamOptions, TargetMode,
};
use tempfile::TempPath;

/// Prints who said what and when in a 16 kHz mono WAV file.
#[derive(Parser)]
struct Arguments {
    /// The WAV file.
    file: PathBuf,
    /// Folder with the encoder, the decoder and the tokenizer.
    #[arg(long, required_unless_present = "no_recognize")]
    model_dir: Option<PathBuf>,
    /// The Sortformer file, or an RTTM file with the turns; without it, all words belong to one
    /// speaker.
    #[arg(long)]
    diarization_model: Option<PathBuf>,
    /// Prints and writes turns without words, at the cost of the diarizer alone.
    #[arg(long, conflicts_with_all = ["seglst", "activity_rttm"])]
    no_recognize: bool,
    /// The files of the folder that are loaded.
    #[arg(long, value_enum, default_value = "auto")]
    precision: PrecisionArgument,
    /// Chunk of the recognizer in milliseconds: 1120, 560, 160 or 80.
    #[arg(long, default_value_t = 1120)]
    chunk_latency: u32,
    /// Operating point of the diarizer; if its version lacks this one, the next shorter one is
    /// used.
    #[arg(long, value_enum, default_value = "30s")]
    diarization_preset: PresetArgument,
    /// Probability above which a speaker counts as speaking.
    #[arg(long, default_value_t = 0.5)]
    activity_threshold: f32,
    /// Maximum number of speakers; later speakers are ignored.
    #[arg(long)]
    max_speakers: Option<usize>,
    /// Encoder input that represents the other speakers.
    #[arg(long, value_enum, default_value = "probability")]
    target_mode: TargetArgument,
    /// Pause in milliseconds that ends a segment.
    #[arg(long, default_value_t = 800)]
    segment_pause: u32,
    /// Maximum length of a segment in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    max_segment_duration: u32,
    /// Number of threads per inference; 0 stands for the number of cores, at most 4.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// The ONNX Runtime library.
    #[arg(long)]
    onnxruntime_library: Option<PathBuf>,
    /// Writes the segments to this file as SegLST (JSON).
    #[arg(long)]
    seglst: Option<PathBuf>,
    /// Writes who speaks when to this file as RTTM: a turn for each segment of words, or with
    /// `--no-recognize` those of the diarizer.
    #[arg(long)]
    rttm: Option<PathBuf>,
    /// Writes the diarizer's activity to this file as RTTM: a turn for each run of frames of 80 ms
    /// in which a speaker's probability exceeds 0.5.
    #[arg(long)]
    activity_rttm: Option<PathBuf>,
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
    #[value(name = "320ms")]
    Ms320,
    #[value(name = "640ms")]
    Ms640,
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
            model_dir: self.model_dir.clone().unwrap_or_default(),
            diarization_model: self.diarization_model.clone(),
            recognize: !self.no_recognize,
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
        Ok(StreamOptions {
            chunk_latency,
            activity_threshold: self.activity_threshold,
            max_speakers: self.max_speakers,
            target_mode: match self.target_mode {
                TargetArgument::Probability => TargetMode::Probability,
                TargetArgument::Nemo => TargetMode::Nemo,
            },
            segment_pause_ms: self.segment_pause,
            max_segment_ms: self.max_segment_duration,
            ..StreamOptions::default()
        })
    }

    fn preset(&self) -> DiarizationPreset {
        match self.diarization_preset {
            PresetArgument::Lockstep => DiarizationPreset::Lockstep,
            PresetArgument::Ms320 => DiarizationPreset::Ms320,
            PresetArgument::Ms640 => DiarizationPreset::Ms640,
            PresetArgument::OneSecond => DiarizationPreset::OneSecond,
            PresetArgument::TenSeconds => DiarizationPreset::TenSeconds,
            PresetArgument::ThirtySeconds => DiarizationPreset::ThirtySeconds,
        }
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
    let mut options = arguments.stream_options()?;
    let samples = read_samples(&arguments.file)?;
    // The files are created first, so that a missing folder is an error before the transcription.
    let seglst = arguments.seglst.as_deref().map(OutputFile::create).transpose()?;
    let rttm = arguments.rttm.as_deref().map(OutputFile::create).transpose()?;
    let activity_rttm = arguments.activity_rttm.as_deref().map(OutputFile::create).transpose()?;
    let model = Model::load(&arguments.model_options(), &Canceller::new())?;
    for warning in model.warnings() {
        eprintln!("transcribe_wav: {warning}");
    }
    options.diarization = model.operating_point(arguments.preset(), options.chunk_latency)?;
    // With a diarizer, its long chunks already fill the batches.
    options.fill_batches = model.diarizer().is_none();
    let names = Names::of(&model);
    let speakers = model.speakers();
    let mut stream = Stream::new(model, options)?;
    if activity_rttm.is_some() {
        stream.enable_trace();
    }

    let session = arguments.file.file_stem().unwrap_or_default().to_string_lossy();
    let mut transcript = Transcript { names, session: &session, rows: Vec::new() };
    let transcribed = transcribe(&mut stream, &samples, &mut transcript);
    if transcribed.is_err() {
        // The text before the error is also printed.
        for event in stream.take_remaining() {
            transcript.add(event)?;
        }
    }
    transcribed?;

    let mut rows = transcript.rows;
    rows.sort_by(|a, b| a.start_time.total_cmp(&b.start_time));
    if let Some(file) = seglst {
        file.write(|file| Ok(serde_json::to_writer_pretty(file, &rows)?))?;
    }
    if let Some(file) = rttm {
        file.write(|file| write_rttm(file, &rows))?;
    }
    if let (Some(file), Some(trace)) = (activity_rttm, stream.trace()) {
        let end_s = seconds(samples.len() as u64);
        let turns = activity(&trace.probabilities, speakers, end_s, &session);
        file.write(|file| write_rttm(file, &turns))?;
    }
    Ok(())
}

/// Transcribes `samples`, prints the segments as they are emitted, and adds them to `transcript`.
fn transcribe(
    stream: &mut Stream,
    samples: &[f32],
    transcript: &mut Transcript<'_>,
) -> Result<(), Box<dyn Error>> {
    let progress = ProgressBar::new(samples.len() as u64 / u64::from(SAMPLE_RATE_HZ));
    progress.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} s, {eta} left")?);
    for second in samples.chunks(SAMPLE_RATE_HZ as usize) {
        for event in stream.push(second)? {
            progress.suspend(|| transcript.add(event))?;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    for event in stream.finish()? {
        transcript.add(event)?;
    }
    Ok(())
}

/// Names of the speakers in an RTTM file.
struct Names(Vec<String>);

impl Names {
    fn of(model: &Model) -> Self {
        let names = model.annotated_speakers().unwrap_or_default();
        Self(names.into_iter().map(str::to_owned).collect())
    }

    fn get(&self, speaker: usize) -> Option<&str> {
        self.0.get(speaker).map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// Finished segments or turns.
struct Transcript<'a> {
    names: Names,
    session: &'a str,
    rows: Vec<SegLstRow>,
}

impl Transcript<'_> {
    /// Prints and adds a finished segment or turn.
    fn add(&mut self, event: Event) -> Result<(), String> {
        let (speaker, range, words) = match event {
            Event::Segment(segment) => {
                let range = segment.start_sample()..segment.end_sample();
                (segment.speaker, range, segment.text())
            }
            Event::Turn(turn) => (turn.speaker, turn.start_sample..turn.end_sample, String::new()),
            _ => return Ok(()),
        };
        let name = self.names.get(speaker);
        let label = name.map_or_else(|| format!("speaker {}", speaker + 1), str::to_owned);
        let separator = if words.is_empty() { "" } else { ": " };
        let (start, end) = (time(range.start), time(range.end));
        let printed = writeln!(io::stdout(), "[{start} - {end}] {label}{separator}{words}");
        printed.map_err(|error| format!("standard output: {error}"))?;
        self.rows.push(SegLstRow {
            session_id: self.session.to_owned(),
            speaker: name.map_or_else(|| speaker.to_string(), str::to_owned),
            identity: None,
            words,
            start_time: seconds(range.start),
            end_time: seconds(range.end),
        });
        Ok(())
    }
}

/// Probability above which a frame counts as speech of a speaker, as in NeMo without
/// post-processing.
const SPEECH_PROBABILITY: f32 = 0.5;

/// Returns a turn without words for each run of frames in which a speaker is active.
/// `probabilities` is `[frames, speakers]`.
fn activity(probabilities: &[f32], speakers: usize, end_s: f64, session: &str) -> Vec<SegLstRow> {
    let frame_s = f64::from(ENCODED_FRAME_MS) / 1000.0;
    let frames: Vec<&[f32]> = probabilities.chunks_exact(speakers).collect();
    let mut turns = Vec::new();
    for speaker in 0..speakers {
        let mut frame = 0;
        for run in frames
            .chunk_by(|a, b| (a[speaker] > SPEECH_PROBABILITY) == (b[speaker] > SPEECH_PROBABILITY))
        {
            let start = frame;
            frame += run.len();
            if run[0][speaker] > SPEECH_PROBABILITY {
                turns.push(SegLstRow {
                    session_id: session.to_owned(),
                    speaker: speaker.to_string(),
                    identity: None,
                    words: String::new(),
                    start_time: start as f64 * frame_s,
                    end_time: (frame as f64 * frame_s).min(end_s),
                });
            }
        }
    }
    turns.sort_by(|a, b| a.start_time.total_cmp(&b.start_time));
    turns
}

/// Reads the samples of a file, from -1 to 1; the file must be 16 kHz mono.
fn read_samples(path: &Path) -> Result<Vec<f32>, String> {
    let wrong = |found: &dyn Display| {
        format!(
            "{}: expected a WAV file of {SAMPLE_RATE_HZ} Hz and 1 channel, with 8 to 32-bit \
             integers or 32-bit floating point, found {found}",
            path.display()
        )
    };
    let mut reader = WavReader::open(path).map_err(|error| wrong(&error))?;
    let spec = reader.spec();
    if spec.sample_rate != SAMPLE_RATE_HZ || spec.channels != 1 {
        let WavSpec { sample_rate, channels, .. } = spec;
        return Err(wrong(&format!(
            "{sample_rate} Hz and {channels} channels (convert it with \
             `sox IN -r {SAMPLE_RATE_HZ} -c 1 OUT.wav`)"
        )));
    }
    let samples: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect(),
        SampleFormat::Int => {
            let scale = 2_f32.powi(1 - i32::from(spec.bits_per_sample));
            reader.samples::<i32>().map(|sample| Ok(sample? as f32 * scale)).collect()
        }
    };
    match samples {
        Ok(samples) if samples.is_empty() => Err(wrong(&"no samples")),
        Ok(samples) => Ok(samples),
        Err(error) => Err(wrong(&error)),
    }
}

fn seconds(sample: u64) -> f64 {
    sample as f64 / f64::from(SAMPLE_RATE_HZ)
}

fn time(sample: u64) -> String {
    let seconds = seconds(sample);
    format!("{}:{:05.2}", (seconds / 60.0) as u64, seconds % 60.0)
}

fn write_rttm(file: &mut impl Write, rows: &[SegLstRow]) -> io::Result<()> {
    rows.iter().try_for_each(|row| writeln!(file, "{}", row.rttm()))
}

/// A file that is renamed to its final name when it is complete; an existing file of that name
/// stays until then.
struct OutputFile {
    path: PathBuf,
    file: File,
    /// The temporary file, which is removed if it is not renamed; `None` for irregular files such
    /// as `/dev/stdout`.
    temporary: Option<TempPath>,
}

impl OutputFile {
    fn create(path: &Path) -> Result<Self, String> {
        let create = || {
            if fs::metadata(path).is_ok_and(|existing| !existing.is_file()) {
                let file = File::options().write(true).open(path)?;
                return Ok(Self { path: path.to_owned(), file, temporary: None });
            }
            // A link stays, and its target is replaced.
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let mut builder = tempfile::Builder::new();
            builder.prefix(".transcribe_wav-");
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
            let (file, temporary) = file.into_parts();
            Ok(Self { path, file, temporary: Some(temporary) })
        };
        create().map_err(|error: io::Error| format!("cannot write {}: {error}", path.display()))
    }

    fn write(
        self,
        content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), String> {
        let write = || {
            let mut file = BufWriter::new(self.file);
            content(&mut file)?;
            file.flush()?;
            match self.temporary {
                Some(temporary) => Ok(temporary.persist(&self.path)?),
                None => Ok(()),
            }
        };
        write().map_err(|error: io::Error| format!("cannot write {}: {error}", self.path.display()))
    }
}
