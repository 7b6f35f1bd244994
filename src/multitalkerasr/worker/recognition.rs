// SPDX-License-Identifier: MPL-2.0

//! Recognition of the audio of a run: samples go to the engine, and its text to the bus and the
//! source pads.

use std::path::Path;
use std::sync::Arc;

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::input::timeline::{Timeline, duration_of, samples_in};
use crate::multitalkerasr::output::messages::{
    Identified, post_engine_error, post_full_log, post_identified, post_partial, post_speakers,
    post_transcript, post_warning,
};
use crate::multitalkerasr::output::src_pads::SrcPads;
use crate::multitalkerasr::properties::settings::{LiveSettings, RunSettings};
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::activity::DatedTurn;
use crate::multitalkerasr::text::clock::{Clock, Dated};
use crate::multitalkerasr::text::identities::Person;
use crate::multitalkerasr::text::speaker::Speaker;
use crate::multitalkerasr::text::utterance::{Kind, Utterance};
use crate::multitalkerasr::worker::item::Cause;
use crate::multitalkerasr::worker::loading::Loaded;
use crate::multitalkerasr::worker::overload::{self, Overload};
use crate::multitalkerasr::worker::queue::Queue;
use crate::multitalkerasr::worker::vocabulary::Vocabulary;
use multitalker_asr::lock::lock;
use multitalker_asr::{
    Error, Event, Identification, Model, SAMPLE_RATE_HZ, SpeakerIdentity, Stream,
};

/// Length of the pieces in which audio goes to the engine, 500 ms, so that text is emitted before a
/// long buffer ends.
const PIECE_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 2;

/// The engine's stream, its clock, and the pads for its text.
pub struct Recognition<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    settings: Arc<RunSettings>,
    /// `None` after a failure.
    model: Option<Arc<Model>>,
    stream: Option<Stream>,
    /// The identification of the people while there is no stream.
    identification: Option<Identification>,
    pub clock: Clock,
    /// Samples recognized so far.
    processed: u64,
    overload: Overload,
    vocabulary: Vocabulary,
    /// Whether upstream has begun another stream, whose audio is accepted even if downstream
    /// returns an error for the rest of this one.
    is_stream_over: bool,
    /// Whether a warning about the file that keeps the people was posted.
    has_failed_to_store: bool,
    pub src_pads: SrcPads<'a>,
}

impl<'a> Recognition<'a> {
    /// Creates a recognition, which ignores all audio if no model was loaded.
    pub fn new(
        shared: &'a Shared,
        queue: &'a Queue,
        settings: Arc<RunSettings>,
        loaded: Loaded,
    ) -> Self {
        Self {
            shared,
            queue,
            src_pads: SrcPads::new(shared, &settings, || queue.is_interrupted()),
            clock: Clock { timeline: Timeline::new(settings.alignment), ..Clock::default() },
            settings,
            model: loaded.model,
            identification: loaded.identification,
            stream: None,
            processed: 0,
            overload: Overload::default(),
            vocabulary: Vocabulary::default(),
            is_stream_over: false,
            has_failed_to_store: false,
        }
    }

    /// Returns whether no more audio can be recognized.
    pub fn has_failed(&self) -> bool {
        self.model.is_none()
    }

    /// Sets whether the audio comes from a live source. A change ends the stream, since other
    /// options apply to the other kind of source.
    pub fn set_live(&mut self, live: bool) {
        if self.stream.is_some() && self.clock.live != live {
            self.drain(false);
            self.drop_stream();
        }
        self.clock.live = live;
    }

    /// Recognizes samples and emits their text.
    pub fn push(&mut self, samples: &[f32]) {
        for piece in samples.chunks(PIECE_SAMPLES) {
            self.update_degradation();
            self.update_vocabulary();
            let queue = self.queue;
            let offset = self.offset();
            let Some(stream) = self.stream() else { return };
            if stream.received_samples() == 0 {
                stream.set_offset(offset);
            }
            let events = queue.computing(|| stream.push_deferred(piece));
            self.clock.timeline.advance(piece.len());
            self.processed += piece.len() as u64;
            if !self.emit_or_fail(events) {
                return;
            }
        }
    }

