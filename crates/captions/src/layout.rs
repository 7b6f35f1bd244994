// SPDX-License-Identifier: MPL-2.0

//! Lines of a cue: as few as possible, broken at good places, and of similar length.

use crate::breaks::Break;
use crate::columns;
use crate::cue::Line;
use crate::piece::Piece;

/// Text before the first line of each of several speakers.
const DASH: &str = "- ";

/// Weight of the difference in length between lines, against the costs of [`Break`].
const BALANCE: f64 = 12.0;

/// Room for the lines.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub max_columns: usize,
    /// Maximum number of lines of all speakers together.
    pub max_lines: usize,
}

/// Lines of a cue with the cost of their breaks.
#[derive(Debug)]
pub struct Layout {
    pub lines: Vec<Line>,
    pub cost: f64,
}

/// Text before a speaker's first line.
pub type Label<'a> = &'a dyn Fn(usize) -> Option<String>;

/// Sets pieces into lines, or returns `None` if there is not enough room. The pieces are in the
/// order of their starts; those of several speakers are set one speaker after the other. A single
/// piece of at most `max_columns` always fits.
pub fn lay_out(pieces: &[&Piece], room: Room, label: Label) -> Option<Layout> {
    let speakers = speakers(pieces);
    let is_shared = speakers.len() > 1;
    let mut layout = Layout { lines: Vec::new(), cost: 0.0 };
    for (index, &speaker) in speakers.iter().enumerate() {
        let own: Vec<_> = pieces.iter().copied().filter(|piece| piece.speaker == speaker).collect();
        let prefix = label(speaker).or_else(|| is_shared.then(|| DASH.to_owned()));
        // The words matter more than what precedes them.
        let fits = |prefix: &String| {
            own.first().is_none_or(|piece| columns::width(prefix) + piece.width <= room.max_columns)
        };
        let prefix = prefix.filter(fits).unwrap_or_default();
        // Each of the other speakers needs a line, too.
        let max_lines =
            room.max_lines.checked_sub(layout.lines.len() + speakers.len() - index - 1)?;
        let (breaks, cost) = break_lines(&own, &prefix, Room { max_lines, ..room })?;
        layout.cost += cost;
        let starts = std::iter::once(0).chain(breaks.iter().copied());
        let ends = breaks.iter().copied().chain([own.len()]);
        for (start, end) in starts.zip(ends) {
            let mut text = if start == 0 { prefix.clone() } else { String::new() };
            text += &own[start..end].iter().map(|piece| &*piece.text).collect::<Vec<_>>().join(" ");
            layout.lines.push(Line { speaker, text });
        }
    }
    Some(layout)
}

/// Returns the speakers in the order of their first pieces.
pub fn speakers(pieces: &[&Piece]) -> Vec<usize> {
    let mut speakers = Vec::new();
    for piece in pieces {
        if !speakers.contains(&piece.speaker) {
            speakers.push(piece.speaker);
        }
    }
    speakers
}

/// Returns the quality of a break between two pieces of a speaker.
pub fn break_between(before: &Piece, after: &Piece) -> Break {
    match after.is_continuation {
        true => Break::Bound,
        false => Break::between(&before.text, &after.text, after.start.saturating_sub(before.end)),
    }
}

/// Returns the pieces before which lines begin, besides the first, and the cost.
fn break_lines(pieces: &[&Piece], prefix: &str, room: Room) -> Option<(Vec<usize>, f64)> {
    let lines = fewest_lines(pieces, prefix, room)?;
    if lines == 1 {
        return Some((Vec::new(), 0.0));
    }
    let total: usize = pieces.iter().map(|piece| piece.width + 1).sum();
    let mean = total as f64 / lines as f64;
    // best[line][end]: the lowest cost of `end` pieces in `line` lines, and the begin of the last.
    let mut best = vec![vec![(f64::INFINITY, 0); pieces.len() + 1]; lines + 1];
    best[0][0] = (0.0, 0);
    for line in 1..=lines {
        for begin in 0..pieces.len() {
            let (before, _) = best[line - 1][begin];
            if before.is_infinite() {
                continue;
            }
            let mut width = if begin == 0 { columns::width(prefix) } else { 0 };
            for end in begin + 1..=pieces.len() {
                width += pieces[end - 1].width + usize::from(end > begin + 1);
                let is_split = end > begin + 1 && pieces[end - 1].is_continuation;
                if width > room.max_columns || is_split {
                    break;
                }
                let difference = (width as f64 - mean) / room.max_columns as f64;
                let mut cost = before + BALANCE * difference * difference;
                if let Some(next) = pieces.get(end) {
                    cost += break_between(pieces[end - 1], next).cost();
                }
                if cost < best[line][end].0 {
                    best[line][end] = (cost, begin);
                }
            }
        }
    }
    let (cost, _) = best[lines][pieces.len()];
    let mut breaks = Vec::new();
    let mut end = pieces.len();
    for line in (2..=lines).rev() {
        end = best[line][end].1;
        breaks.push(end);
    }
    breaks.reverse();
    Some((breaks, cost))
}

