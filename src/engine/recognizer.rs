// SPDX-License-Identifier: MPL-2.0

//! The recogniser of one conversation: which speakers run on which chunks, in what groups, and what
//! is kept of each speaker.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;

use super::config::{ENCODED_FRAME_SAMPLES, StreamOptions};
use super::encoder::{
    EncoderNetwork, EncoderRun, Targets, chunk_features, encoder_runs, gated_speakers,
};
use super::error::Error;
use super::features::FRAMES_PER_ENCODED_FRAME;
use super::model::Model;
use super::networks::{EncoderCache, EncoderGraph, InStream, JointGraph, JointState};
use super::onnx::Canceller;
use super::output::{Output, Progress, SpeakerTrace, Trace};
use super::rnnt::{DecoderState, JointNetwork, Token, decode_greedily};
use super::row_buffer::RowBuffer;
use super::sync::lock;
use super::transcript::SpeakerTranscript;

/// An instance of the recogniser per speaker.
pub struct Recognizer {
    model: Arc<Model>,
    options: StreamOptions,
    encoder: InStream<EncoderGraph>,
    joint: InStream<JointGraph>,
    /// One probability for each speaker and encoded frame.
    probabilities: RowBuffer,
    /// By the index of the speaker; `None` for those who have not spoken.
    speakers: Vec<Option<Speaker>>,
    next_chunk: u64,
    progress: Progress,
    /// What is known and was not told yet.
    outputs: Vec<Output>,
    trace: Option<Trace>,
}

/// What is kept of one speaker.
struct Speaker {
    encoder_cache: EncoderCache,
    /// Encoded frames that were not decoded yet, one row a frame.
    encoded: Vec<f32>,
    decoder: DecoderState<JointState>,
    transcript: SpeakerTranscript,
}

/// What was decoded of one speaker.
#[derive(Default)]
struct Decoded {
    /// The tokens of one chunk after the other.
    chunks: VecDeque<Vec<Token>>,
    /// Why there are no more after the last of them.
    error: Option<Error>,
}

impl Speaker {
    /// Decodes what was encoded, as far as it goes; `frames` are those of one chunk after the other.
    fn decode(&mut self, joint: &InStream<JointGraph>, frames: &[Range<u64>]) -> Decoded {
        let mut decoded = Decoded::default();
        let mut encoded = &self.encoded[..];
        for frames in frames {
            let size = (frames.end - frames.start) as usize * joint.frame_size();
            let Some((chunk, rest)) = encoded.split_at_checked(size) else { break };
            encoded = rest;
            let mut tokens = Vec::new();
            let result =
                decode_greedily(joint, chunk, frames.start, &mut self.decoder, &mut tokens);
            decoded.chunks.push_back(tokens);
            decoded.error = result.err();
            if decoded.error.is_some() {
                break;
            }
        }
        self.encoded.clear();
        decoded
    }
}

impl Recognizer {
    /// A recogniser that has heard nothing.
    pub fn new(model: Arc<Model>, options: StreamOptions, canceller: &Canceller) -> Self {
        Self {
            encoder: InStream { graph: model.encoder.clone(), canceller: canceller.clone() },
            joint: InStream { graph: model.joint.clone(), canceller: canceller.clone() },
            probabilities: RowBuffer::new(model.speakers()),
            speakers: (0..model.speakers()).map(|_| None).collect(),
            next_chunk: 0,
            progress: Progress::default(),
            outputs: Vec::new(),
            trace: None,
            model,
            options,
        }
    }

    /// Begins anew, as if just made.
    pub fn reset(&mut self) {
        self.probabilities.reset();
        self.speakers.iter_mut().for_each(|speaker| *speaker = None);
        self.next_chunk = 0;
        self.progress = Progress::default();
        self.outputs.clear();
        if self.trace.is_some() {
            self.enable_trace();
        }
    }

    /// Keeps from now on what is computed.
    pub fn enable_trace(&mut self) {
        let speakers = vec![SpeakerTrace::default(); self.speakers.len()];
        self.trace = Some(Trace { speakers, ..Trace::default() });
    }

    /// What was kept since [`Self::enable_trace`].
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// As [`Self::trace`], to be added to.
    pub fn trace_mut(&mut self) -> Option<&mut Trace> {
        self.trace.as_mut()
    }

    /// How far this has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What became known since this was asked last.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Takes the rows of the next frames from the diariser: a probability for each speaker.
    pub fn add_probabilities(&mut self, rows: &[f32]) {
        self.probabilities.extend(rows.iter().copied());
        if let Some(trace) = &mut self.trace {
            trace.probabilities.extend_from_slice(rows);
        }
    }

