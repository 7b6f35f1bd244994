// SPDX-License-Identifier: MPL-2.0

//! The recognizer of one conversation: which speakers run on which chunks, in what groups, and what
//! is kept of each speaker.

pub mod encoder;
pub mod tokenizer;
pub mod transducer;
pub mod words;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;

use crate::error::Error;
use crate::events::{Event, Progress, Token};
use crate::features::FRAMES_PER_ENCODED_FRAME;
use crate::features::frame_buffer::FrameBuffer;
use crate::lock::lock;
use crate::options::{ENCODED_FRAME_SAMPLES, StreamOptions};
use crate::recognition::encoder::{
    EncoderNetwork, EncoderRun, Targets, chunk_features, encoder_runs, gated_speakers,
};
use crate::recognition::transducer::{DecoderState, JointNetwork, decode_greedily};
use crate::recognition::words::{SpeakerTranscript, Vocabulary};
use crate::trace::{SpeakerTrace, Trace};

/// An instance of the recognizer per speaker.
pub struct Recognizer<E: EncoderNetwork, J: JointNetwork, V> {
    options: StreamOptions,
    encoder: E,
    joint: J,
    vocabulary: V,
    /// Whether there are probabilities; without, the only speaker always speaks.
    is_diarized: bool,
    /// One probability for each speaker and encoded frame.
    probabilities: FrameBuffer,
    /// By the index of the speaker; `None` for those who have not spoken.
    speakers: Vec<Option<Speaker<E::Cache, J::State>>>,
    next_chunk: u64,
    progress: Progress,
    /// What is known and was not told yet.
    events: Vec<Event>,
    trace: Option<Trace>,
}

