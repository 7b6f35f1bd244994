// SPDX-License-Identifier: MPL-2.0

//! All source pads together: sticky events of pads that are linked later, temporal order across
//! pads, and the combined flow return.

use std::collections::VecDeque;
use std::sync::Arc;

use gst::prelude::*;
use gst_base::UniqueFlowCombiner;

use crate::multitalkerasr::output::messages::post_error;
use crate::multitalkerasr::output::speaker_pads::SpeakerPad;
use crate::multitalkerasr::output::src_pad::{SrcPad, start_stream};
use crate::multitalkerasr::output::{events, latency};
use crate::multitalkerasr::properties::settings::{LiveSettings, RunSettings};
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::clock::{Clock, Horizon};
use crate::multitalkerasr::text::format::{Text, TextFormat};
use crate::multitalkerasr::text::sequencer::{Conditions, Push, Sequencer};
use crate::multitalkerasr::text::speaker::Speaker;
use crate::multitalkerasr::text::utterance::{Kind, Utterance};

/// The source pads, as the worker uses them.
pub struct SrcPads<'a> {
    shared: &'a Shared,
    /// Whether a flush or a stop has made the remaining text obsolete.
    is_interrupted: Box<dyn Fn() -> bool + 'a>,
    /// The pad of all speakers, which is always there, and the linked pads of single speakers.
    src_pads: Vec<SrcPad>,
    flows: UniqueFlowCombiner,
    // The sticky events of a pad that is linked later, in this order.
    stream_start: Option<gst::Event>,
    has_caps: bool,
    segment: Option<gst::Event>,
    eos: Option<gst::Event>,
}

impl<'a> SrcPads<'a> {
    /// Starts with the pad of all speakers. `is_interrupted` is checked before each push.
    pub fn new(
        shared: &'a Shared,
        settings: &RunSettings,
        is_interrupted: impl Fn() -> bool + 'a,
    ) -> Self {
        let sequencer = Sequencer::new(settings.text_unit, settings.cues.rules());
        let pad = shared.srcpad.clone();
        let mut flows = UniqueFlowCombiner::new();
        flows.add_pad(&pad);
        Self {
            shared,
            is_interrupted: Box::new(is_interrupted),
            src_pads: vec![SrcPad::new(pad, sequencer)],
            flows,
            stream_start: None,
            has_caps: false,
            segment: None,
            eos: None,
        }
    }

    /// Adds speaker pads that were linked for the first time, and removes those that were released.
    pub fn update_pads(&mut self) {
        let pads = self.shared.speaker_pads.list();
        self.src_pads.retain(|src_pad| {
            let stays = src_pad.sequencer.speaker().is_none()
                || pads.iter().any(|known| known.pad == src_pad.pad);
            if !stays {
                self.flows.remove_pad(&src_pad.pad);
            }
            stays
        });
        for SpeakerPad { speaker, pad } in pads {
            if pad.is_linked() && self.src_pads.iter().all(|src_pad| src_pad.pad != pad) {
                self.add(speaker, pad);
            }
        }
    }

    fn add(&mut self, speaker: Speaker, pad: gst::Pad) {
        let Some(all_speakers) = self.src_pads.first() else { return };
        let sequencer = all_speakers.sequencer.for_speaker(speaker);
        self.flows.add_pad(&pad);
        self.src_pads.push(SrcPad::new(pad.clone(), sequencer));
        self.prepare();
        if let Some(event) = &self.eos {
            pad.push_event(event.clone());
        }
    }

    /// Returns whether the stream has started with this very event.
    pub fn has_started(&self, event: &gst::Event) -> bool {
        let known = self.stream_start.as_ref();
        known.is_some_and(|known| {
            known.seqnum() == event.seqnum() && known.structure() == event.structure()
        })
    }

    /// Starts a stream on all pads when a stream of audio starts.
    pub fn stream_start(&mut self, event: gst::Event) {
        self.eos = None;
        // Core also clears EOS when a stream starts.
        self.flows.reset();
        for pad in self.pads() {
            start_stream(self.shared, &pad, &event);
        }
        self.stream_start = Some(event);
    }

    /// Negotiates the caps of all pads once the audio has caps.
    pub fn caps(&mut self) {
        self.has_caps = true;
        self.prepare();
    }

    /// Starts a segment of the text.
    pub fn segment(&mut self, event: gst::Event) {
        self.prepare();
        self.src_pads.iter().for_each(|src_pad| src_pad.start_segment(&event));
        self.unsynced().push_event(event.clone());
        self.segment = Some(event);
    }

    /// Ends the streams of all pads. Audio may still follow, even in the same segment.
    pub fn eos(&mut self, event: gst::Event) {
        self.prepare();
        // No further push from upstream can return this error.
        if !self.pads().iter().any(|pad| pad.is_linked()) {
            post_error!(self.shared, gst::StreamError::Failed, ("No source pad is linked"));
        }
        self.forward(&event);
        self.eos = Some(event);
        self.clear();
    }

