// SPDX-License-Identifier: MPL-2.0

//! Relation of engine time, which is a sample index, to PTS: the placement of buffers, the gaps
//! before them, and the times of words.

use multitalker_asr::SAMPLE_RATE_HZ;

/// Gaps and overlaps of this duration or more are a discontinuity; shorter ones are filled or cut.
const DISCONTINUITY: gst::ClockTime = gst::ClockTime::from_mseconds(200);

const SECOND_NS: u64 = gst::ClockTime::SECOND.nseconds();

/// Tolerance for inexact timestamps, with the names and defaults of `GstAudioBaseSink`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alignment {
    /// A PTS that deviates by less than this from the end of the previous samples is jitter.
    pub threshold: gst::ClockTime,
    /// Duration for which PTS must deviate by more, always in the same direction, before the audio
    /// is moved.
    pub discont_wait: gst::ClockTime,
}

impl Default for Alignment {
    fn default() -> Self {
        Self { threshold: gst::ClockTime::from_mseconds(40), discont_wait: gst::ClockTime::SECOND }
    }
}

/// A deviation of PTS that has not yet lasted for `discont_wait`.
#[derive(Clone, Copy, Debug)]
struct Misalignment {
    /// End of the samples when the deviation began.
    since: gst::ClockTime,
    /// Whether the PTS are after the end of the samples instead of before.
    is_late: bool,
}

/// Placement of audio relative to the audio before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The audio continues after `silence` samples of silence, without its first `skip` samples. One
    /// of the two is 0.
    Continue { silence: usize, skip: usize },
    /// The audio begins a new stretch.
    Discontinuity,
}

impl Placement {
    const CONTINUE: Self = Self::Continue { silence: 0, skip: 0 };
}

/// PTS of the samples of one stretch of continuous audio.
#[derive(Debug, Default)]
pub struct Timeline {
    /// PTS of sample 0.
    base: Option<gst::ClockTime>,
    /// Number of samples in the stretch.
    samples: u64,
    alignment: Alignment,
    misalignment: Option<Misalignment>,
    /// Whether the rest of an overlap must be cut from the next buffer.
    is_cutting: bool,
}

impl Timeline {
    /// Creates a timeline without audio.
    pub fn new(alignment: Alignment) -> Self {
        Self { alignment, ..Self::default() }
    }

    /// Returns whether there is no audio yet.
    pub fn is_empty(&self) -> bool {
        self.base.is_none()
    }

    /// Begins a stretch of audio.
    pub fn start(&mut self, pts: gst::ClockTime) {
        *self = Self { base: Some(pts), ..Self::new(self.alignment) };
    }

    /// Ends a stretch of audio.
    pub fn clear(&mut self) {
        *self = Self::new(self.alignment);
    }

    /// Counts samples that were pushed to the engine.
    pub fn advance(&mut self, samples: usize) {
        self.samples += samples as u64;
    }

    /// Reduces the count to at most `samples`.
    pub fn truncate(&mut self, samples: u64) {
        self.samples = self.samples.min(samples);
    }

    /// Places `samples` samples with this PTS, once a stretch has begun. With `resync`, which
    /// follows lost data, the PTS is trusted. Otherwise a deviation may be jitter, and must last in
    /// one direction before audio is moved.
    pub fn place(&mut self, pts: gst::ClockTime, samples: usize, resync: bool) -> Placement {
        let end = self.end();
        let apart = apart(pts, end);
        let is_late = pts > end;
        let is_cutting = std::mem::take(&mut self.is_cutting) && !is_late;
        let misalignment = self.misalignment.take();
        if apart >= self.alignment.threshold && !is_continuous(end, pts) {
            return Placement::Discontinuity;
        }
        if !is_cutting {
            if apart < self.alignment.threshold {
                return Placement::CONTINUE;
            }
            let now = Misalignment { since: end, is_late };
            let lasting = misalignment.filter(|before| before.is_late == is_late).unwrap_or(now);
            if !resync && end.saturating_sub(lasting.since) < self.alignment.discont_wait {
                self.misalignment = Some(lasting);
                return Placement::CONTINUE;
            }
        }
        let moved = samples_in(apart);
        if is_late {
            return Placement::Continue { silence: moved, skip: 0 };
        }
        self.is_cutting = moved > samples;
        Placement::Continue { silence: 0, skip: moved.min(samples) }
    }

    /// Returns the PTS of a sample.
    pub fn pts(&self, sample: u64) -> gst::ClockTime {
        self.base.unwrap_or_default().saturating_add(duration(sample))
    }

    /// Returns the PTS of the next sample.
    pub fn end(&self) -> gst::ClockTime {
        self.pts(self.samples)
    }
}

/// Returns whether audio at `pts` may continue audio that ends at `end`.
pub fn is_continuous(end: gst::ClockTime, pts: gst::ClockTime) -> bool {
    apart(end, pts) < DISCONTINUITY
}

fn apart(a: gst::ClockTime, b: gst::ClockTime) -> gst::ClockTime {
    a.max(b) - a.min(b)
}

/// Returns the duration of samples.
pub fn duration_of(samples: usize) -> gst::ClockTime {
    duration(samples as u64)
}

fn duration(samples: u64) -> gst::ClockTime {
    let ns = u128::from(samples) * u128::from(SECOND_NS) / u128::from(SAMPLE_RATE_HZ);
    // Half of the range leaves room below `u64::MAX`, which stands for no time.
    let ns = u64::try_from(ns).unwrap_or(u64::MAX / 2).min(u64::MAX / 2);
    gst::ClockTime::from_nseconds(ns)
}

