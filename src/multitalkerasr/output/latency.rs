// SPDX-License-Identifier: MPL-2.0

//! When text comes out, against when it was promised.

use std::sync::Mutex;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::MultitalkerAsr;
use crate::multitalkerasr::text::sequencer::Context;
use multitalker_asr::lock::lock;

/// The longest time by which text has left after its running time.
#[derive(Debug, Default)]
pub struct MaxDelay(Mutex<gst::ClockTime>);

impl MaxDelay {
    /// In whole milliseconds.
    pub fn ms(&self) -> u32 {
        u32::try_from(lock(&self.0).mseconds()).unwrap_or(u32::MAX)
    }

    /// Forgets all.
    pub fn clear(&self) {
        *lock(&self.0) = gst::ClockTime::ZERO;
    }

    /// True if this is longer than all before.
    fn grow(&self, delay: gst::ClockTime) -> bool {
        let mut max = lock(&self.0);
        let grows = delay > *max;
        *max = delay.max(*max);
        grows
    }
}

/// The running time of now, where there is a clock.
pub fn running_time(element: &MultitalkerAsr) -> Option<gst::ClockTime> {
    Some(element.clock()?.time().saturating_sub(element.base_time()?))
}

/// Takes note of text that leaves now, and warns if a live source was promised it earlier.
pub fn observe(element: &MultitalkerAsr, pts: gst::ClockTime, context: Context) {
    if !context.live || context.settings.is_desynchronized() {
        return;
    }
    let Some(now) = running_time(element) else { return };
    let Some(running_time) = context.out_segment.to_running_time(pts) else { return };
    let imp = element.imp();
    let delay = now.saturating_sub(running_time);
    if !imp.max_delay.grow(delay) {
        return;
    }
    element.notify("max-observed-delay");
    let Some((_, upstream, _)) = imp.upstream_latency() else { return };
    let promised = upstream.saturating_add(imp.live_latency());
    if delay > promised {
        gst::debug!(CAT, obj = element, "Text at {pts} leaves {delay} after its running time");
        let excess = delay - promised;
        gst::element_warning!(
            element,
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

/// The property `max-observed-delay`.
pub fn property() -> glib::ParamSpec {
    glib::ParamSpecUInt::builder("max-observed-delay")
        .nick("Maximum observed delay")
        .blurb(
            "Milliseconds after its running time at which the latest text of a live source left \
             the element, to compare with the latency of the pipeline",
        )
        .read_only()
        .build()
}
