// SPDX-License-Identifier: MPL-2.0

//! Pieces of words that fit on a line.

use std::time::Duration;

use crate::columns;
use crate::cue::Word;

/// A word, or a part of one that is too long for a line or contains spaces.
#[derive(Clone, Debug)]
pub struct Piece {
    pub id: u64,
    pub speaker: usize,
    pub text: String,
    /// Width in columns.
    pub width: usize,
    /// Number of characters that a reader sees.
    pub characters: usize,
    /// Start of the whole word, by which words are ordered.
    pub word_start: Duration,
    pub start: Duration,
    pub end: Duration,
    /// Whether it is the first piece of its word.
    pub is_first: bool,
    /// Whether it continues the piece before it within a word.
    pub is_continuation: bool,
}

/// Splits a word into pieces of at most `max_columns`, which share its time. There is none if the
/// word has no text.
pub fn pieces(word: &Word, max_columns: usize) -> Vec<Piece> {
    let visible: String = word
        .text
        .chars()
        .map(|char| if char.is_whitespace() { ' ' } else { char })
        .filter(|char| !char.is_control())
        .collect();
    let parts: Vec<_> = visible
        .split_whitespace()
        .flat_map(|part| {
            let pieces = columns::split(part, max_columns).into_iter().enumerate();
            pieces.map(|(index, piece)| (piece, index > 0))
        })
        .collect();
    let duration = word.end.saturating_sub(word.start);
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX).max(1);
    let time = |index: u32| word.start.saturating_add((duration / count).saturating_mul(index));
    parts
        .into_iter()
        .zip(0..)
        .map(|((text, is_continuation), index)| Piece {
            id: word.id,
            speaker: word.speaker,
            width: columns::width(&text),
            characters: columns::characters(&text),
            text,
            word_start: word.start,
            start: time(index),
            end: if index + 1 == count { word.start + duration } else { time(index + 1) },
            is_first: index == 0,
            is_continuation,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_share_the_time_of_their_word() {
        let seconds = Duration::from_secs;
        let text = "one\ttwo\u{7} abcdefghijkl".to_owned();
        let word = Word { id: 7, speaker: 1, text, start: seconds(4), end: seconds(12) };
        let found: Vec<_> = pieces(&word, 10)
            .into_iter()
            .map(|piece| (piece.text, piece.start, piece.end, piece.is_continuation))
            .collect();
        assert_eq!(
            found,
            [
                ("one".to_owned(), seconds(4), seconds(6), false),
                ("two".to_owned(), seconds(6), seconds(8), false),
                ("abcdefghij".to_owned(), seconds(8), seconds(10), false),
                ("kl".to_owned(), seconds(10), seconds(12), true),
            ]
        );
        let word = Word { text: " \n\u{0}".to_owned(), ..word };
        assert!(pieces(&word, 10).is_empty());
    }
}
