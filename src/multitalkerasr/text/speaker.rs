// SPDX-License-Identifier: MPL-2.0

//! Speakers, and the ways in which they appear: as numbers, names, colors and pads.

use std::fmt;

/// Prefix of the name of a speaker's pad.
const PAD_PREFIX: &str = "speaker_";

/// A speaker of a stretch of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Speaker(usize);

impl Speaker {
    /// Creates the speaker with this index, counted from 0 in order of appearance.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Returns the index, counted from 0 in order of appearance.
    pub const fn index(self) -> usize {
        self.0
    }

    /// Returns the index as a field of messages and metas.
    pub fn id(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    /// Returns the number for display, counted from 1.
    fn number(self) -> usize {
        self.0 + 1
    }

    /// Returns the name for display.
    pub fn name(self) -> String {
        format!("Speaker {}", self.number())
    }

    /// Returns the text that precedes the speaker's words: the template with the number in place of
    /// `{n}`.
    pub fn prefix(self, template: &str) -> String {
        template.replace("{n}", &self.number().to_string())
    }

    /// Returns the speaker's color from a comma-separated list, which is cycled when it is too
    /// short.
    pub fn color(self, colors: &str) -> Option<&str> {
        let colors = colors.split(',').map(str::trim).filter(|color| !color.is_empty());
        let count = colors.clone().count();
        colors.clone().nth(self.0.checked_rem(count)?)
    }

    /// Returns the name of the speaker's pad.
    pub fn pad_name(self) -> String {
        format!("{PAD_PREFIX}{}", self.0)
    }

    /// Returns the speaker whose pad has this name.
    pub fn of_pad(name: &str) -> Option<Self> {
        name.strip_prefix(PAD_PREFIX)?.parse().ok().map(Self)
    }
}

/// Writes the index, for fields that are strings.
impl fmt::Display for Speaker {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Speaker numbers of a transcript. When the engine restarts its numbering, the next speakers may
/// be different people, so their numbers continue after those of the earlier speakers.
#[derive(Debug, Default)]
pub struct Numbering {
    /// Number of the speaker with index 0.
    first: usize,
    /// Number of speakers so far.
    count: usize,
}

impl Numbering {
    /// Numbers the next speakers after all earlier ones.
    pub fn restart(&mut self) {
        self.first = self.count;
    }

    /// Returns the number of a speaker in the transcript, counted from 0.
    pub fn number(&mut self, speaker: Speaker) -> usize {
        let number = self.first + speaker.0;
        self.count = self.count.max(number + 1);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_counts_from_one() {
        let speaker = Speaker::new(2);
        assert_eq!(speaker.prefix("{n}/{n}: "), "3/3: ");
        assert_eq!(speaker.prefix(""), "");
        assert_eq!((speaker.name().as_str(), speaker.to_string().as_str()), ("Speaker 3", "2"));
    }

    #[test]
    fn colors_are_cycled() {
        let color = |index| Speaker::new(index).color("white, yellow,");
        assert_eq!([0, 1, 2].map(color), [Some("white"), Some("yellow"), Some("white")]);
        assert_eq!(Speaker::new(2).color(" , "), None);
    }

    #[test]
    fn pads_are_named_after_speakers() {
        let speaker = Speaker::new(12);
        assert_eq!(speaker.pad_name(), "speaker_12");
        assert_eq!(Speaker::of_pad("speaker_12"), Some(speaker));
        for name in ["speaker_", "speaker_x", "src"] {
            assert_eq!(Speaker::of_pad(name), None, "{name}");
        }
    }

    #[test]
    fn different_people_have_different_numbers() {
        let mut numbering = Numbering::default();
        let numbers =
            |numbering: &mut Numbering| [0, 2].map(|index| numbering.number(Speaker::new(index)));
        assert_eq!(numbers(&mut numbering), [0, 2]);
        numbering.restart();
        assert_eq!(numbers(&mut numbering), [3, 5]);
    }
}