/// Returns the number of samples in a duration, rounded to the nearest.
pub fn samples_in(time: gst::ClockTime) -> usize {
    let samples = u128::from(time.nseconds()) * u128::from(SAMPLE_RATE_HZ);
    ((samples + u128::from(SECOND_NS / 2)) / u128::from(SECOND_NS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(ms)
    }

    /// Creates a stretch of one second that begins at 10 s.
    fn timeline() -> Timeline {
        let mut timeline = Timeline::default();
        timeline.start(ms(10_000));
        timeline.advance(16_000);
        timeline
    }

    #[test]
    fn samples_have_exact_times() {
        assert_eq!(timeline().pts(0), ms(10_000));
        assert_eq!(timeline().pts(1).nseconds(), 10_000_062_500);
        assert_eq!(timeline().end(), ms(11_000));
        // A year of audio.
        let year_s = 365 * 24 * 3600;
        assert_eq!(timeline().pts(year_s * 16_000).seconds(), 10 + year_s);
    }

    #[test]
    fn jitter_is_ignored() {
        for pts in [ms(10_961), ms(11_000), ms(11_039)] {
            for resync in [false, true] {
                assert_eq!(timeline().place(pts, 1600, resync), Placement::CONTINUE, "{pts}");
            }
        }
    }

    #[test]
    fn small_gaps_and_overlaps_after_lost_data_are_corrected() {
        let place = |pts| timeline().place(ms(pts), 16_000, true);
        assert_eq!(place(11_040), Placement::Continue { silence: 640, skip: 0 });
        assert_eq!(place(11_199), Placement::Continue { silence: 3184, skip: 0 });
        assert_eq!(place(10_960), Placement::Continue { silence: 0, skip: 640 });
        assert_eq!(place(10_801), Placement::Continue { silence: 0, skip: 3184 });
    }

    #[test]
    fn large_gaps_and_overlaps_are_a_discontinuity() {
        for pts in [0, 10_800, 11_200, 3_600_000] {
            for resync in [false, true] {
                let placement = timeline().place(ms(pts), 1600, resync);
                assert_eq!(placement, Placement::Discontinuity, "{pts}");
            }
        }
    }

    /// Places buffers of 100 ms whose PTS deviate by some milliseconds from continuous ones. Returns
    /// the corrections with the indices of their buffers.
    fn place_all(timeline: &mut Timeline, deviations_ms: &[i64]) -> Vec<(usize, Placement)> {
        let start = timeline.end();
        let mut moved = Vec::new();
        for (index, deviation_ms) in deviations_ms.iter().enumerate() {
            let pts = start.mseconds() as i64 + 100 * index as i64 + deviation_ms;
            let placement = timeline.place(ms(pts as u64), 1600, false);
            let Placement::Continue { silence, skip } = placement else { panic!("{placement:?}") };
            timeline.advance(silence + 1600 - skip);
            if placement != Placement::CONTINUE {
                moved.push((index, placement));
            }
        }
        moved
    }

    #[test]
    fn alternating_jitter_never_lasts() {
        let deviations: Vec<_> = (0..100).map(|index| [60, -60][index % 2]).collect();
        assert_eq!(place_all(&mut timeline(), &deviations), []);
        let deviations: Vec<_> = (0..100).map(|index| [0, 150, 150, 150][index % 4]).collect();
        assert_eq!(place_all(&mut timeline(), &deviations), []);
    }

    #[test]
    fn lasting_misalignment_is_corrected_after_the_wait() {
        let mut late = timeline();
        let moved = place_all(&mut late, &[60; 40]);
        assert_eq!(moved, [(10, Placement::Continue { silence: 960, skip: 0 })]);
        assert_eq!(late.end(), ms(11_000 + 4000 + 60));

        let mut early = timeline();
        let moved = place_all(&mut early, &[-60; 40]);
        assert_eq!(moved, [(10, Placement::Continue { silence: 0, skip: 960 })]);
        assert_eq!(early.end(), ms(11_000 + 4000 - 60));

        // An overlap that is longer than a buffer is cut from several.
        let mut longer = timeline();
        let moved = place_all(&mut longer, &[-150; 40]);
        let skips = [1600, 800].map(|skip| Placement::Continue { silence: 0, skip });
        assert_eq!(moved, [(10, skips[0]), (11, skips[1])]);
        assert_eq!(longer.end(), ms(11_000 + 4000 - 150));
    }

    #[test]
    fn threshold_and_wait_can_be_set() {
        let alignment = Alignment { threshold: ms(300), discont_wait: gst::ClockTime::ZERO };
        let mut wide = Timeline::new(alignment);
        wide.start(ms(0));
        assert_eq!(wide.place(ms(299), 1600, false), Placement::CONTINUE);
        assert_eq!(wide.place(ms(300), 1600, false), Placement::Discontinuity);
        let mut hasty = Timeline::new(Alignment { threshold: ms(10), ..alignment });
        hasty.start(ms(0));
        let filled = Placement::Continue { silence: 160, skip: 0 };
        assert_eq!(hasty.place(ms(10), 1600, false), filled);
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        let mut timeline = Timeline::default();
        timeline.start(gst::ClockTime::MAX);
        timeline.advance(16_000);
        assert_eq!(timeline.end(), gst::ClockTime::MAX);
    }
}
