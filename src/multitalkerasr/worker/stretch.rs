// SPDX-License-Identifier: MPL-2.0

//! Stretches of continuous audio: where a buffer, a gap or an event continues the current stretch,
//! pauses it, or ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::input::Audio;
use crate::multitalkerasr::input::timeline::{Placement, duration_of, is_continuous, samples_in};
use crate::multitalkerasr::properties::enums::OnDiscontinuity;
use crate::multitalkerasr::properties::settings::RunSettings;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::worker::item::Cause;
use crate::multitalkerasr::worker::loading::Loaded;
use crate::multitalkerasr::worker::queue::Queue;
use crate::multitalkerasr::worker::recognition::Recognition;

/// Duration of the pieces in which the silence of GAP events is recognized, shorter than a
/// discontinuity.
const SILENCE: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// The current stretch of audio, if any.
pub struct Stretch<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    pub recognition: Recognition<'a>,
    /// End of the audio when the source fell silent and the text was drained.
    paused_at: Option<gst::ClockTime>,
    /// Arrival and duration of the last buffer or gap.
    last_arrival: Option<(Instant, gst::ClockTime)>,
}

impl<'a> Stretch<'a> {
    /// Creates a stretch without audio, which ignores all audio if no model was loaded.
    pub fn new(
        shared: &'a Shared,
        queue: &'a Queue,
        settings: Arc<RunSettings>,
        loaded: Loaded,
    ) -> Self {
        let recognition = Recognition::new(shared, queue, settings, loaded);
        Self { shared, queue, recognition, paused_at: None, last_arrival: None }
    }

    fn is_empty(&self) -> bool {
        self.recognition.clock.timeline.is_empty()
    }

    fn end(&self) -> gst::ClockTime {
        self.recognition.clock.timeline.end()
    }

    /// Recognizes the audio of a buffer, preceded by silence after a short gap, or in a new stretch
    /// after a discontinuity.
    pub fn push_audio(&mut self, audio: &Audio) {
        let &Audio { pts, ref samples, resync, live } = audio;
        if self.recognition.has_failed() {
            return;
        }
        self.recognition.set_live(live);
        let resync = self.resume(pts) || resync;
        self.last_arrival = Some((Instant::now(), duration_of(samples.len())));
        if self.is_empty() {
            self.recognition.clock.timeline.start(pts);
        }
        match self.recognition.clock.timeline.place(pts, samples.len(), resync) {
            Placement::Continue { silence, skip } => {
                if silence + skip > 0 {
                    gst::info!(
                        CAT,
                        obj = self.shared.sinkpad,
                        "Misaligned at {pts}: inserting {silence} samples, skipping {skip}"
                    );
                }
                self.recognition.push(&vec![0.0; silence]);
                self.recognition.push(samples.get(skip..).unwrap_or_default());
            }
            Placement::Discontinuity => {
                let end = self.end();
                gst::info!(
                    CAT,
                    obj = self.shared.sinkpad,
                    "Discontinuity: expected {end}, found {pts}"
                );
                self.interrupt();
                self.recognition.clock.timeline.start(pts);
                self.recognition.push(samples);
            }
        }
    }

    /// Returns the time at which a live source counts as silent if nothing arrives before: the end
    /// of the latency that the element promises for its text.
    pub fn pause_deadline(&self) -> Option<Instant> {
        if !self.recognition.clock.live || self.is_empty() {
            return None;
        }
        let (arrival, duration) = self.last_arrival?;
        let latency = self.shared.text_latency();
        arrival.checked_add(Duration::from(latency.saturating_add(duration)))
    }

    /// Emits the words in progress of a live source that has fallen silent, for an unknown time. If
    /// the audio continues where it ended, its speakers keep their numbers; otherwise this was a
    /// discontinuity.
    pub fn pause(&mut self) {
        if self.is_empty() {
            return;
        }
        let end = self.end();
        gst::info!(CAT, obj = self.shared.sinkpad, "The live source is silent after {end}");
        self.recognition.drain(true);
        self.paused_at = Some(end);
    }

