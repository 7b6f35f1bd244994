// SPDX-License-Identifier: MPL-2.0

//! Tests streams on the tiny models.

mod any_audio;
mod diarization;
mod failures;
mod turns;

use std::sync::LazyLock;

use multitalker_asr::{
    Canceller, ChunkLatency, Event, Model, ModelOptions, Segment, Stream, StreamOptions,
};
use test_support::{read_wav, tiny_model, tiny_model_options};

static NEWS: LazyLock<Vec<f32>> =
    LazyLock::new(|| read_wav(&test_support::data().join("audio/news.wav")));

/// Returns 5 seconds of audio with a change of speaker.
fn excerpt() -> &'static [f32] {
    &NEWS[7 * 16_000..12 * 16_000]
}

/// Returns options with small chunks and caches, so that short audio passes through all states.
fn small_options() -> StreamOptions {
    let mut options =
        StreamOptions { chunk_latency: ChunkLatency::Ms160, ..StreamOptions::default() };
    options.diarization.chunk_frames = 5;
    options.diarization.right_context_frames = 2;
    options.diarization.fifo_frames = 10;
    options.diarization.update_period_frames = 8;
    options.diarization.speaker_cache_frames = 24;
    options
}

fn stream(options: StreamOptions) -> Stream {
    Stream::new(tiny_model(), options).expect("options that fit")
}

/// Pushes `pieces`, finishes the stream, and returns all events.
fn events<'a>(stream: &mut Stream, pieces: impl IntoIterator<Item = &'a [f32]>) -> Vec<Event> {
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(stream.push(piece).expect("inference runs"));
    }
    events.extend(stream.finish().expect("inference runs"));
    events
}

fn segments(events: &[Event]) -> Vec<&Segment> {
    let mut segments = Vec::new();
    for event in events {
        if let Event::Segment(segment) = event {
            segments.push(segment);
        }
    }
    segments
}

/// Returns a stream with one of the fake diarizers.
fn stream_with(sortformer: &str) -> Stream {
    let diarization_model = test_support::data().join("fake-models").join(sortformer);
    let options =
        ModelOptions { diarization_model: Some(diarization_model), ..tiny_model_options() };
    let model = Model::load(&options, &Canceller::new()).expect("loads");
    Stream::new(model, StreamOptions::default()).expect("options that fit")
}
