// SPDX-License-Identifier: MPL-2.0

//! Groups cues into segments of one duration, or into a single one.

use crate::cues::Cue;

/// Maximum number of segments without cues between two positions. A larger step is a jump, after
/// which segments continue at the new position.
const MAX_EMPTY: u64 = 3600;

/// Maximum memory of cues that wait, in bytes. Text of many days fits.
const MAX_BYTES: usize = 64 << 20;

/// Duration of a cue at the end of the stream if nothing ends it.
const LAST_DURATION: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// Maximum duration of a cue.
const MAX_DURATION: gst::ClockTime = gst::ClockTime::from_seconds(3600);

/// A part of the timeline with all cues that are shown in it, also those that begin before it or end
/// after it.
#[derive(Debug, PartialEq)]
pub struct Segment {
    pub start: gst::ClockTime,
    pub end: gst::ClockTime,
    /// The cues, in the order of their beginning. A cue without end continues after the segment.
    pub cues: Vec<Cue>,
}

/// Reason why a cue was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// All segments in which it is shown have ended.
    Late,
    /// Too many cues wait.
    Full,
}

/// Collects cues until the position reaches the end of their segment.
#[derive(Debug)]
pub struct Segmenter {
    /// `None` for a single segment.
    duration: Option<gst::ClockTime>,
    /// Start of the current segment.
    start: Option<gst::ClockTime>,
    /// No later cue begins before.
    position: gst::ClockTime,
    cues: Vec<Cue>,
    bytes: usize,
    /// End of the last segment, after [`Self::finish`].
    last_end: Option<gst::ClockTime>,
}

impl Segmenter {
    /// Creates a segmenter; segments start at multiples of `duration`, which is not 0.
    pub fn new(duration: Option<gst::ClockTime>) -> Self {
        Self {
            duration: duration.filter(|duration| !duration.is_zero()),
            start: None,
            position: gst::ClockTime::ZERO,
            cues: Vec::new(),
            bytes: 0,
            last_end: None,
        }
    }

    /// Drops all cues.
    pub fn reset(&mut self) {
        *self = Self::new(self.duration);
    }

    /// Adds a cue.
    ///
    /// # Errors
    ///
    /// Returns why the cue is dropped.
    pub fn push(&mut self, mut cue: Cue) -> Result<(), Dropped> {
        let start = *self.start.get_or_insert(self.aligned(cue.begin));
        let longest = cue.begin.saturating_add(MAX_DURATION);
        cue.end = cue.end.map(|end| end.min(longest));
        if self.duration.is_some() && cue.end.is_some_and(|end| end <= start) {
            return Err(Dropped::Late);
        }
        let bytes = self.bytes + bytes(&cue);
        if bytes > MAX_BYTES {
            return Err(Dropped::Full);
        }
        self.bytes = bytes;
        self.cues.push(cue);
        Ok(())
    }

    /// Sets the end of the cues that have none.
    pub fn end_open(&mut self, time: gst::ClockTime) {
        for cue in &mut self.cues {
            if cue.end.is_none() {
                let longest = cue.begin.saturating_add(MAX_DURATION);
                cue.end = Some(time.clamp(cue.begin, longest));
            }
        }
    }

    /// Moves to a position that no later cue precedes. The first position starts the first segment.
    pub fn advance(&mut self, position: gst::ClockTime) {
        self.start.get_or_insert(self.aligned(position));
        self.position = self.position.max(position);
    }

    /// Ends the last segment at the position or the last end of a cue, whichever is later.
    pub fn finish(&mut self) {
        let last = self.cues.iter().filter(|cue| cue.end.is_none()).map(|cue| cue.begin).max();
        if let Some(last) = last {
            self.end_open(self.position.max(last.saturating_add(LAST_DURATION)));
        }
        let end = self.cues.iter().filter_map(|cue| cue.end).max();
        self.last_end = Some(end.unwrap_or_default().max(self.position));
        if self.duration.is_none() {
            self.start.get_or_insert(gst::ClockTime::ZERO);
        }
    }

