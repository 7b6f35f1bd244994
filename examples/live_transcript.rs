// SPDX-License-Identifier: MPL-2.0

//! Prints a live transcript with a color for each speaker.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use gst::prelude::*;

/// Prints a live transcript with a color for each speaker. On a terminal, the last line shows the
/// segment in progress.
#[derive(Parser)]
struct Arguments {
    /// File, or URI such as rtsp://camera/stream; the default is the microphone.
    source: Option<String>,
    /// Folder with the encoder, the decoder, and the tokenizer.
    #[arg(long)]
    model_dir: PathBuf,
    /// Sortformer file; without it, a single speaker is assumed.
    #[arg(long)]
    diarization_model: Option<PathBuf>,
}

/// White, yellow, cyan, and green are the colors that broadcasters use.
const COLORS: [&str; 4] = ["\x1b[97m", "\x1b[93m", "\x1b[96m", "\x1b[92m"];
const RESET: &str = "\x1b[0m";
const CLEAR_LINE: &str = "\r\x1b[K";

fn build_pipeline(arguments: &Arguments) -> Result<gst::Element, Box<dyn Error>> {
    let source = match &arguments.source {
        Some(_) => "uridecodebin name=source",
        None => "autoaudiosrc",
    };
    let pipeline = gst::parse::launch(&format!(
        "{source} ! audioconvert ! audioresample ! queue ! \
         multitalkerasr name=asr post-partials=true ! fakesink sync=false"
    ))?;
    let named = |name| pipeline.downcast_ref::<gst::Bin>().and_then(|bin| bin.by_name(name));
    if let (Some(element), Some(source)) = (named("source"), &arguments.source) {
        let uri = match gst::glib::uri_parse_scheme(source.as_str()) {
            Some(_) => source.into(),
            None => gst::glib::filename_to_uri(std::path::absolute(source)?, None)?,
        };
        element.set_property("uri", uri);
    }
    if let Some(asr) = named("asr") {
        asr.set_property("model-dir", arguments.model_dir.to_string_lossy().as_ref());
        if let Some(model) = &arguments.diarization_model {
            asr.set_property("diarization-model", model.to_string_lossy().as_ref());
        }
    }
    Ok(pipeline)
}

/// Formats a `multitalkerasr/transcript` or `multitalkerasr/partial` message as a line.
fn format_line(segment: &gst::StructureRef) -> Result<String, Box<dyn Error>> {
    let speaker = segment.get::<u32>("speaker-id")?;
    let start = segment.get::<gst::ClockTime>("start-time")?.mseconds() as f64 / 1000.0;
    let text = segment.get::<&str>("text")?;
    let color = COLORS[speaker as usize % COLORS.len()];
    let name = segment.get_optional::<String>("speaker-name")?;
    let name = name.unwrap_or_else(|| format!("Speaker {}", speaker + 1));
    Ok(format!("{color}{start:7.2} s  {name}: {text}{RESET}"))
}

/// Prints a message if it contains a segment.
fn show(message: &gst::StructureRef) -> Result<(), Box<dyn Error>> {
    let mut stdout = std::io::stdout().lock();
    let clear = if stdout.is_terminal() { CLEAR_LINE } else { "" };
    match message.name().as_str() {
        "multitalkerasr/transcript" => writeln!(stdout, "{clear}{}", format_line(message)?)?,
        "multitalkerasr/partial" if stdout.is_terminal() => {
            write!(stdout, "{clear}{}", format_line(message)?)?;
            stdout.flush()?;
        }
        _ => (),
    }
    Ok(())
}

/// Plays the pipeline until EOS.
fn play(pipeline: &gst::Element) -> Result<(), Box<dyn Error>> {
    let bus = pipeline.bus().ok_or("a pipeline without a bus")?;
    // A failure is posted as a message.
    let _ = pipeline.set_state(gst::State::Playing);
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(error) => return Err(error.error().into()),
            gst::MessageView::Element(element) => {
                if let Some(structure) = element.structure() {
                    show(structure)?;
                }
            }
            _ => (),
        }
    }
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    gst::init()?;
    gstmultitalkerasr::plugin_register_static()?;
    let pipeline = build_pipeline(&arguments)?;
    let result = play(&pipeline);
    pipeline.set_state(gst::State::Null)?;
    result
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("live_transcript: {error}");
            ExitCode::FAILURE
        }
    }
}
