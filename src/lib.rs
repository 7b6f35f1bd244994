// SPDX-License-Identifier: MPL-2.0

//! A GStreamer plugin that transcribes every speaker of a conversation, even when they talk over
//! each other. The element [`multitalkerasr`] recognizes the speech, and [`ttmlenc`] writes captions
//! as TTML. The speech recognition is in the crate [`multitalker_asr`], which does not depend on
//! GStreamer.

#![warn(clippy::unwrap_used)]

mod cues;
pub mod multitalkerasr;
pub mod ttmlenc;

pub use cues::timeline::CueTimeline;

mod plugin {
    #![allow(missing_docs, reason = "plugin_define! generates undocumented items")]

    use gst::glib;

    fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
        crate::multitalkerasr::register(plugin)?;
        crate::ttmlenc::register(plugin)
    }

    gst::plugin_define!(
        multitalkerasr,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        "MPL-2.0",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("BUILD_REL_DATE")
    );
}

pub use plugin::plugin_desc::plugin_register_static;
