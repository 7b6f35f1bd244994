// SPDX-License-Identifier: MPL-2.0

//! The timeline of cues.

use gst::glib;

/// Times that cues are dated with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstMultitalkerCueTimeline")]
pub enum CueTimeline {
    /// The position in the media. It goes back after a seek.
    #[default]
    #[enum_value(name = "The position in the media, for files", nick = "stream-time")]
    StreamTime,
    /// The time since the pipeline started to play. It starts at 0 after a flushing seek.
    #[enum_value(name = "The time that muxers write, for streams", nick = "running-time")]
    RunningTime,
}

/// Translates timestamps of buffers to one timeline and back.
#[derive(Debug)]
pub struct Timeline {
    kind: CueTimeline,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
}

impl Timeline {
    /// Creates a timeline without a segment.
    pub fn new(kind: CueTimeline) -> Self {
        Self { kind, segment: None }
    }

    /// Drops the segment.
    pub fn reset(&mut self) {
        self.segment = None;
    }

    /// Returns whether the timeline jumps with a segment.
    ///
    /// # Errors
    ///
    /// Returns a reason if the segment is not in time, or goes backwards.
    pub fn would_jump(&self, segment: &gst::Segment) -> Result<bool, String> {
        let segment = in_time(segment)?;
        Ok(self.segment.as_ref().is_some_and(|old| {
            let start = old.start();
            self.translate(old, start) != self.translate(segment, start)
        }))
    }

    /// Sets the segment of the next buffers.
    ///
    /// # Errors
    ///
    /// Returns a reason if the segment is not in time, or goes backwards.
    pub fn set_segment(&mut self, segment: &gst::Segment) -> Result<(), String> {
        self.segment = Some(in_time(segment)?.clone());
        Ok(())
    }

    /// Clips a buffer to the segment, and returns its begin and, if it has a duration, its end.
    /// Returns `None` if it is outside.
    pub fn clip(
        &self,
        pts: gst::ClockTime,
        duration: Option<gst::ClockTime>,
    ) -> Option<(gst::ClockTime, Option<gst::ClockTime>)> {
        let segment = self.segment.as_ref()?;
        let stop = duration.map(|duration| pts.saturating_add(duration));
        let (start, stop) = segment.clip(pts, stop.or(Some(pts)))?;
        let end = duration.and(stop).and_then(|stop| self.translate(segment, Some(stop)));
        Some((self.translate(segment, start)?, end))
    }

    /// Returns the timestamp of a time on the timeline. A time before the segment is its start.
    pub fn timestamp(&self, time: gst::ClockTime) -> Option<gst::ClockTime> {
        let segment = self.segment.as_ref()?;
        let position = match self.kind {
            CueTimeline::StreamTime => segment.position_from_stream_time(time),
            CueTimeline::RunningTime => segment.position_from_running_time(time),
        };
        position.or(segment.start())
    }

    /// Returns the start of the segment on the timeline.
    pub fn start(&self) -> Option<gst::ClockTime> {
        let segment = self.segment.as_ref()?;
        self.translate(segment, segment.start())
    }

    /// Returns whether there is a segment.
    pub fn has_segment(&self) -> bool {
        self.segment.is_some()
    }

    fn translate(
        &self,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        timestamp: Option<gst::ClockTime>,
    ) -> Option<gst::ClockTime> {
        match self.kind {
            CueTimeline::StreamTime => segment.to_stream_time(timestamp),
            CueTimeline::RunningTime => segment.to_running_time(timestamp),
        }
    }
}

fn in_time(segment: &gst::Segment) -> Result<&gst::FormattedSegment<gst::ClockTime>, String> {
    let Some(in_time) = segment.downcast_ref::<gst::ClockTime>() else {
        return Err(format!("expected a segment in time, found {:?}", segment.format()));
    };
    match in_time.rate() > 0.0 {
        true => Ok(in_time),
        false => Err(format!("expected a positive rate, found {}", in_time.rate())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> gst::ClockTime {
        gst::ClockTime::from_seconds(seconds)
    }

    /// A segment from 10 to 20 s that plays the media from 110 s on, and begins after 3 s.
    fn segment() -> gst::FormattedSegment<gst::ClockTime> {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(s(10));
        segment.set_stop(s(20));
        segment.set_time(s(110));
        segment.set_base(s(3));
        segment
    }

    #[test]
    fn times_are_those_of_the_timeline() {
        gst::init().expect("GStreamer");
        for (kind, first, second) in
            [(CueTimeline::StreamTime, 110, 112), (CueTimeline::RunningTime, 3, 5)]
        {
            let mut timeline = Timeline::new(kind);
            assert_eq!(timeline.clip(s(12), None), None);
            assert_eq!(timeline.set_segment(segment().upcast_ref()), Ok(()));
            assert_eq!(timeline.clip(s(12), None), Some((s(second), None)));
            assert_eq!(timeline.clip(s(9), Some(s(3))), Some((s(first), Some(s(second)))));
            assert_eq!(timeline.clip(s(12), Some(s(60))), Some((s(second), Some(s(first + 10)))));
            assert_eq!(timeline.clip(s(21), Some(s(1))), None);
            assert_eq!(timeline.timestamp(s(second)), Some(s(12)));
            assert_eq!(timeline.timestamp(s(first - 1)), Some(s(10)));
        }
    }

    #[test]
    fn a_segment_that_continues_does_not_jump() {
        gst::init().expect("GStreamer");
        let mut timeline = Timeline::new(CueTimeline::StreamTime);
        let mut next = segment();
        assert_eq!(timeline.would_jump(next.upcast_ref()), Ok(false));
        timeline.set_segment(next.upcast_ref()).expect("in time");
        next.set_stop(s(30));
        assert_eq!(timeline.would_jump(next.upcast_ref()), Ok(false));
        next.set_time(s(111));
        assert_eq!(timeline.would_jump(next.upcast_ref()), Ok(true));
    }

    #[test]
    fn other_formats_and_directions_are_errors() {
        gst::init().expect("GStreamer");
        let mut timeline = Timeline::new(CueTimeline::StreamTime);
        assert!(timeline.set_segment(&gst::Segment::new()).is_err());
        let mut backwards = segment();
        backwards.set_rate(-1.0);
        assert!(timeline.set_segment(backwards.upcast_ref()).is_err());
    }
}
