// SPDX-License-Identifier: MPL-2.0

//! Greedy decoding of an RNN transducer.
//!
//! Source: A. Graves, "Sequence Transduction with Recurrent Neural Networks", 2012. The network is
//! given all frames that are left with the present state, and the first of them that is not
//! blank is taken: that is about one run a token and one a chunk, not one a frame.

use crate::error::Error;
use crate::events::Token;

/// Tokens that one frame may emit, as in NeMo.
const MAX_SYMBOLS_PER_FRAME: usize = 10;

/// The prediction and joint networks in one graph.
pub trait JointNetwork {
    /// State of the prediction network.
    type State;

    /// Values in an encoded frame.
    fn frame_size(&self) -> usize;

    /// Index of the blank, which is also the token before the first.
    fn blank(&self) -> usize;

    /// Runs that can be made at a time.
    fn parallel_runs(&self) -> usize;

    /// The error of a run that gave what it must not give.
    fn failure(&self, reason: String) -> Error;

    /// The state before the first token.
    fn initial_state(&self) -> Result<Self::State, Error>;

    /// Takes the last `token` into `state`, and returns the logits of each of `frames` (rows of
    /// the vocabulary and the blank) with the state after it.
    fn run(
        &self,
        frames: &[f32],
        token: usize,
        state: &Self::State,
    ) -> Result<(Vec<f32>, Self::State), Error>;
}

/// What the decoder remembers of one speaker.
pub struct DecoderState<S> {
    network: S,
    last_token: usize,
}

impl<S> DecoderState<S> {
    /// Nothing was said yet.
    ///
    /// # Errors
    /// Those of the network.
    pub fn new<N: JointNetwork<State = S>>(network: &N) -> Result<Self, Error> {
        Ok(Self { network: network.initial_state()?, last_token: network.blank() })
    }
}

/// Decodes `frames` (rows of the network's frame size), of which the first has index
/// `first_frame`, and appends to `tokens`.
///
/// # Errors
/// [`Error::Inference`] where logits are missing or no numbers, and all errors of the network; the
/// tokens before stay in `tokens`.
pub fn decode_greedily<N: JointNetwork>(
    network: &N,
    frames: &[f32],
    first_frame: u64,
    state: &mut DecoderState<N::State>,
    tokens: &mut Vec<Token>,
) -> Result<(), Error> {
    let count = frames.len() / network.frame_size();
    let vocabulary_and_blank = network.blank() + 1;
    let mut frame = 0;
    let mut symbols_in_frame = 0;
    // Where one answer was in the first frame, so is likely the next.
    let mut first_alone = false;
    while frame < count {
        let end = if first_alone { frame + 1 } else { count };
        let rest = &frames[frame * network.frame_size()..end * network.frame_size()];
        let (logits, next) = network.run(rest, state.last_token, &state.network)?;
        let expected = (end - frame) * vocabulary_and_blank;
        if logits.len() != expected {
            let found = logits.len();
            return Err(network.failure(format!("expected {expected} logits, found {found}")));
        }
        let mut emitted = None;
        for (index, row) in logits.chunks_exact(vocabulary_and_blank).enumerate() {
            let best = argmax(row).ok_or_else(|| {
                network.failure("expected numbers as logits, found NaN or infinity".to_owned())
            })?;
            if best != network.blank() {
                emitted = Some((index, best, row));
                break;
            }
        }
        let Some((skipped, id, row)) = emitted else {
            frame = end;
            symbols_in_frame = 0;
            first_alone = false;
            continue;
        };
        first_alone = skipped == 0;
        if skipped > 0 {
            frame += skipped;
            symbols_in_frame = 0;
        }
        let probability = softmax_at(row, id);
        tokens.push(Token { id, frame: first_frame + frame as u64, probability });
        *state = DecoderState { network: next, last_token: id };
        symbols_in_frame += 1;
        if symbols_in_frame == MAX_SYMBOLS_PER_FRAME {
            frame += 1;
            symbols_in_frame = 0;
        }
    }
    Ok(())
}

/// Index of the largest value, the first of equal ones; `None` where a value is NaN or the largest
/// is infinite. Others may be: a graph masks with minus infinity.
fn argmax(row: &[f32]) -> Option<usize> {
    let mut best = 0;
    let mut has_nan = false;
    for (index, value) in row.iter().enumerate() {
        has_nan |= value.is_nan();
        if *value > row[best] {
            best = index;
        }
    }
    (!has_nan && row[best].is_finite()).then_some(best)
}

