// SPDX-License-Identifier: MPL-2.0

//! Phrase boosting: a prefix tree of token sequences, with back-off arcs, that raises the scores of
//! the tokens that begin or continue a phrase.
//!
//! Sources: the context graph of Icefall, after A. V. Aho and M. J. Corasick, "Efficient String
//! Matching", 1975; A. Andrusenko, V. Bataev, L. Grigoryan, V. Lavrukhin and B. Ginsburg,
//! "TurboBias: Universal ASR Context-Biasing powered by GPU-accelerated Phrase-Boosting Tree",
//! 2025, whose scores NeMo 3.0.0 computes in `GPUBoostingTreeModel`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::error::Error;

/// Scores of the arcs of a boosting tree, with the names and the default values of NeMo's
/// `BoostingTreeModelConfig`. Its `final_eos_score` is left out, since only attention decoders have
/// an end-of-sequence token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoostingOptions {
    /// Score of the first token of a phrase, and part of the score of all others.
    pub context_score: f64,
    /// Factor of `context_score` for all tokens after the first.
    pub depth_scaling: f64,
    /// Score of tokens with which no phrase begins.
    pub unk_score: f64,
}

impl BoostingOptions {
    /// Checks that all scores are numbers.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for the first score that is not finite.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        finite("context_score", self.context_score)?;
        finite("depth_scaling", self.depth_scaling)?;
        finite("unk_score", self.unk_score)
    }
}

fn finite(option: &'static str, value: f64) -> Result<(), Error> {
    match value.is_finite() {
        true => Ok(()),
        false => Err(Error::InvalidOption {
            option,
            expected: "a finite number".to_owned(),
            found: value.to_string(),
        }),
    }
}

impl Default for BoostingOptions {
    fn default() -> Self {
        Self { context_score: 1.0, depth_scaling: 2.0, unk_score: 0.0 }
    }
}

/// A phrase as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizedPhrase {
    /// Indices in the vocabulary, at least one.
    pub tokens: Vec<usize>,
    /// Replaces [`BoostingOptions::context_score`] for this phrase.
    pub context_score: Option<f64>,
}

/// Position in a [`BoostingTree`]: the longest beginning of a phrase with which the tokens so far
/// end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoostingState(u32);

/// Phrases to boost, for [`Stream::set_phrase_boosting`](crate::Stream::set_phrase_boosting).
#[derive(Clone, Debug)]
pub struct PhraseBoosting {
    tree: Arc<BoostingTree>,
    strength: f32,
}

impl PhraseBoosting {
    /// Adds the scores of `tree`, times `strength`, to the logits.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the strength is not finite.
    pub(crate) fn new(tree: BoostingTree, strength: f32) -> Result<Self, Error> {
        finite("strength of phrase boosting", f64::from(strength))?;
        Ok(Self { tree: Arc::new(tree), strength })
    }

    /// Returns `logits`, `[tokens]` without the blank, with the scores after `state` added.
    pub(crate) fn boost(&self, logits: &[f32], state: BoostingState) -> Vec<f32> {
        let mut boosted = vec![0.0; logits.len()];
        self.tree.fill_scores(state, &mut boosted);
        for (value, logit) in boosted.iter_mut().zip(logits) {
            *value = logit + self.strength * *value;
        }
        boosted
    }

    /// Returns the state after `token`.
    pub(crate) fn advance(&self, state: BoostingState, token: usize) -> BoostingState {
        self.tree.next(state, token)
    }
}

/// Scores of the next token by the tokens before it.
#[derive(Debug)]
pub struct BoostingTree {
    states: Vec<State>,
    /// Arcs of all states, sorted by token within each state.
    arcs: Vec<TreeArc>,
    unk_score: f32,
}

#[derive(Debug)]
struct State {
    first_arc: u32,
    end_arc: u32,
    backoff_to: u32,
    backoff_score: f32,
}

#[derive(Clone, Copy, Debug)]
struct TreeArc {
    token: u32,
    to: u32,
    score: f32,
}

/// Index of the state, and of the node, before any token of a phrase.
const ROOT: u32 = 0;

impl BoostingTree {
    /// Builds the tree of `phrases`. Phrases that begin alike share states, which have the larger
    /// of their scores.
    pub fn new(phrases: &[TokenizedPhrase], options: BoostingOptions) -> Self {
        let mut graph = Graph::default();
        for phrase in phrases {
            graph.add(phrase, options);
        }
        graph.fill_fail_links();
        let mut arcs = Vec::new();
        let states = graph.nodes.iter().map(|node| {
            let first_arc = arcs.len() as u32;
            arcs.extend(node.next.iter().map(|(&token, &to)| TreeArc {
                token: token as u32,
                to: to as u32,
                score: graph.nodes[to].token_score as f32,
            }));
            // The score of a phrase that was completed is kept.
            let backoff_score = match node.is_end {
                true => 0.0,
                false => graph.nodes[node.fail].score - node.score,
            };
            State {
                first_arc,
                end_arc: arcs.len() as u32,
                backoff_to: node.fail as u32,
                backoff_score: backoff_score as f32,
            }
        });
        Self { states: states.collect(), arcs, unk_score: options.unk_score as f32 }
    }

    /// Writes the score of each token of the vocabulary after `state` into `scores`.
    pub fn fill_scores(&self, state: BoostingState, scores: &mut [f32]) {
        // The longest match wins, so the arcs of the root come first and are overwritten.
        let mut path = vec![(state.0, 0.0)];
        let (mut index, mut backoff_score) = path[0];
        while index != ROOT {
            let state = &self.states[index as usize];
            backoff_score += state.backoff_score;
            index = state.backoff_to;
            path.push((index, backoff_score));
        }
        scores.fill(backoff_score + self.unk_score);
        for (index, backoff_score) in path.into_iter().rev() {
            for arc in self.arcs(index) {
                if let Some(score) = scores.get_mut(arc.token as usize) {
                    *score = backoff_score + arc.score;
                }
            }
        }
    }

