// SPDX-License-Identifier: MPL-2.0

//! Decoding of an RNN transducer, frame by frame.
//!
//! Source: A. Graves, "Sequence Transduction with Recurrent Neural Networks", 2012. Each run joins
//! the present state with all remaining frames, and the first frame whose choice is not the blank
//! counts. That takes about one run per token and one per chunk instead of one per frame.

use ndarray::{ArrayView2, s};

use crate::error::Error;
use crate::events::Token;
use crate::recognition::decoding::DecodingStrategy;
use crate::recognition::networks::JointNetwork;

/// Maximum number of tokens that one frame emits, as in NeMo.
const MAX_SYMBOLS_PER_FRAME: usize = 10;

/// State of one speaker: `S` of the network, `C` of the decoding strategy.
pub struct DecoderState<S, C> {
    network: S,
    context: C,
    last_token: usize,
}

impl<S, C> DecoderState<S, C> {
    /// Creates the state before the first token.
    ///
    /// # Errors
    /// [`Error::Inference`] if memory cannot be allocated.
    pub fn new<N, D>(network: &N, strategy: &D) -> Result<Self, Error>
    where
        N: JointNetwork<State = S>,
        D: DecodingStrategy<State = C>,
    {
        Ok(Self {
            network: network.initial_state()?,
            context: strategy.initial_state(),
            last_token: network.blank(),
        })
    }

    /// Resets the context of the decoding strategy to its state before the first token.
    pub fn reset_context(&mut self, strategy: &impl DecodingStrategy<State = C>) {
        self.context = strategy.initial_state();
    }
}

