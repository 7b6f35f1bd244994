// SPDX-License-Identifier: MPL-2.0

//! One cue at a time, with a line for each of several people who talk at once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::blocks::{Run, fastest_time, first_cue, reading_time};
use crate::captioner::{Captioner, Content};
use crate::layout::{Room, speakers};
use crate::piece::Piece;
use crate::stack::{QUICK_EXCHANGE, TURN_PAUSE};
use crate::timing::{self, TURN_TOLERANCE, Times};

/// Composes the cue of the first word that waits. There is one.
pub fn compose(captioner: &Captioner) -> Content {
    let (rules, pending) = (&captioner.rules, &captioner.pending);
    let nominal = pending.start().unwrap_or_default();
    let known = nominal.saturating_add(rules.max_delay());
    let limit = nominal.saturating_add(rules.max_duration);
    let all = pending.all(known);
    let start = all.first().map_or(nominal, |first| captioner.earliest(first.speaker, nominal));
    let start = captioner.screen.next_free_of_all(start);
    let length = turn(&all, captioner);
    let last_end = latest_end(&all[..length]);
    let run = Run {
        pieces: &all[..length],
        is_closed: length < all.len() || last_end.saturating_add(rules.pause) <= known,
        end: all.get(length).map_or(limit, |next| next.start),
    };
    // More people than lines of a cue take more of the screen.
    let room = |speakers: usize| Room {
        max_columns: rules.max_columns,
        max_lines: rules.max_lines.max(speakers.min(rules.max_screen_lines)),
    };
    let label = |speaker| captioner.label(speaker);
    let (count, layout) = first_cue(&run, rules, &room, &label);
    let cue = &all[..count];
    let times = Times {
        start,
        speech_end: latest_end(cue),
        reading: reading_time(cue, rules),
        fastest: fastest_time(cue, rules),
        limit,
        next: all.get(count).map(|next| next.start),
        turn: None,
        needed: None,
    };
    let counts = speakers(cue)
        .into_iter()
        .map(|speaker| (speaker, cue.iter().filter(|piece| piece.speaker == speaker).count()));
    Content { counts: counts.collect(), layout, start, end: timing::end(&times, rules) }
}

/// Returns the number of pieces until a pause or a new speaker, except in a quick exchange.
fn turn(all: &[&Piece], captioner: &Captioner) -> usize {
    let Some(first) = all.first() else { return 0 };
    // End of each speaker's last word.
    let mut ends = BTreeMap::from([(first.speaker, first.end)]);
    let mut turns = 1;
    for (index, next) in all.iter().enumerate().skip(1) {
        let end = ends.values().max().copied().unwrap_or_default();
        if next.start >= end.saturating_add(captioner.rules.pause) {
            return index;
        }
        let own_end = ends.get(&next.speaker).copied();
        let begins = own_end.is_none_or(|end| next.start.saturating_sub(end) >= TURN_PAUSE);
        let is_alone = next.start >= end.saturating_sub(TURN_TOLERANCE);
        if begins && is_alone && own_end != Some(end) {
            let is_quick = next.start.saturating_sub(first.start) <= QUICK_EXCHANGE;
            if !is_quick || turns > 1 || own_end.is_some() {
                return index;
            }
            turns += 1;
        }
        let own_end = ends.entry(next.speaker).or_default();
        *own_end = next.end.max(*own_end);
    }
    all.len()
}

fn latest_end(pieces: &[&Piece]) -> Duration {
    pieces.iter().map(|piece| piece.end).max().unwrap_or_default()
}
