// SPDX-License-Identifier: MPL-2.0

//! Pads, chain function, events, queries and state changes of the element.

use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::multitalkerasr::input::Input;
use crate::multitalkerasr::input::samples::SampleFormat;
use crate::multitalkerasr::output::speaker_pads;
use crate::multitalkerasr::output::{latency, messages};
use crate::multitalkerasr::properties;
use crate::multitalkerasr::properties::enums::TextUnit;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::speaker::Speaker;
use crate::multitalkerasr::worker::overload::Limit;
use crate::multitalkerasr::worker::queue::Queue;
use crate::multitalkerasr::{CAT, worker};
use multitalker_asr::lock::lock;

/// A run of the element, from the change to PAUSED until the change back to READY.
struct Running {
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
}

pub struct MultitalkerAsr {
    shared: Arc<Shared>,
    input: Input,
    running: Mutex<Option<Running>>,
}

impl MultitalkerAsr {
    fn queue(&self) -> Option<Arc<Queue>> {
        lock(&self.running).as_ref().map(|running| running.queue.clone())
    }

    fn sink_chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let queue = self.queue().ok_or(gst::FlowError::Flushing)?;
        let ask_upstream = || self.shared.upstream_latency().map(|(live, _, _)| live);
        let audio = self.input.audio(buffer, ask_upstream).map_err(|error| {
            messages::post_input_error(&self.shared, &error);
            error.flow()
        })?;
        let Some(audio) = audio else {
            gst::log!(CAT, imp = self, "Dropping a buffer outside of the segment");
            return Ok(gst::FlowSuccess::Ok);
        };
        gst::trace!(CAT, imp = self, "{} samples at {}", audio.samples.len(), audio.pts);
        let max_samples = self.shared.max_queued_samples(audio.live);
        let policy = self.shared.settings.live().overload_policy;
        queue.push_audio(audio, Limit { max_samples, policy })?;
        Ok(gst::FlowSuccess::Ok)
    }

    fn sink_event(
        &self,
        pad: &gst::Pad,
        event: gst::Event,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = pad, "Handling {event:?}");
        let flow = |handled| match handled {
            true => Ok(gst::FlowSuccess::Ok),
            false => Err(gst::FlowError::Error),
        };
        let queue = self.queue().ok_or(gst::FlowError::Flushing)?;
        if let Err(error) = self.input.event(&event) {
            if self.input.is_newly_rejected(&event) {
                messages::post_input_error(&self.shared, &error);
            }
            return Err(error.flow());
        }
        match event.view() {
            gst::EventView::FlushStart(_) => {
                queue.flush_start();
                flow(self.shared.push_event(&event))
            }
            gst::EventView::FlushStop(_) => {
                flow(queue.flush_stop(|| self.shared.push_event(&event)))
            }
            _ if event.is_serialized() => {
                queue.push_event(event)?;
                Ok(gst::FlowSuccess::Ok)
            }
            _ => flow(gst::Pad::event_default(pad, Some(&*self.obj()), event)),
        }
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            // Downstream offers buffers for text, not for audio.
            gst::QueryViewMut::Allocation(_) => false,
            // Raw audio of another rate or format is rejected at the CAPS event, with an error that
            // states the reason.
            gst::QueryViewMut::AcceptCaps(query) if is_raw_audio(query.caps()) => {
                query.set_result(true);
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(query) => {
                let shared = &self.shared;
                let Some((live, min, max)) = shared.upstream_latency() else { return false };
                if live && !shared.settings.live().is_desynchronized() {
                    let min = min.saturating_add(shared.live_latency());
                    query.set(true, min, gst::ClockTime::NONE);
                } else {
                    query.set(live, min, max);
                }
                gst::debug!(CAT, obj = pad, "Latency: {query:?}");
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    fn start(&self) -> Result<(), gst::StateChangeError> {
        let settings = self.shared.begin_run();
        if settings.text_unit == TextUnit::Cue
            && let Err(reason) = settings.cues.check()
        {
            self.shared.end_run();
            gst::element_imp_error!(self, gst::LibraryError::Settings, ("{reason}"));
            return Err(gst::StateChangeError);
        }
        if !settings.is_english() {
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                ("language-code: expected English, found {}", settings.language_code)
            );
        }
        self.check_latency();
        self.input.reset();
        let queue = Arc::new(Queue::new());
        let thread =
            worker::spawn(self.shared.clone(), queue.clone(), settings).map_err(|error| {
                self.shared.end_run();
                gst::element_imp_error!(
                    self,
                    gst::ResourceError::Failed,
                    ("Cannot start a thread: {error}")
                );
                gst::StateChangeError
            })?;
        *lock(&self.running) = Some(Running { queue, thread });
        Ok(())
    }

    /// Posts a warning if `latency` is below the minimum.
    fn check_latency(&self) {
        let settings = self.shared.settings.live();
        let (wanted, granted) = (settings.latency_ms, settings.compute_ms());
        if wanted < granted {
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                ("latency: expected at least {granted} ms of processing time, found {wanted} ms")
            );
        }
    }

    /// Waits for the worker to return after [`Queue::stop`].
    fn join(&self) {
        let running = lock(&self.running).take();
        // The worker catches its own panics.
        let _ = running.map(|running| running.thread.join());
        self.shared.end_run();
    }
}

