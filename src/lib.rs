// SPDX-License-Identifier: MPL-2.0

//! A GStreamer plugin that transcribes every speaker of a conversation, also while they talk over
//! each other.
//!
//! - `engine`: the recognizer. It has no GStreamer in it and can be used without.
//! - the element `multitalkerasr`, with the feature `element` (on by default); see
//!   `gst-inspect-1.0 multitalkerasr`.

#![deny(missing_docs)]

pub mod engine;
#[cfg(feature = "element")]
mod multitalkerasr;

#[cfg(feature = "element")]
mod plugin {
    #![allow(missing_docs, reason = "plugin_define! generates undocumented items")]

    use gst::glib;

    fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
        crate::multitalkerasr::register(plugin)
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

#[cfg(feature = "element")]
pub use plugin::plugin_desc::plugin_register_static;
