// SPDX-License-Identifier: MPL-2.0

//! The log of finished segments in SegLST, and of turns in RTTM.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::multitalkerasr::text::activity::DatedTurn;
use crate::multitalkerasr::text::identities::Person;
use crate::multitalkerasr::text::speaker::{Numbering, Speaker, SpeakerNames};
use crate::multitalkerasr::text::utterance::{Moment, Utterance};
use multitalker_asr::SegLstRow;

/// The latest finished segments, or turns without words, at most `max-transcripts`.
#[derive(Debug, Default)]
pub struct TranscriptLog {
    /// Shared so that they are serialized without the lock that the worker needs.
    rows: VecDeque<Arc<Row>>,
    /// The last name of each number.
    names: BTreeMap<usize, String>,
    /// The number of each person whose voice was identified.
    identities: BTreeMap<u64, usize>,
    numbering: Numbering,
    /// How often the diarizer had forgotten its speakers before the last segment.
    generation: u64,
    /// Whether the oldest rows were dropped.
    is_truncated: bool,
}

#[derive(Clone, Debug)]
struct Row {
    /// Number of the speaker.
    number: usize,
    /// The person, if the voice was identified.
    identity: Option<u64>,
    session_id: String,
    /// Empty for a turn that was not recognized.
    words: String,
    start_s: f64,
    end_s: f64,
}

/// A copy of the log.
pub struct LoggedTranscript {
    rows: Vec<Arc<Row>>,
    names: BTreeMap<usize, String>,
    identities: BTreeMap<u64, usize>,
}

impl TranscriptLog {
    /// Removes all segments and restarts the numbering of the speakers.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives new numbers to the speakers of later segments, since they may be different people.
    pub fn reset_speakers(&mut self) {
        self.numbering.restart();
    }

    /// Adds a finished segment to at most `max_rows`, without a limit if that is 0. Returns true if
    /// it is the first to replace an older one.
    pub fn add(&mut self, segment: &Utterance, max_rows: u32) -> bool {
        let number = self.number_of(segment.speaker, &segment.person);
        let row = Row {
            number,
            identity: segment.person.identity,
            session_id: segment.session_id.clone(),
            words: segment.text(),
            start_s: seconds(segment.start()),
            end_s: seconds(segment.end()),
        };
        self.add_row(row, max_rows)
    }

    /// Adds a turn without words, like [`Self::add`].
    pub fn add_turn(&mut self, turn: &DatedTurn, max_rows: u32) -> bool {
        let number = self.number_of(turn.speaker, &turn.person);
        let row = Row {
            number,
            identity: turn.person.identity,
            session_id: turn.session_id.clone(),
            words: String::new(),
            start_s: seconds(turn.start),
            end_s: seconds(turn.end),
        };
        self.add_row(row, max_rows)
    }

    /// Returns the number of a speaker, and notes the name and the person.
    fn number_of(&mut self, speaker: Speaker, person: &Person) -> usize {
        let number = self.number(speaker, person.generation);
        let name = person.name.as_deref();
        match person.identity {
            Some(identity) => {
                let number = self.number_person(identity, number);
                self.set_name(number, name);
            }
            None => self.name_speaker(number, name),
        }
        number
    }

    fn add_row(&mut self, row: Row, max_rows: u32) -> bool {
        self.rows.push_back(Arc::new(row));
        let max_rows = match max_rows {
            0 => usize::MAX,
            max => max as usize,
        };
        let excess = self.rows.len().saturating_sub(max_rows);
        self.rows.drain(..excess);
        excess > 0 && !std::mem::replace(&mut self.is_truncated, true)
    }

    /// Attributes the segments of a speaker since `since` to a person, also those that were added
    /// before.
    pub fn identify(&mut self, speaker: Speaker, generation: u64, identity: u64, since: Moment) {
        let number = self.number(speaker, generation);
        self.number_person(identity, number);
        let since_s = seconds(since);
        for row in &mut self.rows {
            if row.number == number && row.start_s >= since_s && row.identity != Some(identity) {
                Arc::make_mut(row).identity = Some(identity);
            }
        }
    }

    /// Attributes everything of one person to another one.
    pub fn replace_person(&mut self, replaced: u64, identity: u64) {
        let Some(number) = self.identities.remove(&replaced) else { return };
        self.identities.entry(identity).or_insert(number);
        for row in self.rows.iter_mut().filter(|row| row.identity == Some(replaced)) {
            Arc::make_mut(row).identity = Some(identity);
        }
    }

