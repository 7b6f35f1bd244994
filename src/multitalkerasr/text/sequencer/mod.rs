// SPDX-License-Identifier: MPL-2.0

//! Temporal order of the text of a source pad.

use std::collections::BTreeMap;
use std::sync::Arc;

use multitalker_captions::Rules;

use crate::multitalkerasr::properties::enums::TextUnit;
use crate::multitalkerasr::text::clock::Horizon;
use crate::multitalkerasr::text::cues::{CueLayout, Cues, DatedCue};
use crate::multitalkerasr::text::format::Text;
use crate::multitalkerasr::text::speaker::Speaker;
use crate::multitalkerasr::text::utterance::{Kind, Utterance};

/// Minimum duration of an overlapped word.
const MIN_DURATION: gst::ClockTime = gst::ClockTime::from_mseconds(80);

/// An output of the sequencer.
#[derive(Debug)]
pub enum Push {
    /// Time without text.
    Gap {
        pts: gst::ClockTime,
        duration: gst::ClockTime,
    },
    /// The next text is another speaker's.
    SpeakerChange(String),
    Text(Text),
    /// A segment of the current speaker has ended.
    SegmentEnd,
}

/// Conditions that apply to the text of one call.
#[derive(Clone, Copy)]
pub struct Conditions<'a> {
    /// The current PTS if text is desynchronized; no text has an earlier PTS.
    pub now: Option<gst::ClockTime>,
    /// Template of the text that precedes a speaker's words.
    pub speaker_prefix: &'a str,
}

impl Conditions<'_> {
    fn not_before_now(&self, pts: gst::ClockTime) -> gst::ClockTime {
        self.now.map_or(pts, |now| pts.max(now))
    }

    fn prefix(&self, utterance: &Utterance) -> String {
        utterance.speaker.prefix(self.speaker_prefix, utterance.person.name.as_deref())
    }
}

/// Text that waits until no earlier text can follow.
#[derive(Clone, Debug)]
struct Pending {
    utterance: Arc<Utterance>,
    start: gst::ClockTime,
    end: gst::ClockTime,
    /// The lines of a cue.
    layout: Option<Arc<CueLayout>>,
    ends_segment: bool,
}

/// Orders the text of one source pad and fills the time between with gaps.
#[derive(Debug)]
pub struct Sequencer {
    unit: TextUnit,
    rules: Rules,
    /// The speaker of the pad; `None` for the pad of all speakers.
    speaker: Option<Speaker>,
    /// Text by start PTS, speaker and order of arrival.
    pending: BTreeMap<(gst::ClockTime, Speaker, u64), Pending>,
    arrivals: u64,
    /// Words that wait for their cue, if the unit is a cue.
    cues: Option<Cues>,
    /// Speaker of the last buffer, and the person behind it.
    current_speaker: Option<(Speaker, Option<u64>)>,
    /// Lower limit of the next PTS: PTS of the last buffer or end of the last gap.
    earliest: Option<gst::ClockTime>,
    /// End of the buffers and gaps so far.
    position: Option<gst::ClockTime>,
}

impl Sequencer {
    /// Sequences the text of all speakers, from the start of the audio. `rules` are those of cues.
    pub fn new(unit: TextUnit, rules: Rules) -> Self {
        Self {
            unit,
            rules,
            cues: if unit == TextUnit::Cue { Cues::new(rules) } else { None },
            speaker: None,
            pending: BTreeMap::new(),
            arrivals: 0,
            current_speaker: None,
            earliest: None,
            position: None,
        }
    }

    /// Sequences the text of one speaker, from the position of this sequencer of all speakers.
    pub fn for_speaker(&self, speaker: Speaker) -> Self {
        let own = self.pending.iter().filter(|((_, of, _), _)| *of == speaker);
        Self {
            unit: self.unit,
            rules: self.rules,
            cues: self.cues.as_ref().and_then(|cues| cues.for_speaker(speaker)),
            speaker: Some(speaker),
            pending: own.map(|(key, pending)| (*key, pending.clone())).collect(),
            arrivals: self.arrivals,
            current_speaker: None,
            earliest: self.earliest,
            position: self.earliest,
        }
    }

    /// Returns the speaker of the pad; `None` for the pad of all speakers.
    pub fn speaker(&self) -> Option<Speaker> {
        self.speaker
    }

    /// Drops all pending text and forgets the position, for a flush or a new segment.
    pub fn clear(&mut self) {
        *self = Self { speaker: self.speaker, ..Self::new(self.unit, self.rules) };
    }

    /// Adds utterances and returns all text before the horizon.
    pub fn add(
        &mut self,
        utterances: &[Arc<Utterance>],
        horizon: Horizon,
        conditions: Conditions,
    ) -> Vec<Push> {
        let mut pushes = Vec::new();
        if let Some(cues) = &mut self.cues {
            for utterance in utterances {
                if self.speaker.is_none_or(|own| own == utterance.speaker) {
                    cues.add(utterance, &conditions.prefix(utterance));
                }
            }
            let due = cues.advance(horizon.words);
            let limit = cues.earliest_start();
            self.emit_cues(due, horizon.start, conditions, &mut pushes);
            self.advance(horizon.start, conditions.not_before_now(limit), &mut pushes);
            return pushes;
        }
        for utterance in utterances {
            match (self.unit, utterance.kind) {
                (TextUnit::Word, Kind::Word) => self.wait(utterance, false),
                (TextUnit::Word, Kind::Segment) => self.end_segment(utterance, &mut pushes),
                (TextUnit::Segment, Kind::Segment) => self.wait(utterance, true),
                (TextUnit::Segment, Kind::Word) | (_, Kind::Partial | Kind::Cue) => (),
                // The words of invalid rules.
                (TextUnit::Cue, _) => (),
            }
        }
        let limit = match self.unit {
            TextUnit::Word | TextUnit::Cue => horizon.words,
            TextUnit::Segment => horizon.segments,
        };
        self.release(Some(limit), horizon.start, conditions, &mut pushes);
        self.advance(horizon.start, conditions.not_before_now(limit), &mut pushes);
        pushes
    }

