// SPDX-License-Identifier: MPL-2.0

//! Transcribes every speaker of a conversation, even when they talk over each other: 16 kHz mono
//! audio goes in, and the words of each speaker come out, with times and confidence.
//!
//! A streaming Sortformer diarizer decides who speaks when, and NVIDIA's multitalker Parakeet, a
//! cache-aware FastConformer transducer with speaker kernels, runs once per active speaker. Both are
//! ONNX files, which run on ONNX Runtime 1.24 or newer. The library is loaded with the first model.
//!
//! - A [`Model`] is immutable. Models of one process share the networks they have in common.
//! - A [`Stream`] transcribes one conversation on a model and returns [`Event`]s. Positions are
//!   samples since the start of the stream.
//! - With [`ModelOptions::recognize`] off, a stream emits who is active, at the cost of the diarizer
//!   alone. An RTTM file can take the diarizer's place.
//! - A [`Canceller`] stops a stream or the loading of a model from another thread.
//!
//! ```no_run
//! use multitalker_asr::{Canceller, Event, Model, ModelOptions, Stream, StreamOptions};
//!
//! # fn main() -> Result<(), multitalker_asr::Error> {
//! let options = ModelOptions { model_dir: "models".into(), ..Default::default() };
//! let model = Model::load(&options, &Canceller::new())?;
//! let mut stream = Stream::new(model, StreamOptions::default())?;
//! for event in stream.push(&[0.0; 16_000])?.into_iter().chain(stream.finish()?) {
//!     if let Event::Segment(segment) = event {
//!         println!("speaker {}: {}", segment.speaker, segment.text());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#![warn(clippy::unwrap_used)]

mod cancel;
mod diarization;
mod error;
mod events;
mod features;
mod file;
mod formats;
#[doc(hidden)]
pub mod fuzzing;
mod identification;
#[doc(hidden)]
pub mod lock;
mod models;
mod monitor;
mod onnx;
mod options;
mod recognition;
mod stream;
mod trace;
mod word_filter;

pub use cancel::Canceller;
pub use diarization::{DiarizationPreset, DiarizerKind, DiarizerVersion, OperatingPoint};
pub use error::{Error, ModelWarning};
#[doc(hidden)]
pub use events::Token;
pub use events::{Activity, Event, Partial, Progress, Segment, Turn, Word};
pub use features::SAMPLE_RATE_HZ;
pub use formats::SegLstRow;
pub use identification::{Identification, IdentificationOptions, SpeakerIdentity};
pub use models::{Model, SpeakerEmbeddingModel};
#[doc(hidden)]
pub use models::{hold_loading, release_loading};
pub use onnx::{LogLevel, set_log_handler};
pub use options::{
    ChunkLatency, ENCODED_FRAME_MS, ENCODED_FRAME_SAMPLES, ExecutionProvider, ModelOptions,
    OptimizationLevel, Precision, RuntimeOptions, StreamOptions, TargetMode,
};
pub use recognition::boosting::{BoostingOptions, PhraseBoosting};
pub use recognition::phrases::Phrase;
pub use recognition::words::{WORD_END_MS, WORD_LATENCY_MS};
pub use stream::Stream;
#[doc(hidden)]
pub use trace::{SpeakerTrace, Trace};
pub use word_filter::{FilterMethod, WordFilter};
