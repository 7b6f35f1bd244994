// SPDX-License-Identifier: MPL-2.0

//! State that the element and its worker share. Neither owns the other: the worker reaches the
//! element only by a weak reference, to post messages.

use std::sync::{Arc, Mutex};

use gst::glib;
use gst::prelude::*;

use crate::multitalkerasr::output::speaker_pads::SpeakerPads;
use crate::multitalkerasr::output::transcript_log::TranscriptLog;
use crate::multitalkerasr::properties;
use crate::multitalkerasr::properties::settings::{RunSettings, Settings};
use crate::multitalkerasr::text::identities::Identities;
use crate::multitalkerasr::text::speaker::{Speaker, SpeakerNames, clean_name};
use multitalker_asr::lock::lock;
use multitalker_asr::{DiarizerKind, Model};

/// The model of the last run.
struct KeptModel {
    /// The settings that it was loaded with.
    settings: Arc<RunSettings>,
    model: Arc<Model>,
    /// Whether it received audio.
    used: bool,
}

/// Pads, settings, transcripts and model of an element.
pub struct Shared {
    element: glib::WeakRef<gst::Element>,
    pub sinkpad: gst::Pad,
    pub srcpad: gst::Pad,
    pub unsynced_srcpad: gst::Pad,
    pub speaker_pads: SpeakerPads,
    pub transcript_log: Mutex<TranscriptLog>,
    pub identities: Mutex<Identities>,
    /// Names that the model of this run gives its speakers.
    annotated_names: Mutex<Vec<String>>,
    /// Longest delay of text of a live source after its running time.
    pub max_delay: Mutex<gst::ClockTime>,
    pub settings: Settings,
    kept_model: Mutex<Option<KeptModel>>,
}

impl Shared {
    /// Creates the state with default settings, without speaker pads and without an element.
    pub fn new(sinkpad: gst::Pad, srcpad: gst::Pad, unsynced_srcpad: gst::Pad) -> Self {
        Self {
            element: glib::WeakRef::new(),
            sinkpad,
            srcpad,
            unsynced_srcpad,
            speaker_pads: SpeakerPads::default(),
            transcript_log: Mutex::default(),
            identities: Mutex::default(),
            annotated_names: Mutex::default(),
            max_delay: Mutex::default(),
            settings: Settings::default(),
            kept_model: Mutex::default(),
        }
    }

    /// Sets the element that messages come from.
    pub fn set_element(&self, element: &gst::Element) {
        self.element.set(Some(element));
    }

    /// Returns the element, unless it is being disposed of.
    pub fn element(&self) -> Option<gst::Element> {
        self.element.upgrade()
    }

    /// Returns the current value of a property.
    pub fn property(&self, name: &str) -> glib::Value {
        properties::get(&self.settings, name)
    }

    /// Sets a property, and announces a change of the latency.
    pub fn set_property(&self, name: &str, value: &glib::Value) {
        self.announcing_latency(|| properties::set(&self.settings, name, value));
        if name == "speaker-names" {
            lock(&self.identities).clear_assigned();
            self.rename_speakers();
        }
    }

    /// Names a speaker in all later output and in the transcript log, and the person behind the
    /// speaker, if the voice was identified. An empty name removes the name.
    pub fn set_speaker_name(&self, speaker: Speaker, name: &str) {
        let name = clean_name(name);
        let identity = lock(&self.identities).set_name(speaker, &name);
        if let Some(identity) = identity {
            let name = Some(name.as_str()).filter(|name| !name.is_empty());
            lock(&self.transcript_log).name_person(identity, name);
            return;
        }
        self.settings.change_live(|live| live.speaker_names.set(speaker, &name));
        self.rename_speakers();
        if let Some(element) = self.element() {
            element.notify("speaker-names");
        }
    }

    /// Applies the names of the speakers to the transcript log.
    fn rename_speakers(&self) {
        let names = self.speaker_names();
        lock(&self.transcript_log).rename(&names);
    }

    /// Returns the names that the application has set, and those of the model for the other speakers.
    pub fn speaker_names(&self) -> SpeakerNames {
        let mut names = self.settings.live().speaker_names.clone();
        names.set_defaults(&lock(&self.annotated_names));
        names
    }

    /// Sets the names that the model gives its speakers.
    pub fn set_annotated_names(&self, names: Vec<String>) {
        *lock(&self.annotated_names) = names;
    }

    /// Adds a phrase to `additional-vocabulary`.
    pub fn add_phrase(&self, phrase: String) {
        self.settings.change_live(|live| live.phrases.additional.push(phrase));
        if let Some(element) = self.element() {
            element.notify("additional-vocabulary");
        }
    }

