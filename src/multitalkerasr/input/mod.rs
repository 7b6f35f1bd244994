// SPDX-License-Identifier: MPL-2.0

//! The path of audio into the element: caps, segments, clipping and conversion of buffers, and
//! timestamps as sample indices.
//!
//! A buffer leaves [`Input::audio`] as mono `f32` samples at 16 kHz with a PTS. The conversion of
//! any other input, such as audio at 48 kHz, belongs there, in [`samples`].

pub mod samples;
pub mod timeline;

use std::fmt;
use std::sync::Mutex;

use self::samples::SampleFormat;
use multitalker_asr::SAMPLE_RATE_HZ;
use multitalker_asr::lock::lock;

/// Samples of a buffer.
#[derive(Debug)]
pub struct Audio {
    pub pts: gst::ClockTime,
    /// Mono, at 16 kHz; full scale is 1.
    pub samples: Vec<f32>,
    /// Whether data was lost before these samples, so that the PTS counts even if it deviates.
    pub resync: bool,
    /// Whether the source is live.
    pub live: bool,
}

/// A reason to reject an event or a buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum InputError {
    /// The caps are not among [`SampleFormat::all_caps`].
    Caps(gst::Caps),
    /// There are no caps, or they were rejected.
    NoCaps,
    /// The segment is not in time.
    SegmentFormat(gst::Format),
    /// The segment has a playback rate other than 1.
    Rate(f64),
    /// A buffer has no PTS.
    NoPts,
    /// A buffer cannot be mapped for reading.
    Unreadable,
}

impl InputError {
    /// Returns the flow of a push that is rejected for this reason.
    pub fn flow(&self) -> gst::FlowError {
        match self {
            Self::Caps(_) | Self::NoCaps => gst::FlowError::NotNegotiated,
            _ => gst::FlowError::Error,
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caps(found) => write!(
                f,
                "Unsupported audio: expected {}, found {found}; insert audioconvert and \
                 audioresample before the element",
                SampleFormat::all_caps()
            ),
            Self::NoCaps => f.write_str("Audio without caps"),
            Self::SegmentFormat(found) => {
                write!(f, "Segment: expected format Time, found {found:?}")
            }
            Self::Rate(found) => write!(f, "Playback rate: expected 1, found {found}"),
            Self::NoPts => {
                f.write_str("Audio without timestamps: expected a PTS on every buffer, found none")
            }
            Self::Unreadable => f.write_str("Cannot map a buffer"),
        }
    }
}

/// State of the sink pad.
#[derive(Debug, Default)]
pub struct Input(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    format: Option<SampleFormat>,
    segment: gst::FormattedSegment<gst::ClockTime>,
    /// The last event that was rejected.
    rejected: Option<gst::Seqnum>,
    /// Whether upstream is live, according to its last answer.
    live: Option<bool>,
    /// Whether upstream has answered in this stream.
    has_answered: bool,
}

impl Input {
    /// Restores the initial state.
    pub fn reset(&self) {
        *lock(&self.0) = State::default();
    }

    /// Applies a STREAM_START, CAPS, SEGMENT or FLUSH_STOP event; ignores all others.
    ///
    /// # Errors
    /// [`InputError::Caps`], [`InputError::SegmentFormat`] or [`InputError::Rate`] if the event
    /// announces unsupported audio.
    pub fn event(&self, event: &gst::Event) -> Result<(), InputError> {
        let mut state = lock(&self.0);
        match event.view() {
            // A new stream may come from another source.
            gst::EventView::StreamStart(_) => state.has_answered = false,
            gst::EventView::Caps(caps) => {
                state.format = SampleFormat::from_caps(caps.caps());
                if state.format.is_none() {
                    return Err(InputError::Caps(caps.caps_owned()));
                }
            }
            gst::EventView::Segment(segment) => {
                let segment = segment.segment();
                let Some(time_segment) = segment.downcast_ref::<gst::ClockTime>() else {
                    return Err(InputError::SegmentFormat(segment.format()));
                };
                if time_segment.rate() != 1.0 {
                    return Err(InputError::Rate(time_segment.rate()));
                }
                state.segment = time_segment.clone();
            }
            gst::EventView::FlushStop(_) => state.segment = gst::FormattedSegment::new(),
            _ => (),
        }
        Ok(())
    }

    /// Notes that an event was rejected; false if it was rejected before. Core pushes a rejected
    /// sticky event again before each buffer.
    pub fn is_newly_rejected(&self, event: &gst::Event) -> bool {
        lock(&self.0).rejected.replace(event.seqnum()) != Some(event.seqnum())
    }

