// SPDX-License-Identifier: MPL-2.0

//! Output of the engine, which the output of the element must equal.

use multitalker_asr::{
    Canceller, ChunkLatency, DiarizationPreset, Event, Model, ModelOptions, Stream, StreamOptions,
    Word,
};
use test_support::tiny_model_options;

use crate::{Transcript, engine_transcript};

/// The engine's options that equal the element's defaults with this preset and chunk.
pub fn with_preset(preset: DiarizationPreset, chunk_latency: ChunkLatency) -> StreamOptions {
    StreamOptions {
        chunk_latency,
        diarization: preset.operating_point(chunk_latency),
        ..Default::default()
    }
}

/// The engine's options that equal the element's defaults behind a source that is not live.
pub fn file_options() -> StreamOptions {
    with_preset(DiarizationPreset::ThirtySeconds, ChunkLatency::Ms1120)
}

/// The engine's options that equal the element's defaults behind a live source.
pub fn live_options() -> StreamOptions {
    with_preset(DiarizationPreset::Lockstep, ChunkLatency::Ms1120)
}

/// The output of the engine with the tiny models.
pub fn engine_events(samples: &[f32], options: StreamOptions) -> Vec<Event> {
    engine_events_of(&tiny_model_options(), samples, options)
}

/// The output of the engine with a model.
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

/// The segments that the engine emits with the tiny models for audio that begins at `base_ns`.
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

/// The words that the engine emits with the tiny models, each with its speaker, by start and speaker.
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