    /// Pushes any other event from all pads.
    pub fn forward(&self, event: &gst::Event) {
        for pad in self.pads() {
            pad.push_event(event.clone());
        }
    }

    /// Pushes the text before the horizon.
    ///
    /// # Errors
    /// The flow error of downstream, or [`gst::FlowError::Flushing`] after an interruption.
    pub fn emit(
        &mut self,
        utterances: &[Arc<Utterance>],
        horizon: Horizon,
        clock: &Clock,
        settings: &LiveSettings,
    ) -> Result<(), gst::FlowError> {
        self.prepare();
        self.push_unsynced(utterances, horizon);
        let conditions = conditions(clock, settings);
        self.push_all(clock, settings, |sequencer| sequencer.add(utterances, horizon, conditions))
    }

    /// Pushes all pending text, at the end of a stretch of audio.
    ///
    /// # Errors
    /// The flow error of downstream, or [`gst::FlowError::Flushing`] after an interruption.
    pub fn drain(&mut self, clock: &Clock, settings: &LiveSettings) -> Result<(), gst::FlowError> {
        let (start, end) = (clock.timeline.pts(0), clock.timeline.end());
        let conditions = conditions(clock, settings);
        self.push_all(clock, settings, |sequencer| sequencer.drain(start, end, conditions))
    }

    /// Pushes gaps up to `to`, from `from` on pads that have pushed nothing yet.
    ///
    /// # Errors
    /// The flow error of downstream, or [`gst::FlowError::Flushing`] after an interruption.
    pub fn advance(
        &mut self,
        from: gst::ClockTime,
        to: gst::ClockTime,
        clock: &Clock,
        settings: &LiveSettings,
    ) -> Result<(), gst::FlowError> {
        self.push_all(clock, settings, |sequencer| {
            let mut pushes = Vec::new();
            sequencer.advance(from, to, &mut pushes);
            pushes
        })
    }

    /// Drops pending text, before another segment.
    pub fn clear(&mut self) {
        self.src_pads.iter_mut().for_each(|src_pad| src_pad.sequencer.clear());
    }

    /// Discards pending text, flow errors and the segment after a flush.
    pub fn flush(&mut self) {
        self.clear();
        self.flows.reset();
        self.segment = None;
        self.eos = None;
    }

    /// Pushes the sticky events that a pad lacks because it was linked later or was flushing.
    fn prepare(&mut self) {
        let (shared, segment) = (self.shared, self.segment.as_ref());
        let unsynced = self.unsynced();
        for pad in self.src_pads.iter().map(|src_pad| &src_pad.pad).chain([unsynced]) {
            if let Some(event) = &self.stream_start
                && pad.sticky_event::<gst::event::StreamStart>(0).is_none()
            {
                start_stream(shared, pad, event);
            }
        }
        if !self.has_caps {
            return;
        }
        if !unsynced.has_current_caps() {
            unsynced.push_event(gst::event::Caps::new(&TextFormat::Json.caps()));
        }
        for src_pad in &mut self.src_pads {
            src_pad.prepare(shared, segment);
        }
    }

    /// Pushes in temporal order across all pads, so that no pad is far ahead of the others.
    fn push_all(
        &mut self,
        clock: &Clock,
        settings: &LiveSettings,
        mut pushes: impl FnMut(&mut Sequencer) -> Vec<Push>,
    ) -> Result<(), gst::FlowError> {
        self.prepare();
        let mut pending: Vec<VecDeque<(gst::ClockTime, Push)>> =
            self.src_pads.iter_mut().map(|src_pad| timed(pushes(&mut src_pad.sequencer))).collect();
        let first = |pending: &[VecDeque<(gst::ClockTime, Push)>]| {
            let heads = pending.iter().enumerate();
            heads.filter_map(|(index, pad)| Some((pad.front()?.0, index))).min()
        };
        let mut flow = Ok(());
        while let Some((_, index)) = first(&pending)
            && let Some((_, push)) = pending[index].pop_front()
        {
            if (self.is_interrupted)() {
                return Err(gst::FlowError::Flushing);
            }
            // After an error, the remaining text is dropped.
            if flow.is_ok() {
                flow = self.push(index, push, clock, settings);
            }
        }
        flow
    }

    fn push(
        &mut self,
        index: usize,
        push: Push,
        clock: &Clock,
        settings: &LiveSettings,
    ) -> Result<(), gst::FlowError> {
        let pad = &self.src_pads[index].pad;
        let event = match push {
            Push::Text(text) => return self.push_text(index, &text, clock, settings),
            Push::Gap { pts, duration } => gst::event::Gap::builder(pts).duration(duration).build(),
            Push::SpeakerChange(label) => events::speaker_change(&label),
            Push::SegmentEnd => events::final_transcript(),
        };
        pad.push_event(self.in_segment(event));
        Ok(())
    }