    /// Names a person, also in earlier segments.
    pub fn name_person(&mut self, identity: u64, name: Option<&str>) {
        if let Some(&number) = self.identities.get(&identity) {
            self.set_name(number, name);
        }
    }

    /// Returns the number of a speaker, which is a new one if the diarizer has forgotten its speakers.
    fn number(&mut self, speaker: Speaker, generation: u64) -> usize {
        if generation > self.generation {
            self.generation = generation;
            self.numbering.restart();
        }
        self.numbering.number(speaker)
    }

    /// Returns the number of a person: that of the speaker unless it is another person's.
    fn number_person(&mut self, identity: u64, of_speaker: usize) -> usize {
        if let Some(&number) = self.identities.get(&identity) {
            return number;
        }
        let number = match self.is_of_person(of_speaker) {
            true => self.numbering.allocate(),
            false => of_speaker,
        };
        self.identities.insert(identity, number);
        number
    }

    /// Applies names to the speakers of the last stretch of audio in which someone spoke, also in
    /// earlier segments.
    pub fn rename(&mut self, names: &SpeakerNames) {
        for (speaker, number) in self.numbering.current() {
            self.name_speaker(number, names.get(speaker));
        }
    }

    /// Names a speaker whose voice was not identified.
    fn name_speaker(&mut self, number: usize, name: Option<&str>) {
        if !self.is_of_person(number) {
            self.set_name(number, name);
        }
    }

    fn is_of_person(&self, number: usize) -> bool {
        self.identities.values().any(|of_person| *of_person == number)
    }

    fn set_name(&mut self, number: usize, name: Option<&str>) {
        match name {
            Some(name) => self.names.insert(number, name.to_owned()),
            None => self.names.remove(&number),
        };
    }

    /// Returns a copy of the segments.
    pub fn transcript(&self) -> LoggedTranscript {
        LoggedTranscript {
            rows: self.rows.iter().cloned().collect(),
            names: self.names.clone(),
            identities: self.identities.clone(),
        }
    }
}

impl LoggedTranscript {
    /// Returns the segments by start time. A speaker without a name is a number.
    fn rows(&self) -> Vec<SegLstRow> {
        let mut rows: Vec<&Row> = self.rows.iter().map(AsRef::as_ref).collect();
        rows.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
        let label = |row: &Row| {
            let number_of = |identity| self.identities.get(&identity).copied();
            let number = row.identity.and_then(number_of).unwrap_or(row.number);
            self.names.get(&number).cloned().unwrap_or_else(|| number.to_string())
        };
        let rows = rows.into_iter().map(|row| SegLstRow {
            session_id: row.session_id.clone(),
            speaker: label(row),
            identity: row.identity,
            words: row.words.clone(),
            start_time: row.start_s,
            end_time: row.end_s,
        });
        rows.collect()
    }

    /// Serializes the segments as a JSON array of SegLST rows. Turns without words are left out.
    pub fn seglst(&self) -> String {
        let mut rows = self.rows();
        rows.retain(|row| !row.words.is_empty());
        serde_json::to_string(&rows).unwrap_or_default()
    }

    /// Serializes the segments and turns as lines of RTTM.
    pub fn rttm(&self) -> String {
        self.rows().iter().map(|row| row.rttm() + "\n").collect()
    }
}