fn src_pad(template: &gst::PadTemplate) -> gst::PadBuilder<gst::Pad> {
    gst::Pad::builder_from_template(template).query_function(|pad, parent, query| {
        MultitalkerAsr::catch_panic_pad_function(parent, || false, |imp| imp.src_query(pad, query))
    })
}

/// Asks the worker to rescan the source pads as soon as this one is linked. The worker then replays
/// the sticky events that the pad has missed, even if no more audio arrives. An error that an
/// earlier peer returned no longer counts.
fn watch_links(pad: &gst::Pad) {
    pad.connect_linked(|pad, _| {
        let element = pad.parent().and_downcast::<super::MultitalkerAsr>();
        if let Some(queue) = element.and_then(|element| element.imp().queue()) {
            queue.accept_audio();
            queue.push_pads();
        }
    });
}

fn is_raw_audio(caps: &gst::CapsRef) -> bool {
    caps.iter().all(|structure| structure.name() == "audio/x-raw")
}

#[glib::object_subclass]
impl ObjectSubclass for MultitalkerAsr {
    const NAME: &'static str = "GstMultitalkerAsr";
    type Type = super::MultitalkerAsr;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| klass.pad_template(name).expect("pad_templates() has it");
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.sink_chain(buffer),
                )
            })
            // This variant returns a flow, so that an event during a flush does not count as an
            // error.
            .event_full_function(|pad, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.sink_event(pad, event),
                )
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.sink_query(pad, query))
            })
            .build();
        let srcpad = src_pad(&template("src")).build();
        let unsynced_srcpad = src_pad(&template("unsynced_src")).build();
        Self {
            shared: Arc::new(Shared::new(sinkpad, srcpad, unsynced_srcpad)),
            input: Input::default(),
            running: Mutex::default(),
        }
    }
}

