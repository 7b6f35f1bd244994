// SPDX-License-Identifier: MPL-2.0

//! An hour of conversation in the demo's small world, by several speakers who overlap.

use std::time::Duration;

use multitalker_captions::{Cue, Rules, Simultaneous, Word};

use crate::checks::{check, cps, run};
use crate::world::sentence;

const HOUR: Duration = Duration::from_secs(3600);

/// Returns an hour of sentences by four speakers at the given speed. One turn in four begins before
/// the one before it has ended.
fn conversation(words_per_minute: u64, punctuated: bool) -> Vec<Word> {
    let mut random = fastrand::Rng::with_seed(words_per_minute);
    let mut words = Vec::new();
    let mut ends = [Duration::ZERO; 4];
    let mut end = Duration::ZERO;
    while end < HOUR {
        let speaker = random.usize(..4);
        let pause = Duration::from_millis(random.u64(100..2000));
        let overlap = Duration::from_millis(random.u64(200..2500));
        let start = if random.u8(..4) == 0 { end.saturating_sub(overlap) } else { end + pause };
        let mut at = start.max(ends[speaker] + Duration::from_millis(100));
        let mut text = sentence(&mut random);
        if punctuated {
            text.push('.');
        }
        for text in text.split(' ') {
            // Longer words take longer.
            let letters = text.len() as u64 + 2;
            let duration = Duration::from_millis(letters * 60_000 / words_per_minute / 7);
            let start = at;
            at += duration;
            words.push(Word { id: 0, speaker, text: text.to_owned(), start, end: at });
        }
        ends[speaker] = at;
        end = end.max(at);
    }
    words.sort_by_key(|word| word.start);
    words.iter_mut().zip(0..).for_each(|(word, id)| word.id = id);
    words
}

/// Returns whether a cue could last longer: nothing follows it in its place.
fn has_time(rules: &Rules, cue: &Cue, later: &[(Duration, Cue)]) -> bool {
    let follows = |next: &Cue| {
        let shares = rules.simultaneous == Simultaneous::Merge
            || next.speakers().iter().any(|speaker| cue.speakers().contains(speaker));
        shares && next.start <= cue.end + rules.min_gap
    };
    cue.end - cue.start < rules.max_duration && !later.iter().any(|(_, next)| follows(next))
}

#[test]
fn rules_hold_for_an_hour() {
    for (words_per_minute, punctuated) in [(150, true), (170, false), (260, true)] {
        let words = conversation(words_per_minute, punctuated);
        for simultaneous in [Simultaneous::Stack, Simultaneous::Merge] {
            let rules = Rules { simultaneous, ..Rules::default() };
            let cues = run(rules, &words, Duration::from_millis(560));
            check(&rules, &words, &cues);
            let is_fast = |cue: &Cue| cps(cue) > rules.max_cps + 0.01;
            for (index, (_, cue)) in cues.iter().enumerate() {
                let needless = is_fast(cue) && has_time(&rules, cue, &cues[index + 1..]);
                // The screen may be full with other speakers.
                let is_crowded = cues.iter().filter(|(_, other)| {
                    other.start <= cue.end + rules.min_gap && other.end >= cue.end
                });
                assert!(!needless || is_crowded.count() > 2, "{cue:#?}");
            }
            let fast = cues.iter().filter(|(_, cue)| is_fast(cue)).count();
            let short =
                cues.iter().filter(|(_, cue)| cue.end - cue.start < rules.min_duration).count();
            if words_per_minute < 200 {
                // What people say at once cannot be read one after the other.
                let max_percent = if simultaneous == Simultaneous::Stack { 1 } else { 20 };
                assert!(fast * 100 <= cues.len() * max_percent, "{fast} of {} fast", cues.len());
                assert!(short * 100 <= cues.len(), "{short} of {} cues are short", cues.len());
            }
        }
    }
}

#[test]
fn articles_stay_with_their_nouns() {
    let words = conversation(150, true);
    let cues = run(Rules::default(), &words, Duration::from_millis(560));
    let ends_with_article = |text: &str| {
        let last = text.rsplit(' ').next().unwrap_or(text);
        ["the", "a", "an"].contains(&last)
    };
    for (_, cue) in &cues {
        assert!(!cue.lines.iter().any(|line| ends_with_article(&line.text)), "{cue:#?}");
    }
}

#[test]
fn most_cues_are_sentences() {
    let words = conversation(150, true);
    let cues = run(Rules::default(), &words, Duration::from_millis(560));
    let sentences = words.iter().filter(|word| word.text.ends_with('.')).count();
    // A sentence has 35 to 70 characters, so each fits into a cue.
    let whole = cues.iter().filter(|(_, cue)| cue.text().ends_with('.')).count();
    assert!(whole * 100 >= cues.len() * 95, "{whole} of {} cues end a sentence", cues.len());
    assert!(cues.len() * 100 <= sentences * 105, "{} cues for {sentences} sentences", cues.len());
}
