// SPDX-License-Identifier: MPL-2.0

//! The recognizer: 16 kHz audio in, the words of each speaker out. It knows nothing of GStreamer.
//!
//! A [`Model`] is immutable and shared by all streams of a process that ask for the same files.
//! A [`Stream`] holds one conversation. Time is counted in samples since its start.
//!
//! ```no_run
//! use gstmultitalkerasr::engine::{Canceller, Model, ModelOptions, Output, Stream, StreamOptions};
//!
//! # fn main() -> Result<(), gstmultitalkerasr::engine::Error> {
//! let options = ModelOptions { model_dir: "models".into(), ..Default::default() };
//! let model = Model::load(&options, &Canceller::new())?;
//! let mut stream = Stream::new(model, StreamOptions::default())?;
//! for output in stream.push(&[0.0; 16_000])?.into_iter().chain(stream.finish()?) {
//!     if let Output::Segment(segment) = output {
//!         println!("speaker {}: {}", segment.speaker, segment.text());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]
#![warn(clippy::unwrap_used)]

mod config;
mod diarizer;
mod encoder;
mod error;
mod features;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod mel;
mod model;
mod model_config;
mod networks;
mod onnx;
mod output;
mod presets;
mod recognizer;
mod registry;
mod rnnt;
mod row_buffer;
mod seglst;
mod speaker_cache;
mod stream;
pub(crate) mod sync;
mod tokenizer;
mod top_k;
mod transcript;

pub use config::{
    ChunkLatency, ENCODED_FRAME_MS, ENCODED_FRAME_SAMPLES, ExecutionProvider, ModelOptions,
    OptimizationLevel, Precision, RuntimeOptions, StreamOptions, TargetMode,
};
pub use error::{Error, ModelWarning};
pub use features::SAMPLE_RATE_HZ;
pub use model::Model;
#[doc(hidden)]
pub use model::{hold_loading, release_loading};
pub use onnx::{Canceller, LogLevel, set_log_handler};
pub use output::{Output, Progress, SpeakerTrace, Trace};
pub use presets::{DiarizationPreset, DiarizerKind, DiarizerVersion, OperatingPoint};
pub use rnnt::Token;
pub use seglst::SegLstRow;
pub use stream::Stream;
pub use transcript::{Partial, Segment, WORD_END_MS, WORD_LATENCY_MS, Word};
