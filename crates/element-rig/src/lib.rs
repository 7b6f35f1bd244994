// SPDX-License-Identifier: MPL-2.0

//! Test rigs for the element: a test acts as its source, its sinks and its application.

mod audio;
mod elements;
mod engine;
mod entries;
mod held_models;
mod messages;
mod pipelines;
mod rig;
mod sink;

use std::sync::Once;
use std::time::Duration;

use test_support::{limit, require_runtime};

pub use audio::*;
pub use elements::*;
pub use engine::*;
pub use entries::*;
pub use held_models::HeldModels;
pub use messages::*;
pub use pipelines::*;
pub use rig::*;
pub use sink::Sink;

/// Limit for anything that a test waits for; only a hang exceeds it.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Duration of one sample at 16 kHz in nanoseconds.
pub const SAMPLE_NS: u64 = 62_500;

/// One second in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Caps of 16 kHz mono audio as 32-bit floats.
pub const F32_CAPS: &str = "audio/x-raw,format=F32LE,rate=16000,channels=1,layout=interleaved";
/// Caps of 16 kHz mono audio as 16-bit integers.
pub const S16_CAPS: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

/// Initializes GStreamer, registers the plugin and limits the duration of the test.
pub fn init() {
    static INIT: Once = Once::new();
    limit::watch();
    INIT.call_once(|| {
        gst::init().expect("GStreamer");
        gstmultitalkerasr::plugin_register_static().expect("the plugin");
    });
}

/// Calls [`init`] and checks that ONNX Runtime is installed.
pub fn init_with_runtime() {
    init();
    require_runtime();
}

/// Returns whether the `latency` tracer works. Since GStreamer 1.26, `gst-launch-1.0` never exits
/// with it, regardless of the elements.
pub fn has_latency_tracer() -> bool {
    let (major, minor, ..) = gst::version();
    (major, minor) < (1, 26)
}
