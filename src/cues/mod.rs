// SPDX-License-Identifier: MPL-2.0

//! Cues as they enter the elements that write caption formats: read from text buffers, dated on one
//! timeline, placed on the screen, and grouped into segments.

pub mod collector;
pub mod color;
pub mod json;
pub mod language;
pub mod markup;
pub mod placement;
pub mod reader;
pub mod segmenter;
pub mod timeline;

use crate::cues::color::Rgb;
use crate::cues::placement::Place;

/// Text of one speaker that is shown for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    /// First time at which the cue is shown.
    pub begin: gst::ClockTime,
    /// First time at which the cue is no longer shown; `None` while it is shown until the next one.
    pub end: Option<gst::ClockTime>,
    pub text: CueText,
    /// Where the cue is shown.
    pub place: Place,
}

/// Content of a cue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CueText {
    /// Index of the speaker, from 0.
    pub speaker: Option<usize>,
    /// Name of the speaker.
    pub name: Option<String>,
    /// Color of all text without a color of its own.
    pub color: Option<Rgb>,
    pub lines: Vec<Line>,
}

/// Text of one line.
pub type Line = Vec<Run>;

/// Text in one style, without line breaks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    pub text: String,
    pub style: RunStyle,
}

/// Style of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunStyle {
    pub color: Option<Rgb>,
    pub bold: bool,
    pub italic: bool,
    pub underline: bool,
}

impl CueText {
    /// Returns the number of bytes of its text.
    pub fn size(&self) -> usize {
        self.lines.iter().flatten().map(|run| run.text.len()).sum()
    }
}

/// Appends text in one style to lines. Line breaks start new lines, tabs become spaces, and other
/// control characters and the characters that XML 1.0 excludes are removed.
pub fn append(lines: &mut Vec<Line>, text: &str, style: RunStyle) {
    let text = text.replace("\r\n", "\n");
    let parts = text.split(['\n', '\r', '\u{2028}', '\u{2029}']);
    for (index, part) in parts.enumerate() {
        if index > 0 || lines.is_empty() {
            lines.push(Line::new());
        }
        let part: String =
            part.replace('\t', " ").chars().filter(|char| is_allowed(*char)).collect();
        let Some(line) = lines.last_mut() else { continue };
        match line.last_mut() {
            Some(run) if run.style == style => run.text += &part,
            _ if part.is_empty() => (),
            _ => line.push(Run { text: part, style }),
        }
    }
}

/// Removes spaces at the ends of lines, and lines without text.
pub fn trim(lines: &mut Vec<Line>) {
    for line in lines.iter_mut() {
        while let Some(run) = line.first_mut() {
            run.text = run.text.trim_start().to_owned();
            match run.text.is_empty() {
                true => drop(line.remove(0)),
                false => break,
            }
        }
        while let Some(run) = line.last_mut() {
            run.text.truncate(run.text.trim_end().len());
            match run.text.is_empty() {
                true => drop(line.pop()),
                false => break,
            }
        }
    }
    lines.retain(|line| !line.is_empty());
}

/// Returns whether captions may contain a character: XML 1.0 excludes most control characters and
/// two others, and no other control character has a meaning in a line of text.
fn is_allowed(char: char) -> bool {
    !char.is_control() && !matches!(char, '\u{FFFE}' | '\u{FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.iter().map(|run| run.text.as_str()).collect()).collect()
    }

    #[test]
    fn characters_without_a_place_in_xml_are_removed() {
        let mut lines = Vec::new();
        append(
            &mut lines,
            "\0a\u{1}b\u{FFFE}\tc\u{7F}\u{85}d\r\ne\rf\u{2028}g\n\n",
            RunStyle::default(),
        );
        trim(&mut lines);
        assert_eq!(plain(&lines), ["ab cd", "e", "f", "g"]);
    }

    #[test]
    fn runs_of_one_style_are_joined() {
        let bold = RunStyle { bold: true, ..Default::default() };
        let mut lines = Vec::new();
        append(&mut lines, " a", RunStyle::default());
        append(&mut lines, "b ", RunStyle::default());
        append(&mut lines, "c\n ", bold);
        append(&mut lines, " ", RunStyle::default());
        trim(&mut lines);
        let run = |text: &str, style| Run { text: text.to_owned(), style };
        assert_eq!(lines, [[run("ab ", RunStyle::default()), run("c", bold)]]);
    }
}
