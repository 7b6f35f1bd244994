// SPDX-License-Identifier: MPL-2.0

//! Complete pipelines.

use std::path::Path;

use gst::prelude::*;

use crate::TIMEOUT;

/// Makes a pipeline from a WAV file to the element `asr` with properties in gst-launch syntax.
pub fn file_pipeline(file: &Path, properties: &str) -> gst::Pipeline {
    let description = format!(
        "filesrc location={} ! wavparse ! audioconvert ! audioresample ! \
         multitalkerasr name=asr {properties} ! fakesink sync=false",
        file.display()
    );
    let pipeline = gst::parse::launch(&description).expect("a pipeline");
    pipeline.downcast().expect("a pipeline")
}

/// Plays a pipeline up to EOS or an error, and returns all its messages.
#[track_caller]
pub fn play(pipeline: &gst::Pipeline) -> Vec<gst::Message> {
    let bus = pipeline.bus().expect("a pipeline has one");
    pipeline.set_state(gst::State::Playing).expect("starts");
    let mut messages = Vec::new();
    let timeout = gst::ClockTime::try_from(TIMEOUT).expect("in range");
    loop {
        let message = bus.timed_pop(timeout).expect("EOS or an error before the timeout");
        let type_ = message.type_();
        messages.push(message);
        if matches!(type_, gst::MessageType::Eos | gst::MessageType::Error) {
            return messages;
        }
    }
}
