// SPDX-License-Identifier: MPL-2.0

//! From the buffers and events of a pad to segments of cues.

use std::fmt;

use crate::cues::color::Rgb;
use crate::cues::placement::Placement;
use crate::cues::reader::CueFormat;
use crate::cues::segmenter::{Dropped, Segment, Segmenter};
use crate::cues::timeline::{CueTimeline, Timeline};
use crate::cues::{Cue, CueText};

/// What a collector does with cues.
#[derive(Clone, Debug)]
pub struct CollectorOptions {
    pub timeline: CueTimeline,
    /// Duration of a segment; `None` for a single segment.
    pub segment_duration: Option<gst::ClockTime>,
    /// Colors of the speakers without a color of their own, cycled.
    pub speaker_colors: Vec<Rgb>,
}

/// An input after which nothing can follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputError {
    /// The caps are not those of text.
    Caps(String),
    /// The segment is not one in time that goes forwards.
    Segment(String),
    /// A buffer came before CAPS and SEGMENT.
    NoSegment,
    /// A buffer has no PTS.
    NoTimestamp,
}

impl InputError {
    /// Returns what the input function returns.
    pub fn flow(&self) -> gst::FlowError {
        match self {
            Self::Caps(_) => gst::FlowError::NotNegotiated,
            _ => gst::FlowError::Error,
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Caps(found) => write!(formatter, "caps: expected text or JSON, found {found}"),
            Self::Segment(reason) => write!(formatter, "segment: {reason}"),
            Self::NoSegment => {
                write!(formatter, "expected caps and a segment before the first buffer")
            }
            Self::NoTimestamp => {
                write!(formatter, "expected text with timestamps, found a buffer without PTS")
            }
        }
    }
}

/// A reason for a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputWarning {
    /// Text is not in the format of the caps.
    Malformed(String),
    /// A cue arrived after its segment.
    Late(gst::ClockTime),
    /// A cue does not fit into the memory for waiting cues.
    Full,
}

impl fmt::Display for InputWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Malformed(reason) => write!(formatter, "Malformed text: {reason}"),
            Self::Late(begin) => {
                write!(formatter, "The text at {begin} is dropped: it arrived after its segment")
            }
            Self::Full => write!(
                formatter,
                "Text is dropped: expected at most 64 MiB of text until the end of the stream"
            ),
        }
    }
}

/// Kinds of warnings that were posted in this run.
#[derive(Debug, Default)]
pub struct PostedWarnings {
    malformed: bool,
    late: bool,
    full: bool,
}

impl PostedWarnings {
    /// Returns whether this is the first warning of its kind, and remembers it.
    pub fn is_new(&mut self, warning: &InputWarning) -> bool {
        let posted = match warning {
            InputWarning::Malformed(_) => &mut self.malformed,
            InputWarning::Late(_) => &mut self.late,
            InputWarning::Full => &mut self.full,
        };
        !std::mem::replace(posted, true)
    }
}

/// Reads, dates, places, and groups the cues of one pad.
#[derive(Debug)]
pub struct Collector {
    format: Option<CueFormat>,
    timeline: Timeline,
    placement: Placement,
    segmenter: Segmenter,
    speaker_colors: Vec<Rgb>,
}

impl Collector {
    /// Creates a collector.
    pub fn new(options: CollectorOptions) -> Self {
        Self {
            format: None,
            timeline: Timeline::new(options.timeline),
            placement: Placement::default(),
            segmenter: Segmenter::new(options.segment_duration),
            speaker_colors: options.speaker_colors,
        }
    }

    /// Sets the format of the next buffers.
    ///
    /// # Errors
    ///
    /// Returns `Caps`.
    pub fn set_caps(&mut self, caps: &gst::CapsRef) -> Result<(), InputError> {
        let format = CueFormat::of_caps(caps);
        self.format = Some(format.ok_or_else(|| InputError::Caps(caps.to_string()))?);
        Ok(())
    }

    /// Returns whether the timeline jumps with a segment, so that the segment of cues has to end first.
    ///
    /// # Errors
    ///
    /// Returns `Segment`.
    pub fn would_jump(&self, segment: &gst::Segment) -> Result<bool, InputError> {
        self.timeline.would_jump(segment).map_err(InputError::Segment)
    }

    /// Sets the segment of the next buffers.
    ///
    /// # Errors
    ///
    /// Returns `Segment`.
    pub fn set_segment(&mut self, segment: &gst::Segment) -> Result<(), InputError> {
        self.timeline.set_segment(segment).map_err(InputError::Segment)
    }

    /// Adds the cue of a buffer.
    ///
    /// # Errors
    ///
    /// Returns `NoSegment` or `NoTimestamp`.
    pub fn push_buffer(
        &mut self,
        buffer: &gst::BufferRef,
    ) -> Result<Option<InputWarning>, InputError> {
        let format = self.format.filter(|_| self.timeline.has_segment());
        let format = format.ok_or(InputError::NoSegment)?;
        let pts = buffer.pts().ok_or(InputError::NoTimestamp)?;
        let duration = buffer.duration().filter(|duration| !duration.is_zero());
        let Some((begin, end)) = self.timeline.clip(pts, duration) else { return Ok(None) };
        let (text, reason) = format.read(buffer);
        self.advance(begin);
        let malformed = reason.map(InputWarning::Malformed);
        let Some(text) = text else { return Ok(malformed) };
        let dropped = self.push_cue(begin, end, text).err();
        Ok(malformed.or(dropped.map(|dropped| match dropped {
            Dropped::Late => InputWarning::Late(begin),
            Dropped::Full => InputWarning::Full,
        })))
    }

    /// Adds time without text.
    pub fn push_gap(&mut self, timestamp: gst::ClockTime, duration: Option<gst::ClockTime>) {
        if let Some((begin, end)) = self.timeline.clip(timestamp, duration) {
            self.advance(begin);
            self.advance(end.unwrap_or(begin));
        }
    }

    /// Ends the last segment.
    pub fn finish(&mut self) {
        self.segmenter.finish();
        self.placement = Placement::default();
    }

    /// Drops all cues and the segment.
    pub fn flush(&mut self) {
        self.timeline.reset();
        self.segmenter.reset();
        self.placement = Placement::default();
    }

    /// Returns the next segment that has ended.
    pub fn next_segment(&mut self) -> Option<Segment> {
        self.segmenter.next_ended()
    }

    /// Returns the time of cues at which the segment of the buffers starts.
    pub fn start(&self) -> Option<gst::ClockTime> {
        self.timeline.start()
    }

    /// Returns the timestamp of a time of cues.
    pub fn timestamp(&self, time: gst::ClockTime) -> Option<gst::ClockTime> {
        self.timeline.timestamp(time)
    }

    fn advance(&mut self, position: gst::ClockTime) {
        self.segmenter.end_open(position);
        self.placement.end_open(position);
        self.segmenter.advance(position);
    }

    fn push_cue(
        &mut self,
        begin: gst::ClockTime,
        end: Option<gst::ClockTime>,
        mut text: CueText,
    ) -> Result<(), Dropped> {
        let of_speaker = |speaker| Rgb::of_speaker(&self.speaker_colors, speaker);
        text.color = text.color.or_else(|| text.speaker.and_then(of_speaker));
        let place = self.placement.place(begin, end, &text);
        self.segmenter.push(Cue { begin, end, text, place })
    }
}