    /// Clips a buffer to the segment and converts its samples; `None` if it is outside of the
    /// segment.
    ///
    /// `ask_upstream` returns whether upstream is live, or `None` without an answer. It is called
    /// once per stream, for the first buffer, and again until there is an answer, since a bin may
    /// have none at first. Until then, the last answer in an earlier stream counts; without one,
    /// the source is assumed not to be live.
    ///
    /// # Errors
    /// [`InputError::NoCaps`] before valid caps, [`InputError::NoPts`] without a PTS, or
    /// [`InputError::Unreadable`] if the buffer cannot be mapped.
    pub fn audio(
        &self,
        mut buffer: gst::Buffer,
        ask_upstream: impl FnOnce() -> Option<bool>,
    ) -> Result<Option<Audio>, InputError> {
        let (format, segment) = {
            let state = lock(&self.0);
            (state.format.ok_or(InputError::NoCaps)?, state.segment.clone())
        };
        if buffer.pts().is_none() {
            return Err(InputError::NoPts);
        }
        let resync =
            buffer.flags().intersects(gst::BufferFlags::DISCONT | gst::BufferFlags::RESYNC);
        // Clipping relies on the duration, which may differ from that of the data.
        if buffer.duration().is_some() {
            buffer.make_mut().set_duration(gst::ClockTime::NONE);
        }
        let clipped = gst_audio::audio_buffer_clip(
            buffer,
            segment.upcast_ref(),
            SAMPLE_RATE_HZ,
            format.bytes() as u32,
        );
        let Some(buffer) = clipped else { return Ok(None) };
        let pts = buffer.pts().ok_or(InputError::NoPts)?;
        let data = buffer.map_readable().map_err(|_| InputError::Unreadable)?;
        let live = self.is_live(ask_upstream);
        Ok(Some(Audio { pts, samples: format.samples(&data), resync, live }))
    }

    fn is_live(&self, ask_upstream: impl FnOnce() -> Option<bool>) -> bool {
        let (last, has_answered) = {
            let state = lock(&self.0);
            (state.live, state.has_answered)
        };
        let answer = match has_answered {
            true => last,
            // The lock is not held here, since upstream may push an event before it answers.
            false => ask_upstream(),
        };
        if answer.is_some() {
            let mut state = lock(&self.0);
            state.live = answer;
            state.has_answered = true;
        }
        answer.or(last).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> Input {
        gst::init().expect("GStreamer");
        let input = Input::default();
        let caps = gst_audio::AudioCapsBuilder::new_interleaved()
            .format(gst_audio::AUDIO_FORMAT_F32)
            .rate(SAMPLE_RATE_HZ as i32)
            .channels(1)
            .build();
        input.event(&gst::event::Caps::new(&caps)).expect("supported");
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        input.event(&gst::event::Segment::new(&segment)).expect("supported");
        input
    }

    /// Creates a buffer with one sample at 0 s.
    fn buffer() -> gst::Buffer {
        let mut buffer = gst::Buffer::from_slice(1_f32.to_ne_bytes());
        buffer.make_mut().set_pts(gst::ClockTime::ZERO);
        buffer
    }

    #[test]
    fn upstream_is_asked_until_it_answers_once_per_stream() {
        let input = input();
        let is_live = |answer: Option<Option<bool>>| {
            let ask = || answer.expect("upstream has answered");
            input.audio(buffer(), ask).expect("audio").expect("inside of the segment").live
        };
        assert!(!is_live(Some(None)), "before the first answer");
        assert!(is_live(Some(Some(true))));
        assert!(is_live(None));
        input.event(&gst::event::StreamStart::new("next")).expect("supported");
        assert!(is_live(Some(None)), "as in the previous stream");
        assert!(!is_live(Some(Some(false))));
        assert!(!is_live(None));
    }

    #[test]
    fn rejected_events_are_new_once() {
        let input = input();
        let caps = gst::event::Caps::new(&gst::Caps::new_empty_simple("audio/x-raw"));
        let error = input.event(&caps).expect_err("no format");
        assert_eq!(error.flow(), gst::FlowError::NotNegotiated);
        assert!(input.is_newly_rejected(&caps) && !input.is_newly_rejected(&caps));
        let bytes = gst::FormattedSegment::<gst::format::Bytes>::new();
        let error = input.event(&gst::event::Segment::new(&bytes));
        assert_eq!(error, Err(InputError::SegmentFormat(gst::Format::Bytes)));
    }
}
