// SPDX-License-Identifier: MPL-2.0

//! Engine time, a sample index, against PTS: where a buffer goes, what is missing before it, and
//! when a word was said.

use crate::engine::SAMPLE_RATE_HZ;

/// A PTS may be so far from where the samples before it end. Sources jitter.
const MAX_JITTER: gst::ClockTime = gst::ClockTime::from_mseconds(40);

/// Holes and overlaps from here on are a discontinuity; shorter ones are mended.
const DISCONTINUITY: gst::ClockTime = gst::ClockTime::from_mseconds(200);

const SECOND_NS: u64 = gst::ClockTime::SECOND.nseconds();

/// How audio goes on from the audio before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// After so many samples of silence, without so many samples from its beginning; one of the
    /// two is 0.
    Continue { silence: usize, skip: usize },
    /// Not at all.
    Discontinuity,
}

/// The PTS of the samples of one stretch of continuous audio.
#[derive(Debug, Default)]
pub struct Timeline {
    /// PTS of sample 0.
    base: Option<gst::ClockTime>,
    /// Number of samples so far.
    samples: u64,
}

impl Timeline {
    /// Whether there is no audio yet.
    pub fn is_empty(&self) -> bool {
        self.base.is_none()
    }

    /// Begins a stretch of audio.
    pub fn start(&mut self, pts: gst::ClockTime) {
        *self = Self { base: Some(pts), samples: 0 };
    }

    /// Ends a stretch of audio.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Counts samples that the engine was given.
    pub fn advance(&mut self, samples: usize) {
        self.samples += samples as u64;
    }

    /// Where audio with this PTS goes. Begin a stretch before.
    pub fn place(&self, pts: gst::ClockTime) -> Placement {
        let end = self.end();
        let apart = apart(pts, end);
        if apart < MAX_JITTER {
            Placement::Continue { silence: 0, skip: 0 }
        } else if !is_continuous(end, pts) {
            Placement::Discontinuity
        } else if pts > end {
            Placement::Continue { silence: samples_in(apart), skip: 0 }
        } else {
            Placement::Continue { silence: 0, skip: samples_in(apart) }
        }
    }

    /// PTS of a sample.
    pub fn pts(&self, sample: u64) -> gst::ClockTime {
        self.base.unwrap_or_default().saturating_add(duration(sample))
    }

    /// PTS of the sample to come.
    pub fn end(&self) -> gst::ClockTime {
        self.pts(self.samples)
    }
}

/// Whether what begins at `pts` may go on from what ends at `end`.
pub fn is_continuous(end: gst::ClockTime, pts: gst::ClockTime) -> bool {
    apart(end, pts) < DISCONTINUITY
}

fn apart(a: gst::ClockTime, b: gst::ClockTime) -> gst::ClockTime {
    a.max(b) - a.min(b)
}

/// How long so many samples are.
pub fn duration_of(samples: usize) -> gst::ClockTime {
    duration(samples as u64)
}

fn duration(samples: u64) -> gst::ClockTime {
    let ns = u128::from(samples) * u128::from(SECOND_NS) / u128::from(SAMPLE_RATE_HZ);
    // Half the range keeps clear of the value that stands for no time.
    let ns = u64::try_from(ns).unwrap_or(u64::MAX / 2).min(u64::MAX / 2);
    gst::ClockTime::from_nseconds(ns)
}

/// Samples in a time, rounded to the nearest.
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

    /// A stretch that begins at 10 s and has one second.
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
            let placement = timeline().place(pts);
            assert_eq!(placement, Placement::Continue { silence: 0, skip: 0 }, "{pts}");
        }
    }

    #[test]
    fn small_holes_and_overlaps_are_mended() {
        let place = |pts| timeline().place(ms(pts));
        assert_eq!(place(11_040), Placement::Continue { silence: 640, skip: 0 });
        assert_eq!(place(11_199), Placement::Continue { silence: 3184, skip: 0 });
        assert_eq!(place(10_960), Placement::Continue { silence: 0, skip: 640 });
        assert_eq!(place(10_801), Placement::Continue { silence: 0, skip: 3184 });
    }

    #[test]
    fn large_ones_are_not() {
        for pts in [0, 10_800, 11_200, 3_600_000] {
            assert_eq!(timeline().place(ms(pts)), Placement::Discontinuity, "{pts}");
        }
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        let mut timeline = Timeline::default();
        timeline.start(gst::ClockTime::MAX);
        timeline.advance(16_000);
        assert_eq!(timeline.end(), gst::ClockTime::MAX);
    }
}
