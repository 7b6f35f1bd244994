// SPDX-License-Identifier: MPL-2.0

//! One source pad: stream start, negotiation, segment and text.

use gst::glib;
use gst::prelude::*;

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::output::messages::post_error;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::format::{Text, TextFormat};
use crate::multitalkerasr::text::sequencer::Sequencer;

/// A source pad of timed text.
pub struct SrcPad {
    pub pad: gst::Pad,
    pub sequencer: Sequencer,
    /// `None` before negotiation and after a failed one.
    format: Option<TextFormat>,
    /// Peer with which `format` was negotiated.
    negotiated_with: glib::WeakRef<gst::Pad>,
}

impl SrcPad {
    /// Creates a pad that is not negotiated yet.
    pub fn new(pad: gst::Pad, sequencer: Sequencer) -> Self {
        Self { pad, sequencer, format: None, negotiated_with: glib::WeakRef::new() }
    }

    /// Returns whether the peer is new or requests a negotiation, or the caps were lost because the
    /// pad was flushing. A new peer is visible before it requests one.
    pub fn needs_negotiation(&self) -> bool {
        let Some(peer) = self.pad.peer() else { return false };
        self.pad.needs_reconfigure()
            || self.negotiated_with.upgrade() != Some(peer)
            || (self.format.is_some() && !self.pad.has_current_caps())
    }

    /// Negotiates if necessary, and pushes the segment if downstream does not have it yet.
    pub fn prepare(&mut self, shared: &Shared, segment: Option<&gst::Event>) {
        if self.needs_negotiation() {
            self.negotiate(shared);
        }
        if let Some(segment) = segment
            && self.pad.sticky_event::<gst::event::Segment>(0).is_none()
        {
            self.start_segment(segment);
        }
    }

    fn negotiate(&mut self, shared: &Shared) {
        self.negotiated_with.set(self.pad.peer().as_ref());
        self.pad.check_reconfigure();
        let accepted = self.pad.peer_query_caps(Some(&TextFormat::all_caps()));
        let format = TextFormat::preferred(&accepted);
        match format {
            Some(new) if self.format != format || !self.pad.has_current_caps() => {
                gst::debug!(CAT, obj = self.pad, "Negotiated {new:?}");
                self.pad.push_event(gst::event::Caps::new(&new.caps()));
            }
            Some(_) => (),
            None => post_error!(
                shared,
                gst::CoreError::Negotiation,
                (
                    "Downstream of {}: expected to accept one of {}, found {}",
                    self.pad.name(),
                    TextFormat::all_caps(),
                    self.pad.peer_query_caps(None)
                )
            ),
        }
        self.format = format;
    }

    /// Pushes a segment and, from a speaker's pad, the speaker's name as title tag. Does nothing
    /// before negotiation.
    pub fn start_segment(&self, segment: &gst::Event) {
        if self.format.is_none() {
            return;
        }
        self.pad.push_event(segment.clone());
        if let Some(speaker) = self.sequencer.speaker() {
            let mut tags = gst::TagList::new();
            if let Some(tags) = tags.get_mut() {
                let title = speaker.default_name();
                tags.add::<gst::tags::Title>(&title.as_str(), gst::TagMergeMode::Replace);
            }
            self.pad.push_event(gst::event::Tag::new(tags));
        }
    }

    /// Pushes text in the negotiated format.
    ///
    /// # Errors
    /// - [`gst::FlowError::NotNegotiated`] if there is a peer but no format, because negotiation
    ///   failed or the pad was linked a moment ago.
    /// - [`gst::FlowError::NotLinked`] if there is no peer.
    /// - Any flow error of downstream.
    pub fn push(
        &self,
        text: &Text,
        speaker_colors: &str,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        match self.format {
            Some(format) => self.pad.push(text.to_buffer(format, speaker_colors)),
            None if self.pad.is_linked() => Err(gst::FlowError::NotNegotiated),
            None => Err(gst::FlowError::NotLinked),
        }
    }
}

/// Pushes a STREAM_START event for the text of a stream of audio.
pub fn start_stream(shared: &Shared, pad: &gst::Pad, audio: &gst::Event) {
    pad.push_event(stream_start(shared, pad, audio).unwrap_or_else(|| audio.clone()));
}

fn stream_start(shared: &Shared, pad: &gst::Pad, audio: &gst::Event) -> Option<gst::Event> {
    let element = shared.element()?;
    let gst::EventView::StreamStart(audio_start) = audio.view() else { return None };
    // The stream ID of `src` predates the other pads, and stays the same for compatibility.
    let name = match pad.name() {
        name if name == "src" => "text".to_owned(),
        name => name.to_string(),
    };
    let id = pad.create_stream_id(&element, Some(&name));
    let event = gst::event::StreamStart::builder(&id)
        .seqnum(audio.seqnum())
        .flags(audio_start.stream_flags() | gst::StreamFlags::SPARSE)
        .group_id_if_some(audio_start.group_id())
        .build();
    Some(event)
}
