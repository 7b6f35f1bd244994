// SPDX-License-Identifier: MPL-2.0

//! Places of cues on the screen. The safe area is divided into rows. A cue keeps its rows for as long
//! as it is shown, and cues that are shown at the same time have different rows.

use crate::cues::CueText;

/// Number of rows in the safe area.
pub const ROWS: usize = 12;

/// Number of columns of a row that certainly fit into it.
const COLUMNS: usize = 40;

/// Maximum number of places at a time: IMSC 1.1 Text, section 8.4.3 limits the presented regions.
const MAX_PLACES: usize = 4;

/// Adjacent rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The lowest row, counted from 0 at the bottom.
    pub bottom: usize,
    /// Number of rows, at least 1 where there is text.
    pub rows: usize,
}

impl Place {
    fn overlaps(self, other: Self) -> bool {
        self.bottom < other.bottom + other.rows && other.bottom < self.bottom + self.rows
    }
}

/// Assigns places to cues in the order of their beginning.
#[derive(Debug, Default)]
pub struct Placement {
    /// The cues that may be shown, and their ends.
    shown: Vec<(Option<gst::ClockTime>, Place)>,
}

impl Placement {
    /// Returns the lowest free place for a cue. Without one, the cue shares the highest place.
    pub fn place(
        &mut self,
        begin: gst::ClockTime,
        end: Option<gst::ClockTime>,
        text: &CueText,
    ) -> Place {
        self.shown.retain(|(end, _)| end.is_none_or(|end| end > begin));
        let place = self.free(rows(text)).or_else(|| self.highest()).unwrap_or_default();
        self.shown.push((end, place));
        place
    }

    /// Sets the end of the cues that have none.
    pub fn end_open(&mut self, time: gst::ClockTime) {
        self.shown.iter_mut().for_each(|(end, _)| *end = end.or(Some(time)));
    }

    fn free(&self, rows: usize) -> Option<Place> {
        let mut places: Vec<_> = self.shown.iter().map(|(_, place)| *place).collect();
        places.sort_unstable();
        places.dedup();
        if places.len() >= MAX_PLACES {
            return None;
        }
        let mut candidates = (0..=ROWS - rows).map(|bottom| Place { bottom, rows });
        candidates.find(|candidate| places.iter().all(|place| !place.overlaps(*candidate)))
    }

    fn highest(&self) -> Option<Place> {
        self.shown.iter().map(|(_, place)| *place).max()
    }
}

/// Estimates the number of rows of a cue from below 40 columns, which is what fits if most letters
/// are wide. Characters of Asian scripts count as two columns.
fn rows(text: &CueText) -> usize {
    let columns = |char: char| if char >= '\u{1100}' { 2 } else { 1 };
    let lines = text.lines.iter().map(|line| {
        let columns: usize = line.iter().flat_map(|run| run.text.chars()).map(columns).sum();
        columns.div_ceil(COLUMNS).max(1)
    });
    lines.sum::<usize>().clamp(1, ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cues::{Run, RunStyle};
    use proptest::prelude::*;

    fn text(lines: &[usize]) -> CueText {
        let line =
            |length: &usize| vec![Run { text: "a".repeat(*length), style: RunStyle::default() }];
        CueText { lines: lines.iter().map(line).collect(), ..Default::default() }
    }

    fn s(seconds: u64) -> gst::ClockTime {
        gst::ClockTime::from_seconds(seconds)
    }

    #[test]
    fn simultaneous_cues_are_stacked_and_stay_where_they_are() {
        let mut placement = Placement::default();
        let mut place = |begin, end, lines| {
            let place = placement.place(s(begin), Some(s(end)), &text(lines));
            (place.bottom, place.rows)
        };
        assert_eq!(place(0, 5, &[10]), (0, 1));
        assert_eq!(place(1, 9, &[10, 41]), (1, 3));
        // The first row is free again; two rows are free only above.
        assert_eq!(place(5, 6, &[10, 10]), (4, 2));
        assert_eq!(place(5, 6, &[10]), (0, 1));
        assert_eq!(place(9, 10, &[]), (0, 1));
    }

    #[test]
    fn a_cue_without_end_is_shown_until_it_ends() {
        let mut placement = Placement::default();
        assert_eq!(placement.place(s(0), None, &text(&[1])).bottom, 0);
        assert_eq!(placement.place(s(9), Some(s(10)), &text(&[1])).bottom, 1);
        placement.end_open(s(9));
        assert_eq!(placement.place(s(9), Some(s(10)), &text(&[1])).bottom, 0);
    }

    proptest! {
        #[test]
        fn shown_places_are_few_and_do_not_overlap(cues in prop::collection::vec((0u64..4, 1u64..20, 0usize..5, 0usize..90), 1..60)) {
            let mut placement = Placement::default();
            let mut begin = 0;
            for (delay, duration, lines, length) in cues {
                begin += delay;
                placement.place(s(begin), Some(s(begin + duration)), &text(&vec![length; lines]));
                let mut places: Vec<_> = placement.shown.iter().map(|(_, place)| *place).collect();
                places.sort_unstable();
                places.dedup();
                prop_assert!(places.len() <= MAX_PLACES);
                for (index, place) in places.iter().enumerate() {
                    prop_assert!(place.bottom + place.rows <= ROWS);
                    prop_assert!(places[index + 1..].iter().all(|other| !other.overlaps(*place)), "{:?}", places);
                }
            }
        }
    }
}