    /// The next chunks for which all that they need is there, at most as many as one run takes;
    /// when the audio has `ended`, its last chunk may be shorter.
    pub fn ready_chunks(&self, features: &RowBuffer, ended: bool) -> Range<u64> {
        let known = features.end();
        let chunk_frames = self.options.chunk_latency.encoded_frames();
        let limit = self.next_chunk.saturating_add(self.encoder.max_chunks(chunk_frames) as u64);
        let mel_frames = self.options.chunk_latency.mel_frames() as u64;
        let ready = |&chunk: &u64| {
            let complete = (chunk + 1) * mel_frames <= known;
            let left = ended && chunk * mel_frames < known;
            let diarized = self.frames(chunk, known).end <= self.probabilities.end();
            (complete || left) && (diarized || !self.is_diarized())
        };
        match (self.next_chunk..limit).find(|chunk| !ready(chunk)) {
            None => self.next_chunk..limit,
            Some(_) if self.options.full_runs && !ended => self.next_chunk..self.next_chunk,
            Some(end) => self.next_chunk..end,
        }
    }

    /// Encodes and decodes `chunks`, which must be [`Self::ready_chunks`].
    ///
    /// # Errors
    /// Those of the networks and of the tokenizer; what was recognised before is in the outputs.
    pub fn run(&mut self, chunks: Range<u64>, features: &RowBuffer) -> Result<(), Error> {
        let frames: Vec<_> =
            chunks.clone().map(|chunk| self.frames(chunk, features.end())).collect();
        let gated: Vec<_> = frames.iter().map(|frames| self.gated(frames)).collect();
        let runs = encoder_runs(&gated, self.encoder.takes_several_speakers());
        let encoded = runs.iter().try_for_each(|run| self.encode(run, &frames, &gated, features));
        let mut decoded = self.decode(&frames, &gated);
        for ((chunk, frames), speakers) in chunks.zip(&frames).zip(&gated) {
            for &index in speakers {
                let decoded = &mut decoded[index];
                // After an error, what was encoded before it.
                let Some(tokens) = decoded.chunks.pop_front() else { return encoded };
                self.tell(index, chunk, &tokens)?;
                if let Some(error) = decoded.error.take_if(|_| decoded.chunks.is_empty()) {
                    return Err(error);
                }
            }
            self.advance_transcripts(frames.end)?;
            self.next_chunk += 1;
        }
        let previous_chunk = self.next_chunk.saturating_sub(1);
        self.probabilities.discard_before(previous_chunk * self.chunk_frames());
        encoded
    }

    /// Closes all segments; `end` is that of the audio in samples.
    pub fn finish(&mut self, end: u64) {
        let tokenizer = &self.model.tokenizer;
        for speaker in self.speakers.iter_mut().flatten() {
            // A word that has no text is all that is lost here.
            let _ = speaker.transcript.finish(tokenizer, &mut self.outputs);
        }
        self.progress = Progress { decoded: end, words: end, segments: end };
    }

    /// The first mel frame that is still needed.
    pub fn needs_from(&self) -> u64 {
        let context = self.encoder.left_context_mel_frames() as u64;
        (self.next_chunk * self.options.chunk_latency.mel_frames() as u64).saturating_sub(context)
    }

    /// Whether there are probabilities; without, the only speaker always speaks.
    fn is_diarized(&self) -> bool {
        self.model.sortformer.is_some()
    }

    fn chunk_frames(&self) -> u64 {
        self.options.chunk_latency.encoded_frames() as u64
    }

    /// The encoded frames of `chunk` in audio of so many mel frames.
    fn frames(&self, chunk: u64, mel_frames: u64) -> Range<u64> {
        let known = mel_frames.div_ceil(FRAMES_PER_ENCODED_FRAME as u64);
        chunk * self.chunk_frames()..((chunk + 1) * self.chunk_frames()).min(known)
    }

    /// The speakers who run on the chunk of these `frames`.
    fn gated(&self, frames: &Range<u64>) -> Vec<usize> {
        if !self.is_diarized() {
            return vec![0];
        }
        let and_before = frames.start.saturating_sub(self.chunk_frames())..frames.end;
        let rows = self.probabilities.get(and_before);
        gated_speakers(rows, self.probabilities.width(), self.options.activity_threshold)
    }

    /// What the speaker kernels are told of `speaker` in `frames`, in which those `gated` run.
    fn targets(&self, speaker: usize, frames: &Range<u64>, gated: &[usize]) -> Targets {
        if !self.is_diarized() {
            return Targets::single_speaker((frames.end - frames.start) as usize);
        }
        Targets::of_speaker(
            speaker,
            self.probabilities.get(frames.clone()),
            self.probabilities.width(),
            gated,
            self.options.target_mode,
            self.options.activity_threshold,
        )
    }

