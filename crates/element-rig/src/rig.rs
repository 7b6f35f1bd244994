// SPDX-License-Identifier: MPL-2.0

//! An element with a source and a sink.

use std::sync::mpsc;

use gst::prelude::*;

use crate::entries::until;
use crate::{
    Entry, F32_CAPS, SAMPLE_NS, Transcript, element, f32_buffer, init_with_runtime, record,
    structures, transcript, wait_for,
};

/// An element with the test as its source and sink. Dropping it stops the element.
pub struct Rig {
    /// The source and the sink.
    pub harness: gst_check::Harness,
    /// The element.
    pub element: gst::Element,
    /// The bus of the element.
    pub bus: gst::Bus,
    /// Buffers and events that the element pushed.
    pub entries: mpsc::Receiver<Entry>,
}

impl Rig {
    /// Starts an element with the tiny models and additional properties. Its source is not live and
    /// pushes F32 audio.
    pub fn new(properties: &[(&str, &str)]) -> Self {
        Self::with_caps(properties, F32_CAPS)
    }

    /// Calls [`Self::new`] with other caps.
    pub fn with_caps(properties: &[(&str, &str)], caps: &str) -> Self {
        init_with_runtime();
        Self::of(element(properties), Some(caps))
    }

    /// Starts an element. Without caps the test pushes all events itself.
    pub fn of(element: gst::Element, caps: Option<&str>) -> Self {
        Self::around(element, caps, Some("src"))
    }

    /// Calls [`Self::new`] with `diarization-preset=lockstep`.
    pub fn lockstep(properties: &[(&str, &str)]) -> Self {
        Self::new(&[&[("diarization-preset", "lockstep")], properties].concat())
    }

    /// Starts an element whose `src` is not linked.
    pub fn without_sink(element: gst::Element) -> Self {
        Self::around(element, Some(F32_CAPS), None)
    }

    fn around(element: gst::Element, caps: Option<&str>, src: Option<&str>) -> Self {
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let entries = record(&element);
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), src);
        harness.set_live(false);
        if let Some(caps) = caps {
            harness.set_src_caps_str(caps);
        }
        Self { harness, element, bus, entries }
    }

    /// The pad `sink`.
    pub fn sinkpad(&self) -> gst::Pad {
        self.element.static_pad("sink").expect("an always pad")
    }

    /// The pad `src`.
    pub fn srcpad(&self) -> gst::Pad {
        self.element.static_pad("src").expect("an always pad")
    }

    /// Pushes one F32 buffer.
    #[track_caller]
    pub fn push(&mut self, pts_ns: u64, samples: &[f32]) {
        self.harness.push(f32_buffer(Some(pts_ns), samples)).expect("accepted");
    }

    /// Pushes samples from PTS 0 in buffers of at most `size` samples.
    #[track_caller]
    pub fn push_all(&mut self, samples: &[f32], size: usize) {
        for (index, piece) in samples.chunks(size).enumerate() {
            self.push((index * size) as u64 * SAMPLE_NS, piece);
        }
    }

    /// Pushes an event, which must be accepted.
    #[track_caller]
    pub fn push_event(&mut self, event: gst::Event) {
        assert!(self.harness.push_event(event.clone()), "{event:?} was refused");
    }

    /// Pushes EOS and returns the entries up to and including EOS.
    #[track_caller]
    pub fn finish(&mut self) -> Vec<Entry> {
        self.push_event(gst::event::Eos::new());
        self.until(|entry| *entry == Entry::Eos)
    }

    /// Receives entries up to and including one.
    #[track_caller]
    pub fn until(&self, is_last: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        until(&self.entries, is_last)
    }

    /// Takes all messages, asserts that none is an error, and returns structures with this name.
    #[track_caller]
    pub fn posted(&self, name: &str) -> Vec<gst::Structure> {
        let messages: Vec<_> = self.bus.iter().collect();
        let is_error = |message: &&gst::Message| message.type_() == gst::MessageType::Error;
        assert_eq!(messages.iter().find(is_error).map(|error| format!("{error:?}")), None);
        structures(messages.into_iter(), name)
    }

    /// Calls [`Self::posted`] and returns the segments.
    pub fn transcripts(&self) -> Vec<Transcript> {
        self.posted("multitalkerasr/transcript").iter().map(transcript).collect()
    }

    /// Waits for a message of a type and drops those before it.
    #[track_caller]
    pub fn wait_for(&self, type_: gst::MessageType) -> gst::Message {
        wait_for(&self.bus, type_)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.element.set_state(gst::State::Null);
    }
}

/// Queries the latency on a source pad.
#[track_caller]
pub fn latency_of(pad: &gst::Pad) -> (bool, gst::ClockTime, Option<gst::ClockTime>) {
    let mut query = gst::query::Latency::new();
    assert!(pad.query(&mut query), "the query is answered");
    query.result()
}
