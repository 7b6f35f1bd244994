// SPDX-License-Identifier: MPL-2.0

//! The state of each speaker, and the decoding of several speakers at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;

use ndarray::{Array2, Axis, concatenate, s};

use crate::error::Error;
use crate::events::Token;
use crate::lock::lock;
use crate::options::StreamOptions;
use crate::recognition::decoding::DecodingStrategy;
use crate::recognition::networks::JointNetwork;
use crate::recognition::transducer::{self, DecoderState};
use crate::recognition::words::SpeakerTranscript;

/// The state of one speaker; `C` is the encoder's part of it.
pub struct Speaker<C, J: JointNetwork, D: DecodingStrategy> {
    pub encoder_cache: C,
    /// Encoded frames that are not decoded yet, `[frames, hidden]` for each run of the encoder.
    pub encoded: Vec<Array2<f32>>,
    decoder: DecoderState<J::State, D::State>,
    pub transcript: SpeakerTranscript,
}

/// The tokens of one speaker.
#[derive(Default)]
pub struct Decoded {
    /// Tokens by chunk.
    pub chunks: VecDeque<Vec<Token>>,
    /// The error after the last of these chunks.
    pub error: Option<Error>,
}

impl<C, J: JointNetwork, D: DecodingStrategy> Speaker<C, J, D> {
    /// Creates the state before the first chunk.
    ///
    /// # Errors
    /// [`Error::Inference`] if memory cannot be allocated.
    pub fn new(
        index: usize,
        encoder_cache: C,
        joint: &J,
        strategy: &D,
        options: &StreamOptions,
    ) -> Result<Self, Error> {
        Ok(Self {
            encoder_cache,
            encoded: Vec::new(),
            decoder: DecoderState::new(joint, strategy)?,
            transcript: SpeakerTranscript::new(index, options),
        })
    }

    /// Resets the context of the decoding strategy to its state before the first token.
    pub fn reset_context(&mut self, strategy: &D) {
        self.decoder.reset_context(strategy);
    }

    /// Decodes the encoded frames chunk by chunk until they or the `frames` of the chunks run out.
    fn decode(&mut self, joint: &J, strategy: &D, frames: &[Range<u64>]) -> Decoded {
        let mut decoded = Decoded::default();
        let encoded = join(std::mem::take(&mut self.encoded), joint.frame_size());
        let mut start = 0;
        for frames in frames {
            let end = start + (frames.end - frames.start) as usize;
            if end > encoded.nrows() {
                break;
            }
            let chunk = encoded.slice(s![start..end, ..]);
            start = end;
            let mut tokens = Vec::new();
            let state = &mut self.decoder;
            let result =
                transducer::decode(joint, strategy, chunk, frames.start, state, &mut tokens);
            decoded.chunks.push_back(tokens);
            decoded.error = result.err();
            if decoded.error.is_some() {
                break;
            }
        }
        decoded
    }
}

/// Joins the results of several runs, `[frames, hidden]` each; nothing is copied for one run.
fn join(mut runs: Vec<Array2<f32>>, hidden: usize) -> Array2<f32> {
    match runs.len() {
        0 => Array2::zeros((0, hidden)),
        1 => runs.remove(0),
        _ => {
            let views: Vec<_> = runs.iter().map(|run| run.view()).collect();
            concatenate(Axis(0), &views).expect("all runs have the same width")
        }
    }
}

/// Decodes the encoded part of chunks with these `frames`, in each of which the speakers `gated`
/// run, for several speakers at a time if the network allows it. Returns the tokens by speaker.
pub fn decode<C, J, D>(
    speakers: &mut [Option<Speaker<C, J, D>>],
    joint: &J,
    strategy: &D,
    frames: &[Range<u64>],
    gated: &[Vec<usize>],
) -> Vec<Decoded>
where
    C: Send,
    J: JointNetwork<State: Send> + Sync,
    D: DecodingStrategy<State: Send> + Sync,
{
    let mut of_speakers = vec![Vec::new(); speakers.len()];
    for (frames, gated) in frames.iter().zip(gated) {
        for &index in gated {
            of_speakers[index].push(frames.clone());
        }
    }
    let active = of_speakers.iter().filter(|frames| !frames.is_empty()).count();
    let mut decoded: Vec<_> = of_speakers.iter().map(|_| Decoded::default()).collect();
    let speakers = speakers.iter_mut().zip(&of_speakers).zip(&mut decoded);
    let left = Mutex::new(speakers.filter_map(|((speaker, frames), decoded)| {
        speaker.as_mut().map(|speaker| (speaker, frames, decoded))
    }));
    let decode_those_left = || {
        loop {
            let next = lock(&left).next();
            let Some((speaker, frames, decoded)) = next else { return };
            *decoded = speaker.decode(joint, strategy, frames);
        }
    };
    thread::scope(|scope| {
        for _ in 1..active.min(joint.parallel_runs()) {
            // If no thread is available, this one decodes all speakers.
            let _ = thread::Builder::new().spawn_scoped(scope, decode_those_left);
        }
        decode_those_left();
    });
    decoded
}
