// SPDX-License-Identifier: MPL-2.0

//! Tests of the recognizer with fake networks: errors, groups of chunks, and arbitrary pieces of
//! audio.

use ndarray::{Array2, ArrayView2};
use proptest::prelude::*;

use super::*;
use crate::options::ChunkLatency;
use crate::recognition::decoding::Greedy;
use crate::recognition::tokenizer::PieceKind;

/// Speakers differ by their probabilities, and therefore by their encoded frames: the index of the
/// frame for speaker 0, and 1000 more for speaker 1.
const PROBABILITIES: [f32; 2] = [0.9, 0.8];
const SECOND: f32 = 1000.0;

/// An encoder that returns the indices of frames.
struct FakeEncoder {
    /// Fails on the run that begins with this encoded frame.
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
        features: ArrayView2<'_, f32>,
        targets: &Targets,
        _caches: &mut [()],
    ) -> Result<Vec<Array2<f32>>, Error> {
        let frames: Vec<f32> = features.iter().copied().step_by(FRAMES_PER_ENCODED_FRAME).collect();
        let encode = |&target: &f32| {
            let offset = if target == PROBABILITIES[0] { 0.0 } else { SECOND };
            Array2::from_shape_fn((frames.len(), 1), |(frame, _)| {
                frames[frame] / FRAMES_PER_ENCODED_FRAME as f32 + offset
            })
        };
        let encoded: Vec<_> = targets.speaker.column(0).iter().map(encode).collect();
        if self.fails_at == Some(encoded[0][(0, 0)]) {
            return Err(failure("encoder.onnx"));
        }
        Ok(encoded)
    }
}

/// A joint network that emits the tokens of a script.
struct FakeJoint {
    /// Frames and their tokens in order, by speaker.
    scripts: [Vec<(u64, usize)>; 2],
    /// The encoded frame whose logits are NaN.
    nan_at: Option<f32>,
}

/// Returns a script with a word in every second frame.
fn words(word: usize) -> Vec<(u64, usize)> {
    even(0..56).into_iter().map(|frame| (frame, word)).collect()
}

impl Default for FakeJoint {
    fn default() -> Self {
        Self { scripts: [words(0), words(1)], nan_at: None }
    }
}

impl JointNetwork for FakeJoint {
    /// Number of tokens so far.
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
        frames: ArrayView2<'_, f32>,
        _token: usize,
        tokens: &usize,
    ) -> Result<(Array2<f32>, usize), Error> {
        let logits = Array2::from_shape_fn((frames.nrows(), self.blank() + 1), |(row, id)| {
            let frame = frames[(row, 0)];
            if self.nan_at == Some(frame) {
                return f32::NAN;
            }
            let (script, frame_index) = match frame < SECOND {
                true => (&self.scripts[0], frame as u64),
                false => (&self.scripts[1], (frame - SECOND) as u64),
            };
            let next = script.get(*tokens).filter(|(at, _)| *at == frame_index);
            let best = next.map_or(self.blank(), |(_, token)| *token);
            f32::from(u8::from(id == best))
        });
        Ok((logits, tokens + 1))
    }
}

fn failure(file: &str) -> Error {
    Error::Inference { path: file.into(), reason: "as requested".to_owned() }
}

const PIECES: [&str; 4] = ["a", "b", "c", "."];

/// A vocabulary in which "a" and "b" begin words and one piece may have no text.
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

/// Recognizes four chunks of 14 frames, whose features arrive in `pieces` of mel frames and a last
/// piece with the rest. Returns the events and the error.
fn run(
    encoder: FakeEncoder,
    joint: FakeJoint,
    vocabulary: Words,
    pieces: &[usize],
) -> (Vec<Event>, Option<Error>) {
    let options = StreamOptions { chunk_latency: ChunkLatency::Ms1120, ..Default::default() };
    let mut recognizer =
        Recognizer::new(encoder, joint, Greedy::default(), vocabulary, Some(2), options);
    let mut features = FrameBuffer::new(1);
    let mut mel = (0..4 * 112).map(|mel| mel as f32);
    recognizer
        .add_probabilities(Array2::from_shape_fn((4 * 14, 2), |(_, s)| PROBABILITIES[s]).view());
    let mut events = Vec::new();
    let mut result = Ok(());
    for &piece in pieces.iter().chain([&usize::MAX]) {
        features.push(mel.by_ref().take(piece));
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

/// Recognizes all features at once. Returns the error, and by speaker the frames in which the words
/// of its segments begin.
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
        // The other speaker has all encoded frames.
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

/// Generates frames with tokens, some of which are late marks.
fn script() -> impl Strategy<Value = Vec<(u64, usize)>> {
    let token = (0..PIECES.len(), prop_oneof![3 => 0..2_u64, 1 => 2..14_u64]);
    prop::collection::vec(token, 0..40).prop_map(|tokens| {
        let mut frame = 0;
        let mut in_frame = 0;
        let mut script = Vec::new();
        for (token, gap) in tokens {
            // A frame has at most ten tokens.
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