    /// Returns all pending text at the end of a stretch of audio, which lasts from `start` to `end`.
    pub fn drain(
        &mut self,
        start: gst::ClockTime,
        end: gst::ClockTime,
        conditions: Conditions,
    ) -> Vec<Push> {
        let mut pushes = Vec::new();
        self.release(None, start, conditions, &mut pushes);
        let due = self.cues.as_mut().map(Cues::flush).unwrap_or_default();
        self.emit_cues(due, start, conditions, &mut pushes);
        self.advance(start, end, &mut pushes);
        // The speakers of the next stretch may be different people.
        self.current_speaker = None;
        pushes
    }

    /// Pushes a gap from the current position, initially `from`, to `to`.
    pub fn advance(&mut self, from: gst::ClockTime, to: gst::ClockTime, pushes: &mut Vec<Push>) {
        let pts = self.position.unwrap_or(from);
        if to > pts {
            pushes.push(Push::Gap { pts, duration: to - pts });
            self.position = Some(to);
            self.earliest = Some(to);
        }
    }

    fn wait(&mut self, utterance: &Arc<Utterance>, ends_segment: bool) {
        if self.speaker.is_some_and(|own| own != utterance.speaker) {
            return;
        }
        let (start, end) = (utterance.start().pts, utterance.end().pts);
        let key = (start, utterance.speaker, self.arrivals);
        let (utterance, layout) = (utterance.clone(), None);
        self.pending.insert(key, Pending { utterance, start, end, layout, ends_segment });
        self.arrivals += 1;
    }

    /// Marks the end of a segment after its last word.
    fn end_segment(&mut self, segment: &Utterance, pushes: &mut Vec<Push>) {
        let Some(last_word) = segment.words.last() else { return };
        let key = |arrival| (last_word.start.pts, segment.speaker, arrival);
        let is_current =
            self.current_speaker.is_some_and(|(current, _)| current == segment.speaker);
        match self.pending.range_mut(key(0)..=key(u64::MAX)).next_back() {
            Some((_, pending)) => pending.ends_segment = true,
            None if is_current => pushes.push(Push::SegmentEnd),
            None => (),
        }
    }

    /// Releases the text that starts before `limit`, or all text without a limit.
    fn release(
        &mut self,
        limit: Option<gst::ClockTime>,
        start: gst::ClockTime,
        conditions: Conditions,
        pushes: &mut Vec<Push>,
    ) {
        while let Some(entry) = self.pending.first_entry() {
            if limit.is_some_and(|limit| entry.key().0 >= limit) {
                break;
            }
            let pending = entry.remove();
            self.emit(pending, start, conditions, pushes);
        }
    }

    fn emit_cues(
        &mut self,
        cues: Vec<DatedCue>,
        stretch_start: gst::ClockTime,
        conditions: Conditions,
        pushes: &mut Vec<Push>,
    ) {
        for DatedCue { utterance, layout, start, end } in cues {
            // The lead must not reach beyond the audio.
            let start = start.max(stretch_start).min(end);
            let layout = Some(layout);
            let pending = Pending { utterance, start, end, layout, ends_segment: true };
            self.emit(pending, stretch_start, conditions, pushes);
        }
    }

    fn emit(
        &mut self,
        Pending { utterance, start: due, end, layout, ends_segment }: Pending,
        stretch_start: gst::ClockTime,
        conditions: Conditions,
        pushes: &mut Vec<Push>,
    ) {
        let speaker = utterance.speaker;
        let start = conditions.not_before_now(due);
        let pts = self.earliest.map_or(start, |earliest| start.max(earliest));
        let visible_start = if conditions.now.is_some() { due } else { pts };
        let duration = end.saturating_sub(visible_start);
        let duration = if duration.is_zero() { MIN_DURATION } else { duration };
        let end = pts.saturating_add(duration);

        self.advance(stretch_start, pts, pushes);
        let current = Some((speaker, utterance.person.identity));
        let is_change = self.current_speaker != current;
        if is_change {
            pushes.push(Push::SpeakerChange(utterance.speaker_label()));
        }
        let prefix = match is_change || self.unit == TextUnit::Segment {
            true => conditions.prefix(&utterance),
            false => String::new(),
        };
        pushes.push(Push::Text(Text { utterance, prefix, layout, pts, duration }));
        if ends_segment {
            pushes.push(Push::SegmentEnd);
        }
        self.current_speaker = current;
        self.earliest = Some(pts);
        self.position = Some(self.position.map_or(end, |position| position.max(end)));
    }
}

#[cfg(test)]
mod tests;