impl ObjectImpl for MultitalkerAsr {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = properties::pspecs();
            properties.push(latency::property());
            properties
        });
        PROPERTIES.as_ref()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            vec![
                glib::subclass::Signal::builder("get-transcripts")
                    .action()
                    .return_type::<String>()
                    .class_handler(|args| {
                        let element = args.first()?.get::<super::MultitalkerAsr>().ok()?;
                        let log = &element.imp().shared.transcript_log;
                        let transcript = lock(log).transcript();
                        Some(transcript.seglst().to_value())
                    })
                    .build(),
                glib::subclass::Signal::builder("get-rttm")
                    .action()
                    .return_type::<String>()
                    .class_handler(|args| {
                        let element = args.first()?.get::<super::MultitalkerAsr>().ok()?;
                        let log = &element.imp().shared.transcript_log;
                        let transcript = lock(log).transcript();
                        Some(transcript.rttm().to_value())
                    })
                    .build(),
                glib::subclass::Signal::builder("set-speaker-name")
                    .action()
                    .param_types([u32::static_type(), String::static_type()])
                    .class_handler(|args| {
                        let element = args.first()?.get::<super::MultitalkerAsr>().ok()?;
                        let speaker = args.get(1)?.get::<u32>().ok()?;
                        let name = args.get(2)?.get::<Option<String>>().ok()?.unwrap_or_default();
                        let speaker = Speaker::new(speaker as usize);
                        element.imp().shared.set_speaker_name(speaker, &name);
                        None
                    })
                    .build(),
                glib::subclass::Signal::builder("add-phrase")
                    .action()
                    .param_types([String::static_type()])
                    .class_handler(|args| {
                        let element = args.first()?.get::<super::MultitalkerAsr>().ok()?;
                        let phrase = args.get(1)?.get::<Option<String>>().ok()??;
                        element.imp().shared.add_phrase(phrase);
                        None
                    })
                    .build(),
            ]
        });
        SIGNALS.as_ref()
    }

    fn constructed(&self) {
        self.parent_constructed();
        let (element, shared) = (self.obj(), &self.shared);
        shared.set_element(element.upcast_ref());
        for pad in [&shared.sinkpad, &shared.srcpad, &shared.unsynced_srcpad] {
            element.add_pad(pad).expect("a new element has no pad of that name");
        }
        watch_links(&shared.srcpad);
        watch_links(&shared.unsynced_srcpad);
    }

    fn dispose(&self) {
        // The thread must also end if the element is disposed of without a change to NULL.
        if let Some(queue) = self.queue() {
            queue.stop();
        }
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.shared.set_property(pspec.name(), value);
        if pspec.name() == "latency" && self.queue().is_some() {
            self.check_latency();
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "max-observed-delay" => latency::max_delay_ms(&self.shared).to_value(),
            name => self.shared.property(name),
        }
    }
}

impl GstObjectImpl for MultitalkerAsr {}

impl ElementImpl for MultitalkerAsr {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Multi-talker speech recognizer",
                "Text/Audio/Filter",
                "Transcribes every speaker of a conversation, even when they talk over each other",
                "The gst-plugin-multitalkerasr authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let sink = gst::PadTemplate::new(
                "sink",
                gst::PadDirection::Sink,
                gst::PadPresence::Always,
                &SampleFormat::all_caps(),
            );
            let mut templates = vec![sink.expect("name and presence go together")];
            templates.extend(speaker_pads::templates());
            templates
        });
        TEMPLATES.as_ref()
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let is_running = self.queue().is_some();
        let make = |speaker: Speaker| {
            let pad = src_pad(template).name(speaker.pad_name()).build();
            if is_running {
                // This cannot fail, since the pad has no parent yet.
                let _ = pad.set_active(true);
            }
            watch_links(&pad);
            pad
        };
        match self.shared.speaker_pads.request(name, self.shared.known_speakers(), make) {
            Ok(pad) => {
                let element = self.obj();
                element.add_pad(&pad).expect("no other pads have such names");
                Some(pad)
            }
            Err(reason) => {
                gst::warning!(CAT, imp = self, "{reason}");
                None
            }
        }
    }

    fn release_pad(&self, pad: &gst::Pad) {
        self.shared.speaker_pads.remove(pad);
        // Releases a push that a probe on this pad blocks. A push inside the peer continues until the
        // peer returns.
        let _ = pad.set_active(false);
        let _ = self.obj().remove_pad(pad);
        if let Some(queue) = self.queue() {
            queue.push_pads();
        }
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "Changing state {transition:?}");
        match transition {
            gst::StateChange::ReadyToPaused => self.start()?,
            gst::StateChange::PausedToReady => {
                // A thread that waits for the queue holds a lock that the deactivation of the pads needs.
                if let Some(queue) = self.queue() {
                    queue.stop();
                }
            }
            _ => (),
        }
        let result = self.parent_change_state(transition);
        match transition {
            gst::StateChange::ReadyToPaused if result.is_err() => {
                if let Some(queue) = self.queue() {
                    queue.stop();
                }
                self.join();
            }
            gst::StateChange::PausedToReady => self.join(),
            gst::StateChange::ReadyToNull => self.shared.drop_used_model(),
            _ => (),
        }
        result
    }
}
