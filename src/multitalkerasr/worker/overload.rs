// SPDX-License-Identifier: MPL-2.0

//! What is done and said when live audio comes faster than it is recognized.

use gst::prelude::*;

use crate::multitalkerasr::output::messages::post_warning;
use crate::multitalkerasr::properties::enums::OverloadPolicy;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::clock::Clock;
use crate::multitalkerasr::worker::queue::Cause;

/// Whether the worker saves work, and what it could not do.
#[derive(Debug, Default)]
pub struct Overload {
    saving: bool,
    /// Samples.
    dropped: u64,
}

impl Overload {
    /// Whether to save work with so many samples behind of so many that may wait. The two limits are
    /// apart, so that it does not change with every buffer.
    pub fn is_saving(&mut self, policy: OverloadPolicy, queued: usize, max_queued: usize) -> bool {
        let limit = if self.saving { max_queued / 8 } else { max_queued / 4 };
        self.saving = policy == OverloadPolicy::Degrade && queued > limit;
        self.saving
    }

    /// As last decided.
    pub fn is_saving_now(&self) -> bool {
        self.saving
    }

    /// Says which audio was dropped.
    pub fn drop(
        &mut self,
        shared: &Shared,
        (from, to): (gst::ClockTime, gst::ClockTime),
        cause: Cause,
        processed: u64,
        clock: &Clock,
    ) {
        let duration = to.saturating_sub(from);
        self.dropped += crate::multitalkerasr::input::timeline::samples_in(duration) as u64;
        self.post_qos(shared, Some((from, duration)), processed, clock);
        let stream_time = |pts| clock.in_segment.to_stream_time(pts);
        let (code, nick, reason) = match cause {
            Cause::Recognition => {
                (gst::CoreError::TooLazy, "recognition", "Audio comes faster than it is recognized")
            }
            Cause::Downstream => (gst::CoreError::Pad, "downstream", "Downstream blocks"),
        };
        post_warning!(
            shared,
            code,
            ("{reason}: dropped audio from {from} to {to}"),
            details: gst::Structure::builder("multitalkerasr/dropped")
                .field("start-time", stream_time(from))
                .field("end-time", stream_time(to))
                .field("running-time", clock.in_segment.to_running_time(from))
                .field("cause", nick)
                .build()
        );
    }

    /// Tells the application how it goes, with the time that was dropped or that of now.
    pub fn post_qos(
        &self,
        shared: &Shared,
        dropped: Option<(gst::ClockTime, gst::ClockTime)>,
        processed: u64,
        clock: &Clock,
    ) {
        let Some(element) = shared.element() else { return };
        let pts = dropped.map_or(clock.timeline.end(), |(from, _)| from);
        let samples = gst::format::Default::from_u64;
        let message = gst::message::Qos::builder(true)
            .running_time(clock.in_segment.to_running_time(pts))
            .stream_time(clock.in_segment.to_stream_time(pts))
            .timestamp(pts)
            .duration(dropped.map(|(_, duration)| duration))
            .stats(samples(processed), samples(self.dropped))
            .src(&element)
            .build();
        // It fails without a bus, where nobody waits for it.
        let _ = element.post_message(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saving_begins_late_and_ends_later() {
        let mut overload = Overload::default();
        let mut is_saving = |queued| overload.is_saving(OverloadPolicy::Degrade, queued, 800);
        assert_eq!([0, 150, 200, 201].map(&mut is_saving), [false, false, false, true]);
        assert_eq!([150, 101, 100, 150].map(&mut is_saving), [true, true, false, false]);
        assert!(!overload.is_saving(OverloadPolicy::Drop, 800, 800));
    }
}
