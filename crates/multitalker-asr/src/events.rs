// SPDX-License-Identifier: MPL-2.0

//! Results of a stream. Positions are samples at 16 kHz since the start of the stream.

/// A result of a stream, in the order in which it became final.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A finished word, emitted once. The same word in its [`Segment`] also has any punctuation
    /// marks that the decoder emits later.
    Word {
        /// Index of the speaker, from 0, in the order in which they first spoke.
        speaker: usize,
        /// The word.
        word: Word,
    },
    /// A finished segment. Each of its words was emitted before as [`Event::Word`], without the
    /// late punctuation marks.
    Segment(Segment),
    /// The words so far of an open segment, emitted once per chunk if they changed.
    Partial(Partial),
    /// Other speakers are active than before; only without a recognizer.
    Activity(Activity),
    /// A finished turn; only without a recognizer.
    Turn(Turn),
}

/// A word with its time and confidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Text with the punctuation after it; never empty.
    pub text: String,
    /// First sample.
    pub start_sample: u64,
    /// The sample after the last one, greater than `start_sample`; punctuation takes no time.
    pub end_sample: u64,
    /// Mean probability of the tokens, from 0 to 1.
    pub confidence: f32,
    /// Whether a [`WordFilter`](crate::WordFilter) masked or tagged it.
    pub is_filtered: bool,
}

/// Words of one speaker without a pause, at most a sentence.
///
/// The decoder often emits a punctuation mark later than its word. A mark that arrives after its
/// word was emitted and before its segment closes is in the text of the word here but not in
/// [`Event::Word`]; times and confidence are the same in both.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Index of the speaker, from 0, in the order in which they first spoke.
    pub speaker: usize,
    /// At least one word, in order.
    pub words: Vec<Word>,
}

/// The words so far of an open segment; the last of them may still change.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// Index of the speaker, from 0, in the order in which they first spoke.
    pub speaker: usize,
    /// At least one word, in order.
    pub words: Vec<Word>,
}

/// The speakers who are active from a sample on, until the next of these events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// First sample.
    pub start_sample: u64,
    /// Indices of the speakers, in ascending order; empty in silence.
    pub speakers: Vec<usize>,
}

/// A stretch of time in which one speaker is active without a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Index of the speaker, from 0, in the order in which they first spoke.
    pub speaker: usize,
    /// First sample.
    pub start_sample: u64,
    /// The sample after the last one, greater than `start_sample`.
    pub end_sample: u64,
}

/// Progress of a stream, in samples since its start: `segments <= words <= decoded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The audio before this sample is decoded.
    pub decoded: u64,
    /// No word that starts before this sample will be emitted.
    pub words: u64,
    /// No segment that starts before this sample will be emitted.
    pub segments: u64,
}

/// A piece of a word, as the decoder emits it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// Index in the vocabulary.
    pub id: usize,
    /// Index of the encoded frame of 80 ms that emitted it, since the start of the stream.
    pub frame: u64,
    /// Probability among all tokens and the blank, from 0 to 1.
    pub probability: f32,
}

impl Segment {
    /// Returns the words, separated by spaces.
    pub fn text(&self) -> String {
        join(&self.words)
    }

    /// Returns the first sample of the first word.
    pub fn start_sample(&self) -> u64 {
        self.words.first().map_or(0, |word| word.start_sample)
    }

    /// Returns the sample after the last word.
    pub fn end_sample(&self) -> u64 {
        self.words.last().map_or(0, |word| word.end_sample)
    }
}

impl Partial {
    /// Returns the words, separated by spaces.
    pub fn text(&self) -> String {
        join(&self.words)
    }
}

fn join(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}
