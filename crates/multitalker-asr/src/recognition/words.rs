// SPDX-License-Identifier: MPL-2.0

//! Tokens to words and segments, with their times.

use crate::error::Error;
use crate::events::{Event, Partial, Segment, Token, Word};
use crate::options::{ENCODED_FRAME_MS, ENCODED_FRAME_SAMPLES, StreamOptions};
use crate::recognition::tokenizer::{PieceKind, Vocabulary};

#[cfg(test)]
mod tests;

/// Number of encoded frames without a new token after which a word is complete.
const WORD_END_FRAMES: u64 = 5;

/// Time from the end of a word until it is complete, in milliseconds of audio.
pub const WORD_END_MS: u32 = WORD_END_FRAMES as u32 * ENCODED_FRAME_MS;

/// Time from the start of a word of up to 600 ms, which few words exceed, until it is complete, in
/// milliseconds of audio.
pub const WORD_LATENCY_MS: u32 = 600 + WORD_END_MS;

/// Builds the words and segments of one speaker.
pub struct SpeakerTranscript {
    speaker: usize,
    pause_frames: u64,
    max_frames: u64,
    /// Tokens of the open word.
    open_word: Vec<Token>,
    /// The frame after the last token of `open_word` that is not punctuation.
    open_word_end: u64,
    /// Finished words of the open segment.
    words: Vec<Word>,
    /// The frame after the last of `words`.
    segment_end: u64,
    /// Frame of a mark that ended the sentence after its word was finished. The segment closes after
    /// that frame, in which more marks may follow.
    sentence_end: Option<u64>,
    changed: bool,
}

impl SpeakerTranscript {
    /// Creates the transcript before the first token.
    pub fn new(speaker: usize, options: &StreamOptions) -> Self {
        Self {
            speaker,
            pause_frames: u64::from(options.segment_pause_ms.div_ceil(ENCODED_FRAME_MS)),
            max_frames: u64::from(options.max_segment_ms / ENCODED_FRAME_MS),
            open_word: Vec::new(),
            open_word_end: 0,
            words: Vec::new(),
            segment_end: 0,
            sentence_end: None,
            changed: false,
        }
    }

    /// Adds the next token, and emits finished words and segments.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] of [`Vocabulary::text`], which costs the text of one word or mark.
    pub fn push(
        &mut self,
        token: Token,
        vocabulary: &impl Vocabulary,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let kind = vocabulary.kind(token.id);
        let finished = match kind {
            PieceKind::WordStart => self.finish_word(vocabulary, events),
            PieceKind::Continuation | PieceKind::Punctuation => Ok(()),
        };
        let advanced = self.advance(token.frame, vocabulary, events);
        let result = finished.and(advanced);
        if kind == PieceKind::Punctuation && self.open_word.is_empty() {
            return result.and(self.add_late_mark(token, vocabulary));
        }
        if kind != PieceKind::Punctuation {
            self.open_word_end = token.frame + 1;
            let start = self.open_segment_start();
            let is_too_long =
                start.is_some_and(|start| self.open_word_end - start > self.max_frames);
            if is_too_long || self.sentence_end.is_some() {
                self.finish_segment(events);
            }
        }
        self.open_word.push(token);
        self.changed = true;
        result
    }

    /// Closes the word and the segment that tokens from `frame` on cannot extend.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] of [`Vocabulary::text`], which costs the text of one word.
    pub fn advance(
        &mut self,
        frame: u64,
        vocabulary: &impl Vocabulary,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        if let (Some(first), Some(last)) = (self.open_word.first(), self.open_word.last()) {
            let is_over = frame >= last.frame + 1 + WORD_END_FRAMES;
            // No word is that long: the decoder repeats a piece endlessly.
            let is_endless = frame >= first.frame + self.max_frames;
            if is_over || is_endless {
                result = self.finish_word(vocabulary, events);
            }
        }
        let is_pause = frame >= self.segment_end + self.pause_frames;
        let is_sentence_over = self.sentence_end.is_some_and(|mark| frame > mark);
        if self.open_word.is_empty() && (is_pause || is_sentence_over) {
            self.finish_segment(events);
        }
        result
    }

    /// Closes the word and the segment.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] of [`Vocabulary::text`], which costs the text of the last word.
    pub fn finish(
        &mut self,
        vocabulary: &impl Vocabulary,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let result = self.finish_word(vocabulary, events);
        self.finish_segment(events);
        result
    }

    /// Returns the words of the open segment if they changed since the last call.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] of [`Vocabulary::text`] for the open word.
    pub fn partial(&mut self, vocabulary: &impl Vocabulary) -> Result<Option<Partial>, Error> {
        if !std::mem::take(&mut self.changed) {
            return Ok(None);
        }
        let mut words = self.words.clone();
        words.extend(self.word_so_far(vocabulary)?);
        Ok((!words.is_empty()).then_some(Partial { speaker: self.speaker, words }))
    }

    /// Returns the first frame of the open word.
    pub fn open_word_start(&self) -> Option<u64> {
        self.open_word.first().map(|token| token.frame)
    }

    /// Returns the first frame of the open segment.
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
            is_filtered: false,
        }))
    }

    /// Adds a mark to the last word of the open segment, or drops it if there is none.
    fn add_late_mark(&mut self, token: Token, vocabulary: &impl Vocabulary) -> Result<(), Error> {
        let Some(word) = self.words.last_mut() else { return Ok(()) };
        word.text.push_str(vocabulary.text(&[token.id])?.trim());
        if ends_sentence(&word.text) {
            self.sentence_end = Some(token.frame);
        }
        self.changed = true;
        Ok(())
    }

    fn finish_word(
        &mut self,
        vocabulary: &impl Vocabulary,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let word = self.word_so_far(vocabulary);
        self.open_word.clear();
        let Some(word) = word? else { return Ok(()) };
        let ends_sentence = ends_sentence(&word.text);
        self.segment_end = self.open_word_end;
        events.push(Event::Word { speaker: self.speaker, word: word.clone() });
        self.words.push(word);
        if ends_sentence {
            self.finish_segment(events);
        }
        Ok(())
    }

    fn finish_segment(&mut self, events: &mut Vec<Event>) {
        self.sentence_end = None;
        if !self.words.is_empty() {
            let words = std::mem::take(&mut self.words);
            events.push(Event::Segment(Segment { speaker: self.speaker, words }));
        }
    }
}

fn ends_sentence(text: &str) -> bool {
    text.ends_with(['.', '?', '!', '…'])
}
