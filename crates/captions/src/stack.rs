// SPDX-License-Identifier: MPL-2.0

//! Cues of one speaker each, in separate rows of the screen for people who talk at once. Only two
//! short turns in a quick exchange share a cue.

use std::time::Duration;

use crate::blocks::{Run, fastest_time, first_cue, reading_time};
use crate::captioner::{Captioner, Content};
use crate::layout::{Layout, Room, lay_out};
use crate::piece::Piece;
use crate::timing::{self, TURN_TOLERANCE, Times};

/// Minimum pause in which another speaker can take the turn.
pub const TURN_PAUSE: Duration = Duration::from_millis(300);

/// Time from the start of a turn to the next one, up to which an exchange is quick.
pub const QUICK_EXCHANGE: Duration = Duration::from_secs(2);

/// Composes the cue of the first word that waits. There is one.
pub fn compose(captioner: &Captioner) -> Content {
    let (rules, pending) = (&captioner.rules, &captioner.pending);
    let nominal = pending.start().unwrap_or_default();
    let speaker = pending.first().map_or(0, |piece| piece.speaker);
    // Nothing that starts later is known when the cue is due.
    let known = nominal.saturating_add(rules.max_delay());
    let limit = nominal.saturating_add(rules.max_duration);
    let start = start(captioner, speaker, nominal);
    let own = pending.of_speaker(speaker, known);
    let others = pending.others(speaker, known);

    // Whoever begins at about the same time needs a row, too.
    let soon = start.saturating_add(rules.min_duration);
    let rivals = others.iter().filter(|piece| piece.start < soon).count();
    let free = captioner.screen.free(start).saturating_sub(rivals).clamp(1, rules.max_lines);
    let max_lines = free.min(captioner.screen.room(start)).max(1);
    let room = Room { max_columns: rules.max_columns, max_lines };
    let label = |speaker| captioner.label(speaker);

    let length = turn(&own, captioner, known);
    let run = Run {
        pieces: &own[..length],
        is_closed: length < own.len() || is_over(&own[..length], captioner, known),
        end: own.get(length).map_or(limit, |next| next.start),
    };
    let (count, layout) = first_cue(&run, rules, &|_| room, &label);
    let content = |counts, layout: Layout, pieces: &[&Piece], next: Option<Duration>| {
        let speech_end = pieces.iter().map(|piece| piece.end).max().unwrap_or(start);
        let lines = layout.lines.len();
        let times = Times {
            start,
            speech_end,
            reading: reading_time(pieces, rules),
            fastest: fastest_time(pieces, rules),
            limit,
            next,
            turn: next_turn(captioner, pieces, speech_end, known),
            needed: needed(captioner, pieces, lines, start, known),
        };
        Content { counts, layout, start, end: timing::end(&times, rules) }
    };

    if count == length
        && run.is_closed
        && max_lines >= 2
        && let Some(answer) = answer(captioner, &own[..length], known)
    {
        let mut both = own[..length].to_vec();
        both.extend(&answer);
        let other = answer.first().map_or(speaker, |first| first.speaker);
        // The last cue of the other speaker may still be there.
        let is_free = captioner.earliest(other, start) == start;
        let room = Room { max_lines: 2, ..room };
        if let Some(shared) = lay_out(&both, room, &label).filter(|_| is_free) {
            let after = |speaker, count: usize| {
                pending.of_speaker(speaker, known).get(count).map(|piece| piece.start)
            };
            let next = [after(speaker, length), after(other, answer.len())];
            let next = next.into_iter().flatten().min();
            let counts = vec![(speaker, length), (other, answer.len())];
            return content(counts, shared, &both, next);
        }
    }
    let next = own.get(count).map(|next| next.start);
    content(vec![(speaker, count)], layout, &own[..count], next)
}

/// Returns the time at which the speaker's last cue is over and a row is free.
fn start(captioner: &Captioner, speaker: usize, nominal: Duration) -> Duration {
    let mut start = captioner.earliest(speaker, nominal);
    loop {
        let free = captioner.screen.next_free(start);
        let next = captioner.earliest(speaker, free);
        if next == start {
            return start;
        }
        start = next;
    }
}

