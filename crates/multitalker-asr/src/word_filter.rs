// SPDX-License-Identifier: MPL-2.0

//! A filter of words that shall not appear as they are, such as profanity.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::cancel::Canceller;
use crate::error::Error;
use crate::events::{Event, Word};
use crate::file;

/// Largest file that is read; 100,000 words have 1 MB.
const MAX_BYTES: u64 = 16 << 20;

const EXPECTED: &str = "UTF-8 text with a word on each line";

/// Text in place of a masked word.
const MASK: &str = "***";

/// Treatment of the words of a [`WordFilter`], with the names of Amazon Transcribe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterMethod {
    /// Three asterisks replace the word.
    #[default]
    Mask,
    /// The word is left out, and with it events that have no other words.
    Remove,
    /// The word stays, and [`Word::is_filtered`] marks it.
    Tag,
}

/// A filter of whole words. Case and the punctuation around a word do not matter.
#[derive(Clone, Debug)]
pub struct WordFilter {
    /// In the form of [`fold`].
    words: Arc<HashSet<String>>,
    method: FilterMethod,
}

impl WordFilter {
    /// Reads a list: a word on each line. Empty lines and lines that begin with `#` are ignored.
    ///
    /// # Errors
    /// [`Error::FileNotFound`], [`Error::UnreadableFile`] with the first line that is invalid, and
    /// [`Error::Canceled`].
    pub fn read(path: &Path, method: FilterMethod, canceller: &Canceller) -> Result<Self, Error> {
        let words = file::read_list(path, EXPECTED, MAX_BYTES, canceller, parse)?;
        Ok(Self::new(words, method))
    }

    /// Filters words in the form of [`fold`].
    fn new(words: Vec<String>, method: FilterMethod) -> Self {
        Self { words: Arc::new(words.into_iter().collect()), method }
    }

    /// Filters the words of events. Times and confidence stay.
    pub fn apply(&self, events: Vec<Event>) -> Vec<Event> {
        events.into_iter().filter_map(|event| self.filter_event(event)).collect()
    }

    fn filter_event(&self, event: Event) -> Option<Event> {
        match event {
            Event::Word { speaker, word } => {
                self.filter_word(word).map(|word| Event::Word { speaker, word })
            }
            Event::Segment(mut segment) => {
                segment.words = self.filter_words(segment.words);
                (!segment.words.is_empty()).then_some(Event::Segment(segment))
            }
            Event::Partial(mut partial) => {
                partial.words = self.filter_words(partial.words);
                (!partial.words.is_empty()).then_some(Event::Partial(partial))
            }
            event @ (Event::Activity(_) | Event::Turn(_)) => Some(event),
        }
    }

    fn filter_words(&self, words: Vec<Word>) -> Vec<Word> {
        words.into_iter().filter_map(|word| self.filter_word(word)).collect()
    }

    fn filter_word(&self, word: Word) -> Option<Word> {
        let (before, bare, after) = split(&word.text);
        if !self.words.contains(&fold(bare)) {
            return Some(word);
        }
        match self.method {
            FilterMethod::Mask => {
                let text = format!("{before}{MASK}{after}");
                Some(Word { text, is_filtered: true, ..word })
            }
            FilterMethod::Remove => None,
            FilterMethod::Tag => Some(Word { is_filtered: true, ..word }),
        }
    }
}

/// Returns the word of a line in the form of [`fold`], or `None` if it is not one word.
fn parse(line: &str) -> Option<String> {
    let (_, word, _) = split(line);
    (!word.is_empty() && !word.contains(char::is_whitespace)).then(|| fold(word))
}

/// Splits a word into the punctuation before it, the word, and the punctuation after it.
fn split(text: &str) -> (&str, &str, &str) {
    let bare = text.trim_start_matches(is_punctuation);
    let (before, _) = text.split_at(text.len() - bare.len());
    let word = bare.trim_end_matches(is_punctuation);
    let (_, after) = bare.split_at(word.len());
    (before, word, after)
}

fn is_punctuation(c: char) -> bool {
    !c.is_alphanumeric()
}

/// Removes differences of case, also those between letters with several lower-case forms.
fn fold(word: &str) -> String {
    word.to_uppercase().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Segment;

    fn filter(list: &str, method: FilterMethod) -> WordFilter {
        WordFilter::new(file::parse_list(list, parse).expect("a list"), method)
    }

    fn segment(text: &str) -> Event {
        let words = text.split(' ').enumerate().map(|(index, text)| Word {
            text: text.to_owned(),
            start_sample: index as u64,
            end_sample: index as u64 + 1,
            confidence: 0.5,
            is_filtered: false,
        });
        Event::Segment(Segment { speaker: 1, words: words.collect() })
    }

    /// The words, with the index that their time has, and whether they are marked.
    fn words(events: &[Event]) -> Vec<(&str, u64, bool)> {
        let words = events.iter().flat_map(|event| match event {
            Event::Segment(segment) => &segment.words[..],
            _ => panic!("{event:?}"),
        });
        words.map(|word| (word.text.as_str(), word.start_sample, word.is_filtered)).collect()
    }

    #[test]
    fn whole_words_are_filtered_whatever_their_case_and_punctuation() {
        let list = "\u{feff}# words\r\n\r\nDamn\r\nSTRASSE\nÉté\ndon't";
        let text = "damn, \"Damn!\" damned straße été. Don't damn-";
        let masked = filter(list, FilterMethod::Mask).apply(vec![segment(text)]);
        let expected = [
            ("***,", 0, true),
            ("\"***!\"", 1, true),
            ("damned", 2, false),
            ("***", 3, true),
            ("***.", 4, true),
            ("***", 5, true),
            ("***-", 6, true),
        ];
        assert_eq!(words(&masked), expected);
        let tagged = filter(list, FilterMethod::Tag).apply(vec![segment("damn, good")]);
        assert_eq!(words(&tagged), [("damn,", 0, true), ("good", 1, false)]);
    }

    #[test]
    fn removed_words_leave_the_others_and_no_empty_events() {
        let filter = filter("damn", FilterMethod::Remove);
        let events =
            filter.apply(vec![segment("oh Damn it"), segment("damn damn."), segment("ok")]);
        assert_eq!(words(&events), [("oh", 0, false), ("it", 2, false), ("ok", 0, false)]);
        assert_eq!(events.len(), 2);
        let Event::Segment(only) = segment("damn") else { unreachable!() };
        let word = Event::Word { speaker: 0, word: only.words[0].clone() };
        assert_eq!(filter.apply(vec![word]), []);
    }

    #[test]
    fn lines_that_are_no_word_are_named() {
        for line in ["two words", "...", "a\tb"] {
            let error = file::parse_list(&format!("one\n{line}"), parse).expect_err(line);
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }
}
