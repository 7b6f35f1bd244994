// SPDX-License-Identifier: MPL-2.0

//! Width of text in columns.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Returns the width of text in columns.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Returns the number of characters that a reader sees.
pub fn characters(text: &str) -> usize {
    text.graphemes(true).count()
}

/// Splits a word into pieces of at most `max_columns`, between characters that a reader sees; within
/// one only if it is wider than a line.
pub fn split(word: &str, max_columns: usize) -> Vec<String> {
    if width(word) <= max_columns {
        return vec![word.to_owned()];
    }
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut push = |part: &str| {
        piece.push_str(part);
        // The width of a text may differ from the sum of the widths of its parts.
        if width(&piece) > max_columns && piece.len() > part.len() {
            piece.truncate(piece.len() - part.len());
            pieces.push(std::mem::replace(&mut piece, part.to_owned()));
        }
    };
    for grapheme in word.graphemes(true) {
        if width(grapheme) <= max_columns {
            push(grapheme);
        } else {
            let mut bytes = [0; 4];
            grapheme.chars().for_each(|char| push(char.encode_utf8(&mut bytes)));
        }
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_between_visible_characters() {
        assert_eq!(split("short", 10), ["short"]);
        assert_eq!(split("abcdefghijkl", 10), ["abcdefghij", "kl"]);
        // Two columns each.
        assert_eq!(split("漢字漢字漢字", 5), ["漢字", "漢字", "漢字"]);
        // An e and an accent above it stay together.
        assert_eq!(split("abcde\u{301}f", 5), ["abcde\u{301}", "f"]);
        assert_eq!(split("", 5), [""]);
    }

    #[test]
    fn a_character_wider_than_a_line_is_split() {
        let jamo = "\u{1100}".repeat(40);
        for piece in split(&jamo, 10) {
            assert!(width(&piece) <= 10, "{piece}");
        }
    }
}
