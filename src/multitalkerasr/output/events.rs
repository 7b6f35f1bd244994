// SPDX-License-Identifier: MPL-2.0

//! Events around the text, as other transcribers of gst-plugins-rs send them.

use crate::multitalkerasr::text::format::Text;

/// Announces to downstream that the next text is another speaker's.
pub fn speaker_change(speaker_label: &str) -> gst::Event {
    let structure = gst::Structure::builder("rstranscribe/speaker-change")
        .field("speaker", speaker_label)
        .build();
    gst::event::CustomDownstream::new(structure)
}

/// Announces to downstream that a segment of the current speaker has ended.
pub fn final_transcript() -> gst::Event {
    let structure = gst::Structure::new_empty("rstranscribe/final-transcript");
    gst::event::CustomDownstream::new(structure)
}

/// Announces to upstream the text that is about to be pushed.
pub fn new_item(text: &Text, running_time: gst::ClockTime) -> gst::Event {
    let structure = gst::Structure::builder("rstranscribe/new-item")
        .field("speaker", text.utterance.speaker_label())
        .field("content", text.utterance.text())
        .field("running-time", running_time)
        .field("duration", text.duration)
        .build();
    gst::event::CustomUpstream::new(structure)
}