fn seconds(moment: Moment) -> f64 {
    // The engine's frames are whole milliseconds.
    moment.stream_time.unwrap_or(moment.pts).mseconds() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multitalkerasr::text::clock::{Clock, Dated};
    use multitalker_asr::{Event, Segment, Word};

    /// Creates a segment of one word that begins at `start_s` and lasts half a second.
    fn segment(speaker: usize, text: &str, start_s: u64) -> Utterance {
        gst::init().expect("GStreamer");
        let mut clock = Clock::default();
        clock.timeline.start(gst::ClockTime::ZERO);
        let start_sample = start_s * 16_000;
        let word = Word {
            text: text.to_owned(),
            start_sample,
            end_sample: start_sample + 8_000,
            confidence: 1.0,
            is_filtered: false,
        };
        let event = Event::Segment(Segment { speaker, words: vec![word] });
        match clock.date(event, "talk", |_, _| Person::default()) {
            Dated::Words(utterance) => utterance,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_are_sorted_and_numbered_across_resets() {
        let mut log = TranscriptLog::default();
        assert!(!log.add(&segment(1, "later", 2), 0));
        assert!(!log.add(&segment(0, "earlier", 1), 0));
        log.reset_speakers();
        assert!(!log.add(&segment(0, "else", 4), 0));
        let row = |speaker: &str, words: &str, start: &str, end: &str| {
            format!(
                r#"{{"session_id":"talk","speaker":"{speaker}","words":"{words}","start_time":{start},"end_time":{end}}}"#
            )
        };
        let rows = [
            row("0", "earlier", "1.0", "1.5"),
            row("1", "later", "2.0", "2.5"),
            row("2", "else", "4.0", "4.5"),
        ];
        assert_eq!(log.transcript().seglst(), format!("[{}]", rows.join(",")));
    }

    #[test]
    fn names_apply_to_all_rows_of_a_speaker_and_to_no_one_after_a_restart() {
        let mut log = TranscriptLog::default();
        let names = |list: &[(usize, &str)]| {
            let mut names = SpeakerNames::default();
            list.iter().for_each(|(speaker, name)| names.set(Speaker::new(*speaker), name));
            names
        };
        let speakers = |log: &TranscriptLog| {
            let rows = log.transcript().rows().into_iter();
            rows.map(|row| row.speaker).collect::<Vec<_>>()
        };
        log.rename(&names(&[(0, "too early")]));
        log.add(&segment(0, "a", 1), 0);
        log.add(&segment(1, "b", 2), 0);
        log.rename(&names(&[(1, "Bob")]));
        let person = Person { name: Some("Ada".to_owned()), ..Person::default() };
        let named = Utterance { person, ..segment(0, "c", 3) };
        log.add(&named, 0);
        log.reset_speakers();
        log.add(&segment(0, "d", 4), 0);
        assert_eq!(speakers(&log), ["Ada", "Bob", "Ada", "2"]);
        log.rename(&names(&[(0, "Eve"), (1, "nobody")]));
        assert_eq!(speakers(&log), ["Ada", "Bob", "Ada", "Eve"]);
        log.rename(&names(&[]));
        assert_eq!(speakers(&log), ["Ada", "Bob", "Ada", "2"]);
    }

    #[test]
    fn people_have_one_number_in_any_slot() {
        let mut log = TranscriptLog::default();
        let identified = |speaker: usize, identity: u64, start_s: u64| Utterance {
            person: Person { identity: Some(identity), ..Person::default() },
            ..segment(speaker, "a", start_s)
        };
        let since = |start_s: u64| identified(0, 0, start_s).start();
        let speakers = |log: &TranscriptLog| {
            let rows = log.transcript().rows().into_iter();
            rows.map(|row| (row.speaker, row.identity)).collect::<Vec<_>>()
        };
        log.add(&segment(0, "early", 1), 0);
        log.identify(Speaker::new(0), 0, 7, since(1));
        log.add(&identified(1, 8, 2), 0);
        // Another voice in the same slot, one segment of which was attributed to the first.
        log.add(&identified(0, 7, 3), 0);
        log.identify(Speaker::new(0), 0, 9, since(3));
        // The first one in another slot.
        log.reset_speakers();
        log.add(&identified(0, 8, 4), 0);
        log.add(&identified(1, 7, 5), 0);
        let numbered = |list: &[(&str, u64)]| {
            let rows = list.iter().map(|(number, identity)| (number.to_string(), Some(*identity)));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(speakers(&log), numbered(&[("0", 7), ("1", 8), ("2", 9), ("1", 8), ("0", 7)]));
        log.name_person(8, Some("Ada"));
        log.rename(&SpeakerNames::default());
        log.add(&segment(0, "short", 6), 0);
        log.replace_person(9, 7);
        assert_eq!(
            speakers(&log),
            [
                numbered(&[("0", 7), ("Ada", 8), ("0", 7), ("Ada", 8), ("0", 7)]),
                vec![("3".to_owned(), None)]
            ]
            .concat(),
            "the name of a person stays"
        );
    }

    #[test]
    fn oldest_rows_make_room() {
        let mut log = TranscriptLog::default();
        let is_first = [1, 2, 3, 4].map(|start_s| log.add(&segment(0, "a", start_s), 2));
        assert_eq!(is_first, [false, false, true, false]);
        let rows = log.transcript().rows();
        let starts: Vec<_> = rows.iter().map(|row| row.start_time).collect();
        assert_eq!(starts, [3.0, 4.0]);
    }
}
