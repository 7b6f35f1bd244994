// SPDX-License-Identifier: MPL-2.0

//! Short conversations and their cues.

use std::time::Duration;

use multitalker_captions::{Captioner, Cue, Rules, Simultaneous, Word};

/// Words of `(speaker, start in ms, text)`, each 300 ms after the one before.
fn words(turns: &[(usize, u64, &str)]) -> Vec<Word> {
    let mut words: Vec<_> = turns
        .iter()
        .flat_map(|&(speaker, start_ms, text)| {
            text.split(' ').zip(0..).map(move |(text, index)| Word {
                id: 0,
                speaker,
                text: text.to_owned(),
                start: Duration::from_millis(start_ms + 300 * index),
                end: Duration::from_millis(start_ms + 300 * index + 280),
            })
        })
        .collect();
    words.sort_by_key(|word| word.start);
    words.iter_mut().zip(0..).for_each(|(word, id)| word.id = id);
    words
}

/// Returns the start and end in ms, the row, and the text of each cue.
fn cues(rules: Rules, turns: &[(usize, u64, &str)]) -> Vec<(u128, u128, usize, String)> {
    let mut captioner = Captioner::new(rules).expect("valid rules");
    words(turns).into_iter().for_each(|word| captioner.push(word));
    captioner.flush().iter().map(summary).collect()
}

fn summary(cue: &Cue) -> (u128, u128, usize, String) {
    (cue.start.as_millis(), cue.end.as_millis(), cue.row, cue.text())
}

fn merged() -> Rules {
    Rules { simultaneous: Simultaneous::Merge, ..Rules::default() }
}

#[test]
fn a_new_speaker_begins_a_new_cue() {
    let turns = [
        (0, 0, "the trains to london are late today"),
        (1, 2300, "they will run again by tonight"),
    ];
    for rules in [Rules::default(), merged()] {
        let cues = cues(rules, &turns);
        assert_eq!(cues.len(), 2);
        assert_eq!(cues[0], (0, 2220, 0, "the trains to london are late today".to_owned()));
        assert_eq!(cues[1].3, "they will run again by tonight");
    }
}

#[test]
fn a_quick_exchange_shares_a_cue() {
    let turns = [(0, 0, "is it late"), (1, 900, "no"), (0, 4000, "then we wait for it")];
    for rules in [Rules::default(), merged()] {
        let cues = cues(rules, &turns);
        assert_eq!(cues[0], (0, 1680, 0, "- is it late\n- no".to_owned()));
        assert_eq!(cues[1].3, "then we wait for it");
    }
}

#[test]
fn people_at_once_have_rows_of_their_own() {
    let turns = [(0, 0, "the mayor opened a new school"), (1, 600, "no the minister opened it")];
    let stacked = cues(Rules::default(), &turns);
    assert_eq!(stacked.len(), 2);
    assert_eq!((stacked[0].0, stacked[0].2), (0, 0));
    assert_eq!((stacked[1].0, stacked[1].2), (600, 1));
    assert!(stacked[0].1 > stacked[1].0);
    let merged = cues(merged(), &turns);
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].3, "- the mayor opened a new school\n- no the minister opened it");
}

#[test]
fn more_people_than_rows_take_turns() {
    let rules = Rules { max_lines: 1, max_screen_lines: 2, ..Rules::default() };
    let turns =
        [(0, 0, "one two"), (1, 0, "three four"), (2, 0, "five six"), (3, 0, "seven eight")];
    let cues = cues(rules, &turns);
    let starts: Vec<_> = cues.iter().map(|cue| cue.0).collect();
    assert_eq!(starts, [0, 0, 1000, 1000], "{cues:?}");
}

#[test]
fn the_speed_is_lowered_by_the_pause_after_a_cue() {
    // 51 characters in 1.4 s.
    let turns = [(0, 0, "extraordinarily international telecommunications..."), (0, 9000, "later")];
    let cues = cues(Rules::default(), &turns);
    assert_eq!((cues[0].0, cues[0].1), (0, 2550));
}

#[test]
fn starts_are_led() {
    let rules = Rules { start_lead: Duration::from_millis(240), ..Rules::default() };
    let cues = cues(rules, &[(0, 100, "hello there"), (0, 5000, "hello again")]);
    assert_eq!((cues[0].0, cues[1].0), (0, 4760));
}

#[test]
fn labels_mark_changes_of_speaker() {
    let mut captioner = Captioner::new(Rules::default()).expect("valid rules");
    captioner.set_label(0, "Ada: ");
    let turns =
        [(0, 0, "hello"), (0, 4000, "it rains today"), (1, 8000, "indeed"), (0, 12_000, "yes")];
    words(&turns).into_iter().for_each(|word| captioner.push(word));
    let texts: Vec<_> = captioner.flush().iter().map(Cue::text).collect();
    assert_eq!(texts, ["Ada: hello", "it rains today", "indeed", "Ada: yes"]);
}

#[test]
fn text_can_be_revised_until_its_cue_is_due() {
    let mut captioner = Captioner::new(Rules::default()).expect("valid rules");
    words(&[(0, 0, "it rains")]).into_iter().for_each(|word| captioner.push(word));
    assert!(captioner.revise(1, "rains."));
    assert!(!captioner.revise(2, "unknown"));
    let due = captioner.rules().max_delay();
    assert!(captioner.advance(due - Duration::from_millis(1)).is_empty());
    let cues = captioner.advance(due);
    assert_eq!(cues[0].text(), "it rains.");
    assert_eq!(cues[0].words, [0, 1]);
    assert!(!captioner.revise(1, "rains?"));
}
