// SPDX-License-Identifier: MPL-2.0

//! Overload policy: what happens when audio arrives faster than it is recognized.
//!
//! 1. A source that is not live waits while the queue is full ([`when_full`]).
//! 2. A live source never waits. From a quarter of the queue on, `overload-policy=degrade` reduces
//!    the work ([`Overload::update`]). When the queue is full, its older half is dropped
//!    ([`drop_oldest`]), together with audio before it that is not decoded yet
//!    ([`drops_undecoded`]), and the application is notified ([`Overload::post_dropped`]).

use std::collections::VecDeque;

use gst::prelude::*;

use crate::multitalkerasr::input::Audio;
use crate::multitalkerasr::input::timeline::{duration_of, is_continuous, samples_in};
use crate::multitalkerasr::output::messages::post_warning;
use crate::multitalkerasr::properties::enums::OverloadPolicy;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::clock::Clock;
use crate::multitalkerasr::worker::item::{Cause, Item};

/// Undecoded audio before a gap is dropped if it is shorter than this, since decoding it would delay
/// the text after the gap further. `lockstep` and `1s` never hold as much.
const MAX_UNDECODED: gst::ClockTime = gst::ClockTime::from_seconds(3);

/// Capacity of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub max_samples: usize,
    /// Policy for live audio beyond it.
    pub policy: OverloadPolicy,
}

/// Decision about a buffer of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    Accept,
    /// The buffer waits until there is room.
    Wait,
    /// The oldest audio is dropped until at most `max_samples` are left.
    DropOldest {
        max_samples: usize,
    },
}

/// Decides what to do with a buffer while the queue holds `queued` samples.
pub fn when_full(audio: &Audio, queued: usize, limit: Limit) -> WhenFull {
    let Limit { max_samples, policy } = limit;
    if !audio.live {
        return match queued < max_samples {
            true => WhenFull::Accept,
            false => WhenFull::Wait,
        };
    }
    if queued + audio.samples.len() <= max_samples {
        return WhenFull::Accept;
    }
    match policy {
        // Half of the queue is dropped at once, so that there are few gaps.
        OverloadPolicy::Drop | OverloadPolicy::Degrade => {
            WhenFull::DropOldest { max_samples: max_samples / 2 }
        }
    }
}

/// Drops the oldest audio, at least `samples` if there are as many, and leaves an
/// [`Item::Dropped`] in place of each continuous piece. Returns the number of dropped samples.
pub fn drop_oldest(items: &mut VecDeque<Item>, samples: usize, cause: Cause) -> usize {
    let mut dropped = 0;
    let is_audio = |item: &Item| matches!(item, Item::Audio(_));
    while dropped < samples
        && let Some(index) = items.iter().position(is_audio)
        && let Some(Item::Audio(Audio { pts, samples, .. })) = items.remove(index)
    {
        dropped += samples.len();
        let audio_end = pts.saturating_add(duration_of(samples.len()));
        match index.checked_sub(1).and_then(|before| items.get_mut(before)) {
            Some(Item::Dropped { end, cause: known, .. }) if is_continuous(*end, pts) => {
                (*end, *known) = (audio_end, cause);
            }
            _ => items.insert(index, Item::Dropped { start: pts, end: audio_end, cause }),
        }
    }
    dropped
}

/// Decides whether audio that is not decoded yet is dropped with the dropped audio that follows it.
pub fn drops_undecoded(cause: Cause, undecoded: gst::ClockTime) -> bool {
    // If downstream blocks, recognition can decode the remaining audio in time.
    cause == Cause::Recognition && undecoded < MAX_UNDECODED
}

/// Degradation of the recognition, and statistics of the dropped audio.
#[derive(Debug, Default)]
pub struct Overload {
    is_degraded: bool,
    dropped_samples: u64,
}

impl Overload {
    /// Decides whether to degrade the recognition while `backlog` of at most `max_queued` samples
    /// wait for it, and returns the decision if it has changed. The limits of the two changes
    /// differ, so that not every buffer causes one.
    pub fn update(
        &mut self,
        policy: OverloadPolicy,
        backlog: usize,
        max_queued: usize,
    ) -> Option<bool> {
        let limit = if self.is_degraded { max_queued / 8 } else { max_queued / 4 };
        let was_degraded = self.is_degraded;
        self.is_degraded = match policy {
            OverloadPolicy::Drop => false,
            OverloadPolicy::Degrade => backlog > limit,
        };
        (self.is_degraded != was_degraded).then_some(self.is_degraded)
    }

    /// Posts a warning and a QOS message about dropped audio.
    pub fn post_dropped(
        &mut self,
        shared: &Shared,
        (start, end): (gst::ClockTime, gst::ClockTime),
        cause: Cause,
        processed: u64,
        clock: &Clock,
    ) {
        let duration = end.saturating_sub(start);
        self.dropped_samples += samples_in(duration) as u64;
        self.post_qos(shared, Some((start, duration)), processed, clock);
        let stream_time = |pts| clock.in_segment.to_stream_time(pts);
        let (code, nick, reason) = match cause {
            Cause::Recognition => (gst::CoreError::TooLazy, "recognition", "Cannot keep up"),
            Cause::Downstream => (gst::CoreError::Pad, "downstream", "Downstream blocks"),
        };
        post_warning!(
            shared,
            code,
            ("{reason}: dropped audio from {start} to {end}"),
            details: gst::Structure::builder("multitalkerasr/dropped")
                .field("start-time", stream_time(start))
                .field("end-time", stream_time(end))
                .field("running-time", clock.in_segment.to_running_time(start))
                .field("cause", nick)
                .build()
        );
    }

    /// Posts a QOS message with the start and duration of dropped audio, or else with the current
    /// time and no duration. `processed` is the number of samples recognized so far.
    pub fn post_qos(
        &self,
        shared: &Shared,
        dropped: Option<(gst::ClockTime, gst::ClockTime)>,
        processed: u64,
        clock: &Clock,
    ) {
        let Some(element) = shared.element() else { return };
        let pts = dropped.map_or(clock.timeline.end(), |(start, _)| start);
        let samples = gst::format::Default::from_u64;
        let message = gst::message::Qos::builder(true)
            .running_time(clock.in_segment.to_running_time(pts))
            .stream_time(clock.in_segment.to_stream_time(pts))
            .timestamp(pts)
            .duration(dropped.map(|(_, duration)| duration))
            .stats(samples(processed), samples(self.dropped_samples))
            .src(&element)
            .build();
        // Without a bus there is no receiver.
        let _ = element.post_message(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrading_begins_late_and_ends_later() {
        let mut overload = Overload::default();
        let mut update = |backlog| overload.update(OverloadPolicy::Degrade, backlog, 800);
        assert_eq!([0, 150, 200, 201].map(&mut update), [None, None, None, Some(true)]);
        assert_eq!([150, 101, 100, 150].map(&mut update), [None, None, Some(false), None]);
        assert_eq!(overload.update(OverloadPolicy::Drop, 800, 800), None);
    }

    #[test]
    fn only_live_audio_replaces_older_audio() {
        let decide = |live, queued| {
            let pts = gst::ClockTime::ZERO;
            let audio = Audio { pts, samples: vec![0.0; 10], resync: false, live };
            when_full(&audio, queued, Limit { max_samples: 100, policy: OverloadPolicy::Drop })
        };
        assert_eq!(decide(true, 90), WhenFull::Accept);
        assert_eq!(decide(true, 91), WhenFull::DropOldest { max_samples: 50 });
        assert_eq!(decide(false, 99), WhenFull::Accept);
        assert_eq!(decide(false, 100), WhenFull::Wait);
    }
}
