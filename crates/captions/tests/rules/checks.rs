// SPDX-License-Identifier: MPL-2.0

//! Checks that cues follow the rules and contain all words.

use std::collections::BTreeMap;
use std::time::Duration;

use multitalker_captions::{Captioner, Cue, Rules, Simultaneous, Word};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Pushes words as soon as the horizon passes them, in `step`s, and returns the cues with the last
/// horizon at which each was not due yet.
pub fn run(rules: Rules, words: &[Word], step: Duration) -> Vec<(Duration, Cue)> {
    let mut captioner = Captioner::new(rules).expect("valid rules");
    let mut cues = Vec::new();
    let mut horizon = Duration::ZERO;
    let mut rest = words.iter().peekable();
    while rest.peek().is_some() {
        let before = horizon;
        horizon += step;
        while let Some(word) = rest.next_if(|word| word.start < horizon) {
            captioner.push(word.clone());
        }
        let earliest = captioner.earliest_start();
        let found = captioner.advance(horizon);
        assert!(found.iter().all(|cue| cue.start >= earliest), "a cue before {earliest:?}");
        cues.extend(found.into_iter().map(|cue| (before, cue)));
    }
    cues.extend(captioner.flush().into_iter().map(|cue| (horizon, cue)));
    assert!(captioner.flush().is_empty());
    cues
}

/// Checks all rules that hold for any words.
#[track_caller]
pub fn check(rules: &Rules, words: &[Word], cues: &[(Duration, Cue)]) {
    check_delay(rules, words, cues);
    let starts: BTreeMap<_, _> = words.iter().map(|word| (word.id, word.start)).collect();
    let cues: Vec<_> = cues.iter().map(|(_, cue)| cue).collect();
    check_text(words, &cues);
    for cue in &cues {
        check_lines(rules, cue);
    }
    for pair in cues.windows(2) {
        assert!(pair[0].start <= pair[1].start, "times go back: {pair:#?}");
    }
    for (index, cue) in cues.iter().enumerate() {
        check_times(rules, cue, &cues[index + 1..], &starts);
    }
}

#[track_caller]
fn check_delay(rules: &Rules, words: &[Word], cues: &[(Duration, Cue)]) {
    let starts: BTreeMap<_, _> = words.iter().map(|word| (word.id, word.start)).collect();
    for (horizon, cue) in cues {
        for id in &cue.words {
            let due = starts[id].max(rules.start_lead) + rules.max_delay();
            assert!(*horizon < due, "{cue:#?} is not there at {horizon:?}");
        }
    }
}

/// Checks that each speaker's characters and words are all there, in their order.
#[track_caller]
fn check_text(words: &[Word], cues: &[&Cue]) {
    let mut expected: BTreeMap<usize, String> = BTreeMap::new();
    let mut found: BTreeMap<usize, String> = BTreeMap::new();
    for word in words {
        let text = word.text.chars().filter(|char| !char.is_control() && !char.is_whitespace());
        expected.entry(word.speaker).or_default().extend(text);
    }
    for cue in cues {
        let is_shared = cue.speakers().len() > 1;
        let mut seen = Vec::new();
        for line in &cue.lines {
            let text = match is_shared && !seen.contains(&line.speaker) {
                // There is no room for the dash beside a long word.
                true => line.text.strip_prefix("- ").unwrap_or(&line.text),
                false => &line.text,
            };
            seen.push(line.speaker);
            let text = text.chars().filter(|char| *char != ' ');
            found.entry(line.speaker).or_default().extend(text);
        }
    }
    expected.retain(|_, text| !text.is_empty());
    assert_eq!(found, expected);
    let mut ids: Vec<_> = cues.iter().flat_map(|cue| cue.words.iter().copied()).collect();
    ids.sort_unstable();
    let has_text = |word: &&Word| word.text.chars().any(|c| !c.is_control() && !c.is_whitespace());
    let all: Vec<_> = words.iter().filter(has_text).map(|word| word.id).collect();
    assert_eq!(ids, all);
}

#[track_caller]
fn check_lines(rules: &Rules, cue: &Cue) {
    let speakers = cue.speakers().len();
    let max_lines = match rules.simultaneous {
        Simultaneous::Merge => rules.max_lines.max(speakers.min(rules.max_screen_lines)),
        Simultaneous::Stack => rules.max_lines,
    };
    assert!((1..=max_lines).contains(&cue.lines.len()), "{cue:#?}");
    assert!(cue.row + cue.lines.len() <= rules.max_screen_lines, "{cue:#?}");
    for line in &cue.lines {
        assert!(line.text.width() <= rules.max_columns, "{line:?}");
        assert!(!line.text.is_empty());
    }
}

#[track_caller]
fn check_times(rules: &Rules, cue: &Cue, later: &[&Cue], starts: &BTreeMap<u64, Duration>) {
    let duration = cue.end.checked_sub(cue.start).expect("ends after its start");
    // A cue that waited for its place may last for the minimum duration from then on.
    assert!(duration <= rules.max_duration.max(rules.min_duration), "{cue:#?}");
    assert!(duration >= rules.min_duration / 2, "{cue:#?}");
    if duration < rules.min_duration {
        // The next cue is due by then, even if others take its place for a moment.
        let due = |next: &&&Cue| {
            let spoken = next
                .words
                .first()
                .map_or(next.start, |id| starts[id].saturating_sub(rules.start_lead));
            spoken.min(next.start) <= cue.end + rules.min_gap
        };
        let forced = later.iter().find(due);
        assert!(forced.is_some(), "shorter than the minimum: {cue:#?}\n{:#?}", later.first());
    }
    let rows = |cue: &Cue| cue.row..cue.row + cue.lines.len();
    for next in later.iter().take_while(|next| next.start < cue.end + rules.min_gap) {
        let shares_row = rows(cue).any(|row| rows(next).contains(&row));
        let follows = next.start == cue.end;
        assert!(!shares_row || follows, "{cue:#?}\n{next:#?}");
        if rules.simultaneous == Simultaneous::Merge {
            assert!(follows, "two cues at once: {cue:#?}\n{next:#?}");
        }
        let shares_speaker = cue.speakers().iter().any(|speaker| next.speakers().contains(speaker));
        assert!(!shares_speaker || follows, "a speaker twice: {cue:#?}\n{next:#?}");
    }
}

/// Characters a second, without dashes.
pub fn cps(cue: &Cue) -> f64 {
    let characters = |text: &str| text.trim_start_matches("- ").graphemes(true).count();
    let characters: usize = cue.lines.iter().map(|line| characters(&line.text)).sum();
    // Line breaks count as spaces.
    (characters + cue.lines.len() - 1) as f64 / (cue.end - cue.start).as_secs_f64()
}
