// SPDX-License-Identifier: MPL-2.0

//! The worker's side of the source pads: sticky events, negotiation, and who is told what.

use std::collections::VecDeque;

use gst::glib;
use gst::prelude::*;
use gst_base::UniqueFlowCombiner;

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::output::latency;
use crate::multitalkerasr::output::messages::post_error;
use crate::multitalkerasr::output::speaker_pads::SpeakerPad;
use crate::multitalkerasr::properties::enums::TextUnit;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::format::{Text, TextFormat};
use crate::multitalkerasr::text::sequencer::{Context, Push, Sequencer};
use crate::multitalkerasr::text::utterance::{Kind, Utterance};
use multitalker_asr::{Event, Progress};

/// A source pad of timed text.
struct SrcPad {
    pad: gst::Pad,
    sequencer: Sequencer,
    /// `None` before the negotiation, and when it failed.
    format: Option<TextFormat>,
    /// With whom `format` was negotiated.
    negotiated_with: glib::WeakRef<gst::Pad>,
}

/// All source pads.
pub struct SrcPads<'a> {
    shared: &'a Shared,
    /// Whether text that is not pushed yet is of no use any more.
    is_interrupted: Box<dyn Fn() -> bool + 'a>,
    /// The pad of all speakers first, which is always there.
    src_pads: Vec<SrcPad>,
    flows: UniqueFlowCombiner,
    /// What a pad that comes later has missed, in this order.
    stream_start: Option<gst::Event>,
    has_caps: bool,
    segment: Option<gst::Event>,
    eos: Option<gst::Event>,
}

impl<'a> SrcPads<'a> {
    /// `is_interrupted` is asked before each push.
    pub fn new(shared: &'a Shared, unit: TextUnit, is_interrupted: impl Fn() -> bool + 'a) -> Self {
        let pad = shared.srcpad.clone();
        let mut flows = UniqueFlowCombiner::new();
        flows.add_pad(&pad);
        Self {
            shared,
            is_interrupted: Box::new(is_interrupted),
            src_pads: vec![SrcPad::new(pad, Sequencer::new(unit))],
            flows,
            stream_start: None,
            has_caps: false,
            segment: None,
            eos: None,
        }
    }

