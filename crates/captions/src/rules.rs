// SPDX-License-Identifier: MPL-2.0

//! The rules of a cue, and their defaults.

use std::time::Duration;

/// Presentation of people who talk at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Simultaneous {
    /// Each speaker has cues of their own, in separate rows of the screen.
    #[default]
    Stack,
    /// There is one cue at a time, in which each speaker has a line that begins with a dash.
    Merge,
}

/// Rules that cues follow. The defaults come from published guidelines:
///
/// - \[BBC\]: BBC Subtitle Guidelines, version 1.2.4: 160 to 180 words a minute, at most two lines
///   (three if nothing is hidden), a line of 68 % of the picture's width, which is about 37
///   characters of the fixed-width font of teletext.
/// - \[ARD\]: "EBU-TT-D-Basic-DE" and the joint standards of ARD, ORF, SRF, and ZDF for subtitles:
///   at most two lines of 37 characters, at least 1 s.
/// - \[Netflix\]: Timed Text Style Guide, General Requirements and English (USA): 5/6 s to 7 s a
///   cue, 2 frames between cues, at most 20 characters a second for adult programs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Maximum width of a line in columns of a terminal, in which a Latin letter takes one and a
    /// Chinese character two. From 10 to 200; 37 \[BBC, ARD\].
    pub max_columns: usize,
    /// Maximum number of lines of a cue. From 1 to 8; 2 \[BBC, ARD, Netflix\].
    pub max_lines: usize,
    /// Maximum number of lines on the screen when people talk at once. From `max_lines` to 16; 4, so
    /// that two speakers have two lines each.
    pub max_screen_lines: usize,
    /// Minimum duration of a cue. Only the next cue makes one shorter. 1 s \[ARD\].
    pub min_duration: Duration,
    /// Maximum duration of a cue, from `min_duration` to an hour. It is also the time by which cues are
    /// delayed, see [`Rules::max_delay`]. 7 s \[Netflix\].
    pub max_duration: Duration,
    /// Maximum number of characters a second, from 1 to 1000. A faster cue lasts into the pause after
    /// it; without a pause, it exceeds the speed. 20 \[Netflix\].
    pub max_cps: f64,
    /// Maximum number of words a minute, from 1 to 10000, as `max_cps`; but for this one, a cue does
    /// not stay beside that of the next speaker. 180 \[BBC\].
    pub max_wpm: f64,
    /// Minimum gap between one cue and the next in the same place. There is no smaller gap, except
    /// none at all. Up to `min_duration`; 80 ms, 2 frames at 25 frames a second \[Netflix\].
    pub min_gap: Duration,
    /// A gap that is shorter than this is closed down to `min_gap`. 500 ms, about 12 frames \[Netflix\].
    pub chain_gap: Duration,
    /// Time for which a cue stays after its last word if nothing follows. 500 ms, 12 frames
    /// \[Netflix\].
    pub hold: Duration,
    /// Pause between two words of a speaker that ends a cue. 1 s.
    pub pause: Duration,
    /// Time by which the starts of words are late, which is subtracted. A recognizer emits the first
    /// token of a word at a nearly constant time after the word begins. 0.
    pub start_lead: Duration,
    /// Presentation of people who talk at once.
    pub simultaneous: Simultaneous,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_columns: 37,
            max_lines: 2,
            max_screen_lines: 4,
            min_duration: Duration::from_secs(1),
            max_duration: Duration::from_secs(7),
            max_cps: 20.0,
            max_wpm: 180.0,
            min_gap: Duration::from_millis(80),
            chain_gap: Duration::from_millis(500),
            hold: Duration::from_millis(500),
            pause: Duration::from_secs(1),
            start_lead: Duration::ZERO,
            simultaneous: Simultaneous::Stack,
        }
    }
}

/// A rule that is out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{rule}: expected {expected}, found {found}")]
pub struct RulesError {
    /// Name of the rule.
    pub rule: &'static str,
    /// The range of the rule.
    pub expected: String,
    /// The value.
    pub found: String,
}

impl Rules {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`RulesError`] for the first rule that is out of its range.
    pub fn check(&self) -> Result<(), RulesError> {
        let hour = Duration::from_secs(3600);
        check("max_columns", self.max_columns, 10, 200)?;
        check("max_lines", self.max_lines, 1, 8)?;
        check("max_screen_lines", self.max_screen_lines, self.max_lines, 16)?;
        check("max_duration", self.max_duration, Duration::from_millis(100), hour)?;
        check("min_duration", self.min_duration, Duration::from_millis(1), self.max_duration)?;
        check("max_cps", self.max_cps, 1.0, 1000.0)?;
        check("max_wpm", self.max_wpm, 1.0, 10_000.0)?;
        check("min_gap", self.min_gap, Duration::ZERO, self.min_duration)?;
        check("chain_gap", self.chain_gap, Duration::ZERO, hour)?;
        check("hold", self.hold, Duration::ZERO, hour)?;
        check("pause", self.pause, Duration::ZERO, hour)?;
        check("start_lead", self.start_lead, Duration::ZERO, hour)
    }

    /// Returns the time from the start of a word until its cue is returned at the latest, in the time
    /// of the horizon: `max_duration` + `min_gap`.
    pub fn max_delay(&self) -> Duration {
        self.max_duration + self.min_gap
    }

    /// Returns the time that this many characters take at `max_cps`.
    pub(crate) fn time_of_characters(&self, characters: usize) -> Duration {
        seconds(characters as f64 / self.max_cps)
    }

    /// Returns the time that this many words take at `max_wpm`.
    pub(crate) fn time_of_words(&self, words: usize) -> Duration {
        seconds(words as f64 * 60.0 / self.max_wpm)
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn check<T>(rule: &'static str, found: T, min: T, max: T) -> Result<(), RulesError>
where
    T: PartialOrd + std::fmt::Debug,
{
    if found >= min && found <= max {
        return Ok(());
    }
    let expected = format!("{min:?} to {max:?}");
    Err(RulesError { rule, expected, found: format!("{found:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_out_of_range_are_named() {
        assert_eq!(Rules::default().check(), Ok(()));
        let error = |rules: Rules| rules.check().expect_err("out of range").to_string();
        assert_eq!(
            error(Rules { max_columns: 9, ..Rules::default() }),
            "max_columns: expected 10 to 200, found 9"
        );
        assert_eq!(
            error(Rules { max_screen_lines: 1, ..Rules::default() }),
            "max_screen_lines: expected 2 to 16, found 1"
        );
        assert_eq!(
            error(Rules { min_duration: Duration::from_secs(8), ..Rules::default() }),
            "min_duration: expected 1ms to 7s, found 8s"
        );
        assert_eq!(
            error(Rules { max_cps: f64::NAN, ..Rules::default() }),
            "max_cps: expected 1.0 to 1000.0, found NaN"
        );
    }
}