    /// Returns the next segment that has ended. After [`Self::finish`], the last one resets the
    /// segmenter.
    pub fn next_ended(&mut self) -> Option<Segment> {
        self.skip();
        let start = self.start?;
        let Some(duration) = self.duration else {
            let end = self.last_end?;
            let cues = std::mem::take(&mut self.cues);
            self.reset();
            return Some(segment(start, end.max(start), cues));
        };
        // No segment ends after the last moment that a clock time can express.
        let full_end = self.aligned(start).checked_add(duration)?;
        let end = match self.last_end {
            Some(last) if last <= start => {
                self.reset();
                return None;
            }
            Some(last) => full_end.min(last),
            None if self.position < full_end => return None,
            None => full_end,
        };
        let shown: Vec<_> = self.cues.iter().filter(|cue| cue.begin < end).cloned().collect();
        self.cues.retain(|cue| cue.end.is_none_or(|cue_end| cue_end > end));
        self.bytes = self.cues.iter().map(bytes).sum();
        self.start = Some(end);
        Some(segment(start, end, shown))
    }

    /// Returns the start of the full segment that contains a time.
    fn aligned(&self, time: gst::ClockTime) -> gst::ClockTime {
        let Some(duration) = self.duration else { return time };
        let rest = time.nseconds() % duration.nseconds().max(1);
        gst::ClockTime::from_nseconds(time.nseconds() - rest)
    }

    /// Skips the segments without cues in a jump.
    fn skip(&mut self) {
        let (Some(start), Some(duration)) = (self.start, self.duration) else { return };
        let next = self.cues.iter().map(|cue| cue.begin).min().unwrap_or(self.position);
        let next = next.min(self.position);
        let empty = next.saturating_sub(start).nseconds() / duration.nseconds().max(1);
        if empty > MAX_EMPTY {
            self.start = Some(self.aligned(next));
        }
    }
}

fn segment(start: gst::ClockTime, end: gst::ClockTime, mut cues: Vec<Cue>) -> Segment {
    cues.sort_by_key(|cue| cue.begin);
    Segment { start, end, cues }
}