/// Decodes `frames`, `[frames, hidden]`, the first of which has index `first_frame`, and appends to
/// `tokens`.
///
/// # Errors
/// [`Error::Inference`] if logits are missing, NaN or infinite, and the errors of
/// [`JointNetwork::run`]; the tokens before the error are in `tokens`.
pub fn decode<N: JointNetwork, D: DecodingStrategy>(
    network: &N,
    strategy: &D,
    frames: ArrayView2<'_, f32>,
    first_frame: u64,
    state: &mut DecoderState<N::State, D::State>,
    tokens: &mut Vec<Token>,
) -> Result<(), Error> {
    let count = frames.nrows();
    let mut frame = 0;
    let mut symbols_in_frame = 0;
    // If a frame emitted a token, the same frame often emits the next, so it is tried alone.
    let mut first_alone = false;
    while frame < count {
        let end = if first_alone { frame + 1 } else { count };
        let rest = frames.slice(s![frame..end, ..]);
        let (logits, next) = network.run(rest, state.last_token, &state.network)?;
        let expected = [end - frame, network.blank() + 1];
        if logits.shape() != expected {
            let found = logits.shape();
            return Err(network.failure(format!("expected logits {expected:?}, found {found:?}")));
        }
        let mut emitted = None;
        for (index, row) in logits.rows().into_iter().enumerate() {
            let row = row.to_slice().expect("the layout is standard");
            let best = strategy.choose(row, &state.context).ok_or_else(|| {
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
        state.network = next;
        state.last_token = id;
        strategy.advance(&mut state.context, id);
        symbols_in_frame += 1;
        if symbols_in_frame == MAX_SYMBOLS_PER_FRAME {
            frame += 1;
            symbols_in_frame = 0;
        }
    }
    Ok(())
}

/// Returns the probability of entry `index` of `logits`.
fn softmax_at(logits: &[f32], index: usize) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - top).exp()).sum();
    (logits[index] - top).exp() / sum
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use ndarray::{Array2, Axis, aview1};

    use super::*;
    use crate::recognition::boosting::BoostingState;
    use crate::recognition::decoding::Greedy;

    const BLANK: usize = 3;

    /// Spoils the logits of a run.
    type Spoil = fn(&mut Array2<f32>);

    /// A network that emits the listed tokens: each frame holds its index, and the state counts the
    /// tokens so far.
    struct Script {
        /// (frame, token) in order.
        tokens: Vec<(usize, usize)>,
        runs: Cell<usize>,
        /// The number of a run, from 1, and what happens to its logits.
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
            frames: ArrayView2<'_, f32>,
            token: usize,
            state: &usize,
        ) -> Result<(Array2<f32>, usize), Error> {
            self.runs.set(self.runs.get() + 1);
            let last = state.checked_sub(1).map_or(BLANK, |i| self.tokens[i].1);
            assert_eq!(token, last, "the network gets the last token");
            let next = self.tokens.get(*state);
            let mut logits = Array2::from_shape_fn((frames.nrows(), BLANK + 1), |(row, id)| {
                let frame = frames[(row, 0)] as usize;
                let best = next.filter(|(at, _)| *at == frame).map_or(BLANK, |(_, id)| *id);
                if id == best { 2.0 } else { 0.0 }
            });
            if let Some((_, spoil)) = self.spoil.filter(|(run, _)| *run == self.runs.get()) {
                spoil(&mut logits);
            }
            Ok((logits, state + 1))
        }
    }

    fn column(values: &[f32]) -> ArrayView2<'_, f32> {
        aview1(values).insert_axis(Axis(1))
    }

    fn decode_chunks(script: &Script, chunks: &[&[f32]]) -> Vec<(u64, usize)> {
        let mut state = DecoderState::new(script, &Greedy::default()).expect("no network");
        let (mut tokens, mut first) = (Vec::new(), 0);
        for chunk in chunks {
            decode(script, &Greedy::default(), column(chunk), first, &mut state, &mut tokens)
                .expect("no network");
            first += chunk.len() as u64;
        }
        tokens.iter().map(|token| (token.frame, token.id)).collect()
    }

    #[test]
    fn takes_each_token_in_its_frame() {
        let script = Script::new(&[(1, 0), (1, 2), (4, 1)]);
        assert_eq!(
            decode_chunks(&script, &[&[0.0, 1.0, 2.0], &[3.0, 4.0, 5.0]]),
            [(1, 0), (1, 2), (4, 1)]
        );
    }

    #[test]
    fn runs_once_a_token_and_once_a_chunk_and_after_a_second_token_in_a_frame() {
        let script = Script::new(&[(1, 0), (1, 2), (4, 1)]);
        decode_chunks(&script, &[&[0.0, 1.0, 2.0], &[3.0, 4.0, 5.0]]);
        assert_eq!(script.runs.get(), 3 + 2 + 1);
    }

    #[test]
    fn a_frame_emits_ten_tokens_at_most() {
        let script = Script::new(&[(0, 1); 25]);
        assert_eq!(decode_chunks(&script, &[&[0.0, 0.0]]).len(), 20);
        assert_eq!(script.runs.get(), 20, "no frame is left after the last one");
    }

    #[test]
    fn probability_is_that_of_the_softmax() {
        let script = Script::new(&[(0, 1)]);
        let mut state = DecoderState::new(&script, &Greedy::default()).expect("no network");
        let mut tokens = Vec::new();
        decode(&script, &Greedy::default(), column(&[0.0]), 7, &mut state, &mut tokens)
            .expect("no network");
        let expected = 2.0_f32.exp() / (2.0_f32.exp() + 3.0);
        assert!((tokens[0].probability - expected).abs() < 1e-6);
        assert_eq!(tokens[0].frame, 7);
    }

    /// A strategy that prefers one token after another, as phrase boosting does.
    struct Boost {
        after: usize,
        token: usize,
        bonus: f32,
    }

    impl DecodingStrategy for Boost {
        type State = Option<usize>;

        fn initial_state(&self) -> Option<usize> {
            None
        }

        fn choose(&self, logits: &[f32], last: &Option<usize>) -> Option<usize> {
            let mut logits = logits.to_vec();
            if *last == Some(self.after) {
                logits[self.token] += self.bonus;
            }
            Greedy::default().choose(&logits, &BoostingState::default())
        }

        fn advance(&self, last: &mut Option<usize>, token: usize) {
            *last = Some(token);
        }
    }

    #[test]
    fn strategy_sees_the_tokens_before_and_decides() {
        /// A network in which token 1 is the best of each frame, and token 2 the second best.
        struct Undecided;

        impl JointNetwork for Undecided {
            type State = ();

            fn parallel_runs(&self) -> usize {
                1
            }

            fn failure(&self, reason: String) -> Error {
                Error::Inference { path: "undecided.onnx".into(), reason }
            }

            fn frame_size(&self) -> usize {
                1
            }

            fn blank(&self) -> usize {
                BLANK
            }

            fn initial_state(&self) -> Result<(), Error> {
                Ok(())
            }

            fn run(
                &self,
                frames: ArrayView2<'_, f32>,
                _token: usize,
                (): &(),
            ) -> Result<(Array2<f32>, ()), Error> {
                let row = [0.0, 2.0, 1.5, 0.5];
                Ok((Array2::from_shape_fn((frames.nrows(), BLANK + 1), |(_, id)| row[id]), ()))
            }
        }

        let ids = |bonus| {
            let boost = Boost { after: 1, token: 2, bonus };
            let mut state = DecoderState::new(&Undecided, &boost).expect("no network");
            let mut tokens = Vec::new();
            decode(&Undecided, &boost, column(&[0.0]), 0, &mut state, &mut tokens)
                .expect("no network");
            tokens.iter().map(|token| token.id).take(4).collect::<Vec<_>>()
        };
        assert_eq!(ids(0.4), [1, 1, 1, 1]);
        assert_eq!(ids(0.6), [1, 2, 1, 2]);
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error_and_cost_no_token() {
        let spoils: [(&str, Spoil); 6] = [
            ("NaN", |logits| logits.fill(f32::NAN)),
            ("NaN", |logits| logits[(0, BLANK)] = f32::NAN),
            ("infinity", |logits| logits.fill(f32::NEG_INFINITY)),
            ("infinity", |logits| logits[(0, 1)] = f32::INFINITY),
            ("found [1, 3]", |logits| *logits = Array2::zeros((1, BLANK))),
            ("found [2, 4]", |logits| *logits = Array2::zeros((2, BLANK + 1))),
        ];
        for (found, spoil) in spoils {
            let script = Script { spoil: Some((3, spoil)), ..Script::new(&[(0, 0), (0, 2)]) };
            let mut state = DecoderState::new(&script, &Greedy::default()).expect("no network");
            let mut tokens = Vec::new();
            let error =
                decode(&script, &Greedy::default(), column(&[0.0]), 0, &mut state, &mut tokens);
            let error = error.expect_err("the third run is spoilt");
            assert!(matches!(error, Error::Inference { .. }), "{error}");
            for part in ["script.onnx", found] {
                assert!(error.to_string().contains(part), "{part} is not in: {error}");
            }
            assert_eq!(tokens.len(), 2, "{error}");
        }
    }
}
