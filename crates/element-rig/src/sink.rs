// SPDX-License-Identifier: MPL-2.0

//! A sink for one source pad.

use std::sync::mpsc;

use gst::prelude::*;

use crate::Entry;
use crate::entries::{DOWNSTREAM, record_pad, until};

/// A sink that is linked to one of the element's source pads.
pub struct Sink {
    /// The element's source pad.
    pub pad: gst::Pad,
    /// The sink pad.
    pub peer: gst::Pad,
    /// Buffers and events that reached the sink pad.
    pub entries: mpsc::Receiver<Entry>,
}

impl Sink {
    /// Requests a speaker's pad and links a sink to it.
    pub fn of_speaker(element: &gst::Element, name: &str) -> Self {
        let pad = element.request_pad_simple(name).expect("a pad");
        Self::on(pad, "ANY", Ok(gst::FlowSuccess::Ok))
    }

    /// Links a sink that accepts `caps` and returns `flow` for each buffer.
    pub fn on(pad: gst::Pad, caps: &str, flow: Result<gst::FlowSuccess, gst::FlowError>) -> Self {
        let template = gst::PadTemplate::new(
            "sink",
            gst::PadDirection::Sink,
            gst::PadPresence::Always,
            &caps.parse().expect("caps"),
        );
        let template = template.expect("name and presence go together");
        let peer = gst::Pad::builder_from_template(&template)
            .chain_function(move |_, _, _| flow)
            .event_function(|_, _, _| true)
            .build();
        let (sender, entries) = mpsc::channel();
        record_pad(&peer, DOWNSTREAM, &sender);
        peer.set_active(true).expect("activates");
        pad.link(&peer).expect("links");
        Self { pad, peer, entries }
    }

    /// Receives entries up to and including one.
    #[track_caller]
    pub fn until(&self, is_last: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        until(&self.entries, is_last)
    }

    /// Receives entries up to and including EOS.
    #[track_caller]
    pub fn until_eos(&self) -> Vec<Entry> {
        self.until(|entry| *entry == Entry::Eos)
    }
}
