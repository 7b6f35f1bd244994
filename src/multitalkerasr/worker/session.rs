// SPDX-License-Identifier: MPL-2.0

//! What the worker does with audio: it puts it in its place in time, has it recognized, and pushes
//! what comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::input::Audio;
use crate::multitalkerasr::input::timeline::{
    Placement, Timeline, duration_of, is_continuous, samples_in,
};
use crate::multitalkerasr::output::messages::{
    post_engine_error, post_full_log, post_partial, post_transcript,
};
use crate::multitalkerasr::output::src_pads::SrcPads;
use crate::multitalkerasr::properties::enums::OnDiscontinuity;
use crate::multitalkerasr::properties::settings::{LiveSettings, RunSettings};
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::clock::Clock;
use crate::multitalkerasr::text::utterance::{Kind, Utterance};
use crate::multitalkerasr::worker::item::Cause;
use crate::multitalkerasr::worker::overload::{self, Overload};
use crate::multitalkerasr::worker::queue::Queue;
use multitalker_asr::lock::lock;
use multitalker_asr::{Error, Event, Model, SAMPLE_RATE_HZ, Stream};

/// Audio goes to the engine in pieces of 500 ms, so that text comes out before a long buffer ends.
const PIECE_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 2;

/// GAP events that are silence are taken in pieces of this, which is no discontinuity.
const SILENCE: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// The conversation of a run of the element.
pub struct Session<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    /// As they were when the element started.
    settings: Arc<RunSettings>,
    /// `None` when it failed.
    model: Option<Arc<Model>>,
    stream: Option<Stream>,
    /// Another stream has begun upstream, whose audio is not refused for what downstream returns for
    /// the rest of this one.
    is_stream_over: bool,
    clock: Clock,
    /// Samples that were recognized.
    processed: u64,
    overload: Overload,
    /// Where the audio ended when the source fell silent and the text was drained.
    paused_at: Option<gst::ClockTime>,
    /// When audio came last, and how much.
    heard: Option<(Instant, gst::ClockTime)>,
    pub src_pads: SrcPads<'a>,
}

impl<'a> Session<'a> {
    /// Without a model no audio is recognized.
    pub fn new(
        shared: &'a Shared,
        queue: &'a Queue,
        settings: Arc<RunSettings>,
        model: Option<Arc<Model>>,
    ) -> Self {
        Self {
            shared,
            queue,
            src_pads: SrcPads::new(shared, settings.text_unit, || queue.is_interrupted()),
            clock: Clock { timeline: Timeline::new(settings.alignment), ..Clock::default() },
            settings,
            model,
            stream: None,
            is_stream_over: false,
            processed: 0,
            overload: Overload::default(),
            paused_at: None,
            heard: None,
        }
    }

    /// Recognizes the audio of a buffer.
    pub fn audio(&mut self, audio: &Audio) {
        let &Audio { pts, ref samples, resync, live } = audio;
        if self.model.is_none() {
            return;
        }
        if self.stream.is_some() && self.clock.live != live {
            // The engine has other options then, and a speaker cache of another kind.
            self.drain(false);
            self.stream = None;
        }
        self.clock.live = live;
        let resync = self.go_on(pts) || resync;
        self.heard = Some((Instant::now(), duration_of(samples.len())));
        if self.clock.timeline.is_empty() {
            self.clock.timeline.start(pts);
        }
        match self.clock.timeline.place(pts, samples.len(), resync) {
            Placement::Continue { silence, skip } => {
                if silence + skip > 0 {
                    gst::info!(
                        CAT,
                        obj = self.shared.sinkpad,
                        "Misaligned at {pts}: inserting {silence} samples, skipping {skip}"
                    );
                }
                self.recognize(&vec![0.0; silence]);
                self.recognize(samples.get(skip..).unwrap_or_default());
            }
            Placement::Discontinuity => {
                gst::info!(
                    CAT,
                    obj = self.shared.sinkpad,
                    "Discontinuity: expected {}, found {pts}",
                    self.clock.timeline.end()
                );
                self.interrupt();
                self.clock.timeline.start(pts);
                self.recognize(samples);
            }
        }
    }