    /// Begins a run, and returns its settings.
    pub fn begin_run(&self) -> Arc<RunSettings> {
        lock(&self.transcript_log).clear();
        *lock(&self.identities) = Identities::default();
        self.set_annotated_names(Vec::new());
        *lock(&self.max_delay) = gst::ClockTime::ZERO;
        self.settings.start_run()
    }

    /// Ends the run, after which the settings of the next one apply.
    pub fn end_run(&self) {
        self.announcing_latency(|| self.settings.end_run());
    }

    /// Returns the latency that the element adds to a live source, in this run or else in the next.
    pub fn live_latency(&self) -> gst::ClockTime {
        let run = self.settings.run();
        run.live_latency(&self.settings.live(), self.known_diarizer(&run))
    }

    /// Returns the time from audio of a live source to its text, even if text is desynchronized and
    /// adds no latency to the pipeline.
    pub fn text_latency(&self) -> gst::ClockTime {
        let run = self.settings.run();
        run.text_latency(&self.settings.live(), self.known_diarizer(&run))
    }

    /// Returns the capacity of the queue in samples, in this run or else in the next.
    pub fn max_queued_samples(&self, live: bool) -> usize {
        let run = self.settings.run();
        run.max_queued_samples(live, self.known_diarizer(&run))
    }

    /// Runs `change`, and posts a LATENCY message if it has changed the latency.
    fn announcing_latency<T>(&self, change: impl FnOnce() -> T) -> T {
        let before = self.live_latency();
        let result = change();
        if self.live_latency() != before
            && let Some(element) = self.element()
        {
            // Without a bus there is no receiver.
            let _ = element.post_message(gst::message::Latency::builder().src(&element).build());
        }
        result
    }

    /// Returns the kept model, if it is the one of these settings.
    fn model(&self, settings: &Arc<RunSettings>) -> Option<Arc<Model>> {
        let kept = lock(&self.kept_model);
        let kept = kept.as_ref()?;
        // Settings in use do not change, so the same ones need no comparison.
        let is_same = Arc::ptr_eq(&kept.settings, settings)
            || kept.settings.model_options() == settings.model_options();
        is_same.then(|| kept.model.clone())
    }

    /// Keeps a model for the next run.
    pub fn keep_model(&self, settings: &Arc<RunSettings>, model: &Arc<Model>) {
        let (settings, model) = (settings.clone(), model.clone());
        let kept = KeptModel { settings, model, used: false };
        self.announcing_latency(|| *lock(&self.kept_model) = Some(kept));
    }

    /// Notes that the kept model received audio.
    pub fn mark_model_used(&self) {
        if let Some(kept) = lock(&self.kept_model).as_mut() {
            kept.used = true;
        }
    }

    /// Drops the kept model if it received audio. An unused one serves the next run.
    pub fn drop_used_model(&self) {
        lock(&self.kept_model).take_if(|kept| kept.used);
    }

    /// Returns the diarizer of these settings, once it is loaded.
    fn known_diarizer(&self, settings: &Arc<RunSettings>) -> Option<DiarizerKind> {
        self.model(settings)?.diarizer()
    }

    /// Returns the number of speakers of the model of this run or else of the next, once it is
    /// loaded.
    pub fn known_speakers(&self) -> Option<usize> {
        self.model(&self.settings.run()).map(|model| model.speakers())
    }

    /// Returns whether upstream is live, and its minimum and maximum latency, or `None` if it does
    /// not answer. An unlinked sink pad counts as a live source without latency.
    pub fn upstream_latency(&self) -> Option<(bool, gst::ClockTime, Option<gst::ClockTime>)> {
        if self.sinkpad.peer().is_none() {
            return Some((true, gst::ClockTime::ZERO, None));
        }
        let mut query = gst::query::Latency::new();
        self.sinkpad.peer_query(&mut query).then(|| query.result())
    }

    /// Returns the current running time, if there is a clock.
    pub fn running_time(&self) -> Option<gst::ClockTime> {
        let element = self.element()?;
        Some(element.clock()?.time().saturating_sub(element.base_time()?))
    }

    /// Pushes an event from all source pads, and returns whether the peer of any of them accepts
    /// it.
    pub fn push_event(&self, event: &gst::Event) -> bool {
        let speakers = self.speaker_pads.list().into_iter().map(|known| known.pad);
        let pads = [self.srcpad.clone(), self.unsynced_srcpad.clone()].into_iter().chain(speakers);
        // Every pad pushes it, even after one peer has accepted it.
        pads.map(|pad| pad.push_event(event.clone())).fold(false, |any, accepted| any | accepted)
    }
}