    /// Takes note of pads that were linked for the first time, and of those that went.
    pub fn sync(&mut self) {
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

    fn add(&mut self, speaker: usize, pad: gst::Pad) {
        let Some(everybody) = self.src_pads.first() else { return };
        let sequencer = everybody.sequencer.for_speaker(speaker);
        self.flows.add_pad(&pad);
        self.src_pads.push(SrcPad::new(pad.clone(), sequencer));
        self.prepare();
        if let Some(event) = &self.eos {
            pad.push_event(event.clone());
        }
    }

    /// Whether this very event began the stream.
    pub fn has_begun(&self, event: &gst::Event) -> bool {
        let known = self.stream_start.as_ref();
        known.is_some_and(|known| {
            known.seqnum() == event.seqnum() && known.structure() == event.structure()
        })
    }

    /// Begins the streams of all pads as that of the audio begins.
    pub fn stream_start(&mut self, event: gst::Event) {
        self.eos = None;
        // As core does with EOS.
        self.flows.reset();
        for pad in self.pads() {
            pad.push_event(stream_start(self.shared, &pad, &event));
        }
        self.stream_start = Some(event);
    }

    /// Tells all pads their caps.
    pub fn caps(&mut self) {
        self.has_caps = true;
        self.prepare();
    }

    pub fn segment(&mut self, event: gst::Event) {
        self.prepare();
        for src_pad in self.src_pads.iter().filter(|src_pad| src_pad.format.is_some()) {
            src_pad.begin(&event);
        }
        self.unsynced().push_event(event.clone());
        self.segment = Some(event);
    }

    pub fn eos(&mut self, event: gst::Event) {
        self.prepare();
        // Upstream pushes no more, which would tell it.
        if !self.pads().iter().any(|pad| pad.is_linked()) {
            post_error!(
                self.shared,
                gst::StreamError::Failed,
                ("Nobody takes the text: expected a source pad that is linked, found none")
            );
        }
        self.forward(&event);
        self.eos = Some(event);
        // Audio may come again, also in the same segment.
        self.clear();
    }

    /// Pushes any other event from all pads.
    pub fn forward(&self, event: &gst::Event) {
        for pad in self.pads() {
            pad.push_event(event.clone());
        }
    }

    /// Tells what the engine told; an error if downstream takes no more.
    pub fn tell(
        &mut self,
        outputs: &[Event],
        progress: Progress,
        context: Context,
    ) -> Result<(), gst::FlowError> {
        self.prepare();
        self.tell_unsynced(outputs, progress, context);
        self.push_all(context, |sequencer| sequencer.accept(outputs, progress, context))
    }

    /// Tells all that waits, at the end of a stretch of audio.
    pub fn drain(&mut self, context: Context) -> Result<(), gst::FlowError> {
        self.push_all(context, |sequencer| sequencer.drain(context))
    }

    /// Moves time on, also where there was no audio.
    pub fn advance(
        &mut self,
        from: gst::ClockTime,
        to: gst::ClockTime,
        context: Context,
    ) -> Result<(), gst::FlowError> {
        self.push_all(context, |sequencer| {
            let mut pushes = Vec::new();
            sequencer.advance(from, to, &mut pushes);
            pushes
        })
    }

    /// Forgets what is not told yet, before another segment.
    pub fn clear(&mut self) {
        self.src_pads.iter_mut().for_each(|src_pad| src_pad.sequencer.clear());
    }

    /// Begins anew after a flush.
    pub fn flush(&mut self) {
        self.clear();
        self.flows.reset();
        self.segment = None;
        self.eos = None;
    }

    /// Tells each pad what it has missed, because it came later or was flushing.
    fn prepare(&mut self) {
        let (shared, segment) = (self.shared, self.segment.as_ref());
        let unsynced = self.unsynced();
        for pad in self.src_pads.iter().map(|src_pad| &src_pad.pad).chain([unsynced]) {
            if let Some(event) = &self.stream_start
                && pad.sticky_event::<gst::event::StreamStart>(0).is_none()
            {
                pad.push_event(stream_start(shared, pad, event));
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

    /// Pushes in the order of time over all pads, so that none is far ahead of the others.
    fn push_all(
        &mut self,
        context: Context,
        mut pushes: impl FnMut(&mut Sequencer) -> Vec<Push>,
    ) -> Result<(), gst::FlowError> {
        self.prepare();
        let seqnum = self.segment.as_ref().map(|segment| segment.seqnum());
        let mut waiting: Vec<VecDeque<(gst::ClockTime, Push)>> =
            self.src_pads.iter_mut().map(|src_pad| timed(pushes(&mut src_pad.sequencer))).collect();
        let mut flow = Ok(gst::FlowSuccess::Ok);
        let first = |waiting: &[VecDeque<(gst::ClockTime, Push)>]| {
            let heads = waiting.iter().enumerate();
            heads.filter_map(|(index, pad)| Some((pad.front()?.0, index))).min()
        };
        while let Some((_, index)) = first(&waiting)
            && let Some((_, push)) = waiting[index].pop_front()
        {
            if (self.is_interrupted)() {
                return Err(gst::FlowError::Flushing);
            }
            let of_segment = |mut event: gst::Event| {
                if let Some(seqnum) = seqnum {
                    event.make_mut().set_seqnum(seqnum);
                }
                event
            };
            match push {
                Push::Text(text) if flow.is_ok() => {
                    if self.src_pads[index].sequencer.speaker().is_none() {
                        latency::observe(self.shared, text.pts, context);
                    }
                    let pushed = self.push(index, &text, context);
                    flow = match self.combine(index, pushed) {
                        Err(gst::FlowError::NotLinked) if self.unsynced().is_linked() => {
                            Ok(gst::FlowSuccess::Ok)
                        }
                        flow => flow,
                    };
                }
                Push::Downstream(event) if flow.is_ok() => {
                    self.src_pads[index].pad.push_event(of_segment(event));
                }
                Push::Upstream(event) if flow.is_ok() => {
                    self.shared.sinkpad.push_event(of_segment(event));
                }
                _ => (),
            }
        }
        flow.map(|_| ())
    }

    /// Pushes text from one pad, after another negotiation where that is due.
    fn push(
        &mut self,
        index: usize,
        text: &Text,
        context: Context,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        if self.src_pads[index].needs_negotiation() {
            self.prepare();
        }
        let src_pad = &self.src_pads[index];
        let pushed = src_pad.push(text, context);
        if pushed != Err(gst::FlowError::NotNegotiated) || !src_pad.needs_negotiation() {
            return pushed;
        }
        // Another peer has come in between.
        self.prepare();
        self.src_pads[index].push(text, context)
    }

    /// The flow of all pads after one has returned `pushed`. Pads that were released are none of
    /// them: they are flushing, which the combiner reads off the pads.
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

    /// Indices of the pads that were released since the last `sync`.
    fn released(&self) -> Vec<usize> {
        let is_gone = |pad: &gst::Pad| !is_there(self.shared, pad);
        (0..self.src_pads.len()).filter(|&index| is_gone(&self.src_pads[index].pad)).collect()
    }

    /// Segments in progress and their ends, as soon as they are known.
    fn tell_unsynced(&self, outputs: &[Event], progress: Progress, context: Context) {
        let pad = self.unsynced();
        if !pad.is_linked() {
            return;
        }
        for output in outputs {
            let (kind, speaker, words) = match output {
                Event::Partial(partial) => (Kind::Partial, partial.speaker, &partial.words),
                Event::Segment(segment) => (Kind::Segment, segment.speaker, &segment.words),
                Event::Word { .. } => continue,
            };
            let text = Text {
                kind,
                utterance: Utterance::new(speaker, words, context),
                prefix: String::new(),
                pts: context.timeline.pts(progress.decoded),
                duration: gst::ClockTime::ZERO,
            };
            // What is not for this pad's timeline is not for the flow either.
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

/// With the time at which each begins; what has none goes with what is before it.
fn timed(pushes: Vec<Push>) -> VecDeque<(gst::ClockTime, Push)> {
    let mut time = gst::ClockTime::ZERO;
    let with_time = pushes.into_iter().map(|push| {
        match &push {
            Push::Text(text) => time = text.pts,
            Push::Downstream(event) => {
                if let gst::EventView::Gap(gap) = event.view() {
                    time = gap.get().0;
                }
            }
            Push::Upstream(_) => (),
        }
        (time, push)
    });
    with_time.collect()
}

/// False for a pad that was released in the meantime.
fn is_there(shared: &Shared, pad: &gst::Pad) -> bool {
    *pad == shared.srcpad || shared.speaker_pads.contains(pad)
}

impl SrcPad {
    fn new(pad: gst::Pad, sequencer: Sequencer) -> Self {
        Self { pad, sequencer, format: None, negotiated_with: glib::WeakRef::new() }
    }

    /// Whether there is a peer that was not asked yet, or that asks to be asked again; or the pad
    /// was flushing when it was given its caps. A new peer is there before it asks.
    fn needs_negotiation(&self) -> bool {
        let Some(peer) = self.pad.peer() else { return false };
        self.pad.needs_reconfigure()
            || self.negotiated_with.upgrade() != Some(peer)
            || (self.format.is_some() && !self.pad.has_current_caps())
    }

    /// Agrees on caps with downstream, once there is one and whenever it asks for it, and tells it
    /// the segment that it has missed.
    fn prepare(&mut self, shared: &Shared, segment: Option<&gst::Event>) {
        if self.needs_negotiation() {
            self.negotiate(shared);
        }
        if self.format.is_some()
            && let Some(segment) = segment
            && self.pad.sticky_event::<gst::event::Segment>(0).is_none()
        {
            self.begin(segment);
        }
    }

    fn negotiate(&mut self, shared: &Shared) {
        self.negotiated_with.set(self.pad.peer().as_ref());
        self.pad.check_reconfigure();
        let taken = self.pad.peer_query_caps(Some(&TextFormat::all_caps()));
        let format = TextFormat::BY_PREFERENCE
            .into_iter()
            .find(|format| taken.can_intersect(&format.caps()));
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
                    "Downstream of {}: expected to take one of {}, found {}",
                    self.pad.name(),
                    TextFormat::all_caps(),
                    self.pad.peer_query_caps(None)
                )
            ),
        }
        self.format = format;
    }

    /// Begins a segment, and says whose text it has.
    fn begin(&self, segment: &gst::Event) {
        self.pad.push_event(segment.clone());
        if let Some(speaker) = self.sequencer.speaker() {
            let mut tags = gst::TagList::new();
            if let Some(tags) = tags.get_mut() {
                let title = format!("Speaker {}", speaker + 1);
                tags.add::<gst::tags::Title>(&title.as_str(), gst::TagMergeMode::Replace);
            }
            self.pad.push_event(gst::event::Tag::new(tags));
        }
    }

    fn push(&self, text: &Text, context: Context) -> Result<gst::FlowSuccess, gst::FlowError> {
        match self.format {
            Some(format) => self.pad.push(text.to_buffer(format, &context.settings.speaker_colors)),
            // Or it was linked just now, and is to be asked first.
            None if self.pad.is_linked() => Err(gst::FlowError::NotNegotiated),
            None => Err(gst::FlowError::NotLinked),
        }
    }
}

fn stream_start(shared: &Shared, pad: &gst::Pad, audio: &gst::Event) -> gst::Event {
    let gst::EventView::StreamStart(audio_start) = audio.view() else { return audio.clone() };
    let Some(element) = shared.element() else { return audio.clone() };
    // The name of the first is older than the others.
    let name = match pad.name() {
        name if name == "src" => "text".to_owned(),
        name => name.to_string(),
    };
    let id = pad.create_stream_id(&element, Some(&name));
    gst::event::StreamStart::builder(&id)
        .seqnum(audio.seqnum())
        .flags(audio_start.stream_flags() | gst::StreamFlags::SPARSE)
        .group_id_if_some(audio_start.group_id())
        .build()
}