    fn recognize(&mut self, samples: &[f32]) {
        for piece in samples.chunks(PIECE_SAMPLES) {
            self.update_degradation();
            let queue = self.queue;
            let Some(stream) = self.stream() else { return };
            let outputs = queue.computing(|| stream.push_deferred(piece));
            self.clock.timeline.advance(piece.len());
            self.processed += piece.len() as u64;
            if !self.tell(outputs) {
                return;
            }
        }
    }

    /// Recognizes what waited for more audio, since none is at hand.
    pub fn catch_up(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.has_deferred()) else {
            return;
        };
        let outputs = self.queue.computing(|| stream.run_deferred());
        self.tell(outputs);
    }

    /// When a live source that sends nothing in the meantime has fallen silent: after the latency
    /// that is promised for its text.
    pub fn quiet_at(&self) -> Option<Instant> {
        if !self.clock.live || self.clock.timeline.is_empty() {
            return None;
        }
        let (since, duration) = self.heard?;
        let latency = self.shared.text_latency();
        since.checked_add(Duration::from(latency.saturating_add(duration)))
    }

    /// Emits the words in progress of a live source that has fallen silent, which may last. If the
    /// audio goes on from where it ended, its speakers stay known; else this was a discontinuity.
    pub fn pause(&mut self) {
        if self.clock.timeline.is_empty() {
            return;
        }
        let end = self.clock.timeline.end();
        gst::info!(CAT, obj = self.shared.sinkpad, "Nothing comes of a live source after {end}");
        self.drain(true);
        self.paused_at = Some(end);
    }

    /// Goes on after [`Self::pause`] with what comes at `pts`; false if there was no pause.
    fn go_on(&mut self, pts: gst::ClockTime) -> bool {
        let Some(end) = self.paused_at.take() else { return false };
        match is_continuous(end, pts) {
            true => self.clock.timeline.start(end),
            false => self.interrupt(),
        }
        true
    }

    /// Degrades the recognition of a live source under overload, or restores it.
    fn update_degradation(&mut self) {
        let settings = self.shared.settings.live();
        let Some(stream) = self.stream.as_mut().filter(|_| self.clock.live) else { return };
        let diarizer = self.model.as_ref().and_then(|model| model.diarizer());
        let max_queued = self.settings.max_queued_samples(true, diarizer);
        let backlog = self.queue.backlog_samples();
        let change = self.overload.update(settings.overload_policy, backlog, max_queued);
        let Some(is_degraded) = change else { return };
        gst::info!(
            CAT,
            obj = self.shared.sinkpad,
            "Degraded: {is_degraded} ({backlog} samples queued)"
        );
        stream.set_degraded(is_degraded);
        if is_degraded {
            self.overload.post_qos(self.shared, None, self.processed, &self.clock);
        }
    }

    /// Skips audio that was dropped from the queue.
    pub fn dropped(&mut self, start: gst::ClockTime, end: gst::ClockTime, cause: Cause) {
        if self.model.is_none() {
            return;
        }
        let start = self.drop_undecoded(start, cause).unwrap_or(start);
        self.drain(true);
        self.paused_at = None;
        self.overload.post_dropped(self.shared, (start, end), cause, self.processed, &self.clock);
        self.gap(start, end);
    }

    /// Ends the stretch of audio before dropped audio where it is decoded up to, and returns the PTS
    /// of this end; `None` if the overload policy keeps the audio that is not decoded yet.
    fn drop_undecoded(&mut self, start: gst::ClockTime, cause: Cause) -> Option<gst::ClockTime> {
        let timeline = &self.clock.timeline;
        if timeline.is_empty() || !is_continuous(timeline.end(), start) {
            return None;
        }
        let stream = self.stream.as_mut()?;
        let decoded = stream.progress().decoded;
        let undecoded = stream.received_samples().saturating_sub(decoded);
        if !overload::drops_undecoded(cause, duration_of(usize::try_from(undecoded).ok()?)) {
            return None;
        }
        let outputs = stream.take_remaining();
        self.processed = self.processed.saturating_sub(undecoded);
        self.clock.timeline.truncate(decoded);
        let end = self.clock.timeline.end();
        self.tell(Ok(outputs));
        self.finish_stretch();
        self.reset_stream(true);
        Some(end)
    }

    /// The stream, made when the first audio comes and it is known whether that is live.
    fn stream(&mut self) -> Option<&mut Stream> {
        if self.stream.is_none() {
            let model = self.model.clone()?;
            let live = self.clock.live;
            let diarizer = model.diarizer();
            let options = self.settings.stream_options(live, diarizer);
            gst::debug!(CAT, obj = self.shared.sinkpad, "Live: {live}, {diarizer:?}, {options:?}");
            self.shared.mark_model_used();
            match Stream::with_canceller(model, options, self.queue.inference.clone()) {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => {
                    self.model = None;
                    fail(self.shared, self.queue, &error);
                }
            }
        }
        self.stream.as_mut()
    }

    /// Sends out what the engine told; false if nothing more is to be recognized for now.
    fn tell(&mut self, outputs: Result<Vec<Event>, Error>) -> bool {
        match outputs {
            Ok(outputs) => self.emit(outputs),
            // Also what comes of going on after a cancellation.
            Err(_) if self.queue.is_interrupted() => false,
            Err(error) => {
                let rest = self.stream.as_mut().map(Stream::take_remaining).unwrap_or_default();
                self.emit(rest);
                self.finish_stretch();
                self.stream = None;
                self.model = None;
                fail(self.shared, self.queue, &error);
                false
            }
        }
    }

    fn emit(&mut self, events: Vec<Event>) -> bool {
        let progress = self.stream.as_ref().map(Stream::progress).unwrap_or_default();
        gst::log!(CAT, obj = self.shared.sinkpad, "{} events, {progress:?}", events.len());
        let settings = self.shared.settings.live();
        self.clock.now = self.now(&settings);
        let date = |event| Arc::new(self.clock.date(event, &settings.session_id));
        let utterances: Vec<_> = events.into_iter().map(date).collect();
        for utterance in &utterances {
            if self.queue.is_interrupted() {
                return false;
            }
            post_utterance(self.shared, utterance, &settings);
        }
        self.src_pads.update_pads();
        let horizon = self.clock.horizon(progress);
        let flow = self.src_pads.emit(&utterances, horizon, &self.clock, &settings);
        self.check(flow)
    }

    /// The current PTS for desynchronized text of a live source: that of audio which leaves upstream
    /// now or, without a clock, the end of the audio so far.
    fn now(&self, settings: &LiveSettings) -> Option<gst::ClockTime> {
        if !self.clock.live || !settings.is_desynchronized() {
            return None;
        }
        let by_clock = || {
            let (_, upstream, _) = self.shared.upstream_latency()?;
            let running_time = self.shared.running_time()?.saturating_sub(upstream);
            self.clock.in_segment.position_from_running_time(running_time)
        };
        by_clock().or(Some(self.clock.timeline.end()))
    }

    /// Refuses audio if downstream takes no more; false then.
    fn check(&self, flow: Result<(), gst::FlowError>) -> bool {
        if let Err(error) = flow
            && !self.is_stream_over
            && !self.queue.is_interrupted()
        {
            gst::debug!(CAT, obj = self.shared.sinkpad, "Downstream returned {error:?}");
            self.queue.refuse_audio(error);
        }
        flow.is_ok()
    }

    /// Ends a stretch of audio, after which speakers are counted anew unless they are kept.
    pub fn interrupt(&mut self) {
        let settings = self.shared.settings.live();
        self.paused_at = None;
        self.drain(settings.on_discontinuity == OnDiscontinuity::Keep);
    }

    /// Decodes what is left, sends all out and begins a new stretch of audio.
    fn drain(&mut self, keep_speakers: bool) {
        if !self.clock.timeline.is_empty() {
            gst::debug!(
                CAT,
                obj = self.shared.sinkpad,
                "Draining at {}",
                self.clock.timeline.end()
            );
            if let Some(stream) = self.stream.as_mut() {
                let outputs = self.queue.computing(|| stream.finish());
                self.tell(outputs);
            }
            self.finish_stretch();
            self.reset_stream(keep_speakers);
        } else if !keep_speakers {
            // They may have been kept until here.
            self.reset_stream(keep_speakers);
        }
    }

    /// Begins another stream; text of the one before goes out first. The same event comes again
    /// when upstream was linked anew.
    pub fn stream_start(&mut self, event: gst::Event) {
        if !self.src_pads.has_started(&event) {
            self.is_stream_over = true;
            self.interrupt();
            self.is_stream_over = false;
            self.src_pads.clear();
        }
        self.src_pads.stream_start(event);
    }

    fn finish_stretch(&mut self) {
        let settings = self.shared.settings.live();
        self.clock.now = self.now(&settings);
        let flow = self.src_pads.drain(&self.clock, &settings);
        self.check(flow);
        self.clock.timeline.clear();
    }

    fn reset_stream(&mut self, keep_speakers: bool) {
        if !keep_speakers {
            lock(&self.shared.transcript_log).reset_speakers();
        }
        match &mut self.stream {
            Some(stream) if keep_speakers => stream.resume(),
            Some(stream) => stream.reset(),
            // There was a flush before the first audio.
            None => self.queue.inference.rearm(),
        }
        self.queue.renew_cancellation();
    }

    /// Begins anew after a flush.
    pub fn forget(&mut self) {
        gst::debug!(CAT, obj = self.shared.sinkpad, "Starting afresh after a flush");
        self.reset_stream(false);
        self.clock.timeline.clear();
        self.paused_at = None;
        self.src_pads.flush();
        self.clock.in_segment = gst::FormattedSegment::new();
        self.clock.out_segment = gst::FormattedSegment::new();
        lock(&self.shared.transcript_log).clear();
    }

    /// Takes a segment of the audio, and pushes that of the text.
    pub fn segment(&mut self, event: &gst::event::Segment, seqnum: gst::Seqnum) {
        // The sink pad lets no other format in.
        let Some(in_segment) = event.segment().downcast_ref::<gst::ClockTime>() else { return };
        let mut moved = self.clock.in_segment.clone();
        moved.set_position(in_segment.position());
        if moved != *in_segment {
            self.interrupt();
            self.src_pads.clear();
        }
        let mut out_segment = in_segment.clone();
        let base = out_segment.base().unwrap_or_default();
        out_segment.set_base(base.saturating_add(self.shared.settings.live().lateness()));
        self.clock.in_segment = in_segment.clone();
        self.clock.out_segment = out_segment;
        let event = gst::event::Segment::builder(&self.clock.out_segment).seqnum(seqnum).build();
        self.src_pads.segment(event);
    }

    /// Takes the time of GAP events that touch each other; short ones are silence however many.
    pub fn gaps(&mut self, start: gst::ClockTime, end: gst::ClockTime, is_short: bool) {
        self.heard = Some((Instant::now(), gst::ClockTime::ZERO));
        let mut start = start;
        while is_short
            && end.saturating_sub(start) > SILENCE
            && !self.clock.timeline.is_empty()
            && !self.queue.is_interrupted()
        {
            self.gap(start, start + SILENCE);
            start += SILENCE;
        }
        self.gap(start, end);
    }

    /// There is no audio before `end`.
    fn gap(&mut self, start: gst::ClockTime, end: gst::ClockTime) {
        if let Some(paused_at) = self.paused_at
            && end > paused_at
        {
            match is_continuous(paused_at, end) {
                true => self.paused_at = Some(end),
                false => self.interrupt(),
            }
        }
        if !self.clock.timeline.is_empty() && end > self.clock.timeline.end() {
            match self.clock.timeline.place(end, 0, true) {
                Placement::Continue { .. } => {
                    let silence = samples_in(end - self.clock.timeline.end());
                    self.recognize(&vec![0.0; silence]);
                }
                Placement::Discontinuity => self.interrupt(),
            }
        }
        if self.clock.timeline.is_empty() {
            let settings = self.shared.settings.live();
            let flow = self.src_pads.advance(start, end, &self.clock, &settings);
            self.check(flow);
        }
    }
}

/// Posts the one error, and refuses audio for good.
pub fn fail(shared: &Shared, queue: &Queue, error: &Error) {
    post_engine_error(shared, error);
    queue.fail();
}

/// Logs and posts finished segments, and posts segments in progress on request.
fn post_utterance(shared: &Shared, utterance: &Utterance, settings: &LiveSettings) {
    match utterance.kind {
        Kind::Segment => {
            let max_transcripts = settings.max_transcripts;
            let is_full = lock(&shared.transcript_log).add(utterance, max_transcripts);
            if is_full {
                post_full_log(shared, max_transcripts);
            }
            post_transcript(shared, utterance);
        }
        Kind::Partial if settings.post_partials => post_partial(shared, utterance),
        Kind::Partial | Kind::Word => (),
    }
}
