// SPDX-License-Identifier: MPL-2.0

//! Words in, cues out.

use std::time::Duration;

/// A word of a speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Identifies the word in its cue and in [`Captioner::revise`](crate::Captioner::revise).
    pub id: u64,
    /// Index of the speaker.
    pub speaker: usize,
    /// Text with the punctuation after it. Control characters are removed.
    pub text: String,
    /// Time of the first sound.
    pub start: Duration,
    /// Time of the last sound, not before `start`.
    pub end: Duration,
}

/// A cue: text on the screen from `start` to `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// Time at which the text appears.
    pub start: Duration,
    /// Time at which the text disappears, after `start`.
    pub end: Duration,
    /// Row of the lowest line, counted from 0 at the bottom of the screen. Cues that are on the
    /// screen at once do not share a row.
    pub row: usize,
    /// At least one line, from the top.
    pub lines: Vec<Line>,
    /// The `id` of each word, in the order of their starts. A word that was split between two cues
    /// belongs to the first.
    pub words: Vec<u64>,
}

/// A line of a cue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Index of the speaker.
    pub speaker: usize,
    /// Text, with the dash or label before it.
    pub text: String,
}

impl Cue {
    /// Returns the lines, separated by line breaks.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Returns the speakers in the order of their lines.
    pub fn speakers(&self) -> Vec<usize> {
        let mut speakers: Vec<usize> = Vec::new();
        for line in &self.lines {
            if !speakers.contains(&line.speaker) {
                speakers.push(line.speaker);
            }
        }
        speakers
    }
}
