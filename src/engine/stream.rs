// SPDX-License-Identifier: MPL-2.0

//! One conversation: features, diariser, gating, and an instance of the recogniser per speaker.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;

use super::config::{ENCODED_FRAME_SAMPLES, StreamOptions};
use super::diarizer::Diarizer;
use super::encoder::{
    EncoderNetwork, EncoderRun, Targets, chunk_features, encoder_runs, gated_speakers,
};
use super::error::Error;
use super::features::{FRAMES_PER_ENCODED_FRAME, FeatureExtractor, SAMPLE_RATE_HZ};
use super::model::Model;
use super::networks::{
    EncoderCache, EncoderGraph, InStream, JointGraph, JointState, SortformerGraph,
};
use super::onnx::Canceller;
use super::output::{Output, Progress, SpeakerTrace, Trace};
use super::rnnt::{DecoderState, JointNetwork, Token, decode_greedily};
use super::row_buffer::RowBuffer;
use super::sync::lock;
use super::transcript::SpeakerTranscript;

/// Audio is taken in steps of this, so that a long push needs no more memory than a short one and
/// can be stopped in between.
const STEP_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

/// One conversation.
pub struct Stream {
    model: Arc<Model>,
    options: StreamOptions,
    canceller: Canceller,
    extractor: FeatureExtractor,
    features: RowBuffer,
    diarizer: Option<Diarizer<InStream<SortformerGraph>>>,
    encoder: InStream<EncoderGraph>,
    joint: InStream<JointGraph>,
    /// One probability for each speaker and encoded frame.
    probabilities: RowBuffer,
    /// By the index of the speaker; `None` for those who have not spoken.
    speakers: Vec<Option<Speaker>>,
    /// Index of the recogniser's next chunk.
    next_chunk: u64,
    progress: Progress,
    /// What is known and was not told yet.
    outputs: Vec<Output>,
    ended: bool,
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

impl Stream {
    /// A conversation in which nothing was said yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where the options are out of range or not for this model.
    pub fn new(model: Arc<Model>, options: StreamOptions) -> Result<Self, Error> {
        Self::with_canceller(model, options, Canceller::new())
    }

    /// As [`Self::new`], to be stopped by `canceller`.
    ///
    /// # Errors
    /// The same.
    pub fn with_canceller(
        model: Arc<Model>,
        options: StreamOptions,
        canceller: Canceller,
    ) -> Result<Self, Error> {
        options.validate()?;
        let chunk = options.chunk_latency;
        if let Some(known) = &model.chunk_frames
            && !known.contains(&chunk.encoded_frames())
        {
            return Err(Error::InvalidOption {
                option: "chunk of the recogniser",
                expected: format!("one of {known:?} encoded frames, by multitalker_config.json"),
                found: chunk.encoded_frames().to_string(),
            });
        }
        let diarizer = match &model.sortformer {
            Some(graph) => {
                let network = InStream { graph: graph.clone(), canceller: canceller.clone() };
                Some(Diarizer::new(network, options.diarization, options.max_speakers)?)
            }
            None => None,
        };
        let n_mels = model.encoder.n_mels;
        Ok(Self {
            extractor: FeatureExtractor::new(n_mels),
            features: RowBuffer::new(n_mels),
            diarizer,
            encoder: InStream { graph: model.encoder.clone(), canceller: canceller.clone() },
            joint: InStream { graph: model.joint.clone(), canceller: canceller.clone() },
            probabilities: RowBuffer::new(model.speakers()),
            speakers: (0..model.speakers()).map(|_| None).collect(),
            next_chunk: 0,
            progress: Progress::default(),
            outputs: Vec::new(),
            ended: false,
            trace: None,
            model,
            options,
            canceller,
        })
    }

    /// Takes 16 kHz mono `samples`, nominally from -1 to 1, and returns what became known. Any
    /// number of samples may come at once; those that are not finite count as 0.
    ///
    /// # Errors
    /// [`Error::Ended`] after the end; else those of the networks or [`Error::Cancelled`], after
    /// which the stream has ended and [`Self::salvage`] has what was recognised before.
    pub fn push(&mut self, samples: &[f32]) -> Result<Vec<Output>, Error> {
        if self.ended {
            return Err(Error::Ended);
        }
        for piece in samples.chunks(STEP_SAMPLES) {
            let known = self.features.end();
            self.extractor.push(piece, &mut self.features);
            self.trace_features(known);
            self.work(false)?;
        }
        Ok(std::mem::take(&mut self.outputs))
    }

    /// Decodes what is left and closes all segments. The stream has then ended.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self) -> Result<Vec<Output>, Error> {
        if self.ended {
            return Err(Error::Ended);
        }
        let known = self.features.end();
        self.extractor.finish(&mut self.features);
        self.trace_features(known);
        self.work(true)?;
        Ok(self.salvage())
    }