/// What is kept of one speaker.
struct Speaker<C, S> {
    encoder_cache: C,
    /// Encoded frames that were not decoded yet, one row a frame.
    encoded: Vec<f32>,
    decoder: DecoderState<S>,
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

impl<C, S> Speaker<C, S> {
    /// Decodes what was encoded, as far as it goes; `frames` are those of one chunk after the other.
    fn decode<J>(&mut self, joint: &J, frames: &[Range<u64>]) -> Decoded
    where
        J: JointNetwork<State = S>,
    {
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

impl<E, J, V> Recognizer<E, J, V>
where
    E: EncoderNetwork<Cache: Send>,
    J: JointNetwork<State: Send> + Sync,
    V: Vocabulary,
{
    /// A recognizer that has heard nothing, of one speaker or of the `diarized` ones.
    pub fn new(
        encoder: E,
        joint: J,
        vocabulary: V,
        diarized: Option<usize>,
        options: StreamOptions,
    ) -> Self {
        let speakers = diarized.unwrap_or(1);
        Self {
            options,
            encoder,
            joint,
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

    /// Begins anew, as if just made.
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
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Takes the rows of the next frames from the diarizer: a probability for each speaker.
    pub fn add_probabilities(&mut self, rows: &[f32]) {
        self.probabilities.extend(rows.iter().copied());
        if let Some(trace) = &mut self.trace {
            trace.probabilities.extend_from_slice(rows);
        }
    }

    /// The next chunks for which all that they need is there, at most as many as one run takes;
    /// when the audio has `ended`, its last chunk may be shorter.
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
    /// The first error of the networks and of the vocabulary. All that was decoded, before the error
    /// and of other speakers, is in the events.
    pub fn run(&mut self, chunks: Range<u64>, features: &FrameBuffer) -> Result<(), Error> {
        let frames: Vec<_> =
            chunks.clone().map(|chunk| self.frames(chunk, features.end())).collect();
        let gated: Vec<_> = frames.iter().map(|frames| self.gated(frames)).collect();
        let runs = encoder_runs(&gated, self.encoder.takes_several_speakers());
        let encoded = runs.iter().try_for_each(|run| self.encode(run, &frames, &gated, features));
        let mut decoded = self.decode(&frames, &gated);
        let mut result = Ok(());
        let mut is_complete = true;
        for ((chunk, frames), speakers) in chunks.zip(&frames).zip(&gated) {
            for &index in speakers {
                let decoded = &mut decoded[index];
                match decoded.chunks.pop_front() {
                    Some(tokens) => result = result.and(self.emit(index, chunk, &tokens)),
                    // What was to be encoded after an error.
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

    /// Closes all segments; `end` is that of the audio in samples.
    ///
    /// # Errors
    /// The first error of the vocabulary, which costs the text of one word.
    pub fn finish(&mut self, end: u64) -> Result<(), Error> {
        let mut result = Ok(());
        for speaker in self.speakers.iter_mut().flatten() {
            let finished = speaker.transcript.finish(&self.vocabulary, &mut self.events);
            result = result.and(finished);
        }
        self.progress = Progress { decoded: end, words: end, segments: end };
        result
    }

    /// The first mel frame that is still needed.
    pub fn needs_from(&self) -> u64 {
        let context = self.encoder.left_context_mel_frames() as u64;
        (self.next_chunk * self.options.chunk_latency.mel_frames() as u64).saturating_sub(context)
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
        if !self.is_diarized {
            return vec![0];
        }
        let and_before = frames.start.saturating_sub(self.chunk_frames())..frames.end;
        let rows = self.probabilities.get(and_before);
        gated_speakers(rows, self.probabilities.width(), self.options.activity_threshold)
    }

    /// What the speaker kernels are told of `speaker` in `frames`, in which those `gated` run.
    fn targets(&self, speaker: usize, frames: &Range<u64>, gated: &[usize]) -> Targets {
        if !self.is_diarized {
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
        features: &FrameBuffer,
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
            for _ in 1..active.min(self.joint.parallel_runs()) {
                // Where there is no thread to be had, this one does it all.
                let _ = thread::Builder::new().spawn_scoped(scope, decode_those_left);
            }
            decode_those_left();
        });
        decoded
    }

    /// Takes what a speaker was heard to say in `chunk`.
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

    /// Lets the transcripts know that everything before `frame` is decoded.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::options::ChunkLatency;
    use crate::recognition::tokenizer::PieceKind;

    /// Speakers differ by their probabilities, and thereby by what is encoded: speaker 0 has the
    /// index of a frame, speaker 1 the same and 1000.
    const PROBABILITIES: [f32; 2] = [0.9, 0.8];
    const SECOND: f32 = 1000.0;

    /// Fails on a run that begins with this frame.
    struct FakeEncoder {
        fails_at: Option<f32>,
        max_chunks: usize,
    }

    impl EncoderNetwork for FakeEncoder {
        type Cache = ();

        fn left_context_mel_frames(&self) -> usize {
            0
        }

        fn max_chunks(&self, _chunk_frames: usize) -> usize {
            self.max_chunks
        }

        fn takes_several_speakers(&self) -> bool {
            false
        }

        fn initial_cache(&self) -> Result<(), Error> {
            Ok(())
        }

        fn run(
            &self,
            features: &[f32],
            _mel_frames: usize,
            targets: &[Targets],
            _caches: &mut [()],
        ) -> Result<Vec<Vec<f32>>, Error> {
            let encode = |targets: &Targets| {
                let offset = if targets.speaker[0] == PROBABILITIES[0] { 0.0 } else { SECOND };
                let frames = features.iter().step_by(FRAMES_PER_ENCODED_FRAME);
                frames.map(|mel| mel / FRAMES_PER_ENCODED_FRAME as f32 + offset).collect()
            };
            let encoded: Vec<Vec<f32>> = targets.iter().map(encode).collect();
            if self.fails_at == Some(encoded[0][0]) {
                return Err(failure("encoder.onnx"));
            }
            Ok(encoded)
        }
    }

    /// Emits the tokens of a script.
    struct FakeJoint {
        /// Of each speaker the frames with their tokens, in order.
        scripts: [Vec<(u64, usize)>; 2],
        /// The frame with logits that are no numbers.
        nan_at: Option<f32>,
    }

    /// A script with a word in every second frame.
    fn words(word: usize) -> Vec<(u64, usize)> {
        even(0..56).into_iter().map(|frame| (frame, word)).collect()
    }

    impl Default for FakeJoint {
        fn default() -> Self {
            Self { scripts: [words(0), words(1)], nan_at: None }
        }
    }

    impl JointNetwork for FakeJoint {
        /// Tokens so far.
        type State = usize;

        fn frame_size(&self) -> usize {
            1
        }

        fn blank(&self) -> usize {
            PIECES.len()
        }

        fn parallel_runs(&self) -> usize {
            2
        }

        fn failure(&self, _: String) -> Error {
            failure("decoder_joint.onnx")
        }

        fn initial_state(&self) -> Result<usize, Error> {
            Ok(0)
        }

        fn run(
            &self,
            frames: &[f32],
            _: usize,
            tokens: &usize,
        ) -> Result<(Vec<f32>, usize), Error> {
            let row = |&frame: &f32| {
                let (script, frame_index) = match frame < SECOND {
                    true => (&self.scripts[0], frame as u64),
                    false => (&self.scripts[1], (frame - SECOND) as u64),
                };
                let next = script.get(*tokens).filter(|(at, _)| *at == frame_index);
                let best = next.map_or(self.blank(), |(_, token)| *token);
                let is_spoilt = self.nan_at == Some(frame);
                (0..=self.blank()).map(move |id| match is_spoilt {
                    true => f32::NAN,
                    false => f32::from(u8::from(id == best)),
                })
            };
            Ok((frames.iter().flat_map(row).collect(), tokens + 1))
        }
    }

    fn failure(file: &str) -> Error {
        Error::Inference { path: file.into(), reason: "as asked for".to_owned() }
    }

    const PIECES: [&str; 4] = ["a", "b", "c", "."];

    /// "a" and "b" begin words, and one of the pieces may be without a text.
    #[derive(Default)]
    struct Words {
        refused: Option<usize>,
    }

    impl Vocabulary for Words {
        fn kind(&self, id: usize) -> PieceKind {
            match PIECES[id] {
                "c" => PieceKind::Continuation,
                "." => PieceKind::Punctuation,
                _ => PieceKind::WordStart,
            }
        }

        fn text(&self, ids: &[usize]) -> Result<String, Error> {
            match self.refused {
                Some(refused) if ids.contains(&refused) => Err(failure("tokenizer.model")),
                _ => Ok(ids.iter().map(|&id| PIECES[id]).collect()),
            }
        }
    }

    /// Recognizes four chunks of 14 frames, of which the features come in pieces of so many frames
    /// of 10 ms. Returns the events and the error.
    fn run(
        encoder: FakeEncoder,
        joint: FakeJoint,
        vocabulary: Words,
        pieces: &[usize],
    ) -> (Vec<Event>, Option<Error>) {
        let options = StreamOptions { chunk_latency: ChunkLatency::Ms1120, ..Default::default() };
        let mut recognizer = Recognizer::new(encoder, joint, vocabulary, Some(2), options);
        let mut features = FrameBuffer::new(1);
        let mut mel = (0..4 * 112).map(|mel| mel as f32);
        recognizer.add_probabilities(&PROBABILITIES.repeat(4 * 14));
        let mut events = Vec::new();
        let mut result = Ok(());
        for &piece in pieces.iter().chain([&usize::MAX]) {
            features.extend(mel.by_ref().take(piece));
            let ended = piece == usize::MAX;
            while result.is_ok() {
                let chunks = recognizer.ready_chunks(&features, ended);
                if chunks.is_empty() {
                    break;
                }
                result = recognizer.run(chunks, &features);
                events.extend(recognizer.take_events());
            }
        }
        let finished = recognizer.finish(4 * 14 * ENCODED_FRAME_SAMPLES);
        events.extend(recognizer.take_events());
        (events, result.and(finished).err())
    }

    /// As [`run`] at once. Returns the error, and of each speaker the frames in which its words in
    /// segments begin.
    fn recognize(
        encoder: FakeEncoder,
        joint: FakeJoint,
        vocabulary: Words,
    ) -> (Option<String>, [Vec<u64>; 2]) {
        let (events, error) = run(encoder, joint, vocabulary, &[]);
        let mut frames = [Vec::new(), Vec::new()];
        for event in events {
            if let Event::Segment(segment) = event {
                let starts = segment.words.iter().map(|word| word.start_sample);
                frames[segment.speaker].extend(starts.map(|start| start / ENCODED_FRAME_SAMPLES));
            }
        }
        (error.map(|error| error.to_string()), frames)
    }

    fn even(frames: Range<u64>) -> Vec<u64> {
        frames.step_by(2).collect()
    }

    #[test]
    fn all_is_recognized_without_an_error() {
        for max_chunks in [1, 4] {
            let encoder = FakeEncoder { fails_at: None, max_chunks };
            let found = recognize(encoder, FakeJoint::default(), Words::default());
            assert_eq!(found, (None, [even(0..56), even(0..56)]));
        }
    }

    #[test]
    fn failing_decoder_of_one_speaker_costs_no_word_of_another() {
        for max_chunks in [1, 4] {
            let encoder = FakeEncoder { fails_at: None, max_chunks };
            let joint = FakeJoint { nan_at: Some(20.0), ..FakeJoint::default() };
            let (error, [first, second]) = recognize(encoder, joint, Words::default());
            assert!(error.is_some_and(|error| error.contains("decoder_joint.onnx")));
            assert_eq!(first, even(0..20), "up to the frame that failed");
            // All that was encoded.
            assert_eq!(second, even(0..if max_chunks == 1 { 28 } else { 56 }));
        }
    }

    #[test]
    fn failing_encoder_costs_nothing_that_was_encoded() {
        let encoder = FakeEncoder { fails_at: Some(SECOND), max_chunks: 4 };
        let found = recognize(encoder, FakeJoint::default(), Words::default());
        let (error, frames) = found;
        assert!(error.is_some_and(|error| error.contains("encoder.onnx")));
        assert_eq!(frames, [even(0..56), vec![]]);

        let encoder = FakeEncoder { fails_at: Some(SECOND + 28.0), max_chunks: 1 };
        let (error, frames) = recognize(encoder, FakeJoint::default(), Words::default());
        assert!(error.is_some_and(|error| error.contains("encoder.onnx")));
        assert_eq!(frames, [even(0..42), even(0..28)]);
    }

    #[test]
    fn word_without_a_text_costs_no_other_word() {
        let encoder = FakeEncoder { fails_at: None, max_chunks: 4 };
        let (error, frames) = recognize(encoder, FakeJoint::default(), Words { refused: Some(0) });
        assert!(error.is_some_and(|error| error.contains("tokenizer.model")));
        assert_eq!(frames, [vec![], even(0..56)]);
    }

    /// Frames in order with tokens, among which are marks that come late.
    fn script() -> impl Strategy<Value = Vec<(u64, usize)>> {
        let token = (0..PIECES.len(), prop_oneof![3 => 0..2_u64, 1 => 2..14_u64]);
        prop::collection::vec(token, 0..40).prop_map(|tokens| {
            let mut frame = 0;
            let mut in_frame = 0;
            let mut script = Vec::new();
            for (token, gap) in tokens {
                // A frame has at most ten.
                let gap = if in_frame == 10 { gap.max(1) } else { gap };
                in_frame = if gap == 0 { in_frame + 1 } else { 1 };
                frame += gap;
                script.push((frame, token));
            }
            script
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_chunking_gives_the_same_words_and_segments(
            scripts in [script(), script()],
            max_chunks in 1..5_usize,
            pieces in prop::collection::vec(0..200_usize, 0..20),
        ) {
            let joint = || FakeJoint { scripts: scripts.clone(), nan_at: None };
            let found = |max_chunks, pieces: &[usize]| {
                let encoder = FakeEncoder { fails_at: None, max_chunks };
                let (mut events, error) = run(encoder, joint(), Words::default(), pieces);
                events.retain(|event| !matches!(event, Event::Partial(_)));
                (events, error.map(|error| error.to_string()))
            };
            prop_assert_eq!(found(max_chunks, &pieces), found(1, &[]));
        }
    }
}
