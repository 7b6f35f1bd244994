// SPDX-License-Identifier: MPL-2.0

//! Tokens to words and segments, with their times.

use super::config::{ENCODED_FRAME_MS, ENCODED_FRAME_SAMPLES, StreamOptions};
use super::error::Error;
use super::output::Output;
use super::rnnt::Token;
use super::tokenizer::{PieceKind, Tokenizer};

/// A word is complete when its speaker has added nothing to it for so many encoded frames.
const WORD_END_FRAMES: u64 = 5;

/// From the end of a word to the moment when it is known to be complete, in milliseconds of audio.
pub const WORD_END_MS: u32 = WORD_END_FRAMES as u32 * ENCODED_FRAME_MS;

/// From the start of a word to the moment when it is known to be complete, in milliseconds of
/// audio: for a word of up to 600 ms, which few exceed.
pub const WORD_LATENCY_MS: u32 = 600 + WORD_END_MS;

/// A finished word.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Its text, with the punctuation after it.
    pub text: String,
    /// Its first sample since the start of the stream.
    pub start_sample: u64,
    /// The sample after its last one; punctuation takes no time.
    pub end_sample: u64,
    /// Mean probability of its tokens, from 0 to 1.
    pub confidence: f32,
}

/// What one speaker said without a pause, at most a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Index of the speaker, in the order in which they first spoke.
    pub speaker: usize,
    /// At least one word.
    pub words: Vec<Word>,
}

/// The words so far of a segment that goes on; the last of them may still change.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// Index of the speaker.
    pub speaker: usize,
    /// At least one word.
    pub words: Vec<Word>,
}

impl Segment {
    /// The words with spaces between them.
    pub fn text(&self) -> String {
        join(&self.words)
    }

    /// The first sample of the first word.
    pub fn start_sample(&self) -> u64 {
        self.words.first().map_or(0, |word| word.start_sample)
    }

    /// The sample after the last word.
    pub fn end_sample(&self) -> u64 {
        self.words.last().map_or(0, |word| word.end_sample)
    }

    /// Mean confidence of the words, from 0 to 1.
    pub fn confidence(&self) -> f32 {
        self.words.iter().map(|word| word.confidence).sum::<f32>() / self.words.len().max(1) as f32
    }
}

impl Partial {
    /// The words with spaces between them.
    pub fn text(&self) -> String {
        join(&self.words)
    }
}

