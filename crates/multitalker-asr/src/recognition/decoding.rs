// SPDX-License-Identifier: MPL-2.0

//! Strategies that choose a token from the scores of the transducer.

use crate::recognition::boosting::{BoostingState, PhraseBoosting};

/// A way to choose tokens. One instance serves all speakers; [`Self::State`] belongs to one.
///
/// A beam search is another loop over the same trait: since the state is `Clone`, each hypothesis owns
/// a copy.
pub trait DecodingStrategy {
    /// Context of one speaker, which depends only on the tokens chosen before.
    type State: Clone;

    /// Returns the context before the first token.
    fn initial_state(&self) -> Self::State;

    /// Chooses an entry of `logits`, `[tokens + 1]` with the blank last.
    ///
    /// Returns `None` if the logits are no basis for a choice: one is NaN, or the best is infinite.
    fn choose(&self, logits: &[f32], state: &Self::State) -> Option<usize>;

    /// Adds the chosen `token`, which is not the blank, to the context.
    fn advance(&self, state: &mut Self::State, token: usize);
}

/// Chooses the most probable token, after phrase boosting if any.
///
/// As in NeMo, phrases change which token is chosen, but never whether one is chosen: if the blank
/// is the most probable entry without them, it is chosen.
#[derive(Clone, Debug, Default)]
pub struct Greedy {
    pub boosting: Option<PhraseBoosting>,
}

impl DecodingStrategy for Greedy {
    type State = BoostingState;

    fn initial_state(&self) -> BoostingState {
        BoostingState::default()
    }

    fn choose(&self, logits: &[f32], state: &BoostingState) -> Option<usize> {
        let best = argmax(logits)?;
        let (_blank, tokens) = logits.split_last()?;
        match &self.boosting {
            Some(boosting) if best < tokens.len() => argmax(&boosting.boost(tokens, *state)),
            _ => Some(best),
        }
    }

    fn advance(&self, state: &mut BoostingState, token: usize) {
        if let Some(boosting) = &self.boosting {
            *state = boosting.advance(*state, token);
        }
    }
}

/// Returns the index of the largest value, the first of equal ones, or `None` if a value is NaN or
/// the largest is infinite. Others may be infinite: a graph masks with minus infinity.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_of_equal_logits_wins() {
        assert_eq!(argmax(&[0.5, 1.0, 1.0]), Some(1));
        assert_eq!(argmax(&[f32::NEG_INFINITY, -3.0, f32::NEG_INFINITY]), Some(1));
    }
}