    /// Ends the stream without decoding more, and returns what was recognised and not yet told.
    pub fn salvage(&mut self) -> Vec<Output> {
        self.ended = true;
        let tokenizer = &self.model.tokenizer;
        for speaker in self.speakers.iter_mut().flatten() {
            // A word that has no text is all that is lost here.
            let _ = speaker.transcript.finish(tokenizer, &mut self.outputs);
        }
        let end = self.extractor.received_samples();
        self.progress = Progress { decoded: end, words: end, segments: end };
        std::mem::take(&mut self.outputs)
    }

    /// Begins anew, as if just made, and allows work where it was cancelled.
    pub fn reset(&mut self) {
        if let Some(diarizer) = &mut self.diarizer {
            diarizer.reset();
        }
        self.resume();
    }

    /// Begins anew after a hole in the audio: as [`Self::reset`], but the diariser knows the
    /// speakers, so that they keep their indices. [`Self::finish`] before, or what was said before
    /// the hole and not yet told is lost.
    pub fn resume(&mut self) {
        self.extractor.reset();
        self.features.reset();
        if let Some(diarizer) = &mut self.diarizer {
            diarizer.rewind();
        }
        self.probabilities.reset();
        self.speakers.iter_mut().for_each(|speaker| *speaker = None);
        self.next_chunk = 0;
        self.progress = Progress::default();
        self.outputs.clear();
        self.ended = false;
        self.trace = self.trace.is_some().then(|| self.empty_trace());
        self.canceller.rearm();
    }

    /// Saves work, or no longer, where audio comes faster than it is recognised: the diariser then
    /// hears its speaker cache and the last 3.2 s again with each chunk, instead of up to 15 s.
    /// Operating points with a FIFO as short as this do not change.
    pub fn set_economical(&mut self, economical: bool) {
        if let Some(diarizer) = &mut self.diarizer {
            diarizer.set_economical(economical);
        }
    }

    /// How far this has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Samples received since the start.
    pub fn received_samples(&self) -> u64 {
        self.extractor.received_samples()
    }

    /// Stops this stream from another thread.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Keeps what the stages compute from now on, which grows with the audio.
    pub fn enable_trace(&mut self) {
        self.trace = Some(self.empty_trace());
    }

    /// What was kept since [`Self::enable_trace`].
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    fn empty_trace(&self) -> Trace {
        let speakers = vec![SpeakerTrace::default(); self.speakers.len()];
        Trace { speakers, ..Trace::default() }
    }

    fn trace_features(&mut self, known: u64) {
        if let Some(trace) = &mut self.trace {
            trace.features.extend_from_slice(self.features.get(known..self.features.end()));
        }
    }

    /// Runs all that can be run; an error ends the stream.
    fn work(&mut self, audio_ended: bool) -> Result<(), Error> {
        let result = self.run_chunks(audio_ended);
        self.ended |= result.is_err();
        result
    }

    fn run_chunks(&mut self, audio_ended: bool) -> Result<(), Error> {
        loop {
            if self.canceller.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let ready = self.ready_chunks(audio_ended);
            if !ready.is_empty() {
                self.run_recogniser(ready)?;
                self.discard_used();
                continue;
            }
            let Some(diarizer) = &mut self.diarizer else { return Ok(()) };
            let Some(rows) = diarizer.step(&self.features, audio_ended)? else { return Ok(()) };
            self.probabilities.extend(rows.iter().copied());
            if let Some(trace) = &mut self.trace {
                trace.probabilities.extend_from_slice(&rows);
            }
        }
    }

    /// The recogniser's next chunks for which all that it needs is there, at most as many as it
    /// takes at once.
    fn ready_chunks(&self, audio_ended: bool) -> Range<u64> {
        let chunk_frames = self.options.chunk_latency.encoded_frames();
        let limit = self.next_chunk + self.encoder.max_chunks(chunk_frames) as u64;
        let mel_frames = self.options.chunk_latency.mel_frames() as u64;
        let ready = |chunk: &u64| {
            let known = self.features.end();
            let complete = (chunk + 1) * mel_frames <= known;
            let left = audio_ended && chunk * mel_frames < known;
            let last = self.frames(&(*chunk..chunk + 1)).end;
            (complete || left) && (self.diarizer.is_none() || last <= self.probabilities.end())
        };
        self.next_chunk..(self.next_chunk..limit).find(|chunk| !ready(chunk)).unwrap_or(limit)
    }

    /// The mel frames of `chunks`, as far as the audio goes.
    fn mel_frames(&self, chunks: &Range<u64>) -> Range<u64> {
        let length = self.options.chunk_latency.mel_frames() as u64;
        chunks.start * length..(chunks.end * length).min(self.features.end())
    }

