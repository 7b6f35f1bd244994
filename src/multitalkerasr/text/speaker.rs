// SPDX-License-Identifier: MPL-2.0

//! Speakers, and the ways in which they appear: as numbers, names, colors and pads.

use std::collections::BTreeMap;
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

    /// Returns the name for display of a speaker without a name.
    pub fn default_name(self) -> String {
        format!("Speaker {}", self.number())
    }

    /// Returns the text that precedes the speaker's words: the template with the number in place of
    /// `{n}`, and the name, else the default name, in place of `{name}`.
    pub fn prefix(self, template: &str, name: Option<&str>) -> String {
        let number = self.number().to_string();
        let name = name.map_or_else(|| self.default_name(), str::to_owned);
        let parts: Vec<_> =
            template.split("{name}").map(|part| part.replace("{n}", &number)).collect();
        parts.join(&name)
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

/// Returns a name with spaces in place of control characters and none at its ends.
pub fn clean_name(name: &str) -> String {
    name.replace(char::is_control, " ").trim().to_owned()
}

/// Names of speakers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpeakerNames(BTreeMap<Speaker, String>);

impl SpeakerNames {
    /// Reads the fields of a structure: the index of a speaker, and a name. Other fields are ignored.
    pub fn from_structure(structure: &gst::StructureRef) -> Self {
        let mut names = Self::default();
        for (field, value) in structure.iter() {
            let Ok(index) = field.as_str().parse() else { continue };
            // A number is a name, too.
            let text = value.get::<String>().ok();
            let name = text.or_else(|| value.transform::<String>().ok()?.get().ok());
            names.set(Speaker(index), &name.unwrap_or_default());
        }
        names
    }

    /// Returns the structure that [`Self::from_structure`] reads, or `None` without names.
    pub fn to_structure(&self) -> Option<gst::Structure> {
        if self.0.is_empty() {
            return None;
        }
        let mut structure = gst::Structure::new_empty("names");
        for (speaker, name) in &self.0 {
            structure.set(speaker.to_string(), name);
        }
        Some(structure)
    }

    /// Names a speaker. Control characters become spaces, and an empty name removes the name.
    pub fn set(&mut self, speaker: Speaker, name: &str) {
        match clean_name(name) {
            name if name.is_empty() => self.0.remove(&speaker),
            name => self.0.insert(speaker, name),
        };
    }

    /// Names the speakers that have no name here by another list, where speaker 0 is first.
    pub fn set_defaults(&mut self, defaults: &[String]) {
        for (index, name) in defaults.iter().enumerate() {
            if self.get(Speaker(index)).is_none() {
                self.set(Speaker(index), name);
            }
        }
    }

    /// Returns the name of a speaker.
    pub fn get(&self, speaker: Speaker) -> Option<&str> {
        self.0.get(&speaker).map(String::as_str)
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
    /// Whether the next speaker is the first after a restart.
    restarts: bool,
}

impl Numbering {
    /// Numbers the next speakers after all earlier ones.
    pub fn restart(&mut self) {
        self.restarts = true;
    }

    /// Returns the number of a speaker in the transcript, counted from 0.
    pub fn number(&mut self, speaker: Speaker) -> usize {
        if std::mem::take(&mut self.restarts) {
            self.first = self.count;
        }
        let number = self.first + speaker.0;
        self.count = self.count.max(number + 1);
        number
    }

    /// Returns a number that no speaker has.
    pub fn allocate(&mut self) -> usize {
        self.count += 1;
        self.count - 1
    }

    /// Returns the speakers since the last restart with their numbers, or those before it as long as
    /// no one has appeared since.
    pub fn current(&self) -> impl Iterator<Item = (Speaker, usize)> + use<> {
        (self.first..self.count).enumerate().map(|(index, number)| (Speaker(index), number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_counts_from_one() {
        let speaker = Speaker::new(2);
        assert_eq!(speaker.prefix("{n}/{n}: ", None), "3/3: ");
        assert_eq!(speaker.prefix("", None), "");
        assert_eq!(speaker.prefix("{name}: ", None), "Speaker 3: ");
        assert_eq!(speaker.prefix("{n} {name}: ", Some("{n} {name}")), "3 {n} {name}: ");
        assert_eq!(speaker.to_string(), "2");
    }

    #[test]
    fn names_are_read_from_structures_and_written_to_them() {
        gst::init().expect("GStreamer");
        let text = r#"names, 1=Bob, 0="Ada Lovelace", 12=7, other=x, 3=(string)"";"#;
        let structure: gst::Structure = text.parse().expect("a structure");
        let mut names = SpeakerNames::from_structure(&structure);
        assert_eq!(names.0.len(), 3, "{names:?}");
        assert_eq!(names.get(Speaker(1)), Some("Bob"));
        assert_eq!(names.get(Speaker(12)), Some("7"));
        let copy = names.to_structure().expect("names");
        assert_eq!(SpeakerNames::from_structure(&copy), names);
        names.set(Speaker(0), "a\nb\t");
        assert_eq!(names.get(Speaker(0)), Some("a b"));
        for speaker in [0, 1, 12] {
            names.set(Speaker(speaker), " ");
        }
        assert_eq!(names.to_structure(), None);
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