    /// Recognizes audio that the engine holds back to recognize it together with later audio.
    pub fn run_deferred(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.has_deferred()) else {
            return;
        };
        let events = self.queue.computing(|| stream.run_deferred());
        self.emit_or_fail(events);
    }

    /// Returns the stream, which is created for the first audio, since its options depend on the
    /// source.
    fn stream(&mut self) -> Option<&mut Stream> {
        if self.stream.is_none() {
            let model = self.model.clone()?;
            let live = self.clock.live;
            if live && let Some(error) = self.settings.check_live(&model) {
                self.model = None;
                fail(self.shared, self.queue, &error);
                return None;
            }
            let diarizer = model.diarizer();
            let options = self.settings.stream_options(live, diarizer);
            gst::debug!(CAT, obj = self.shared.sinkpad, "Live: {live}, {diarizer:?}, {options:?}");
            self.shared.mark_model_used();
            match Stream::with_canceller(model, options, self.queue.inference.clone()) {
                Ok(mut stream) => {
                    self.vocabulary.apply(&mut stream);
                    stream.set_identification(self.identification.take());
                    self.stream = Some(stream);
                }
                Err(error) => {
                    self.model = None;
                    fail(self.shared, self.queue, &error);
                }
            }
        }
        self.stream.as_mut()
    }

    /// Drops the stream and keeps the people.
    fn drop_stream(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            self.identification = stream.set_identification(None);
        }
    }

    /// Returns the stream time of this stretch of audio, in samples.
    fn offset(&self) -> u64 {
        let pts = self.clock.timeline.pts(0);
        let stream_time = self.clock.in_segment.to_stream_time(pts).unwrap_or(pts);
        samples_in(stream_time) as u64
    }

    /// Applies the vocabulary of the live settings.
    fn update_vocabulary(&mut self) {
        let Some(model) = self.model.as_ref().filter(|model| model.recognizes()) else { return };
        let (stream, canceller) = (self.stream.as_mut(), &self.queue.inference);
        match self.vocabulary.update(self.shared, model, stream, canceller) {
            Ok(()) | Err(Error::Canceled) => (),
            Err(error) => {
                self.drop_stream();
                self.model = None;
                fail(self.shared, self.queue, &error);
            }
        }
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

    /// Posts which audio was dropped from the queue.
    pub fn post_dropped(&mut self, start: gst::ClockTime, end: gst::ClockTime, cause: Cause) {
        self.overload.post_dropped(self.shared, (start, end), cause, self.processed, &self.clock);
    }

    /// Ends the stretch at the end of the decoded audio, because the audio after it was dropped,
    /// and returns the PTS of this end; `None` if the overload policy keeps the undecoded audio.
    pub fn drop_undecoded(&mut self, cause: Cause) -> Option<gst::ClockTime> {
        let stream = self.stream.as_mut()?;
        let decoded = stream.progress().decoded;
        let undecoded = stream.received_samples().saturating_sub(decoded);
        if !overload::drops_undecoded(cause, duration_of(usize::try_from(undecoded).ok()?)) {
            return None;
        }
        let events = stream.take_remaining();
        self.processed = self.processed.saturating_sub(undecoded);
        self.clock.timeline.truncate(decoded);
        let end = self.clock.timeline.end();
        self.emit(events);
        self.finish_stretch();
        self.reset_stream(true);
        Some(end)
    }

    /// Emits the engine's events, or fails. Returns false if recognition must stop for now.
    fn emit_or_fail(&mut self, events: Result<Vec<Event>, Error>) -> bool {
        match events {
            Ok(events) => self.emit(events),
            // The work was canceled, or continued after a cancellation.
            Err(_) if self.queue.is_interrupted() => false,
            Err(error) => {
                let rest = self.stream.as_mut().map(Stream::take_remaining).unwrap_or_default();
                self.emit(rest);
                self.finish_stretch();
                self.drop_stream();
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
        self.identify(&settings);
        let mut utterances = Vec::new();
        for dated in self.date(events, &settings) {
            if self.queue.is_interrupted() {
                return false;
            }
            match dated {
                Dated::Words(utterance) => {
                    post_utterance(self.shared, &utterance, &settings);
                    utterances.push(Arc::new(utterance));
                }
                Dated::Activity(activity) => post_speakers(self.shared, &activity),
                Dated::Turn(turn) => log_turn(self.shared, &turn, &settings),
            }
        }
        self.src_pads.update_pads();
        let horizon = self.clock.horizon(progress);
        let flow = self.src_pads.emit(&utterances, horizon, &self.clock, &settings);
        self.check_flow(flow)
    }

    /// Posts and logs whose voices the speakers have.
    fn identify(&mut self, settings: &LiveSettings) {
        let Some(identification) = self.stream.as_mut().and_then(Stream::identification_mut) else {
            return;
        };
        let statements = identification.take_statements();
        for statement in &statements {
            let generation = identification.generation(statement.since_sample);
            identify(self.shared, statement, generation, &self.clock, settings);
        }
        if !statements.is_empty() {
            self.store_speakers();
        }
    }

    /// Writes the people to the file that keeps them, if there is one.
    pub fn store_speakers(&mut self) {
        let Some(path) = &self.settings.speakers_store else { return };
        let in_stream = self.stream.as_mut().and_then(Stream::identification_mut);
        let Some(identification) = in_stream.or(self.identification.as_mut()) else { return };
        for (&identity, name) in lock(&self.shared.identities).names() {
            identification.set_name(identity, name);
        }
        if let Err(error) = identification.write(Path::new(path))
            && !std::mem::replace(&mut self.has_failed_to_store, true)
        {
            post_warning!(
                self.shared,
                gst::ResourceError::Write,
                ("{path}: cannot write the voices of the speakers: {error}")
            );
        }
    }

    /// Dates events.
    fn date(&self, events: Vec<Event>, settings: &LiveSettings) -> Vec<Dated> {
        let names = self.shared.speaker_names();
        let identification = self.stream.as_ref().and_then(Stream::identification);
        let identities = lock(&self.shared.identities);
        let person = |speaker: Speaker, sample| {
            let identity = identification.and_then(|it| it.identity(speaker.index(), sample));
            let generation = identification.map_or(0, |it| it.generation(sample));
            identities.person(speaker, identity, generation, &names)
        };
        let date = |event| self.clock.date(event, &settings.session_id, person);
        events.into_iter().map(date).collect()
    }

    /// Returns the current PTS for desynchronized text of a live source: the PTS of audio that
    /// leaves upstream now or, without a clock, the end of the audio so far.
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

    /// Refuses audio after a flow error of downstream. Returns whether there was none.
    fn check_flow(&self, flow: Result<(), gst::FlowError>) -> bool {
        if let Err(error) = flow
            && !self.is_stream_over
            && !self.queue.is_interrupted()
        {
            gst::debug!(CAT, obj = self.shared.sinkpad, "Downstream returned {error:?}");
            self.queue.refuse_audio(error);
        }
        flow.is_ok()
    }

    /// Pushes the time of a gap between two stretches of audio.
    pub fn push_gap(&mut self, start: gst::ClockTime, end: gst::ClockTime) {
        let settings = self.shared.settings.live();
        let flow = self.src_pads.advance(start, end, &self.clock, &settings);
        self.check_flow(flow);
    }

    /// Recognizes the rest of a stretch of audio, emits all its text, and prepares for another.
    pub fn drain(&mut self, keep_speakers: bool) {
        if !self.clock.timeline.is_empty() {
            gst::debug!(
                CAT,
                obj = self.shared.sinkpad,
                "Draining at {}",
                self.clock.timeline.end()
            );
            if let Some(stream) = self.stream.as_mut() {
                let events = self.queue.computing(|| stream.finish());
                self.emit_or_fail(events);
            }
            self.finish_stretch();
            self.store_speakers();
            self.reset_stream(keep_speakers);
        } else if !keep_speakers {
            // An earlier drain may have kept the speakers.
            self.reset_stream(keep_speakers);
        }
    }

    /// Drains before another stream, whose audio is accepted regardless of flow errors in this one.
    pub fn drain_stream(&mut self, keep_speakers: bool) {
        self.is_stream_over = true;
        self.drain(keep_speakers);
        self.is_stream_over = false;
        self.src_pads.clear();
    }

    /// Discards all state after a flush.
    pub fn flush(&mut self) {
        self.reset_stream(false);
        self.clock.timeline.clear();
        self.src_pads.flush();
        self.clock.in_segment = gst::FormattedSegment::new();
        self.clock.out_segment = gst::FormattedSegment::new();
        lock(&self.shared.transcript_log).clear();
    }

    fn finish_stretch(&mut self) {
        let settings = self.shared.settings.live();
        self.clock.now = self.now(&settings);
        let flow = self.src_pads.drain(&self.clock, &settings);
        self.check_flow(flow);
        self.clock.timeline.clear();
    }

    fn reset_stream(&mut self, keep_speakers: bool) {
        // Speakers who have names in a file stay the same people.
        let is_annotated =
            self.model.as_ref().is_some_and(|model| model.annotated_speakers().is_some());
        let keep_speakers = keep_speakers || is_annotated;
        if !keep_speakers {
            lock(&self.shared.transcript_log).reset_speakers();
            lock(&self.shared.identities).restart();
        }
        match &mut self.stream {
            Some(stream) if keep_speakers => stream.resume(),
            Some(stream) => stream.reset(),
            // A flush may come before the first audio.
            None => self.queue.inference.rearm(),
        }
        self.queue.renew_cancellation();
    }
}

/// Posts an error of the engine, and refuses audio for the rest of the run.
pub fn fail(shared: &Shared, queue: &Queue, error: &Error) {
    post_engine_error(shared, error);
    queue.fail();
}

/// Posts and logs whose voice a speaker has.
fn identify(
    shared: &Shared,
    statement: &SpeakerIdentity,
    generation: u64,
    clock: &Clock,
    settings: &LiveSettings,
) {
    let &SpeakerIdentity { identity, score, replaces, .. } = statement;
    let speaker = Speaker::new(statement.speaker);
    let since = clock.moment(statement.since_sample);
    let name = {
        let mut identities = lock(&shared.identities);
        if let Some(replaced) = replaces {
            identities.replace(replaced, identity);
        }
        identities.identify(speaker, identity, statement.name.as_deref(), &settings.speaker_names);
        identities.name(identity).map(str::to_owned)
    };
    {
        let mut log = lock(&shared.transcript_log);
        match replaces {
            Some(replaced) => log.replace_person(replaced, identity),
            None => log.identify(speaker, generation, identity, since),
        }
        log.name_person(identity, name.as_deref());
    }
    let running_time = clock.in_segment.to_running_time(since.pts);
    let person = Person { identity: Some(identity), name, generation };
    post_identified(shared, &Identified { speaker, person, score, since, running_time, replaces });
}

/// Logs a finished turn.
fn log_turn(shared: &Shared, turn: &DatedTurn, settings: &LiveSettings) {
    let max_transcripts = settings.max_transcripts;
    let is_full = lock(&shared.transcript_log).add_turn(turn, max_transcripts);
    if is_full {
        post_full_log(shared, max_transcripts);
    }
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
        Kind::Partial | Kind::Word | Kind::Cue => (),
    }
}
