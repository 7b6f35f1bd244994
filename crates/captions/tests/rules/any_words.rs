// SPDX-License-Identifier: MPL-2.0

//! Any words of any speakers at any times.

use std::time::Duration;

use multitalker_captions::{Captioner, Rules, Simultaneous, Word};
use proptest::prelude::*;

use crate::checks::{check, run};

/// Texts: ordinary words, sentences, long and wide words, and characters that take no column.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z]{1,12}[.,?]?",
        1 => Just("the".to_owned()),
        1 => "[a-z ]{1,60}",
        1 => "[漢字é\u{301}👩🏽‍🚀a\t]{1,50}",
        1 => "\\PC{0,20}",
    ]
}

/// Words of up to 8 speakers, whose own words follow one another.
fn words() -> impl Strategy<Value = Vec<Word>> {
    let word = (0_usize..8, text(), 0_u64..400, prop_oneof![4 => 0_u64..300, 1 => 300_u64..4000]);
    (1_usize..=8, prop::collection::vec(word, 1..120)).prop_map(|(speakers, words)| {
        let mut ends = vec![0; speakers];
        let mut words: Vec<_> = words
            .into_iter()
            .map(|(speaker, text, duration_ms, pause_ms)| {
                let speaker = speaker % speakers;
                let start = ends[speaker] + pause_ms;
                ends[speaker] = start + duration_ms;
                let (start, end) =
                    (Duration::from_millis(start), Duration::from_millis(ends[speaker]));
                Word { id: 0, speaker, text, start, end }
            })
            .collect();
        words.sort_by_key(|word| word.start);
        words.iter_mut().zip(0..).for_each(|(word, id)| word.id = id);
        words
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let lines = (1_usize..=3, 0_usize..=4, 10_usize..50);
    let times = (500_u64..2000, 0_u64..6000, 0_u64..200, 0_u64..400);
    (lines, times, any::<bool>()).prop_map(|((max_lines, more, max_columns), times, merges)| {
        let (min_ms, more_ms, gap_ms, lead_ms) = times;
        Rules {
            max_columns,
            max_lines,
            max_screen_lines: max_lines + more,
            min_duration: Duration::from_millis(min_ms),
            max_duration: Duration::from_millis(min_ms + more_ms),
            min_gap: Duration::from_millis(gap_ms),
            start_lead: Duration::from_millis(lead_ms),
            simultaneous: if merges { Simultaneous::Merge } else { Simultaneous::Stack },
            ..Rules::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn rules_hold_for_any_words(words in words(), rules in rules(), step_ms in 20_u64..400) {
        let cues = run(rules, &words, Duration::from_millis(step_ms));
        check(&rules, &words, &cues);
    }

    #[test]
    fn cues_do_not_depend_on_the_calls(words in words(), rules in rules(), step_ms in 20_u64..10_000) {
        let cues = |step| {
            let cues = run(rules, &words, step);
            cues.into_iter().map(|(_, cue)| cue).collect::<Vec<_>>()
        };
        let at_once = Duration::from_secs(1000);
        prop_assert_eq!(cues(Duration::from_millis(step_ms)), cues(at_once));
    }

    #[test]
    fn any_times_are_accepted(
        words in prop::collection::vec((0_usize..3, text(), any::<u64>(), any::<u64>()), 0..40),
        horizons in prop::collection::vec(any::<u64>(), 1..5),
    ) {
        let mut captioner = Captioner::new(Rules::default()).expect("valid rules");
        let count = words.iter().filter(|(_, text, ..)| !text.trim().is_empty()).count();
        let mut found = Vec::new();
        for ((id, (speaker, text, start, end)), horizon) in (0..).zip(words).zip(horizons.iter().cycle()) {
            let (start, end) = (Duration::from_secs(start), Duration::from_secs(end));
            captioner.push(Word { id, speaker, text, start, end });
            found.extend(captioner.advance(Duration::from_secs(*horizon)));
        }
        found.extend(captioner.flush());
        prop_assert_eq!(found.iter().map(|cue| cue.words.len()).sum::<usize>(), count);
        prop_assert!(found.is_sorted_by_key(|cue| cue.start));
    }
}