/// Returns the fewest lines that hold the pieces, or `None` if they are more than the room.
fn fewest_lines(pieces: &[&Piece], prefix: &str, room: Room) -> Option<usize> {
    let (mut lines, mut width) = (1, columns::width(prefix));
    for (index, piece) in pieces.iter().enumerate() {
        let widened = width + piece.width + usize::from(index > 0);
        if index > 0 && (piece.is_continuation || widened > room.max_columns) {
            lines += 1;
            width = piece.width;
        } else {
            width = widened;
        }
    }
    (lines <= room.max_lines).then_some(lines)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cue::Word;
    use crate::piece;

    /// Returns the lines of texts of speakers, one word a second.
    fn lines(texts: &[(usize, &str)], max_columns: usize, max_lines: usize) -> Vec<String> {
        let words = texts.iter().flat_map(|(speaker, text)| {
            text.split(' ').map(|text| Word {
                id: 0,
                speaker: *speaker,
                text: text.to_owned(),
                start: Duration::ZERO,
                end: Duration::ZERO,
            })
        });
        let pieces: Vec<_> = words.flat_map(|word| piece::pieces(&word, max_columns)).collect();
        let pieces: Vec<_> = pieces.iter().collect();
        let label = |speaker| (speaker == 7).then(|| "Ada: ".to_owned());
        let layout = lay_out(&pieces, Room { max_columns, max_lines }, &label);
        layout.map_or_else(Vec::new, |layout| {
            layout.lines.into_iter().map(|line| line.text).collect()
        })
    }

    #[test]
    fn short_text_is_one_line() {
        assert_eq!(lines(&[(0, "a storm is moving east")], 37, 2), ["a storm is moving east"]);
    }

    #[test]
    fn lines_break_at_phrases() {
        assert_eq!(
            lines(&[(0, "the trains to london are running again because of repairs")], 37, 2),
            ["the trains to london", "are running again because of repairs"]
        );
        assert_eq!(
            lines(&[(0, "There is rain in the north, and snow will reach the south.")], 37, 2),
            ["There is rain in the north,", "and snow will reach the south."]
        );
    }

    #[test]
    fn articles_stay_with_their_nouns() {
        // A break after 37 columns would separate them.
        assert_eq!(
            lines(&[(0, "everybody in this town went to see the match tonight")], 38, 2),
            ["everybody in this town went", "to see the match tonight"]
        );
        // Nothing else fits.
        assert_eq!(lines(&[(0, "the extraordinary")], 14, 3), ["the", "extraordinary"]);
    }

    #[test]
    fn speakers_begin_with_dashes_or_labels() {
        assert_eq!(lines(&[(0, "are you sure"), (1, "yes")], 37, 2), ["- are you sure", "- yes"]);
        assert_eq!(
            lines(&[(7, "are you sure"), (1, "yes")], 37, 2),
            ["Ada: are you sure", "- yes"]
        );
        assert_eq!(lines(&[(7, "yes")], 37, 2), ["Ada: yes"]);
        // There is no room for the label.
        assert_eq!(lines(&[(7, "abcdefgh")], 10, 2), ["abcdefgh"]);
    }

    #[test]
    fn text_without_room_is_refused() {
        assert!(lines(&[(0, "one two three four five")], 10, 2).is_empty());
        assert!(lines(&[(0, "a"), (1, "b"), (2, "c")], 37, 2).is_empty());
    }
}
