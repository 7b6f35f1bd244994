// SPDX-License-Identifier: MPL-2.0

//! When text comes out, against when it was promised.

use gst::glib;
use gst::prelude::*;

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::output::messages::post_warning;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::sequencer::Context;
use multitalker_asr::lock::lock;

/// Value of the property `max-observed-delay`, in whole milliseconds.
pub fn max_delay_ms(shared: &Shared) -> u32 {
    u32::try_from(lock(&shared.max_delay).mseconds()).unwrap_or(u32::MAX)
}

/// Takes note of text that leaves now, and warns if a live source was promised it earlier.
pub fn observe(shared: &Shared, pts: gst::ClockTime, context: Context) {
    if !context.live || context.settings.is_desynchronized() {
        return;
    }
    let Some(now) = shared.running_time() else { return };
    let Some(running_time) = context.out_segment.to_running_time(pts) else { return };
    let delay = now.saturating_sub(running_time);
    if !grow(&mut lock(&shared.max_delay), delay) {
        return;
    }
    if let Some(element) = shared.element() {
        element.notify("max-observed-delay");
    }
    let Some((_, upstream, _)) = shared.upstream_latency() else { return };
    let promised = upstream.saturating_add(shared.live_latency());
    if delay > promised {
        gst::debug!(
            CAT,
            obj = shared.srcpad,
            "Text at {pts} leaves {delay} after its running time"
        );
        let excess = delay - promised;
        post_warning!(
            shared,
            gst::CoreError::Clock,
            (
                "Text is late by {} ms: expected a delay of at most {} ms, found {} ms; increase \
                 latency or reduce the work",
                excess.mseconds(),
                promised.mseconds(),
                delay.mseconds()
            ),
            details: gst::Structure::builder("multitalkerasr/excessive-delay")
                .field("new-observed-max-delay", delay)
                .field("promised-delay", promised)
                .build()
        );
    }
}

/// Raises a maximum; true if it was lower.
fn grow(max: &mut gst::ClockTime, delay: gst::ClockTime) -> bool {
    let grows = delay > *max;
    *max = delay.max(*max);
    grows
}

/// The property `max-observed-delay`.
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