    /// Continues after [`Self::pause`] at `pts`. Returns false if there was no pause.
    fn resume(&mut self, pts: gst::ClockTime) -> bool {
        let Some(end) = self.paused_at.take() else { return false };
        match is_continuous(end, pts) {
            true => self.recognition.clock.timeline.start(end),
            false => self.interrupt(),
        }
        true
    }

    /// Ends the stretch. Speaker numbering restarts or is kept, depending on `on-discontinuity`.
    pub fn interrupt(&mut self) {
        self.paused_at = None;
        self.recognition.drain(self.keeps_speakers());
    }

    fn keeps_speakers(&self) -> bool {
        self.shared.settings.live().on_discontinuity == OnDiscontinuity::Keep
    }

    /// Leaves a gap for audio that was dropped from the queue.
    pub fn skip_dropped(&mut self, start: gst::ClockTime, end: gst::ClockTime, cause: Cause) {
        if self.recognition.has_failed() {
            return;
        }
        let continues = !self.is_empty() && is_continuous(self.end(), start);
        let decoded_end = match continues {
            true => self.recognition.drop_undecoded(cause),
            false => None,
        };
        let start = decoded_end.unwrap_or(start);
        self.recognition.drain(true);
        self.paused_at = None;
        self.recognition.post_dropped(start, end, cause);
        self.skip(start, end);
    }

    /// Recognizes short gaps as silence, regardless of their number, and leaves a gap for long
    /// ones.
    pub fn push_gaps(&mut self, start: gst::ClockTime, end: gst::ClockTime, is_short: bool) {
        self.last_arrival = Some((Instant::now(), gst::ClockTime::ZERO));
        let mut start = start;
        while is_short
            && end.saturating_sub(start) > SILENCE
            && !self.is_empty()
            && !self.queue.is_interrupted()
        {
            self.skip(start, start + SILENCE);
            start += SILENCE;
        }
        self.skip(start, end);
    }

    /// Skips time without audio: as silence in the stretch if the time is short, otherwise by
    /// ending the stretch.
    fn skip(&mut self, start: gst::ClockTime, end: gst::ClockTime) {
        if let Some(paused_at) = self.paused_at
            && end > paused_at
        {
            match is_continuous(paused_at, end) {
                true => self.paused_at = Some(end),
                false => self.interrupt(),
            }
        }
        if !self.is_empty() && end > self.end() {
            match self.recognition.clock.timeline.place(end, 0, true) {
                Placement::Continue { .. } => {
                    let silence = samples_in(end - self.end());
                    self.recognition.push(&vec![0.0; silence]);
                }
                Placement::Discontinuity => self.interrupt(),
            }
        }
        if self.is_empty() {
            self.recognition.push_gap(start, end);
        }
    }

    /// Begins another stream after the text of the previous one. The same event arrives again when
    /// upstream is relinked.
    pub fn stream_start(&mut self, event: gst::Event) {
        if !self.recognition.src_pads.has_started(&event) {
            self.paused_at = None;
            self.recognition.drain_stream(self.keeps_speakers());
        }
        self.recognition.src_pads.stream_start(event);
    }

    /// Begins a segment of the audio, and pushes the segment of the text.
    pub fn segment(&mut self, event: &gst::event::Segment, seqnum: gst::Seqnum) {
        // The sink pad rejects all other formats.
        let Some(in_segment) = event.segment().downcast_ref::<gst::ClockTime>() else { return };
        let mut moved = self.recognition.clock.in_segment.clone();
        moved.set_position(in_segment.position());
        if moved != *in_segment {
            self.interrupt();
            self.recognition.src_pads.clear();
        }
        let mut out_segment = in_segment.clone();
        let base = out_segment.base().unwrap_or_default();
        out_segment.set_base(base.saturating_add(self.shared.settings.live().lateness()));
        let event = gst::event::Segment::builder(&out_segment).seqnum(seqnum).build();
        self.recognition.clock.in_segment = in_segment.clone();
        self.recognition.clock.out_segment = out_segment;
        self.recognition.src_pads.segment(event);
    }

    /// Discards all state after a flush.
    pub fn flush(&mut self) {
        gst::debug!(CAT, obj = self.shared.sinkpad, "Discarding all state after a flush");
        self.paused_at = None;
        self.recognition.flush();
    }
}