    fn push_text(
        &mut self,
        index: usize,
        text: &Text,
        clock: &Clock,
        settings: &LiveSettings,
    ) -> Result<(), gst::FlowError> {
        // Upstream and latency are served once, by the pad of all speakers.
        if self.src_pads[index].sequencer.speaker().is_none() {
            if let Some(running_time) = clock.out_segment.to_running_time(text.pts) {
                let event = self.in_segment(events::new_item(text, running_time));
                self.shared.sinkpad.push_event(event);
            }
            latency::observe(self.shared, text.pts, clock, settings);
        }
        let pushed = self.push_buffer(index, text, &settings.speaker_colors);
        match self.combine(index, pushed) {
            Err(gst::FlowError::NotLinked) if self.unsynced().is_linked() => Ok(()),
            flow => flow.map(|_| ()),
        }
    }

    /// Pushes text from one pad, after a negotiation if one is due.
    fn push_buffer(
        &mut self,
        index: usize,
        text: &Text,
        speaker_colors: &str,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        if self.src_pads[index].needs_negotiation() {
            self.prepare();
        }
        let src_pad = &self.src_pads[index];
        let pushed = src_pad.push(text, speaker_colors);
        if pushed != Err(gst::FlowError::NotNegotiated) || !src_pad.needs_negotiation() {
            return pushed;
        }
        // Another peer was linked in the meantime.
        self.prepare();
        self.src_pads[index].push(text, speaker_colors)
    }

    /// Returns the event with the sequence number of the segment.
    fn in_segment(&self, mut event: gst::Event) -> gst::Event {
        if let Some(segment) = &self.segment {
            event.make_mut().set_seqnum(segment.seqnum());
        }
        event
    }

    /// Returns the combined flow of all pads after one has returned `pushed`. Pads that were
    /// released do not count: they are flushing, and the combiner reads the flow from the pads
    /// themselves.
    fn combine(
        &mut self,
        index: usize,
        pushed: Result<gst::FlowSuccess, gst::FlowError>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        loop {
            let released = self.released();
            released.iter().for_each(|&gone| self.flows.remove_pad(&self.src_pads[gone].pad));
            if released.contains(&index) {
                return Ok(gst::FlowSuccess::Ok);
            }
            let flow = self.flows.update_pad_flow(&self.src_pads[index].pad, pushed);
            let is_settled = flow != Err(gst::FlowError::Flushing) || self.released() == released;
            if is_settled {
                return flow;
            }
        }
    }

    /// Indices of the pads that were released since the last [`SrcPads::update_pads`].
    fn released(&self) -> Vec<usize> {
        let shared = self.shared;
        let is_gone = |pad: &gst::Pad| *pad != shared.srcpad && !shared.speaker_pads.contains(pad);
        (0..self.src_pads.len()).filter(|&index| is_gone(&self.src_pads[index].pad)).collect()
    }

    /// Pushes segments in progress and finished segments, without waiting for earlier ones.
    fn push_unsynced(&self, utterances: &[Arc<Utterance>], horizon: Horizon) {
        let pad = self.unsynced();
        if !pad.is_linked() {
            return;
        }
        for utterance in utterances.iter().filter(|utterance| utterance.kind != Kind::Word) {
            let text = Text {
                utterance: utterance.clone(),
                prefix: String::new(),
                layout: None,
                pts: horizon.decoded,
                duration: gst::ClockTime::ZERO,
            };
            // The flow of this pad does not stop the audio.
            let _ = pad.push(text.to_buffer(TextFormat::Json, ""));
        }
    }

    fn unsynced(&self) -> &gst::Pad {
        &self.shared.unsynced_srcpad
    }

    fn pads(&self) -> Vec<gst::Pad> {
        let timed = self.src_pads.iter().map(|src_pad| src_pad.pad.clone());
        timed.chain([self.unsynced().clone()]).collect()
    }
}

fn conditions<'a>(clock: &Clock, settings: &'a LiveSettings) -> Conditions<'a> {
    Conditions { now: clock.now, speaker_prefix: &settings.speaker_prefix }
}

/// Returns each push with the time at which it begins. A push without a time gets that of the one
/// before it.
fn timed(pushes: Vec<Push>) -> VecDeque<(gst::ClockTime, Push)> {
    let mut time = gst::ClockTime::ZERO;
    let with_time = pushes.into_iter().map(|push| {
        match &push {
            Push::Text(text) => time = text.pts,
            Push::Gap { pts, .. } => time = *pts,
            Push::SpeakerChange(_) | Push::SegmentEnd => (),
        }
        (time, push)
    });
    with_time.collect()
}
