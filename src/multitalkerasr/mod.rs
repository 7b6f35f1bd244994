// SPDX-License-Identifier: MPL-2.0

//! The element `multitalkerasr` transcribes every speaker of a conversation, even when they talk
//! over each other. It takes 16 kHz mono audio and produces dated text for each speaker. Its models
//! are ONNX exports of NVIDIA's multitalker streaming FastConformer, which recognizes speech, and of
//! streaming Sortformer, which determines who speaks when.
//!
//! This page is an overview. Each section names the page of the manual, in the folder `docs` of the
//! repository, that has the details.
//!
//! ```bash
//! gst-launch-1.0 -m filesrc location=meeting.wav ! decodebin ! audioconvert ! audioresample ! \
//!   multitalkerasr model-dir=models/multitalker \
//!     diarization-model=models/multitalker/sortformer.onnx ! \
//!   fakesink | grep multitalkerasr/transcript,
//! ```
//!
//! # Pads
//!
//! | pad | availability | content |
//! |---|---|---|
//! | `sink` | always | raw audio, 16 kHz, mono, F32 or S16 |
//! | `src` | always | text of all speakers, in temporal order |
//! | `speaker_%u` | on request | text of one speaker |
//! | `unsynced_src` | always | JSON of segments in progress and of finished segments |
//!
//! A buffer of `src` or `speaker_%u` has one word or, with `text-unit=segment`, one segment of one
//! speaker. Its PTS and duration are those of the speech, and PTS never go back. GAP events fill the
//! time between buffers. The text is plain, Pango markup in the speaker's color, or JSON, whichever
//! downstream accepts first, and each buffer has a `MultitalkerItemMeta` with speaker, confidence and
//! words (`pads.md`).
//!
//! # Messages
//!
//! The element posts `multitalkerasr/transcript` for each finished segment, `multitalkerasr/partial`
//! for segments in progress if `post-partials` is set, and `multitalkerasr/transcripts` with the
//! SegLST of the conversation before EOS. The action signal `get-transcripts` returns the SegLST at
//! any time. With `recognize=false`, it posts `multitalkerasr/speakers` and `multitalkerasr/rttm`
//! instead, which the signal `get-rttm` also returns (`messages.md`).
//!
//! # Speakers
//!
//! Speakers are numbered from 0 in order of appearance. A gap of 200 ms or more in the audio, new
//! caps, a new segment event, and a new stream end all segments of text. Numbering then restarts or
//! is kept, depending on `on-discontinuity`; a flush always restarts it.
//!
//! Smaller deviations of timestamps are jitter below `alignment-threshold`. Above it, they must last
//! for `discont-wait` before silence is inserted or audio is cut, except on buffers flagged DISCONT
//! or RESYNC (`properties.md`).
//!
//! # Latency
//!
//! With a live source the element adds this to the latency of the pipeline (`latency.md`):
//!
//! ```text
//!   recognizer chunk and diarizer look-ahead   chunk-latency, diarization-preset
//! + end of a word: 1000 ms                     text-unit=segment: max-segment-duration
//!                                                + max(segment-pause, 400 ms)
//! + processing time                            latency
//! ```
//!
//! With the defaults that is 1120 + 3 + 1000 + 500 = 2623 ms, where the spectral window accounts for
//! 3 ms. Until the model is loaded, the maximum over all versions of the diarizer counts. An element
//! that is not linked answers LATENCY queries as if its source were live.
//!
//! # Overload
//!
//! Sources that are not live wait for the recognizer. Audio of a live source is queued. When a
//! quarter of the queue is full, `overload-policy=degrade` reduces the context of the diarizer; when
//! it is full, its older half is dropped, with a warning and a QOS message (`overload.md`).
//!
//! # Models
//!
//! A thread of the element loads the models from READY to PAUSED without delaying the state change,
//! and shares them with all elements of the process that need the same ones. The element keeps its
//! models until NULL or, if it received no audio, until its next run ends, so that an application
//! that probes the element before it uses it loads them once (`models.md`).

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use multitalker_asr as engine;

mod imp;
mod input;
mod output;
mod properties;
mod shared;
mod text;
mod worker;

pub use properties::enums::{
    ChunkLatency, DiarizationPreset, ExecutionProvider, OnDiscontinuity, OptimizationLevel,
    OverloadPolicy, Precision, Simultaneous, TargetMode, TextUnit, VocabularyFilterMethod,
};

pub(crate) use text::meta::NAME as ITEM_META;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "multitalkerasr",
        gst::DebugColorFlags::empty(),
        Some("Multi-talker speech recognizer"),
    )
});

glib::wrapper! {
    /// An element `multitalkerasr`, with the properties that `gst-inspect-1.0` lists.
    pub struct MultitalkerAsr(ObjectSubclass<imp::MultitalkerAsr>)
        @extends gst::Element, gst::Object;
}

/// Registers the element and its meta, and routes ONNX Runtime's log to the debug category.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    engine::set_log_handler(|level, text| match level {
        engine::LogLevel::Error => gst::error!(CAT, "{text}"),
        engine::LogLevel::Warning => gst::warning!(CAT, "{text}"),
        engine::LogLevel::Debug => gst::debug!(CAT, "{text}"),
    });
    text::meta::register();
    gst::Element::register(
        Some(plugin),
        "multitalkerasr",
        gst::Rank::NONE,
        MultitalkerAsr::static_type(),
    )
}