    /// Returns the state after `token`.
    pub fn next(&self, state: BoostingState, token: usize) -> BoostingState {
        let mut index = state.0;
        loop {
            let arcs = self.arcs(index);
            if let Ok(found) = arcs.binary_search_by_key(&token, |arc| arc.token as usize) {
                return BoostingState(arcs[found].to);
            }
            if index == ROOT {
                return BoostingState(ROOT);
            }
            index = self.states[index as usize].backoff_to;
        }
    }

    /// Returns the arcs that leave a state.
    fn arcs(&self, index: u32) -> &[TreeArc] {
        let state = &self.states[index as usize];
        &self.arcs[state.first_arc as usize..state.end_arc as usize]
    }
}

/// A prefix tree with a link from each node to the longest beginning of a phrase that ends there.
struct Graph {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    next: BTreeMap<usize, usize>,
    /// Score of the arc to this node.
    token_score: f64,
    /// Sum of the scores from the root.
    score: f64,
    is_end: bool,
    fail: usize,
}

impl Default for Graph {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Graph {
    fn add(&mut self, phrase: &TokenizedPhrase, options: BoostingOptions) {
        let context_score = phrase.context_score.unwrap_or(options.context_score);
        let last = phrase.tokens.len().saturating_sub(1);
        let mut parent = ROOT as usize;
        for (depth, &token) in phrase.tokens.iter().enumerate() {
            let parent_score = self.nodes[parent].score;
            parent = match self.nodes[parent].next.get(&token) {
                Some(&known) => {
                    let node = &mut self.nodes[known];
                    node.token_score = context_score.max(node.token_score);
                    node.score = parent_score + node.token_score;
                    node.is_end |= depth == last;
                    known
                }
                None => {
                    let token_score = match depth {
                        0 => context_score,
                        _ => {
                            let depth_score = ((depth + 1) as f64).ln();
                            context_score * options.depth_scaling + depth_score
                        }
                    };
                    let new = self.nodes.len();
                    self.nodes.push(Node {
                        token_score,
                        score: parent_score + token_score,
                        is_end: depth == last,
                        ..Node::default()
                    });
                    self.nodes[parent].next.insert(token, new);
                    new
                }
            };
        }
    }

    fn fill_fail_links(&mut self) {
        let mut queue: VecDeque<usize> = self.nodes[ROOT as usize].next.values().copied().collect();
        while let Some(index) = queue.pop_front() {
            for (token, child) in self.nodes[index].next.clone() {
                let mut fail = self.nodes[index].fail;
                self.nodes[child].fail = loop {
                    if let Some(&shorter) = self.nodes[fail].next.get(&token) {
                        break shorter;
                    }
                    if fail == ROOT as usize {
                        break fail;
                    }
                    fail = self.nodes[fail].fail;
                };
                queue.push_back(child);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        trees: Vec<GoldenTree>,
    }

    #[derive(Deserialize)]
    struct GoldenTree {
        context_score: f64,
        depth_scaling: f64,
        unk_score: f64,
        /// Tokens, and the score of the phrase or 0.
        phrases: Vec<(Vec<usize>, f64)>,
        scored_tokens: Vec<usize>,
        walks: Vec<Walk>,
    }

    #[derive(Deserialize)]
    struct Walk {
        tokens: Vec<usize>,
        /// Scores of `scored_tokens` at the start and after each token.
        scores: Vec<Vec<f32>>,
    }

    #[test]
    fn scores_equal_those_of_nemo() {
        let path = test_support::data().join("boosting.json");
        let golden = std::fs::read_to_string(path).expect("the expected results");
        let golden: Golden = serde_json::from_str(&golden).expect("the format of boosting.py");
        assert!(golden.trees.len() > 10);
        for tree in golden.trees {
            let phrases: Vec<_> = tree
                .phrases
                .iter()
                .map(|(tokens, score)| TokenizedPhrase {
                    tokens: tokens.clone(),
                    context_score: (*score > 0.0).then_some(*score),
                })
                .collect();
            let options = BoostingOptions {
                context_score: tree.context_score,
                depth_scaling: tree.depth_scaling,
                unk_score: tree.unk_score,
            };
            let boosting = BoostingTree::new(&phrases, options);
            let vocabulary = tree.scored_tokens.iter().max().expect("a token") + 1;
            let mut scores = vec![f32::NAN; vocabulary];
            for walk in tree.walks {
                let mut state = BoostingState::default();
                let mut steps = walk.tokens.iter();
                for expected in &walk.scores {
                    boosting.fill_scores(state, &mut scores);
                    let found: Vec<f32> = tree.scored_tokens.iter().map(|&t| scores[t]).collect();
                    assert_eq!(&found, expected, "{phrases:?} {options:?} {:?}", walk.tokens);
                    if let Some(&token) = steps.next() {
                        state = boosting.next(state, token);
                    }
                }
            }
        }
    }

    #[test]
    fn tree_without_phrases_scores_nothing() {
        let tree = BoostingTree::new(&[], BoostingOptions::default());
        let mut scores = [1.0; 3];
        tree.fill_scores(BoostingState::default(), &mut scores);
        assert_eq!(scores, [0.0; 3]);
        assert_eq!(tree.next(BoostingState::default(), 1), BoostingState::default());
    }
}