/// Probability of entry `index` of `logits`.
fn softmax_at(logits: &[f32], index: usize) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - top).exp()).sum();
    (logits[index] - top).exp() / sum
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const BLANK: usize = 3;

    /// Makes other logits of a run's.
    type Spoil = fn(&mut Vec<f32>);

    /// Emits, in frame f, the tokens listed for it: the frame carries its number and the state
    /// counts the tokens so far.
    struct Script {
        /// (frame, token) in order.
        tokens: Vec<(usize, usize)>,
        runs: Cell<usize>,
        /// What happens to the logits of which run.
        spoil: Option<(usize, Spoil)>,
    }

    impl Script {
        fn new(tokens: &[(usize, usize)]) -> Self {
            Self { tokens: tokens.to_vec(), runs: Cell::new(0), spoil: None }
        }
    }

    impl JointNetwork for Script {
        type State = usize;

        fn parallel_runs(&self) -> usize {
            1
        }

        fn failure(&self, reason: String) -> Error {
            Error::Inference { path: "script.onnx".into(), reason }
        }

        fn frame_size(&self) -> usize {
            1
        }

        fn blank(&self) -> usize {
            BLANK
        }

        fn initial_state(&self) -> Result<usize, Error> {
            Ok(0)
        }

        fn run(
            &self,
            frames: &[f32],
            token: usize,
            state: &usize,
        ) -> Result<(Vec<f32>, usize), Error> {
            self.runs.set(self.runs.get() + 1);
            let last = state.checked_sub(1).map_or(BLANK, |i| self.tokens[i].1);
            assert_eq!(token, last, "the network must be told the last token");
            let next = self.tokens.get(*state);
            let logits = frames.iter().flat_map(|&frame| {
                let id = next.filter(|(at, _)| *at == frame as usize).map_or(BLANK, |(_, id)| *id);
                (0..=BLANK).map(move |i| if i == id { 2.0 } else { 0.0 })
            });
            let mut logits = logits.collect();
            if let Some((_, spoil)) = self.spoil.filter(|(run, _)| *run == self.runs.get()) {
                spoil(&mut logits);
            }
            Ok((logits, state + 1))
        }
    }

    fn decode(script: &Script, chunks: &[&[f32]]) -> Vec<(u64, usize)> {
        let mut state = DecoderState::new(script).expect("no network");
        let (mut tokens, mut first) = (Vec::new(), 0);
        for chunk in chunks {
            decode_greedily(script, chunk, first, &mut state, &mut tokens).expect("no network");
            first += chunk.len() as u64;
        }
        tokens.iter().map(|token| (token.frame, token.id)).collect()
    }

    #[test]
    fn takes_each_token_in_its_frame() {
        let script = Script::new(&[(1, 0), (1, 2), (4, 1)]);
        assert_eq!(
            decode(&script, &[&[0.0, 1.0, 2.0], &[3.0, 4.0, 5.0]]),
            [(1, 0), (1, 2), (4, 1)]
        );
    }

    #[test]
    fn runs_once_a_token_and_once_a_chunk_and_after_a_second_token_in_a_frame() {
        let script = Script::new(&[(1, 0), (1, 2), (4, 1)]);
        decode(&script, &[&[0.0, 1.0, 2.0], &[3.0, 4.0, 5.0]]);
        assert_eq!(script.runs.get(), 3 + 2 + 1);
    }

    #[test]
    fn a_frame_emits_ten_tokens_at_most() {
        let script = Script::new(&[(0, 1); 25]);
        assert_eq!(decode(&script, &[&[0.0, 0.0]]).len(), 20);
        assert_eq!(script.runs.get(), 20, "nothing is left to look at after the last frame");
    }

    #[test]
    fn probability_is_that_of_the_softmax() {
        let script = Script::new(&[(0, 1)]);
        let mut state = DecoderState::new(&script).expect("no network");
        let mut tokens = Vec::new();
        decode_greedily(&script, &[0.0], 7, &mut state, &mut tokens).expect("no network");
        let expected = 2.0_f32.exp() / (2.0_f32.exp() + 3.0);
        assert!((tokens[0].probability - expected).abs() < 1e-6);
        assert_eq!(tokens[0].frame, 7);
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error_and_cost_no_token() {
        let spoils: [(&str, Spoil); 6] = [
            ("NaN", |logits| logits.fill(f32::NAN)),
            ("NaN", |logits| logits[BLANK] = f32::NAN),
            ("infinity", |logits| logits.fill(f32::NEG_INFINITY)),
            ("infinity", |logits| logits[1] = f32::INFINITY),
            ("found 3", |logits| logits.truncate(BLANK)),
            ("found 8", |logits| logits.extend_from_within(..)),
        ];
        for (found, spoil) in spoils {
            let script = Script { spoil: Some((3, spoil)), ..Script::new(&[(0, 0), (0, 2)]) };
            let mut state = DecoderState::new(&script).expect("no network");
            let mut tokens = Vec::new();
            let error = decode_greedily(&script, &[0.0; 1], 0, &mut state, &mut tokens);
            let error = error.expect_err("the third run is spoilt");
            assert!(matches!(error, Error::Inference { .. }), "{error}");
            for part in ["script.onnx", found] {
                assert!(error.to_string().contains(part), "{part} is not in: {error}");
            }
            assert_eq!(tokens.len(), 2, "{error}");
        }
    }

    #[test]
    fn first_of_equal_logits_wins() {
        assert_eq!(argmax(&[0.5, 1.0, 1.0]), Some(1));
        assert_eq!(argmax(&[f32::NEG_INFINITY, -3.0, f32::NEG_INFINITY]), Some(1));
    }
}