/// Returns the memory of a cue, in bytes.
fn bytes(cue: &Cue) -> usize {
    let runs: usize = cue.text.lines.iter().map(Vec::len).sum();
    let name = cue.text.name.as_ref().map_or(0, String::len);
    let lines = cue.text.lines.len() * size_of::<crate::cues::Line>();
    size_of::<Cue>() + lines + runs * size_of::<crate::cues::Run>() + cue.text.size() + name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cues::{CueText, Run, RunStyle};
    use proptest::prelude::*;

    fn ms(time: u64) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(time)
    }

    fn cue(text: &str, begin: u64, end: Option<u64>) -> Cue {
        let run = Run { text: text.to_owned(), style: RunStyle::default() };
        let text = CueText { lines: vec![vec![run]], ..Default::default() };
        Cue { begin: ms(begin), end: end.map(ms), text, place: Default::default() }
    }

    /// Returns start, end, and texts of the segments that have ended.
    fn ended(segmenter: &mut Segmenter) -> Vec<(u64, u64, String)> {
        let segments = std::iter::from_fn(|| segmenter.next_ended());
        let row = |segment: Segment| {
            let texts = segment.cues.iter().map(|cue| cue.text.lines[0][0].text.as_str());
            (segment.start.mseconds(), segment.end.mseconds(), texts.collect())
        };
        segments.map(row).collect()
    }

    fn row(start: u64, end: u64, text: &str) -> (u64, u64, String) {
        (start, end, text.to_owned())
    }

    #[test]
    fn cues_are_in_all_segments_in_which_they_are_shown() {
        let mut segmenter = Segmenter::new(Some(ms(1000)));
        segmenter.push(cue("a", 2900, Some(4000))).expect("in time");
        segmenter.advance(ms(2900));
        assert_eq!(ended(&mut segmenter), []);
        segmenter.push(cue("b", 3500, Some(5001))).expect("in time");
        segmenter.advance(ms(4000));
        assert_eq!(ended(&mut segmenter), [row(2000, 3000, "a"), row(3000, 4000, "ab")]);
        assert_eq!(segmenter.push(cue("late", 2000, Some(4000))), Err(Dropped::Late));
        segmenter.finish();
        assert_eq!(ended(&mut segmenter), [row(4000, 5000, "b"), row(5000, 5001, "b")]);
        assert_eq!(segmenter.start, None);
    }

    #[test]
    fn silence_has_segments_but_a_jump_has_none() {
        let mut segmenter = Segmenter::new(Some(ms(1000)));
        segmenter.advance(ms(500));
        segmenter.advance(ms(2000));
        assert_eq!(ended(&mut segmenter), [row(0, 1000, ""), row(1000, 2000, "")]);
        segmenter.push(cue("a", 2500, Some(2600))).expect("in time");
        segmenter.advance(gst::ClockTime::MAX);
        let ended = ended(&mut segmenter);
        assert_eq!(ended, [row(2000, 3000, "a")]);
    }

    #[test]
    fn cues_without_end_are_shown_until_the_next_one() {
        let mut segmenter = Segmenter::new(Some(ms(1000)));
        segmenter.push(cue("a", 100, None)).expect("in time");
        segmenter.advance(ms(1000));
        assert_eq!(ended(&mut segmenter), [row(0, 1000, "a")]);
        segmenter.end_open(ms(1500));
        segmenter.push(cue("b", 1500, None)).expect("in time");
        segmenter.finish();
        assert_eq!(
            ended(&mut segmenter),
            [row(1000, 2000, "ab"), row(2000, 3000, "b"), row(3000, 3500, "b")]
        );
    }

    #[test]
    fn a_single_segment_has_all_cues() {
        let mut segmenter = Segmenter::new(None);
        segmenter.push(cue("a", 500, Some(900))).expect("in time");
        segmenter.advance(ms(500));
        segmenter.advance(ms(90_000));
        assert_eq!(ended(&mut segmenter), []);
        segmenter.finish();
        assert_eq!(ended(&mut segmenter), [row(500, 90_000, "a")]);
        segmenter.finish();
        assert_eq!(ended(&mut segmenter), [row(0, 0, "")]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut segmenter = Segmenter::new(None);
        let text = "a".repeat(1 << 20);
        let results: Vec<_> = (0..70).map(|_| segmenter.push(cue(&text, 0, Some(1)))).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 63);
        assert_eq!(results[69], Err(Dropped::Full));
    }

    proptest! {
        #[test]
        fn each_moment_of_each_cue_is_in_one_segment(cues in prop::collection::vec((0u64..900, 1u64..3000), 1..30), duration in 100u64..2000) {
            let mut segmenter = Segmenter::new(Some(ms(duration)));
            let mut begin = 0;
            let mut expected = 0;
            let mut segments = Vec::new();
            for (delay, length) in &cues {
                begin += delay;
                expected += length;
                segmenter.push(cue("a", begin, Some(begin + length))).expect("in time");
                segmenter.advance(ms(begin));
                segments.extend(std::iter::from_fn(|| segmenter.next_ended()));
            }
            segmenter.finish();
            segments.extend(std::iter::from_fn(|| segmenter.next_ended()));
            prop_assert!(segments.windows(2).all(|pair| pair[0].end == pair[1].start));
            let shown = segments.iter().flat_map(|segment| {
                segment.cues.iter().map(|cue| {
                    let (begin, end) = (cue.begin.max(segment.start), cue.end.unwrap_or(segment.end).min(segment.end));
                    end.mseconds() - begin.mseconds()
                })
            });
            prop_assert_eq!(shown.sum::<u64>(), expected);
        }
    }
}