    /// Makes one run of the encoder, in a group of chunks with these `frames`, in each of which the
    /// speakers `gated` run.
    fn encode(
        &mut self,
        run: &EncoderRun,
        frames: &[Range<u64>],
        gated: &[Vec<usize>],
        features: &RowBuffer,
    ) -> Result<(), Error> {
        let (frames, gated) = (&frames[run.chunks.clone()], &gated[run.chunks.clone()]);
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Ok(()) };
        let (mut targets, mut caches) = (Vec::new(), Vec::new());
        for &index in &run.speakers {
            let mut of_speaker = Targets::default();
            for (frames, gated) in frames.iter().zip(gated) {
                of_speaker.extend(self.targets(index, frames, gated));
            }
            targets.push(of_speaker);
            let speaker = match &mut self.speakers[index] {
                Some(speaker) => speaker,
                empty => empty.insert(Speaker {
                    encoder_cache: self.encoder.initial_cache()?,
                    encoded: Vec::new(),
                    decoder: DecoderState::new(&self.joint)?,
                    transcript: SpeakerTranscript::new(index, &self.options),
                }),
            };
            caches.push(speaker.encoder_cache.clone());
        }
        let mel = |frame: u64| (frame * FRAMES_PER_ENCODED_FRAME as u64).min(features.end());
        let mel = mel(first.start)..mel(last.end);
        let context = self.encoder.left_context_mel_frames();
        let mel_frames = context + (mel.end - mel.start) as usize;
        let features = chunk_features(features, mel, context);
        let encoded = self.encoder.run(&features, mel_frames, &targets, &mut caches)?;
        if let Some(trace) = &mut self.trace {
            trace.encoder_runs += 1;
        }
        for ((&index, encoded), cache) in run.speakers.iter().zip(encoded).zip(caches) {
            let speaker = self.speakers[index].as_mut().expect("made above");
            speaker.encoder_cache = cache;
            speaker.encoded.extend(encoded);
        }
        Ok(())
    }

    /// Decodes what was encoded of chunks with these `frames`, in each of which the speakers `gated`
    /// run: several speakers at a time where the decoder has several sessions.
    fn decode(&mut self, frames: &[Range<u64>], gated: &[Vec<usize>]) -> Vec<Decoded> {
        let mut of_speakers = vec![Vec::new(); self.speakers.len()];
        for (frames, speakers) in frames.iter().zip(gated) {
            for &index in speakers {
                of_speakers[index].push(frames.clone());
            }
        }
        let active = of_speakers.iter().filter(|frames| !frames.is_empty()).count();
        let mut decoded: Vec<_> = of_speakers.iter().map(|_| Decoded::default()).collect();
        let speakers = self.speakers.iter_mut().zip(&of_speakers).zip(&mut decoded);
        let left = Mutex::new(speakers.filter_map(|((speaker, frames), decoded)| {
            speaker.as_mut().map(|speaker| (speaker, frames, decoded))
        }));
        let decode_those_left = || {
            loop {
                let next = lock(&left).next();
                let Some((speaker, frames, decoded)) = next else { return };
                *decoded = speaker.decode(&self.joint, frames);
            }
        };
        thread::scope(|scope| {
            for _ in 1..active.min(self.joint.graph.sessions()) {
                // Where there is no thread to be had, this one does it all.
                let _ = thread::Builder::new().spawn_scoped(scope, decode_those_left);
            }
            decode_those_left();
        });
        decoded
    }

    /// Takes what a speaker was heard to say in `chunk`.
    fn tell(&mut self, index: usize, chunk: u64, tokens: &[Token]) -> Result<(), Error> {
        let speaker = self.speakers[index].as_mut().expect("decoded before");
        for &token in tokens {
            speaker.transcript.push(token, &self.model.tokenizer, &mut self.outputs)?;
        }
        if let Some(trace) = &mut self.trace {
            trace.speakers[index].chunks.push(chunk);
            trace.speakers[index].tokens.extend(tokens);
        }
        Ok(())
    }

    /// Tells the transcripts that everything before `frame` is decoded.
    fn advance_transcripts(&mut self, frame: u64) -> Result<(), Error> {
        let tokenizer = &self.model.tokenizer;
        let (mut words, mut segments) = (frame, frame);
        let mut partials = Vec::new();
        for speaker in self.speakers.iter_mut().flatten() {
            speaker.transcript.advance(frame, tokenizer, &mut self.outputs)?;
            partials.extend(speaker.transcript.partial(tokenizer)?);
            words = words.min(speaker.transcript.open_word_start().unwrap_or(frame));
            segments = segments.min(speaker.transcript.open_segment_start().unwrap_or(frame));
        }
        self.outputs.extend(partials.into_iter().map(Output::Partial));
        self.progress = Progress {
            decoded: frame * ENCODED_FRAME_SAMPLES,
            words: words * ENCODED_FRAME_SAMPLES,
            segments: segments.min(words) * ENCODED_FRAME_SAMPLES,
        };
        Ok(())
    }
}
