// SPDX-License-Identifier: MPL-2.0

//! The end of a cue.

use std::time::Duration;

use crate::rules::Rules;

/// Time by which turns may overlap and still follow one another: two frames of a recognizer with
/// frames of 80 ms.
pub const TURN_TOLERANCE: Duration = Duration::from_millis(160);

/// Minimum time for which a cue stays beside the one that follows it, if it stays at all.
const MIN_OVERLAP: Duration = Duration::from_millis(500);

/// Times that determine the end of a cue.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Start of the cue.
    pub start: Duration,
    /// End of the last word.
    pub speech_end: Duration,
    /// Time that it takes to read the cue.
    pub reading: Duration,
    /// Time that it takes at the maximum number of characters a second.
    pub fastest: Duration,
    /// Time at which the cue must be over.
    pub limit: Duration,
    /// Start of the next cue in the same place, which ends this one.
    pub next: Option<Duration>,
    /// Start of the next speaker, whose cue replaces this one unless it must stay to be read.
    pub turn: Option<Duration>,
    /// Time from which the rows are needed for others, though the cue may last for the minimum
    /// duration.
    pub needed: Option<Duration>,
}

/// Returns the end of a cue.
pub fn end(times: &Times, rules: &Rules) -> Duration {
    let Times { start, limit, .. } = *times;
    let min_end = start.saturating_add(rules.min_duration);
    let before = |next: Duration| next.saturating_sub(rules.min_gap);
    // Half of the minimum duration is left to a cue in any case; then the next cue is late.
    let floor = start.saturating_add(rules.min_duration / 2);
    let mut limit = limit.max(min_end);
    if let Some(next) = times.next {
        let end = if before(next) >= min_end { before(next) } else { next };
        limit = limit.min(end);
    }
    if let Some(needed) = times.needed {
        limit = limit.min(before(needed).max(min_end));
    }
    let limit = limit.max(floor);

    let needed = start.saturating_add(times.fastest).max(min_end);
    let wanted = times.speech_end.saturating_add(rules.hold).max(needed);
    let wanted = wanted.max(start.saturating_add(times.reading));
    let end = match times.turn.filter(|&turn| turn > start) {
        Some(turn) if before(turn) >= needed => wanted.min(before(turn)),
        Some(turn) if needed < turn => turn,
        Some(turn) => needed.max(turn.saturating_add(MIN_OVERLAP)),
        None => wanted,
    };
    let end = end.min(limit);
    // A short gap is closed.
    let following = [times.next, times.turn].into_iter().flatten().filter(|&next| next > end);
    match following.min() {
        Some(next) if next.saturating_sub(end) < rules.chain_gap => {
            let chained = end.max(before(next));
            // No gap is smaller than the minimum.
            if next.saturating_sub(chained) < rules.min_gap {
                next.min(limit)
            } else {
                chained.min(limit)
            }
        }
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Times of a cue from 10 s to 12 s with 40 characters.
    fn times() -> Times {
        Times {
            start: ms(10_000),
            speech_end: ms(12_000),
            reading: ms(2000),
            fastest: ms(2000),
            limit: ms(17_000),
            next: None,
            turn: None,
            needed: None,
        }
    }

    #[track_caller]
    fn assert_end(times: Times, expected_ms: u64) {
        assert_eq!(end(&times, &Rules::default()), ms(expected_ms), "{times:?}");
    }

    #[test]
    fn a_cue_stays_for_a_moment() {
        assert_end(times(), 12_500);
        assert_end(Times { limit: ms(12_200), ..times() }, 12_200);
    }

    #[test]
    fn fast_speech_stays_into_the_pause() {
        assert_end(Times { reading: ms(4000), ..times() }, 14_000);
        assert_end(Times { reading: ms(4000), next: Some(ms(13_000)), ..times() }, 12_920);
    }

    #[test]
    fn gaps_are_at_least_the_minimum_and_never_short() {
        for next_ms in [12_000, 12_100, 12_560, 12_900] {
            assert_end(Times { next: Some(ms(next_ms)), ..times() }, next_ms - 80);
        }
        assert_end(Times { next: Some(ms(13_000)), ..times() }, 12_500);
    }

    #[test]
    fn only_the_next_cue_makes_one_shorter_than_the_minimum() {
        let short = Times { speech_end: ms(10_100), reading: ms(100), fastest: ms(100), ..times() };
        assert_end(short, 11_000);
        assert_end(Times { next: Some(ms(10_800)), ..short }, 10_800);
        // The next cue is late.
        assert_end(Times { next: Some(ms(10_100)), ..short }, 10_500);
        assert_end(Times { needed: Some(ms(10_800)), ..short }, 11_000);
    }

    #[test]
    fn the_next_speaker_replaces_what_was_read() {
        assert_end(Times { turn: Some(ms(12_300)), ..times() }, 12_220);
        assert_end(Times { turn: Some(ms(12_300)), reading: ms(3000), ..times() }, 12_220);
        assert_end(Times { turn: Some(ms(11_500)), ..times() }, 12_000);
        assert_end(Times { turn: Some(ms(11_900)), ..times() }, 12_400);
        assert_end(Times { needed: Some(ms(11_900)), turn: Some(ms(11_900)), ..times() }, 11_820);
    }
}
