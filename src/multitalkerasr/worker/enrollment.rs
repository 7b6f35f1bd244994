// SPDX-License-Identifier: MPL-2.0

//! Decoding of recordings for enrollment.

use std::path::Path;
use std::sync::{Arc, Mutex};

use gst::glib;
use gst::prelude::*;

use multitalker_asr::lock::lock;
use multitalker_asr::{Canceller, Error, SAMPLE_RATE_HZ};

/// Longest part of a recording that is decoded: one minute.
const MAX_SAMPLES: usize = 60 * SAMPLE_RATE_HZ as usize;

const EXPECTED: &str = "audio that GStreamer can decode";

/// Decodes the beginning of a file to 16 kHz mono samples.
///
/// # Errors
/// [`Error::UnreadableFile`] if the file has no audio or cannot be decoded, and [`Error::Canceled`].
pub fn decode(path: &Path, canceller: &Canceller) -> Result<Vec<f32>, Error> {
    let unreadable =
        |found: String| Error::UnreadableFile { path: path.to_owned(), expected: EXPECTED, found };
    let samples = Arc::new(Mutex::new(Vec::new()));
    let pipeline = build(path, &samples).map_err(|error| unreadable(error.to_string()))?;
    let result = run(&pipeline, canceller).and_then(|result| result.map_err(unreadable));
    // A change to NULL does not fail.
    let _ = pipeline.set_state(gst::State::Null);
    result?;
    let samples = std::mem::take(&mut *lock(&samples));
    if samples.is_empty() { Err(unreadable("no audio".to_owned())) } else { Ok(samples) }
}

/// Builds a pipeline that appends the audio of a file to `samples`, and posts EOS when there is enough.
fn build(path: &Path, samples: &Arc<Mutex<Vec<f32>>>) -> Result<gst::Pipeline, glib::Error> {
    let failed = |error: glib::BoolError| {
        glib::Error::new(gst::CoreError::MissingPlugin, &error.to_string())
    };
    let uri = glib::filename_to_uri(std::path::absolute(path).unwrap_or(path.to_owned()), None)?;
    let raw = gst::Caps::new_empty_simple("audio/x-raw");
    let source = gst::ElementFactory::make("uridecodebin")
        .property("uri", uri)
        .property("caps", &raw)
        .property("expose-all-streams", false)
        .build()
        .map_err(failed)?;
    let convert = gst::ElementFactory::make("audioconvert").build().map_err(failed)?;
    let resample = gst::ElementFactory::make("audioresample").build().map_err(failed)?;
    let format = gst_audio::AudioCapsBuilder::new()
        .format(gst_audio::AUDIO_FORMAT_F32)
        .rate(SAMPLE_RATE_HZ as i32)
        .channels(1)
        .build();
    let filter =
        gst::ElementFactory::make("capsfilter").property("caps", format).build().map_err(failed)?;
    let sink =
        gst::ElementFactory::make("fakesink").property("sync", false).build().map_err(failed)?;
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([&source, &convert, &resample, &filter, &sink]).map_err(failed)?;
    gst::Element::link_many([&convert, &resample, &filter, &sink]).map_err(failed)?;
    let input = convert.static_pad("sink");
    source.connect_pad_added(move |_, pad| {
        if let Some(input) = input.as_ref().filter(|input| !input.is_linked()) {
            // Other streams are not of interest.
            let _ = pad.link(input);
        }
    });
    let samples = samples.clone();
    let output = sink.static_pad("sink");
    output.inspect(|pad| {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let mut samples = lock(&samples);
            if let Some(map) = info.buffer().and_then(|buffer| buffer.map_readable().ok()) {
                let values = map
                    .chunks_exact(size_of::<f32>())
                    .map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
                let missing = MAX_SAMPLES.saturating_sub(samples.len());
                samples.extend(values.take(missing));
            }
            match samples.len() < MAX_SAMPLES {
                true => gst::PadProbeReturn::Ok,
                false => {
                    info.flow_res = Err(gst::FlowError::Eos);
                    gst::PadProbeReturn::Handled
                }
            }
        });
    });
    Ok(pipeline)
}

/// Plays a pipeline to its end.
///
/// # Errors
/// [`Error::Canceled`]; within the result, the first error that an element posted.
fn run(pipeline: &gst::Pipeline, canceller: &Canceller) -> Result<Result<(), String>, Error> {
    let Some(bus) = pipeline.bus() else { return Ok(Err("no bus".to_owned())) };
    let (types, waker) = (
        [gst::MessageType::Eos, gst::MessageType::Error, gst::MessageType::Application],
        bus.clone(),
    );
    let wake = move || {
        let structure = gst::Structure::new_empty("canceled");
        // Nobody waits on a flushing bus.
        let _ = waker.post(gst::message::Application::new(structure));
    };
    let message = canceller.while_blocked(wake, || {
        if pipeline.set_state(gst::State::Playing).is_err() {
            return bus.pop_filtered(&[gst::MessageType::Error]);
        }
        bus.timed_pop_filtered(gst::ClockTime::NONE, &types)
    })?;
    if canceller.is_canceled() {
        return Err(Error::Canceled);
    }
    Ok(match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => Err(error.error().message().to_owned()),
        _ => Err("an unknown error".to_owned()),
    })
}
