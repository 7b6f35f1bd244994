// SPDX-License-Identifier: MPL-2.0

//! The element `ttmlenc` writes captions as TTML: EBU-TT-D 1.0.1 or IMSC 1.1 Text. It takes the text
//! of [`multitalkerasr`](crate::multitalkerasr) or of any other element.
//!
//! ```bash
//! gst-launch-1.0 filesrc location=meeting.mp4 ! decodebin ! audioconvert ! audioresample ! \
//!   multitalkerasr model-dir=models/multitalker \
//!     diarization-model=models/multitalker/sortformer.onnx text-unit=segment ! \
//!   application/x-json ! ttmlenc language=en ! filesink location=meeting.ttml
//! ```
//!
//! # Pads
//!
//! | pad | content |
//! |---|---|
//! | `sink` | `application/x-json` of multitalkerasr, or `text/x-raw` in `pango-markup` or `utf8` |
//! | `src` | `application/ttml+xml`, one document in each buffer |
//!
//! Each buffer is a cue, shown for its duration; one without duration is shown until the next buffer
//! or gap. Buffers need PTS. The speaker is a field of the JSON, or of the `MultitalkerItemMeta` of
//! text. Text that is not in the format of the caps is a warning; it is shown as it is, or dropped
//! if it is not JSON where JSON is expected.
//!
//! # Documents
//!
//! With `segment-duration=0`, there is one document, at EOS. It is also written if there is no text.
//! The element keeps up to 64 MiB of text for it, which is days of speech, and drops later text with
//! a warning. With a live source it posts a warning, since such a source may never end.
//!
//! Otherwise there is one document for each segment of that duration, also where nobody speaks. PTS
//! and duration of the buffer are those of the segment. Segments start at multiples of the duration
//! on the timeline; the first and the last may be shorter. A cue is in all documents in which it is
//! shown, clipped to each. A document leaves once text or a gap reaches its end, so that
//! `segment-duration` adds to the latency of the pipeline.
//!
//! # Time
//!
//! Times in the documents are those of the media, `ttp:timeBase="media"`. With
//! `timeline=stream-time`, they are positions in the file, also after a seek. With
//! `timeline=running-time`, they are the times that muxers give to the other streams. A flush drops
//! the text that waits. A segment event that continues the timeline changes nothing; one that
//! jumps ends the current segment, unless there is one document. A new stream ends the document.
//!
//! # Layout
//!
//! Text is centered in the lower part of the picture. A cue keeps its rows for as long as it is
//! shown; cues at the same time are in regions of their own, one above the other, of which there
//! are at most four. A speaker is a style `speakerN` with the color of the cue, else of
//! `speaker-colors`. Names are `ttm:agent` elements.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

mod document;
mod imp;
mod settings;

pub use document::TtmlProfile;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("ttmlenc", gst::DebugColorFlags::empty(), Some("TTML encoder"))
});

glib::wrapper! {
    /// An element `ttmlenc`, with the properties that `gst-inspect-1.0` lists.
    pub struct TtmlEnc(ObjectSubclass<imp::TtmlEnc>) @extends gst::Element, gst::Object;
}

/// Registers the element.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "ttmlenc", gst::Rank::NONE, TtmlEnc::static_type())
}
