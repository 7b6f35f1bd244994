// SPDX-License-Identifier: MPL-2.0

//! Quality of a break between two words, for lines and for cues.
//!
//! The BBC Subtitle Guidelines ("Break at natural points") and Netflix's Timed Text Style Guide
//! ("Line Treatment") agree: break after punctuation, else before a conjunction or preposition, and
//! never separate an article, a possessive, a number, or an auxiliary from the word after it. Words
//! that are not in the table are treated alike, so the table does not hinder other languages.

use std::time::Duration;

/// Words that belong to the next one: articles, determiners, possessives, titles, and numbers.
const BELONGS_TO_NEXT: &[&str] = &[
    "a", "an", "the", "this", "these", "those", "my", "your", "his", "her", "its", "our", "their",
    "no", "every", "each", "some", "any", "mr", "mr.", "mrs", "mrs.", "ms", "ms.", "dr", "dr.",
    "st", "st.", "very", "too", "not", "two", "three", "four", "five", "six", "seven", "eight",
    "nine", "ten", "eleven", "twelve", "twenty", "thirty", "forty", "fifty", "hundred",
];

/// Prepositions, conjunctions, auxiliaries, and pronouns, which lean on the next word.
const LEANS_ON_NEXT: &[&str] = &[
    "of", "to", "in", "on", "at", "by", "for", "from", "with", "into", "onto", "over", "under",
    "near", "towards", "between", "about", "against", "until", "and", "or", "but", "because", "if",
    "that", "which", "who", "when", "while", "as", "than", "is", "are", "was", "were", "am", "be",
    "been", "has", "have", "had", "will", "would", "can", "could", "should", "must", "may",
    "might", "do", "does", "did", "i", "you", "he", "she", "it", "we", "they", "i'm", "it's",
    "there",
];

/// Words before which a break is natural: conjunctions, prepositions, and auxiliaries.
const BEGINS_PHRASE: &[&str] = &[
    "and", "or", "but", "because", "so", "if", "that", "which", "who", "when", "while", "where",
    "until", "of", "to", "in", "on", "at", "by", "for", "from", "with", "into", "onto", "over",
    "under", "near", "towards", "between", "about", "against", "after", "before", "is", "are",
    "was", "were", "has", "have", "had", "will", "would", "can", "could", "should", "must",
];

/// A pause in speech that separates phrases.
const PHRASE_PAUSE: Duration = Duration::from_millis(300);

/// Quality of a break, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Break {
    /// After the end of a sentence.
    Sentence,
    /// After a comma, semicolon, colon, or dash.
    Clause,
    /// At a pause in the speech.
    Pause,
    /// Before a conjunction, preposition, or auxiliary.
    Phrase,
    /// Between other words.
    Word,
    /// After a preposition, a conjunction, an auxiliary, or a pronoun.
    Leaning,
    /// Between an article, a possessive, or a number and its noun, or within a word.
    Bound,
}

impl Break {
    /// Returns the quality of a break between two words with a pause between them.
    pub fn between(before: &str, after: &str, pause: Duration) -> Self {
        let word = before.trim_end_matches(['"', '\'', '”', '’', ')', ']', '»']);
        let before = normalized(before);
        // A title ends with a period, too.
        if BELONGS_TO_NEXT.contains(&before.as_str()) {
            return Self::Bound;
        }
        if word.ends_with(['.', '!', '?', '…', '。', '！', '？', '؟', '।']) {
            return Self::Sentence;
        }
        if word.ends_with([',', ';', ':', '–', '—', '-', '、', '，', '；', '：', '،', '؛'])
        {
            return Self::Clause;
        }
        let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        if is_number(&before) {
            return Self::Bound;
        }
        if LEANS_ON_NEXT.contains(&before.as_str()) {
            return Self::Leaning;
        }
        if pause >= PHRASE_PAUSE {
            return Self::Pause;
        }
        match BEGINS_PHRASE.contains(&normalized(after).as_str()) {
            true => Self::Phrase,
            false => Self::Word,
        }
    }

    /// Returns the cost of the break, by which alternatives are compared.
    pub fn cost(self) -> f64 {
        match self {
            Self::Sentence => 0.0,
            Self::Clause => 1.0,
            Self::Pause => 1.5,
            Self::Phrase => 2.0,
            Self::Word => 4.0,
            Self::Leaning => 8.0,
            Self::Bound => 40.0,
        }
    }
}

fn normalized(word: &str) -> String {
    let word = word.trim_start_matches(['"', '\'', '“', '‘', '(', '[', '«']);
    word.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_have_the_quality_of_the_table() {
        for (before, after, expected) in [
            ("race.", "The", Break::Sentence),
            ("\"race?\"", "he", Break::Sentence),
            ("rain,", "snow", Break::Clause),
            ("London", "because", Break::Phrase),
            ("trains", "to", Break::Phrase),
            ("buses", "run", Break::Word),
            ("to", "Vienna", Break::Leaning),
            ("we", "said", Break::Leaning),
            ("the", "marathon", Break::Bound),
            ("\"The", "marathon", Break::Bound),
            ("An", "accident", Break::Bound),
            ("Mr.", "Smith", Break::Bound),
            ("four", "degrees", Break::Bound),
            ("40", "degrees", Break::Bound),
            ("40.", "Then", Break::Sentence),
            ("their", "house", Break::Bound),
        ] {
            let found = Break::between(before, after, Duration::ZERO);
            assert_eq!(found, expected, "{before} | {after}");
        }
        assert_eq!(Break::between("buses", "run", PHRASE_PAUSE), Break::Pause);
        assert_eq!(Break::between("the", "run", PHRASE_PAUSE), Break::Bound);
    }

    #[test]
    fn better_breaks_cost_less() {
        let all = [
            Break::Sentence,
            Break::Clause,
            Break::Pause,
            Break::Phrase,
            Break::Word,
            Break::Leaning,
            Break::Bound,
        ];
        assert!(all.is_sorted_by(|a, b| a < b && a.cost() < b.cost()));
    }
}
