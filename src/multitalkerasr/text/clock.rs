// SPDX-License-Identifier: MPL-2.0

//! The times of a stretch of audio, by which words are dated.

use crate::multitalkerasr::input::timeline::Timeline;
use crate::multitalkerasr::text::activity::{DatedActivity, DatedTurn};
use crate::multitalkerasr::text::identities::Person;
use crate::multitalkerasr::text::speaker::Speaker;
use crate::multitalkerasr::text::utterance::{DatedWord, Kind, Moment, Utterance, label};
use multitalker_asr::{Activity, Event, Progress, Turn, Word};

/// Relation of the engine's samples to GStreamer's times.
#[derive(Debug, Default)]
pub struct Clock {
    /// PTS of the samples.
    pub timeline: Timeline,
    /// Segment of the audio.
    pub in_segment: gst::FormattedSegment<gst::ClockTime>,
    /// Segment of the text.
    pub out_segment: gst::FormattedSegment<gst::ClockTime>,
    /// Whether the source is live.
    pub live: bool,
    /// The current PTS if text is desynchronized; no text has an earlier PTS.
    pub now: Option<gst::ClockTime>,
}

/// An event of the engine with its times.
#[derive(Debug)]
pub enum Dated {
    Words(Utterance),
    Activity(DatedActivity),
    Turn(DatedTurn),
}

/// PTS up to which text is complete.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// Start of the stretch of audio.
    pub start: gst::ClockTime,
    /// End of the decoded audio.
    pub decoded: gst::ClockTime,
    /// No word that starts before this follows.
    pub words: gst::ClockTime,
    /// No segment that starts before this follows.
    pub segments: gst::ClockTime,
}

impl Clock {
    /// Converts the engine's progress to PTS.
    pub fn horizon(&self, progress: Progress) -> Horizon {
        let pts = |sample| self.timeline.pts(sample);
        Horizon {
            start: pts(0),
            decoded: pts(progress.decoded),
            words: pts(progress.words),
            segments: pts(progress.segments),
        }
    }

    /// Dates an event. `person` returns who speaks from a sample on.
    pub fn date(
        &self,
        event: Event,
        session_id: &str,
        person: impl Fn(Speaker, u64) -> Person,
    ) -> Dated {
        let (kind, speaker, words) = match event {
            Event::Word { speaker, word } => (Kind::Word, speaker, vec![word]),
            Event::Segment(segment) => (Kind::Segment, segment.speaker, segment.words),
            Event::Partial(partial) => (Kind::Partial, partial.speaker, partial.words),
            Event::Activity(Activity { start_sample, speakers }) => {
                let start = self.moment(start_sample);
                let running_time = self.in_segment.to_running_time(start.pts);
                let speakers: Vec<_> = speakers.into_iter().map(Speaker::new).collect();
                let name = |&speaker: &Speaker| {
                    label(speaker, person(speaker, start_sample).name.as_deref())
                };
                let labels = speakers.iter().map(name).collect();
                return Dated::Activity(DatedActivity { start, running_time, speakers, labels });
            }
            Event::Turn(Turn { speaker, start_sample, end_sample }) => {
                let speaker = Speaker::new(speaker);
                return Dated::Turn(DatedTurn {
                    speaker,
                    person: person(speaker, start_sample),
                    session_id: session_id.to_owned(),
                    start: self.moment(start_sample),
                    end: self.moment(end_sample),
                });
            }
        };
        let speaker = Speaker::new(speaker);
        let start_sample = words.first().map_or(0, |word| word.start_sample);
        let words: Vec<_> = words.into_iter().map(|word| self.date_word(word)).collect();
        let running_time =
            words.first().and_then(|word| self.in_segment.to_running_time(word.start.pts));
        Dated::Words(Utterance {
            kind,
            speaker,
            person: person(speaker, start_sample),
            session_id: session_id.to_owned(),
            words,
            running_time,
        })
    }

    fn date_word(&self, word: Word) -> DatedWord {
        DatedWord {
            start: self.moment(word.start_sample),
            end: self.moment(word.end_sample),
            text: word.text,
            confidence: word.confidence,
            is_filtered: word.is_filtered,
        }
    }

    /// Returns the time of a sample.
    pub fn moment(&self, sample: u64) -> Moment {
        let pts = self.timeline.pts(sample);
        // The last word ends with a frame of 80 ms, which may reach beyond the segment.
        let in_segment = self.in_segment.stop().map_or(pts, |stop| pts.min(stop));
        Moment { pts, stream_time: self.in_segment.to_stream_time(in_segment) }
    }
}
