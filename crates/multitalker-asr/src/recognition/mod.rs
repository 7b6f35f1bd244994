// SPDX-License-Identifier: MPL-2.0

//! The recognizer of one stream. It decides which speakers run on which chunks, groups the runs,
//! and keeps the state of each speaker.

pub mod batching;
pub mod boosting;
pub mod decoding;
pub mod networks;
pub mod phrases;
mod speaker;
pub mod targets;
pub mod tokenizer;
pub mod transducer;
pub mod words;

#[cfg(test)]
mod tests;

use std::ops::Range;

use ndarray::ArrayView2;

use crate::error::Error;
use crate::events::{Event, Progress, Token};
use crate::features::FRAMES_PER_ENCODED_FRAME;
use crate::features::frame_buffer::FrameBuffer;
use crate::options::{ENCODED_FRAME_SAMPLES, StreamOptions};
use crate::recognition::batching::{EncoderRun, chunk_features, encoder_runs, gated_speakers};
use crate::recognition::decoding::DecodingStrategy;
use crate::recognition::networks::{EncoderNetwork, JointNetwork};
use crate::recognition::speaker::{Speaker, decode};
use crate::recognition::targets::Targets;
use crate::recognition::tokenizer::Vocabulary;
use crate::trace::{SpeakerTrace, Trace};

/// A recognizer with one instance of the networks' state per speaker.
pub struct Recognizer<E: EncoderNetwork, J: JointNetwork, D: DecodingStrategy, V> {
    options: StreamOptions,
    encoder: E,
    joint: J,
    strategy: D,
    vocabulary: V,
    /// Whether a diarizer supplies probabilities; otherwise the only speaker always speaks.
    is_diarized: bool,
    /// Probabilities, `[frames, speakers]`.
    probabilities: FrameBuffer,
    /// State of each speaker by index; `None` before the speaker first runs.
    speakers: Vec<Option<Speaker<E::Cache, J, D>>>,
    next_chunk: u64,
    progress: Progress,
    /// Events that were not taken yet.
    events: Vec<Event>,
    trace: Option<Trace>,
}

