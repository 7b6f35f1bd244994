// SPDX-License-Identifier: MPL-2.0

//! The words that wait, and the cues that are due.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::cue::{Cue, Word};
use crate::layout::Layout;
use crate::piece::{Piece, pieces};
use crate::rules::{Rules, RulesError, Simultaneous};
use crate::screen::Screen;
use crate::{merge, stack};

/// Composes cues from the words of several speakers, in one pass.
///
/// The result depends only on the words, not on the calls among which they and the horizon are
/// distributed; corrections of [`Captioner::revise`] must come in time.
#[derive(Debug)]
pub struct Captioner {
    pub(crate) rules: Rules,
    pub(crate) pending: Pending,
    pub(crate) screen: Screen,
    labels: BTreeMap<usize, String>,
    horizon: Duration,
    /// Start of the last cue.
    last_start: Duration,
    /// End of the last cue of each speaker.
    ends: BTreeMap<usize, Duration>,
    /// Speaker of the last line.
    last_speaker: Option<usize>,
}

/// Pieces of each speaker that are not in a cue yet, in the order of their starts.
#[derive(Debug, Default)]
pub struct Pending(BTreeMap<usize, VecDeque<Piece>>);

/// What a cue consists of.
pub struct Content {
    /// Number of pieces of each speaker.
    pub counts: Vec<(usize, usize)>,
    pub layout: Layout,
    pub start: Duration,
    pub end: Duration,
}

impl Captioner {
    /// Creates a captioner without words.
    ///
    /// # Errors
    /// [`RulesError`] for the first rule that is out of its range.
    pub fn new(rules: Rules) -> Result<Self, RulesError> {
        rules.check()?;
        Ok(Self {
            pending: Pending::default(),
            screen: Screen::new(rules.max_screen_lines, rules.min_gap),
            labels: BTreeMap::new(),
            horizon: Duration::ZERO,
            last_start: Duration::ZERO,
            ends: BTreeMap::new(),
            last_speaker: None,
            rules,
        })
    }

    /// Returns the rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Sets the text before the first line of a speaker whose predecessor was another one, such as
    /// `"Ada: "`. It counts as part of the line, and is left out where the first word does not fit
    /// beside it. An empty label removes it.
    pub fn set_label(&mut self, speaker: usize, label: &str) {
        let label: String = label.chars().filter(|char| !char.is_control()).collect();
        if label.is_empty() {
            self.labels.remove(&speaker);
        } else {
            self.labels.insert(speaker, label);
        }
    }

    /// Adds a word. Words may come in any order, but a word that starts before the horizon of
    /// [`Captioner::advance`] is dated there.
    pub fn push(&mut self, word: Word) {
        let start = word.start.max(self.horizon).saturating_sub(self.rules.start_lead);
        let end = word.end.max(start);
        let word = Word { start, end, ..word };
        self.pending.insert(pieces(&word, self.rules.max_columns));
    }

    /// Replaces the text of a word, for example once its punctuation is known. Returns false if the
    /// word is unknown or already part of a cue.
    pub fn revise(&mut self, id: u64, text: &str) -> bool {
        self.pending.revise(id, text, self.rules.max_columns)
    }

    /// Sets the time before which no further word starts, and returns the cues that are due: those
    /// that start [`Rules::max_delay`] before it.
    pub fn advance(&mut self, horizon: Duration) -> Vec<Cue> {
        self.horizon = self.horizon.max(horizon);
        let limit = self.horizon.saturating_sub(self.rules.start_lead);
        let max_delay = self.rules.max_delay();
        let mut cues = Vec::new();
        while let Some(due) = self.pending.start().map(|start| start.saturating_add(max_delay))
            && limit >= due
        {
            cues.push(self.next_cue());
        }
        cues
    }

    /// Returns all cues, because no word follows for an unknown time. Words that come nevertheless
    /// begin new cues, which do not start before those.
    pub fn flush(&mut self) -> Vec<Cue> {
        let mut cues = Vec::new();
        while self.pending.start().is_some() {
            cues.push(self.next_cue());
        }
        self.last_speaker = None;
        cues
    }

    /// Returns a time before which no further cue starts.
    pub fn earliest_start(&self) -> Duration {
        let horizon = self.horizon.saturating_sub(self.rules.start_lead);
        let start = self.pending.start().map_or(horizon, |start| start.min(horizon));
        start.max(self.last_start)
    }