fn join(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// What turns pieces into text.
pub trait Vocabulary {
    /// What a piece means for the words around it.
    fn kind(&self, id: usize) -> PieceKind;

    /// The text of a few pieces.
    fn text(&self, ids: &[usize]) -> Result<String, Error>;
}

impl Vocabulary for Tokenizer {
    fn kind(&self, id: usize) -> PieceKind {
        self.kind(id)
    }

    fn text(&self, ids: &[usize]) -> Result<String, Error> {
        self.text(ids)
    }
}

/// Builds the words and segments of one speaker.
pub struct SpeakerTranscript {
    speaker: usize,
    pause_frames: u64,
    max_frames: u64,
    /// Tokens of the word that may still grow.
    open_word: Vec<Token>,
    /// The frame after the last token of `open_word` that is not punctuation.
    open_word_end: u64,
    /// Finished words of the segment that goes on.
    words: Vec<Word>,
    /// The frame after the last of `words`.
    segment_end: u64,
    changed: bool,
}

impl SpeakerTranscript {
    /// Nothing was said yet.
    pub fn new(speaker: usize, options: &StreamOptions) -> Self {
        Self {
            speaker,
            pause_frames: u64::from(options.segment_pause_ms.div_ceil(ENCODED_FRAME_MS)),
            max_frames: u64::from(options.max_segment_ms / ENCODED_FRAME_MS),
            open_word: Vec::new(),
            open_word_end: 0,
            words: Vec::new(),
            segment_end: 0,
            changed: false,
        }
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// Those of the vocabulary.
    pub fn push(
        &mut self,
        token: Token,
        vocabulary: &impl Vocabulary,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Error> {
        let kind = vocabulary.kind(token.id);
        if kind == PieceKind::WordStart {
            self.finish_word(vocabulary, outputs)?;
        }
        self.advance(token.frame, vocabulary, outputs)?;
        if kind == PieceKind::Punctuation && self.open_word.is_empty() {
            // After its word was told it has nothing left to belong to.
            return Ok(());
        }
        if kind != PieceKind::Punctuation {
            self.open_word_end = token.frame + 1;
            let start = self.open_segment_start();
            if start.is_some_and(|start| self.open_word_end - start > self.max_frames) {
                self.finish_segment(outputs);
            }
        }
        self.open_word.push(token);
        self.changed = true;
        Ok(())
    }

    /// Closes what no token from `frame` on can change.
    ///
    /// # Errors
    /// Those of the vocabulary.
    pub fn advance(
        &mut self,
        frame: u64,
        vocabulary: &impl Vocabulary,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Error> {
        if let (Some(first), Some(last)) = (self.open_word.first(), self.open_word.last()) {
            let is_over = frame >= last.frame + 1 + WORD_END_FRAMES;
            // No word is that long: the decoder repeats a piece, and would without an end.
            let is_endless = frame >= first.frame + self.max_frames;
            if is_over || is_endless {
                self.finish_word(vocabulary, outputs)?;
            }
        }
        if self.open_word.is_empty() && frame >= self.segment_end + self.pause_frames {
            self.finish_segment(outputs);
        }
        Ok(())
    }

    /// Closes everything.
    ///
    /// # Errors
    /// Those of the vocabulary.
    pub fn finish(
        &mut self,
        vocabulary: &impl Vocabulary,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Error> {
        self.finish_word(vocabulary, outputs)?;
        self.finish_segment(outputs);
        Ok(())
    }

    /// The words so far, if they changed since the last call.
    ///
    /// # Errors
    /// Those of the vocabulary.
    pub fn partial(&mut self, vocabulary: &impl Vocabulary) -> Result<Option<Partial>, Error> {
        if !std::mem::take(&mut self.changed) {
            return Ok(None);
        }
        let mut words = self.words.clone();
        words.extend(self.word_so_far(vocabulary)?);
        Ok((!words.is_empty()).then_some(Partial { speaker: self.speaker, words }))
    }

    /// First frame of the word that may still grow.
    pub fn open_word_start(&self) -> Option<u64> {
        self.open_word.first().map(|token| token.frame)
    }

    /// First frame of the segment that goes on.
    pub fn open_segment_start(&self) -> Option<u64> {
        let first = self.words.first().map(|word| word.start_sample / ENCODED_FRAME_SAMPLES);
        first.or(self.open_word_start())
    }

    fn word_so_far(&self, vocabulary: &impl Vocabulary) -> Result<Option<Word>, Error> {
        let Some(first) = self.open_word.first() else { return Ok(None) };
        let ids: Vec<usize> = self.open_word.iter().map(|token| token.id).collect();
        let text = vocabulary.text(&ids)?.trim().to_owned();
        let probabilities: f32 = self.open_word.iter().map(|token| token.probability).sum();
        Ok((!text.is_empty()).then_some(Word {
            text,
            start_sample: first.frame * ENCODED_FRAME_SAMPLES,
            end_sample: self.open_word_end * ENCODED_FRAME_SAMPLES,
            confidence: probabilities / self.open_word.len() as f32,
        }))
    }

    fn finish_word(
        &mut self,
        vocabulary: &impl Vocabulary,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Error> {
        let word = self.word_so_far(vocabulary)?;
        self.open_word.clear();
        let Some(word) = word else { return Ok(()) };
        let ends_sentence = word.text.ends_with(['.', '?', '!', '…']);
        self.segment_end = self.open_word_end;
        outputs.push(Output::Word { speaker: self.speaker, word: word.clone() });
        self.words.push(word);
        if ends_sentence {
            self.finish_segment(outputs);
        }
        Ok(())
    }

    fn finish_segment(&mut self, outputs: &mut Vec<Output>) {
        if !self.words.is_empty() {
            let words = std::mem::take(&mut self.words);
            outputs.push(Output::Segment(Segment { speaker: self.speaker, words }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces by their index; "_" begins a word.
    const PIECES: [&str; 8] = ["_a", "_b", "c", ".", ",", "_", "d", "_5"];

    struct Pieces;

    impl Vocabulary for Pieces {
        fn kind(&self, id: usize) -> PieceKind {
            match PIECES[id] {
                "." | "," => PieceKind::Punctuation,
                piece if piece.starts_with('_') => PieceKind::WordStart,
                _ => PieceKind::Continuation,
            }
        }

        fn text(&self, ids: &[usize]) -> Result<String, Error> {
            Ok(ids.iter().map(|&id| PIECES[id].replace('_', " ")).collect())
        }
    }

    fn options(pause_ms: u32, max_ms: u32) -> StreamOptions {
        StreamOptions { segment_pause_ms: pause_ms, max_segment_ms: max_ms, ..Default::default() }
    }

    /// (piece, frame) pairs to "word@start-end" and "|" for the end of a segment.
    fn told(tokens: &[(&str, u64)], options: &StreamOptions) -> String {
        let mut transcript = SpeakerTranscript::new(0, options);
        let mut outputs = Vec::new();
        for &(piece, frame) in tokens {
            let id = PIECES.iter().position(|p| *p == piece).expect("a piece");
            let token = Token { id, frame, probability: 0.5 };
            transcript.push(token, &Pieces, &mut outputs).expect("pieces have text");
        }
        transcript.finish(&Pieces, &mut outputs).expect("pieces have text");
        let frame = |sample: u64| sample / ENCODED_FRAME_SAMPLES;
        let parts = outputs.iter().map(|output| match output {
            Output::Word { word, .. } => {
                format!("{}@{}-{}", word.text, frame(word.start_sample), frame(word.end_sample))
            }
            Output::Segment(_) => "|".to_owned(),
            Output::Partial(_) => "partial".to_owned(),
        });
        parts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn pieces_become_words() {
        let told = told(&[("_a", 1), ("c", 2), ("_b", 3)], &options(800, 10_000));
        assert_eq!(told, "ac@1-3 b@3-4 |");
    }

    #[test]
    fn punctuation_belongs_to_the_word_and_takes_no_time() {
        let told = told(&[("_a", 1), (",", 4), ("_b", 5)], &options(800, 10_000));
        assert_eq!(told, "a,@1-2 b@5-6 |");
    }

    #[test]
    fn sentence_end_closes_the_segment() {
        let told = told(&[("_a", 1), (".", 1), ("_b", 2)], &options(800, 10_000));
        assert_eq!(told, "a.@1-2 | b@2-3 |");
    }

    #[test]
    fn mark_within_a_number_ends_nothing() {
        let told = told(&[("_5", 1), (".", 1), ("d", 2), ("_b", 3)], &options(800, 10_000));
        assert_eq!(told, "5.d@1-3 b@3-4 |");
    }

    #[test]
    fn pause_closes_the_segment() {
        let told = told(&[("_a", 0), ("_b", 10), ("_a", 21)], &options(800, 10_000));
        assert_eq!(told, "a@0-1 b@10-11 | a@21-22 |");
    }

    #[test]
    fn short_pause_closes_the_segment_before_the_next_word() {
        let words = [("_a", 0), ("_b", 2), ("_a", 4)];
        assert_eq!(told(&words, &options(100, 10_000)), "a@0-1 b@2-3 a@4-5 |");
        assert_eq!(told(&words, &options(80, 10_000)), "a@0-1 | b@2-3 | a@4-5 |");
        assert_eq!(told(&words, &options(0, 10_000)), "a@0-1 | b@2-3 | a@4-5 |");
    }

    #[test]
    fn pieces_without_an_end_are_cut_to_segments() {
        let pieces: Vec<_> =
            (0..30).map(|frame| (["c", "_a"][usize::from(frame == 0)], frame)).collect();
        let word = |pieces: usize| "c".repeat(pieces);
        let expected = format!("a{}@0-12 | {}@12-24 | {}@24-30 |", word(11), word(12), word(6));
        assert_eq!(told(&pieces, &options(800, 1000)), expected);
    }

    #[test]
    fn word_waits_no_longer_than_its_limit() {
        let late = 1 + WORD_END_FRAMES;
        let options = options(800, 10_000);
        assert_eq!(told(&[("_a", 0), ("c", late - 1)], &options), "ac@0-6 |");
        assert_eq!(told(&[("_a", 0), ("c", late)], &options), "a@0-1 c@6-7 |");
        assert_eq!(told(&[("_a", 0), (".", late)], &options), "a@0-1 |", "the mark is too late");
    }

    #[test]
    fn long_segment_closes_before_the_word_that_is_too_much() {
        let told = told(&[("_a", 0), ("_b", 6), ("_a", 12), ("_b", 13)], &options(800, 1000));
        assert_eq!(told, "a@0-1 b@6-7 | a@12-13 b@13-14 |");
    }

    #[test]
    fn long_segment_closes_with_the_piece_that_is_too_much() {
        let mut transcript = SpeakerTranscript::new(0, &options(800, 1000));
        let mut outputs = Vec::new();
        for (id, frame) in [(0, 0), (1, 6), (0, 11), (2, 12)] {
            assert!(!outputs.iter().any(|output| matches!(output, Output::Segment(_))));
            let token = Token { id, frame, probability: 0.5 };
            transcript.push(token, &Pieces, &mut outputs).expect("text");
        }
        assert!(
            matches!(outputs.last(), Some(Output::Segment(segment)) if segment.text() == "a b")
        );
        assert_eq!(transcript.open_segment_start(), Some(11));
    }

    #[test]
    fn piece_without_text_is_no_word() {
        let told = told(&[("_", 0), ("_a", 1), ("_", 2), ("c", 3)], &options(800, 10_000));
        assert_eq!(told, "a@1-2 c@2-4 |");
    }

    #[test]
    fn advance_closes_without_a_token() {
        let mut transcript = SpeakerTranscript::new(2, &options(800, 10_000));
        let mut outputs = Vec::new();
        let token = |id, frame, probability| Token { id, frame, probability };
        transcript.push(token(0, 3, 0.25), &Pieces, &mut outputs).expect("text");
        transcript.push(token(2, 4, 0.75), &Pieces, &mut outputs).expect("text");
        let partial = transcript.partial(&Pieces).expect("text").expect("changed");
        assert_eq!(partial.text(), "ac");
        assert!(transcript.partial(&Pieces).expect("text").is_none(), "told once");
        transcript.advance(4 + WORD_END_FRAMES, &Pieces, &mut outputs).expect("text");
        assert!(outputs.is_empty());
        assert_eq!(transcript.open_word_start(), Some(3));
        transcript.advance(5 + WORD_END_FRAMES, &Pieces, &mut outputs).expect("text");
        assert!(
            matches!(&outputs[..], [Output::Word { speaker: 2, word }] if word.confidence == 0.5)
        );
        assert_eq!(
            (transcript.open_word_start(), transcript.open_segment_start()),
            (None, Some(3))
        );
        transcript.advance(15, &Pieces, &mut outputs).expect("text");
        assert!(matches!(outputs.last(), Some(Output::Segment(segment)) if segment.text() == "ac"));
        assert_eq!(transcript.open_segment_start(), None);
    }
}
