// SPDX-License-Identifier: MPL-2.0

//! Output of the engine, which the output of the element must equal.

use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, Event, Model, ModelOptions, Stream, StreamOptions,
    Word,
};
use test_support::tiny_model_options;

use crate::{Transcript, engine_transcript};

/// Engine options that match the element's defaults with this preset and chunk latency.
pub fn with_preset(preset: DiarizationPreset, chunk_latency: ChunkLatency) -> StreamOptions {
    StreamOptions {
        chunk_latency,
        diarization: preset.operating_point(chunk_latency),
        ..Default::default()
    }
}

/// Engine options that match the element's defaults with a source that is not live.
pub fn file_options() -> StreamOptions {
    with_preset(DiarizationPreset::ThirtySeconds, ChunkLatency::Ms1120)
}

/// Engine options that match the element's defaults with a live source.
pub fn live_options() -> StreamOptions {
    with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms1120)
}

/// Runs the engine with the tiny models and returns its output.
pub fn engine_events(samples: &[f32], options: StreamOptions) -> Vec<Event> {
    engine_events_of(&tiny_model_options(), samples, options)
}

/// Runs the engine with a model and returns its output.
pub fn engine_events_of(
    model: &ModelOptions,
    samples: &[f32],
    options: StreamOptions,
) -> Vec<Event> {
    let model = Model::load(model, &Canceller::new()).expect("a model");
    let mut stream = Stream::new(model, options).expect("valid options");
    let mut events = stream.push(samples).expect("inference");
    events.extend(stream.finish().expect("inference"));
    events
}

/// Returns the engine's segments with the tiny models for audio that begins at `base_ns`.
pub fn engine_transcripts(
    samples: &[f32],
    options: StreamOptions,
    base_ns: u64,
) -> Vec<Transcript> {
    let events = engine_events(samples, options);
    events
        .iter()
        .filter_map(|event| match event {
            Event::Segment(segment) => Some(engine_transcript(segment, base_ns)),
            _ => None,
        })
        .collect()
}

/// Returns the engine's words with the tiny models and their speakers, sorted by start and speaker.
pub fn engine_words(samples: &[f32], options: StreamOptions) -> Vec<(usize, Word)> {
    let mut words: Vec<_> = engine_events(samples, options)
        .into_iter()
        .filter_map(|event| match event {
            Event::Word { speaker, word } => Some((speaker, word)),
            _ => None,
        })
        .collect();
    words.sort_by_key(|(speaker, word)| (word.start_sample, *speaker));
    words
}
