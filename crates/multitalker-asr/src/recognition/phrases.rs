// SPDX-License-Identifier: MPL-2.0

//! Lists of phrases to boost, as text files.

use std::path::Path;

use crate::cancel::Canceller;
use crate::error::Error;
use crate::file;

/// Largest file that is read, 50,000 phrases. Each byte may become a state of the tree.
const MAX_BYTES: u64 = 1 << 20;

const EXPECTED: &str =
    "UTF-8 text with a phrase on each line, and optionally its score, up to 100, after a tab";

/// Largest score of a phrase.
const MAX_SCORE: f64 = 100.0;

/// A phrase to boost.
#[derive(Clone, Debug, PartialEq)]
pub struct Phrase {
    /// Words as the recognizer spells them.
    pub text: String,
    /// Replaces [`BoostingOptions::context_score`](crate::BoostingOptions) for this
    /// phrase; above 0 and at most 100.
    pub score: Option<f64>,
}

impl Phrase {
    /// Reads a list: a phrase on each line, with its score after a tab or, as in the lists of
    /// sherpa-onnx, after ` :`. Empty lines and lines that begin with `#` are ignored.
    ///
    /// # Errors
    /// [`Error::FileNotFound`], [`Error::UnreadableFile`] with the first line that is invalid, and
    /// [`Error::Canceled`].
    pub fn read_list(path: &Path, canceller: &Canceller) -> Result<Vec<Self>, Error> {
        file::read_list(path, EXPECTED, MAX_BYTES, canceller, Self::parse)
    }

    /// Parses a line of a list, or returns `None` if it has no text or its score is invalid.
    pub fn parse(line: &str) -> Option<Self> {
        let (text, score) = match line.split_once('\t').or_else(|| line.rsplit_once(" :")) {
            None => (line, None),
            Some((text, score)) => (text, Some(score.trim().parse().ok()?)),
        };
        let is_score = |score: &f64| *score > 0.0 && *score <= MAX_SCORE;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (!text.is_empty() && score.as_ref().is_none_or(is_score)).then_some(Self { text, score })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase(text: &str, score: Option<f64>) -> Phrase {
        Phrase { text: text.to_owned(), score }
    }

    #[test]
    fn lists_of_others_are_read() {
        let list =
            "\u{feff}# guests\r\nAda Lovelace\r\n\r\nC#\t2.5\n  Grace   Hopper :1.5 \nat 10:30";
        let expected = [
            phrase("Ada Lovelace", None),
            phrase("C#", Some(2.5)),
            phrase("Grace Hopper", Some(1.5)),
            phrase("at 10:30", None),
        ];
        assert_eq!(file::parse_list(list, Phrase::parse).expect("a list"), expected);
        assert_eq!(file::parse_list("", Phrase::parse).expect("an empty list"), []);
    }

    #[test]
    fn scores_that_are_none_name_their_line() {
        for line in
            ["word\tmany", "word\t0", "word\t-1", "word :nan", "word\tinf", "word\t101", "a\t1\t2"]
        {
            let error = file::parse_list(&format!("first\n{line}"), Phrase::parse).expect_err(line);
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }
}