    /// Composes the cue of the first word that waits.
    fn next_cue(&mut self) -> Cue {
        let content = match self.rules.simultaneous {
            Simultaneous::Stack => stack::compose(self),
            Simultaneous::Merge => merge::compose(self),
        };
        let Content { counts, layout, start, end } = content;
        let mut taken: Vec<_> = counts
            .into_iter()
            .flat_map(|(speaker, count)| self.pending.take(speaker, count))
            .collect();
        taken.sort_by_key(|piece| (piece.start, piece.speaker));
        let speaker = layout.lines.first().map_or(0, |line| line.speaker);
        let row = self.screen.place(speaker, layout.lines.len(), start);
        self.screen.show(speaker, row, layout.lines.len(), start, end);
        self.last_start = start;
        self.last_speaker = layout.lines.last().map(|line| line.speaker);
        for piece in &taken {
            self.ends.insert(piece.speaker, end);
        }
        let words = taken.iter().filter(|piece| piece.is_first).map(|piece| piece.id).collect();
        Cue { start, end, row, lines: layout.lines, words }
    }

    /// Returns the earliest start of a cue of a speaker whose words start at `start`.
    pub(crate) fn earliest(&self, speaker: usize, start: Duration) -> Duration {
        let end = self.ends.get(&speaker).copied().unwrap_or_default();
        let after_own = match end < start && start < end.saturating_add(self.rules.min_gap) {
            // The gap would be too short.
            true => end.saturating_add(self.rules.min_gap),
            false => start.max(end),
        };
        after_own.max(self.last_start)
    }

    /// Returns the label of a speaker if the last line was another speaker's.
    pub(crate) fn label(&self, speaker: usize) -> Option<String> {
        let is_change = self.last_speaker != Some(speaker);
        self.labels.get(&speaker).filter(|_| is_change).cloned()
    }
}

impl Pending {
    /// Returns the start of the first piece.
    pub fn start(&self) -> Option<Duration> {
        self.first().map(|piece| piece.start)
    }

    /// Returns the piece that starts first.
    pub fn first(&self) -> Option<&Piece> {
        let firsts = self.0.values().filter_map(VecDeque::front);
        firsts.min_by_key(|piece| (piece.start, piece.speaker))
    }

    /// Returns the pieces of a speaker that start before `limit`.
    pub fn of_speaker(&self, speaker: usize, limit: Duration) -> Vec<&Piece> {
        let own = self.0.get(&speaker).into_iter().flatten();
        own.take_while(|piece| piece.start < limit).collect()
    }

    /// Returns the pieces of all speakers that start before `limit`, in the order of their starts.
    pub fn all(&self, limit: Duration) -> Vec<&Piece> {
        let speakers = self.0.keys();
        let mut all: Vec<_> =
            speakers.flat_map(|&speaker| self.of_speaker(speaker, limit)).collect();
        all.sort_by_key(|piece| (piece.start, piece.speaker));
        all
    }

    /// Returns the first piece of each other speaker that starts before `limit`, in the order of
    /// their starts.
    pub fn others(&self, speaker: usize, limit: Duration) -> Vec<&Piece> {
        let others = self.0.iter().filter(|(other, _)| **other != speaker);
        let mut firsts: Vec<_> = others
            .filter_map(|(_, pieces)| pieces.front())
            .filter(|piece| piece.start < limit)
            .collect();
        firsts.sort_by_key(|piece| piece.start);
        firsts
    }

    fn insert(&mut self, pieces: Vec<Piece>) {
        let Some(first) = pieces.first() else { return };
        let own = self.0.entry(first.speaker).or_default();
        let index = own.partition_point(|piece| piece.word_start <= first.word_start);
        insert_at(own, index, pieces);
    }

    fn revise(&mut self, id: u64, text: &str, max_columns: usize) -> bool {
        for own in self.0.values_mut() {
            let Some(index) = own.iter().position(|piece| piece.id == id) else { continue };
            if !own[index].is_first {
                return false;
            }
            let count = own.iter().skip(index).take_while(|piece| piece.id == id).count();
            let old: Vec<_> = own.drain(index..index + count).collect();
            let (Some(first), Some(last)) = (old.first(), old.last()) else { return false };
            let word = Word {
                id,
                speaker: first.speaker,
                text: text.to_owned(),
                start: first.word_start,
                end: last.end,
            };
            insert_at(own, index, pieces(&word, max_columns));
            return true;
        }
        false
    }

    fn take(&mut self, speaker: usize, count: usize) -> Vec<Piece> {
        let Some(own) = self.0.get_mut(&speaker) else { return Vec::new() };
        let taken = own.drain(..count.min(own.len())).collect();
        if own.is_empty() {
            self.0.remove(&speaker);
        }
        taken
    }
}

/// Inserts the pieces of a word. Starts never go back, even if words of a speaker overlap: later
/// pieces of a word do not start after the next word.
fn insert_at(own: &mut VecDeque<Piece>, index: usize, pieces: Vec<Piece>) {
    let latest = own.get(index).map_or(Duration::MAX, |next| next.start);
    let first_start = pieces.first().map_or(latest, |first| first.start.min(latest));
    for piece in own.range_mut(..index).rev().take_while(|piece| piece.start > first_start) {
        piece.start = first_start;
    }
    for (offset, mut piece) in pieces.into_iter().enumerate() {
        piece.start = piece.start.min(latest);
        own.insert(index + offset, piece);
    }
}
