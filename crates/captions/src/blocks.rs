// SPDX-License-Identifier: MPL-2.0

//! Choice of the words of a cue: the first cue of the best sequence of cues for the words that are
//! known.

use std::time::Duration;

use crate::breaks::Break;
use crate::cue::Line;
use crate::layout::{Label, Layout, Room, break_between, lay_out, speakers};
use crate::piece::Piece;
use crate::rules::Rules;

/// Cost of each cue, so that there are few.
const CUE: f64 = 4.0;
/// Cost of the end of a sentence within a cue, so that a sentence begins a cue where there is time.
const SENTENCE_WITHIN: f64 = 8.0;
/// Cost of a cue that has no time at all, instead of the minimum duration.
const TOO_SHORT: f64 = 30.0;
/// Cost of a cue at twice the maximum reading speed, and its limit.
const TOO_FAST: f64 = 15.0;
const MAX_TOO_FAST: f64 = 45.0;
/// Maximum number of pieces and of full cues to look ahead.
const MAX_PIECES: usize = 64;
const MAX_CUES: usize = 4;

/// Words from which the next cue takes some, in the order of their starts.
pub struct Run<'a> {
    pub pieces: &'a [&'a Piece],
    /// Whether a cue must end with the last piece, rather than more pieces follow.
    pub is_closed: bool,
    /// Time by which a cue that ends with the last piece must be over.
    pub end: Duration,
}

/// Returns the number of pieces of the next cue and its lines. `room` is the room of a cue of this
/// many speakers. There is at least one piece in the run.
pub fn first_cue(
    run: &Run,
    rules: &Rules,
    room: &dyn Fn(usize) -> Room,
    label: Label,
) -> (usize, Layout) {
    let is_cut = run.pieces.len() > window(run.pieces, room(1));
    let pieces = &run.pieces[..window(run.pieces, room(1))];
    // best[begin]: the lowest cost of all pieces from `begin` on, and the end of the first cue.
    let mut best = vec![(f64::INFINITY, 0); pieces.len() + 1];
    best[pieces.len()] = (0.0, pieces.len());
    for begin in (0..pieces.len()).rev() {
        for end in begin + 1..=pieces.len() {
            let cue = &pieces[begin..end];
            if end > begin + 1
                && cue[cue.len() - 1].start > cue[0].start.saturating_add(rules.max_duration)
            {
                break;
            }
            let Some(layout) = lay_out(cue, room(speakers(cue).len()), label) else { break };
            let (rest, _) = best[end];
            let is_last = end == pieces.len();
            let mut cost = rest + CUE + layout.cost + sentences_within(cue) * SENTENCE_WITHIN;
            if !is_last || (run.is_closed && !is_cut) {
                let over = pieces.get(end).map_or(run.end, |next| next.start);
                cost += break_cost(cue, &pieces[end..]) + time_cost(cue, over, rules);
            }
            if cost < best[begin].0 {
                best[begin] = (cost, end);
            }
        }
        // A single piece fits, unless more speakers than lines speak at once.
        if best[begin].0.is_infinite() {
            best[begin] = (best[begin + 1].0, begin + 1);
        }
    }
    let (_, end) = best[0];
    let cue = &pieces[..end];
    let unbroken = || Layout {
        lines: cue
            .iter()
            .map(|piece| Line { speaker: piece.speaker, text: piece.text.clone() })
            .collect(),
        cost: 0.0,
    };
    (end, lay_out(cue, room(speakers(cue).len()), label).unwrap_or_else(unbroken))
}

/// Returns the number of pieces to look at.
fn window(pieces: &[&Piece], room: Room) -> usize {
    let mut width = 0;
    let within = pieces.iter().take(MAX_PIECES).take_while(|piece| {
        width += piece.width + 1;
        width <= MAX_CUES * room.max_lines * (room.max_columns + 1)
    });
    within.count().max(1)
}

/// Returns the number of sentences that end within a cue of one speaker.
fn sentences_within(cue: &[&Piece]) -> f64 {
    let ends = |pair: &&[&Piece]| {
        pair[0].speaker == pair[1].speaker && break_between(pair[0], pair[1]) == Break::Sentence
    };
    cue.windows(2).filter(ends).count() as f64
}

/// Cost of the break after a cue, for each of its speakers who continues.
fn break_cost(cue: &[&Piece], rest: &[&Piece]) -> f64 {
    let of_speaker = |speaker| {
        let last = cue.iter().rfind(|piece| piece.speaker == speaker)?;
        let next = rest.iter().find(|piece| piece.speaker == speaker)?;
        Some(1.5 * break_between(last, next).cost())
    };
    speakers(cue).into_iter().filter_map(of_speaker).sum()
}

/// Cost of a cue that must be over at a time.
fn time_cost(cue: &[&Piece], over: Duration, rules: &Rules) -> f64 {
    let Some(first) = cue.first() else { return 0.0 };
    let available = over.saturating_sub(first.start).saturating_sub(rules.min_gap);
    let available = available.min(rules.max_duration).as_secs_f64().max(1e-3);
    let reading = reading_time(cue, rules).as_secs_f64();
    let min = rules.min_duration.as_secs_f64();
    let too_fast = TOO_FAST * (reading / available - 1.0);
    TOO_SHORT * (1.0 - available / min).max(0.0) + too_fast.clamp(0.0, MAX_TOO_FAST)
}

/// Returns the time that it takes to read pieces.
pub fn reading_time(cue: &[&Piece], rules: &Rules) -> Duration {
    let words = cue.iter().filter(|piece| !piece.is_continuation).count();
    fastest_time(cue, rules).max(rules.time_of_words(words))
}

/// Returns the time that it takes to read pieces at the maximum number of characters a second.
pub fn fastest_time(cue: &[&Piece], rules: &Rules) -> Duration {
    let characters: usize = cue.iter().map(|piece| piece.characters).sum();
    let spaces = cue.len().saturating_sub(1);
    rules.time_of_characters(characters + spaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cue::Word;
    use crate::piece;

    /// Returns the text of the first cue of words that take 300 ms each.
    fn first(text: &str, is_closed: bool) -> String {
        let rules = Rules::default();
        let words = text.split(' ').zip(0..).map(|(text, index)| Word {
            id: 0,
            speaker: 0,
            text: text.to_owned(),
            start: Duration::from_millis(300 * index),
            end: Duration::from_millis(300 * (index + 1)),
        });
        let pieces: Vec<_> = words.flat_map(|word| piece::pieces(&word, 37)).collect();
        let pieces: Vec<_> = pieces.iter().collect();
        let end = pieces
            .last()
            .map_or(Duration::ZERO, |last| last.end.saturating_add(rules.max_duration));
        let run = Run { pieces: &pieces, is_closed, end };
        let room = |_| Room { max_columns: 37, max_lines: 2 };
        let (count, layout) = first_cue(&run, &rules, &room, &|_| None);
        assert!(count > 0);
        let lines = layout.lines;
        lines.into_iter().map(|line| line.text).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_cue_ends_with_its_sentence() {
        assert_eq!(
            first("The storm moves east tonight. There is fog.", true),
            "The storm moves east tonight."
        );
    }

    #[test]
    fn a_sentence_too_short_to_read_is_joined_with_the_next() {
        assert_eq!(
            first("Yes. There is fog in the south.", true),
            "Yes. There is fog in the south."
        );
    }

    #[test]
    fn the_rest_of_a_long_sentence_is_not_a_single_word() {
        let text = "the captain said that twelve children came to the harbour in the old part \
                    yesterday";
        assert_eq!(first(text, true), "the captain said|that twelve children came");
    }
}
