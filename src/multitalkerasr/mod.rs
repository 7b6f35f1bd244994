// SPDX-License-Identifier: MPL-2.0

//! # `multitalkerasr`
//!
//! Takes raw 16 kHz mono audio and says who said what and when, also where people talk at the
//! same time. The models are ONNX exports of NVIDIA's multi-talker streaming FastConformer and of
//! streaming Sortformer.
//!
//! ## What comes out
//!
//! - `src`: one buffer for each word (`text-unit=word`) or for each segment of one speaker
//!   (`text-unit=segment`), PTS and duration being those of the speech. Speakers alternate in one
//!   sequence whose PTS never go back. Between the buffers, and in silence as decoding advances,
//!   GAP events. Words come without spaces around them.
//! - `speaker_%u`, on request: the same of one speaker, counted from 0, with GAP events also while
//!   others speak. These pads may come and go at any time; one that comes later begins where the
//!   others are. They are served by one thread, in the order of time: put a queue without limits
//!   behind each, since a full one holds up the text of all. A pad that is not linked, also `src`,
//!   stops nothing as long as another is.
//! - `unsynced_src`: JSON for what does not fit the timeline, which is segments in progress, once
//!   per chunk and speaker that has something new, and the finished segments that replace them;
//!   the PTS are those up to which the audio was decoded.
//! - Events around the buffers, in this order: `rstranscribe/final-transcript` (downstream, no
//!   fields) when a segment of the current speaker ends; `rstranscribe/speaker-change`
//!   (downstream; `speaker`: string) when the next buffer is another speaker's;
//!   `rstranscribe/new-item` (upstream from `sink`; `speaker`, `content`: string, `running-time`,
//!   `duration`: ClockTime) for each buffer; the buffer.
//! - Element messages on the bus:
//!   - `multitalkerasr/transcript` for each finished segment: `speaker-id` (uint, from 0),
//!     `session-id`, `text` (string), `start-time`, `end-time` (stream time), `running-time` of
//!     the start (ClockTime), `confidence` (double, 0 to 1), `words` (array of structures `word`
//!     with `word`, `start`, `end`, `confidence`).
//!   - `multitalkerasr/partial`, with the same fields, for segments in progress: once per chunk
//!     and speaker that has something new, if `post-partials` is true.
//!   - `multitalkerasr/transcripts` before EOS: `session-id` and `seglst`, the whole conversation
//!     as a JSON array of SegLST rows {session_id, speaker, words, start_time, end_time}, times in
//!     seconds. The action signal `get-transcripts` returns the same string at any time. At most
//!     `max-transcripts` segments are kept; a warning announces that the oldest are dropped.
//!   - progress messages with code `loading`.
//!
//! Caps of `src` and `speaker_%u` are negotiated, in this order of preference:
//!
//! - `text/x-raw, format=utf8`
//! - `text/x-raw, format=pango-markup`: escaped, in the color of the speaker (`speaker-colors`)
//! - `application/x-json`: an object and a newline for each buffer, as on `unsynced_src`:
//!   `kind` ("word", "segment" or "partial"), `session_id` (string), `speaker` (number from 0),
//!   `text` (string, without `speaker-prefix`), `start`, `end` (seconds of stream time),
//!   `confidence` (0 to 1), `words` (array of {`word`, `start`, `end`, `confidence`}).
//!
//! Each of these buffers carries a `MultitalkerItemMeta`, a `GstCustomMeta` whose structure has
//! `speaker` (uint, from 0), `confidence` (double) and `words` as in the messages.
//!
//! A speaker is a number counted from 0 in order of appearance. It is `speaker-id` in messages and
//! its decimal digits where a field is a string. `{n}` in `speaker-prefix` counts from 1.
//!
//! A hole of 200 ms or more in the audio, a change of caps, and a segment event with other times
//! end all segments, as does another stream. Speakers are then counted anew, or known again with
//! `on-discontinuity=keep`. SegLST rows do not mix different people: where speakers are counted
//! anew, the rows continue with the numbers after those of the speakers before. A flush also drops
//! the conversation so far, and they are counted anew.
//!
//! Timestamps that deviate from the end of the audio before them by less than
//! `alignment-threshold` are jitter. Larger deviations must last for `discont-wait`, all in one
//! direction, before silence is inserted or audio is cut; on a buffer that is flagged DISCONT or
//! RESYNC they count at once.
//!
//! ## Overload
//!
//! When audio comes faster than it is recognized, a source that is not live waits. A live one never
//! does, also not while the model is loaded: the queue holds what is decoded at once (the longer of
//! the chunks of recognizer and diarizer) and 2 s, and then drops its older half. Around it segments
//! end and speakers are known again; the time is pushed as a GAP event and posted as a warning with
//! details `multitalkerasr/dropped` {`start-time`, `end-time` (stream time), `running-time`:
//! ClockTime, `cause`: "recognition", or "downstream" where a push blocks} and as a QOS message,
//! which counts samples. Text then comes later than the latency promises by at most the audio in the
//! queue and the time to compute the step in hand. Before that, from a quarter of the queue on,
//! `overload-policy=degrade` has the diarizer hear only the last 3.2 s and its speaker cache with
//! each chunk instead of up to 15 s, which a QOS message without a duration tells; it helps
//! `lockstep` and `1s`.
//!
//! When a live source sends nothing for as long as the latency below, words in progress come out and
//! segments end. Audio that goes on where it ended keeps its speakers; any other is a hole as above.
//!
//! ## Latency
//!
//! With a live source the element adds to the pipeline's latency
//!
//! ```text
//! recognizer chunk + diarizer look-ahead     what a sample waits for (chunk-latency,
//!                                            diarization-preset)
//! + 1000 ms                                  a word of up to 600 ms and the 400 ms after which it
//!                                            cannot grow; with text-unit=segment instead
//!                                            max-segment-duration + segment-pause, or 400 ms
//!                                            where that is more
//! + latency                                  time to compute, at least 100 ms
//! ```
//!
//! With the defaults (`lockstep` for live sources) that is 1120 + 3 + 1000 + 500 = 2623 ms, and
//! with `chunk-latency=160ms` it is 160 + 3 + 1000 + 500 = 1663 ms. 3 ms is the look-ahead of the
//! spectral window. The look-ahead of a preset depends on the version of the diarizer: before the
//! model is loaded the longest counts, and a LATENCY message is posted when the version changes it.
//! A preset that the version does not offer is replaced by a shorter one, with a warning. Text that
//! leaves later than its running time and all this is a warning, with
//! details `multitalkerasr/excessive-delay` {`new-observed-max-delay`, `promised-delay`: ClockTime};
//! `max-observed-delay` is the worst so far. `latency=4294967295` promises nothing: the latency of
//! upstream is passed on, and text has the time at which it comes out instead of that of the speech,
//! so that nobody waits for it. Without a live source upstream's latency is passed on unchanged. An
//! element that is not linked answers as if its source were live.
//!
//! ## The model
//!
//! It is loaded in a thread of the element from READY to PAUSED, without holding up the state
//! change, and shared with all elements of the process that ask for the same. The element keeps it
//! until NULL; if no audio came, beyond NULL until its next run or its end, so that an application
//! that tries the element once, as `transcriberbin` does, does not load twice.
//!
//! ## Example pipelines
//!
//! Transcripts of a file on the bus, each as soon as its segment ends:
//!
//! ```bash
//! gst-launch-1.0 -m filesrc location=meeting.wav ! decodebin ! audioconvert ! audioresample ! \
//!   multitalkerasr model-dir=models/multitalker \
//!     diarization-model=models/multitalker/sortformer.onnx ! \
//!   fakesink | grep multitalkerasr/transcript,
//! ```
//!
//! A file with subtitles. Audio and video wait in the file for the text, since it is read twice:
//!
//! ```bash
//! gst-launch-1.0 urisourcebin uri="file://$PWD/meeting.mp4" parse-streams=true : \
//!   matroskamux name=mux ! filesink location=meeting-with-text.mkv \
//!   filesrc location=meeting.mp4 ! decodebin ! audioconvert ! audioresample ! \
//!   multitalkerasr model-dir=models/multitalker \
//!     diarization-model=models/multitalker/sortformer.onnx \
//!   text-unit=segment speaker-prefix='Speaker {n}: ' ! mux.
//! ```
//!
//! Transcripts of a microphone:
//!
//! ```bash
//! gst-launch-1.0 -m pulsesrc ! audioconvert ! audioresample ! queue ! \
//!   multitalkerasr model-dir=models/multitalker \
//!     diarization-model=models/multitalker/sortformer.onnx \
//!   chunk-latency=560ms ! fakesink sync=false | grep multitalkerasr/transcript,
//! ```

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

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "multitalkerasr",
        gst::DebugColorFlags::empty(),
        Some("Multi-talker speech recognizer"),
    )
});

glib::wrapper! {
    /// The element `multitalkerasr`, with the properties that `gst-inspect-1.0` lists.
    pub struct MultitalkerAsr(ObjectSubclass<imp::MultitalkerAsr>)
        @extends gst::Element, gst::Object;
}

/// Registers the element, and sends what ONNX Runtime logs to the debug category
/// `multitalkerasr`.
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
