// SPDX-License-Identifier: MPL-2.0

//! Caption cues from the words of the utterances.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use multitalker_captions::{Captioner, Cue, Rules, Word};

use crate::multitalkerasr::text::speaker::Speaker;
use crate::multitalkerasr::text::utterance::{DatedWord, Kind, Moment, Utterance};

/// A cue with its words.
#[derive(Debug)]
pub struct DatedCue {
    /// The words. The speaker is that of the first line.
    pub utterance: Arc<Utterance>,
    pub layout: Arc<CueLayout>,
    pub start: gst::ClockTime,
    pub end: gst::ClockTime,
}

/// Lines of a cue, and its place and time.
#[derive(Debug, PartialEq)]
pub struct CueLayout {
    /// Lines from the top, with the dash or prefix before them.
    pub lines: Vec<(Speaker, String)>,
    /// Row of the lowest line, from 0 at the bottom of the screen.
    pub row: u32,
    /// Stream time.
    pub start: Option<gst::ClockTime>,
    /// Stream time.
    pub end: Option<gst::ClockTime>,
}

/// Composes the cues of one source pad.
#[derive(Debug)]
pub struct Cues {
    captioner: Captioner,
    /// Words that are not in a cue yet, by their number.
    words: BTreeMap<u64, WaitingWord>,
    count: u64,
    /// The last word of each speaker, for the rest of a word that was split between two cues.
    last_words: BTreeMap<Speaker, Arc<Utterance>>,
}

#[derive(Debug)]
struct WaitingWord {
    /// The word with its speaker. The text is in `text`, since marks may follow.
    utterance: Arc<Utterance>,
    text: String,
}

impl Cues {
    /// Creates a composer without words, or `None` if the rules are invalid, which the element
    /// reports when it starts.
    pub fn new(rules: Rules) -> Option<Self> {
        let captioner = Captioner::new(rules).ok()?;
        Some(Self { captioner, words: BTreeMap::new(), count: 0, last_words: BTreeMap::new() })
    }

    /// Composes the cues of one speaker, from the words that wait here.
    pub fn for_speaker(&self, speaker: Speaker) -> Option<Self> {
        let mut own = Self::new(*self.captioner.rules())?;
        for waiting in self.words.values().filter(|waiting| waiting.utterance.speaker == speaker) {
            own.push(&waiting.utterance, &waiting.text);
        }
        Some(own)
    }

    /// Adds the words of an utterance, or the marks that have followed its words. `prefix` precedes
    /// the speaker's first line after another speaker's.
    pub fn add(&mut self, utterance: &Arc<Utterance>, prefix: &str) {
        self.captioner.set_label(utterance.speaker.index(), prefix);
        match utterance.kind {
            Kind::Word => self.push(utterance, &utterance.text()),
            Kind::Segment | Kind::Partial => self.revise(utterance),
            Kind::Cue => (),
        }
    }

    /// Returns the cues that are due when no word that starts before the horizon follows.
    pub fn advance(&mut self, horizon: gst::ClockTime) -> Vec<DatedCue> {
        let cues = self.captioner.advance(horizon.into());
        self.date(cues)
    }

    /// Returns all cues.
    pub fn flush(&mut self) -> Vec<DatedCue> {
        let cues = self.captioner.flush();
        let cues = self.date(cues);
        // What is left has no visible text.
        self.words.clear();
        cues
    }

    /// Returns a time before which no further cue starts.
    pub fn earliest_start(&self) -> gst::ClockTime {
        clock_time(self.captioner.earliest_start())
    }

    fn push(&mut self, utterance: &Arc<Utterance>, text: &str) {
        let id = self.count;
        self.count += 1;
        self.captioner.push(Word {
            id,
            speaker: utterance.speaker.index(),
            text: text.to_owned(),
            start: utterance.start().pts.into(),
            end: utterance.end().pts.into(),
        });
        self.last_words.insert(utterance.speaker, utterance.clone());
        let text = text.to_owned();
        self.words.insert(id, WaitingWord { utterance: utterance.clone(), text });
    }

    /// Takes over the marks that the decoder has emitted after the words themselves.
    fn revise(&mut self, utterance: &Utterance) {
        let mut revised = None;
        for word in &utterance.words {
            // Several words may start at the same time.
            let waiting = self.words.iter_mut().find(|(id, waiting)| {
                revised.is_none_or(|last| **id > last)
                    && waiting.utterance.speaker == utterance.speaker
                    && waiting.utterance.start() == word.start
                    && differs_in_marks(&waiting.text, &word.text)
            });
            let Some((&id, waiting)) = waiting else { continue };
            revised = Some(id);
            if waiting.text != word.text && self.captioner.revise(id, &word.text) {
                waiting.text.clone_from(&word.text);
            }
        }
    }

    fn date(&mut self, cues: Vec<Cue>) -> Vec<DatedCue> {
        cues.into_iter().filter_map(|cue| self.date_cue(cue)).collect()
    }

    fn date_cue(&mut self, cue: Cue) -> Option<DatedCue> {
        let waiting: Vec<_> = cue.words.iter().filter_map(|id| self.words.remove(id)).collect();
        let lines: Vec<_> =
            cue.lines.into_iter().map(|line| (Speaker::new(line.speaker), line.text)).collect();
        let (speaker, _) = *lines.first()?;
        let own = waiting.iter().rfind(|waiting| waiting.utterance.speaker == speaker);
        let described = own.map(|own| &own.utterance).or(self.last_words.get(&speaker))?;
        let (start, end) = (clock_time(cue.start), clock_time(cue.end));
        let words = waiting.iter().flat_map(|WaitingWord { utterance, text }| {
            utterance.words.iter().map(|word| DatedWord { text: text.clone(), ..word.clone() })
        });
        let utterance = Utterance {
            kind: Kind::Cue,
            speaker,
            person: described.person.clone(),
            session_id: described.session_id.clone(),
            words: words.collect(),
            running_time: described.running_time,
        };
        let layout = CueLayout {
            lines,
            row: u32::try_from(cue.row).unwrap_or(u32::MAX),
            start: stream_time(described.start(), start),
            end: stream_time(described.start(), end),
        };
        Some(DatedCue { utterance: Arc::new(utterance), layout: Arc::new(layout), start, end })
    }
}

/// Returns whether the new text is the old one, perhaps with marks after it.
fn differs_in_marks(old: &str, new: &str) -> bool {
    let marks = new.strip_prefix(old);
    marks.is_some_and(|marks| !marks.contains(char::is_alphanumeric))
}

/// Returns the stream time at `pts`, from that of a word.
fn stream_time(word: Moment, pts: gst::ClockTime) -> Option<gst::ClockTime> {
    let at_word = word.stream_time?;
    Some(match pts >= word.pts {
        true => at_word.saturating_add(pts - word.pts),
        false => at_word.saturating_sub(word.pts - pts),
    })
}

fn clock_time(time: Duration) -> gst::ClockTime {
    gst::ClockTime::try_from(time).unwrap_or(gst::ClockTime::MAX)
}