    /// The encoded frames of `chunks`, as far as the audio goes.
    fn frames(&self, chunks: &Range<u64>) -> Range<u64> {
        let mel = self.mel_frames(chunks);
        let factor = FRAMES_PER_ENCODED_FRAME as u64;
        mel.start / factor..mel.end.div_ceil(factor)
    }

    /// Encodes and decodes `chunks`, for which all is there.
    fn run_recogniser(&mut self, chunks: Range<u64>) -> Result<(), Error> {
        let gated: Vec<Vec<usize>> = chunks.clone().map(|chunk| self.gated(chunk)).collect();
        let runs = encoder_runs(&gated, self.encoder.takes_several_speakers());
        let encoded = runs.iter().try_for_each(|run| self.encode(run, chunks.start, &gated));
        let mut decoded = self.decode(&chunks, &gated);
        for (chunk, speakers) in chunks.zip(&gated) {
            for &index in speakers {
                let decoded = &mut decoded[index];
                // After an error, what was encoded before it.
                let Some(tokens) = decoded.chunks.pop_front() else { return encoded };
                self.tell(index, chunk, &tokens)?;
                if let Some(error) = decoded.error.take_if(|_| decoded.chunks.is_empty()) {
                    return Err(error);
                }
            }
            self.advance_transcripts(self.frames(&(chunk..chunk + 1)).end)?;
            self.next_chunk += 1;
        }
        encoded
    }

    /// The speakers who run on `chunk`.
    fn gated(&self, chunk: u64) -> Vec<usize> {
        if self.diarizer.is_none() {
            return vec![0];
        }
        let rows = self.probabilities.get(self.frames(&(chunk.saturating_sub(1)..chunk + 1)));
        gated_speakers(rows, self.probabilities.width(), self.options.activity_threshold)
    }

    /// What the speaker kernels are told of `speaker` in `chunk`, in which those `gated` run.
    fn targets(&self, speaker: usize, chunk: u64, gated: &[usize]) -> Targets {
        let frames = self.frames(&(chunk..chunk + 1));
        if self.diarizer.is_none() {
            return Targets::single_speaker((frames.end - frames.start) as usize);
        }
        Targets::of_speaker(
            speaker,
            self.probabilities.get(frames),
            self.probabilities.width(),
            gated,
            self.options.target_mode,
            self.options.activity_threshold,
        )
    }

    /// Makes one run of the encoder, in a group of chunks that begins at `first_chunk` and in each
    /// of which the speakers `gated` run.
    fn encode(
        &mut self,
        run: &EncoderRun,
        first_chunk: u64,
        gated: &[Vec<usize>],
    ) -> Result<(), Error> {
        let chunks = first_chunk + run.chunks.start as u64..first_chunk + run.chunks.end as u64;
        let (mut targets, mut caches) = (Vec::new(), Vec::new());
        for &index in &run.speakers {
            let mut of_speaker = Targets::default();
            for (chunk, gated) in chunks.clone().zip(&gated[run.chunks.clone()]) {
                of_speaker.extend(self.targets(index, chunk, gated));
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
        let mel = self.mel_frames(&chunks);
        let context = self.encoder.left_context_mel_frames();
        let mel_frames = context + (mel.end - mel.start) as usize;
        let features = chunk_features(&self.features, mel, context);
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

    /// Decodes what was encoded of `chunks`, in each of which the speakers `gated` run: several
    /// speakers at a time where the decoder has several sessions.
    fn decode(&mut self, chunks: &Range<u64>, gated: &[Vec<usize>]) -> Vec<Decoded> {
        let mut frames = vec![Vec::new(); self.speakers.len()];
        for (chunk, speakers) in chunks.clone().zip(gated) {
            for &index in speakers {
                frames[index].push(self.frames(&(chunk..chunk + 1)));
            }
        }
        let active = frames.iter().filter(|frames| !frames.is_empty()).count();
        let mut decoded: Vec<_> = frames.iter().map(|_| Decoded::default()).collect();
        let speakers = self.speakers.iter_mut().zip(&frames).zip(&mut decoded);
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

    /// Drops the features and probabilities that no chunk to come needs.
    fn discard_used(&mut self) {
        let chunk_frames = self.options.chunk_latency.encoded_frames() as u64;
        let next_frame = self.next_chunk * chunk_frames;
        self.probabilities.discard_before(next_frame.saturating_sub(chunk_frames));
        let context = self.encoder.left_context_mel_frames() as u64;
        let needed = (next_frame * FRAMES_PER_ENCODED_FRAME as u64).saturating_sub(context);
        let by_diarizer = self.diarizer.as_ref().map_or(needed, Diarizer::needs_from);
        self.features.discard_before(needed.min(by_diarizer));
    }
}