/// Returns the number of pieces of a speaker until a pause, or until another speaker takes the turn.
fn turn(own: &[&Piece], captioner: &Captioner, known: Duration) -> usize {
    let ends = |index: usize| {
        let Some(next) = own.get(index + 1) else { return false };
        let pause = next.start.saturating_sub(own[index].end);
        let takes_turn = || {
            let from = own[index].end.saturating_sub(TURN_TOLERANCE).max(own[index].start);
            let all = captioner.pending.all(known);
            let mut between =
                all.iter().filter(|piece| piece.start >= from && piece.start < next.start);
            between.any(|piece| piece.speaker != next.speaker)
        };
        !next.is_continuation
            && (pause >= captioner.rules.pause || (pause >= TURN_PAUSE && takes_turn()))
    };
    (0..own.len()).find(|&index| ends(index)).map_or(own.len(), |last| last + 1)
}

/// Returns whether a turn with these last pieces is over at a time up to which all is known.
fn is_over(turn: &[&Piece], captioner: &Captioner, known: Duration) -> bool {
    turn.last().is_none_or(|last| last.end.saturating_add(captioner.rules.pause) <= known)
}

/// Returns the pieces of another speaker's turn that may share a cue with this one.
fn answer<'a>(
    captioner: &'a Captioner,
    turn_: &[&Piece],
    known: Duration,
) -> Option<Vec<&'a Piece>> {
    let (first, last) = (turn_.first()?, turn_.last()?);
    let next = captioner.pending.others(first.speaker, known).into_iter().next()?;
    let own = captioner.pending.of_speaker(next.speaker, known);
    let answer = &own[..turn(&own, captioner, known)];
    let end = answer.last()?.end;
    let is_quick = next.start.saturating_sub(first.start) <= QUICK_EXCHANGE;
    let follows = next.start >= last.end.saturating_sub(TURN_TOLERANCE) && next.start > first.start;
    let is_complete = answer.len() < own.len() || is_over(answer, captioner, known);
    let fits = end <= first.start.saturating_add(captioner.rules.max_duration);
    let is_alone = || {
        let all = captioner.pending.all(end);
        all.len() == turn_.len() + answer.len()
    };
    (is_quick && follows && is_complete && fits && is_alone()).then(|| answer.to_vec())
}

/// Returns the start of the next turn of another speaker after the words of a cue.
fn next_turn(
    captioner: &Captioner,
    cue: &[&Piece],
    speech_end: Duration,
    known: Duration,
) -> Option<Duration> {
    let from = speech_end.saturating_sub(TURN_TOLERANCE);
    let is_in_cue = |speaker| cue.iter().any(|piece| piece.speaker == speaker);
    let all = captioner.pending.all(known);
    let mut ends = std::collections::BTreeMap::new();
    for piece in all {
        let last_end = ends.insert(piece.speaker, piece.end);
        let begins =
            last_end.is_none_or(|end: Duration| piece.start.saturating_sub(end) >= TURN_PAUSE);
        if begins && piece.start >= from && !is_in_cue(piece.speaker) {
            return Some(piece.start);
        }
    }
    None
}

/// Returns the time from which others need the rows of a cue.
fn needed(
    captioner: &Captioner,
    cue: &[&Piece],
    lines: usize,
    start: Duration,
    known: Duration,
) -> Option<Duration> {
    let speaker = cue.first()?.speaker;
    let others = captioner.pending.others(speaker, known);
    let others =
        others.iter().filter(|first| cue.iter().all(|piece| piece.speaker != first.speaker));
    let starts = others.map(|first| first.start.max(start)).zip(1..);
    let rows = captioner.rules.max_screen_lines;
    let is_full =
        |(at, rivals): &(Duration, usize)| captioner.screen.used(*at) + lines + rivals > rows;
    starts.filter(is_full).map(|(at, _)| at).next()
}