impl<E, J, D, V> Recognizer<E, J, D, V>
where
    E: EncoderNetwork<Cache: Send>,
    J: JointNetwork<State: Send> + Sync,
    D: DecodingStrategy<State: Send> + Sync,
    V: Vocabulary,
{
    /// Creates a recognizer before the first sample, for the number of `diarized` speakers, or for
    /// one speaker without a diarizer.
    pub fn new(
        encoder: E,
        joint: J,
        strategy: D,
        vocabulary: V,
        diarized: Option<usize>,
        options: StreamOptions,
    ) -> Self {
        let speakers = diarized.unwrap_or(1);
        Self {
            options,
            encoder,
            joint,
            strategy,
            vocabulary,
            is_diarized: diarized.is_some(),
            probabilities: FrameBuffer::new(speakers),
            speakers: (0..speakers).map(|_| None).collect(),
            next_chunk: 0,
            progress: Progress::default(),
            events: Vec::new(),
            trace: None,
        }
    }

    /// Returns to the state before the first sample. The trace stays enabled.
    pub fn reset(&mut self) {
        self.probabilities.reset();
        self.speakers.iter_mut().for_each(|speaker| *speaker = None);
        self.next_chunk = 0;
        self.progress = Progress::default();
        self.events.clear();
        if self.trace.is_some() {
            self.enable_trace();
        }
    }

    /// Decodes with another strategy from the next run on. Every speaker's context begins again.
    pub fn set_strategy(&mut self, strategy: D) {
        self.strategy = strategy;
        for speaker in self.speakers.iter_mut().flatten() {
            speaker.reset_context(&self.strategy);
        }
    }

    /// Keeps intermediate results from now on.
    pub fn enable_trace(&mut self) {
        let speakers = vec![SpeakerTrace::default(); self.speakers.len()];
        self.trace = Some(Trace { speakers, ..Trace::default() });
    }

    /// Returns the intermediate results since [`Self::enable_trace`].
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// Returns the trace for results of other stages.
    pub fn trace_mut(&mut self) -> Option<&mut Trace> {
        self.trace.as_mut()
    }

    /// Returns the progress of the recognizer.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Returns the events since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Appends the probabilities of the next frames, `[frames, speakers]`.
    pub fn add_probabilities(&mut self, rows: ArrayView2<'_, f32>) {
        self.probabilities.append(rows);
        if let Some(trace) = &mut self.trace {
            trace.probabilities.extend(rows);
        }
    }

    /// Returns the next chunks whose features and probabilities are complete, at most as many as
    /// one run takes. When the audio has `ended`, its last chunk may be shorter.
    pub fn ready_chunks(&self, features: &FrameBuffer, ended: bool) -> Range<u64> {
        let known = features.end();
        let chunk_frames = self.options.chunk_latency.encoded_frames();
        let limit = self.next_chunk.saturating_add(self.encoder.max_chunks(chunk_frames) as u64);
        let mel_frames = self.options.chunk_latency.mel_frames() as u64;
        let ready = |&chunk: &u64| {
            let complete = (chunk + 1) * mel_frames <= known;
            let left = ended && chunk * mel_frames < known;
            let diarized = self.frames(chunk, known).end <= self.probabilities.end();
            (complete || left) && (diarized || !self.is_diarized)
        };
        match (self.next_chunk..limit).find(|chunk| !ready(chunk)) {
            None => self.next_chunk..limit,
            Some(_) if self.options.fill_batches && !ended => self.next_chunk..self.next_chunk,
            Some(end) => self.next_chunk..end,
        }
    }

    /// Encodes and decodes `chunks`, which must be [`Self::ready_chunks`].
    ///
    /// # Errors
    /// The first error of [`EncoderNetwork::run`], [`JointNetwork::run`] or [`Vocabulary::text`].
    /// The events include all text that was decoded before the error, and the text of other
    /// speakers.
    pub fn run(&mut self, chunks: Range<u64>, features: &FrameBuffer) -> Result<(), Error> {
        let frames: Vec<_> =
            chunks.clone().map(|chunk| self.frames(chunk, features.end())).collect();
        let gated: Vec<_> = frames.iter().map(|frames| self.gated(frames)).collect();
        let runs = encoder_runs(&gated, self.encoder.takes_several_speakers());
        let encoded = runs.iter().try_for_each(|run| self.encode(run, &frames, &gated, features));
        let mut decoded = decode(&mut self.speakers, &self.joint, &self.strategy, &frames, &gated);
        let mut result = Ok(());
        let mut is_complete = true;
        for ((chunk, frames), speakers) in chunks.zip(&frames).zip(&gated) {
            for &index in speakers {
                let decoded = &mut decoded[index];
                match decoded.chunks.pop_front() {
                    Some(tokens) => result = result.and(self.emit(index, chunk, &tokens)),
                    // An error of the encoder precedes this chunk.
                    None => is_complete &= encoded.is_ok(),
                }
                if let Some(error) = decoded.error.take_if(|_| decoded.chunks.is_empty()) {
                    result = result.and(Err(error));
                }
            }
            is_complete &= result.is_ok();
            if is_complete {
                self.next_chunk += 1;
                result = self.advance_transcripts(frames.end);
            }
        }
        let previous_chunk = self.next_chunk.saturating_sub(1);
        self.probabilities.discard_before(previous_chunk * self.chunk_frames());
        result.and(encoded)
    }

    /// Closes all segments; `end` is the number of samples in the audio.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`], the first of [`Vocabulary::text`], which costs the text of one
    /// word.
    pub fn finish(&mut self, end: u64) -> Result<(), Error> {
        let mut result = Ok(());
        for speaker in self.speakers.iter_mut().flatten() {
            let finished = speaker.transcript.finish(&self.vocabulary, &mut self.events);
            result = result.and(finished);
        }
        self.progress = Progress { decoded: end, words: end, segments: end };
        result
    }

    /// Returns the first mel frame that a later run needs.
    pub fn needs_from(&self) -> u64 {
        let context = self.encoder.left_context_mel_frames() as u64;
        (self.next_chunk * self.options.chunk_latency.mel_frames() as u64).saturating_sub(context)
    }

    fn chunk_frames(&self) -> u64 {
        self.options.chunk_latency.encoded_frames() as u64
    }

    /// Returns the encoded frames of `chunk` in audio of `mel_frames`.
    fn frames(&self, chunk: u64, mel_frames: u64) -> Range<u64> {
        let known = mel_frames.div_ceil(FRAMES_PER_ENCODED_FRAME as u64);
        chunk * self.chunk_frames()..((chunk + 1) * self.chunk_frames()).min(known)
    }

    /// Returns the speakers that run on the chunk of these `frames`.
    fn gated(&self, frames: &Range<u64>) -> Vec<usize> {
        if !self.is_diarized {
            return vec![0];
        }
        let with_previous_chunk = frames.start.saturating_sub(self.chunk_frames())..frames.end;
        let probabilities = self.probabilities.get(with_previous_chunk);
        gated_speakers(probabilities, self.options.activity_threshold)
    }

    /// Returns the targets of `speakers` in neighboring chunks with these `frames`, in each of which
    /// the speakers `gated` run.
    fn targets(&self, speakers: &[usize], frames: &[Range<u64>], gated: &[Vec<usize>]) -> Targets {
        let length = |frames: &Range<u64>| (frames.end - frames.start) as usize;
        let all_frames = frames.iter().map(length).sum();
        if !self.is_diarized {
            return Targets::single_speaker(all_frames);
        }
        let mut targets = Targets::new(speakers.len(), all_frames);
        let mut start = 0;
        for (frames, gated) in frames.iter().zip(gated) {
            let columns = start..start + length(frames);
            start = columns.end;
            let probabilities = self.probabilities.get(frames.clone());
            for (row, &speaker) in speakers.iter().enumerate() {
                let place = (row, columns.clone());
                targets.set(place, speaker, probabilities, gated, &self.options);
            }
        }
        targets
    }

    /// Makes one run of the encoder in a group of chunks with these `frames`, in each of which the
    /// speakers `gated` run.
    fn encode(
        &mut self,
        run: &EncoderRun,
        frames: &[Range<u64>],
        gated: &[Vec<usize>],
        features: &FrameBuffer,
    ) -> Result<(), Error> {
        let (frames, gated) = (&frames[run.chunks.clone()], &gated[run.chunks.clone()]);
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Ok(()) };
        let targets = self.targets(&run.speakers, frames, gated);
        let mut caches = Vec::new();
        for &index in &run.speakers {
            let speaker = match &mut self.speakers[index] {
                Some(speaker) => speaker,
                empty => empty.insert(Speaker::new(
                    index,
                    self.encoder.initial_cache()?,
                    &self.joint,
                    &self.strategy,
                    &self.options,
                )?),
            };
            caches.push(speaker.encoder_cache.clone());
        }
        let mel = |frame: u64| (frame * FRAMES_PER_ENCODED_FRAME as u64).min(features.end());
        let mel = mel(first.start)..mel(last.end);
        let features = chunk_features(features, mel, self.encoder.left_context_mel_frames());
        let encoded = self.encoder.run(features.view(), &targets, &mut caches)?;
        if let Some(trace) = &mut self.trace {
            trace.encoder_runs += 1;
        }
        for ((&index, encoded), cache) in run.speakers.iter().zip(encoded).zip(caches) {
            let speaker = self.speakers[index].as_mut().expect("made above");
            speaker.encoder_cache = cache;
            speaker.encoded.push(encoded);
        }
        Ok(())
    }

    /// Adds the tokens of a speaker in `chunk` to its transcript.
    fn emit(&mut self, index: usize, chunk: u64, tokens: &[Token]) -> Result<(), Error> {
        let speaker = self.speakers[index].as_mut().expect("decoded before");
        let mut result = Ok(());
        for &token in tokens {
            let pushed = speaker.transcript.push(token, &self.vocabulary, &mut self.events);
            result = result.and(pushed);
        }
        if let Some(trace) = &mut self.trace {
            trace.speakers[index].chunks.push(chunk);
            trace.speakers[index].tokens.extend(tokens);
        }
        result
    }

    /// Closes words and segments and emits partials, when everything before `frame` is decoded.
    fn advance_transcripts(&mut self, frame: u64) -> Result<(), Error> {
        let (mut words, mut segments) = (frame, frame);
        let mut partials = Vec::new();
        let mut result = Ok(());
        for speaker in self.speakers.iter_mut().flatten() {
            let transcript = &mut speaker.transcript;
            let advanced = transcript.advance(frame, &self.vocabulary, &mut self.events);
            let partial = transcript.partial(&self.vocabulary);
            result = result.and(advanced).and(partial.map(|partial| partials.extend(partial)));
            words = words.min(transcript.open_word_start().unwrap_or(frame));
            segments = segments.min(transcript.open_segment_start().unwrap_or(frame));
        }
        self.events.extend(partials.into_iter().map(Event::Partial));
        self.progress = Progress {
            decoded: frame * ENCODED_FRAME_SAMPLES,
            words: words * ENCODED_FRAME_SAMPLES,
            segments: segments.min(words) * ENCODED_FRAME_SAMPLES,
        };
        result
    }
}
