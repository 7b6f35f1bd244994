// SPDX-License-Identifier: MPL-2.0

//! Observed latency of the text, compared to the reported latency.

use gst::glib;
use gst::prelude::*;

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::output::messages::post_warning;
use crate::multitalkerasr::properties::settings::LiveSettings;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::clock::Clock;
use multitalker_asr::lock::lock;

/// Returns the value of the property `max-observed-delay`, in whole milliseconds.
pub fn max_delay_ms(shared: &Shared) -> u32 {
    u32::try_from(lock(&shared.max_delay).mseconds()).unwrap_or(u32::MAX)
}

/// Records the delay of text that is about to be pushed. Posts a warning if it is the longest so far
/// and exceeds the latency that was reported for a live source.
pub fn observe(shared: &Shared, pts: gst::ClockTime, clock: &Clock, settings: &LiveSettings) {
    if !clock.live || settings.is_desynchronized() {
        return;
    }
    let Some(now) = shared.running_time() else { return };
    let Some(running_time) = clock.out_segment.to_running_time(pts) else { return };
    let delay = now.saturating_sub(running_time);
    if !grow(&mut lock(&shared.max_delay), delay) {
        return;
    }
    if let Some(element) = shared.element() {
        element.notify("max-observed-delay");
    }
    let Some((_, upstream, _)) = shared.upstream_latency() else { return };
    let reported = upstream.saturating_add(shared.live_latency());
    if delay > reported {
        gst::debug!(
            CAT,
            obj = shared.srcpad,
            "Text at {pts} is pushed {delay} after its running time"
        );
        let excess = delay - reported;
        post_warning!(
            shared,
            gst::CoreError::Clock,
            (
                "Text is late by {} ms: expected a delay of at most {} ms, found {} ms; increase \
                 latency or reduce the workload",
                excess.mseconds(),
                reported.mseconds(),
                delay.mseconds()
            ),
            details: gst::Structure::builder("multitalkerasr/excessive-delay")
                .field("new-observed-max-delay", delay)
                .field("promised-delay", reported)
                .build()
        );
    }
}

/// Raises a maximum. Returns true if it was lower before.
fn grow(max: &mut gst::ClockTime, delay: gst::ClockTime) -> bool {
    let grows = delay > *max;
    *max = delay.max(*max);
    grows
}

/// Describes the property `max-observed-delay`.
pub fn property() -> glib::ParamSpec {
    glib::ParamSpecUInt::builder("max-observed-delay")
        .nick("Maximum observed delay")
        .blurb(
            "Maximum observed delay between a text's running time and its output, in ms, to compare \
             with the latency of the pipeline; only for live sources",
        )
        .read_only()
        .build()
}
