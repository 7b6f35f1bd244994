// SPDX-License-Identifier: MPL-2.0

//! Pads, chain function, events, queries and state changes of the element.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::cues::collector::{Collector, InputError, PostedWarnings};
use crate::cues::language::is_language_tag;
use crate::cues::reader::CueFormat;
use crate::cues::segmenter::Segment;
use crate::ttmlenc::settings::{self, Settings};
use crate::ttmlenc::{CAT, document};
use multitalker_asr::lock::lock;

/// What changes while the element runs.
struct State {
    settings: Settings,
    collector: Collector,
    /// Language of the tags.
    tagged_language: Option<String>,
    posted: PostedWarnings,
    /// Whether the source was asked whether it is live.
    is_liveness_checked: bool,
    /// Whether there was a buffer or a gap since the last end of a stream.
    has_input: bool,
    /// Whether the next buffer follows a jump.
    is_discont: bool,
}

impl State {
    /// Creates the buffer of a document.
    fn document(&mut self, segment: &Segment) -> Result<gst::Buffer, gst::FlowError> {
        let language = match self.settings.language.as_str() {
            "" => self.tagged_language.as_deref().unwrap_or("und"),
            language => language,
        };
        let text = document::write(segment, self.settings.profile, language);
        let mut buffer = gst::Buffer::from_mut_slice(text.map_err(|_| gst::FlowError::Error)?);
        if let Some(buffer) = buffer.get_mut() {
            let start = segment.start.max(self.collector.start().unwrap_or_default());
            buffer.set_pts(self.collector.timestamp(start));
            buffer.set_duration(segment.end.saturating_sub(start));
            if std::mem::take(&mut self.is_discont) {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
        }
        Ok(buffer)
    }
}

pub struct TtmlEnc {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    /// `None` unless the element is running.
    state: Mutex<Option<State>>,
}

impl TtmlEnc {
    /// Calls a function with the state. No lock is held during a push.
    fn with_state<T>(&self, function: impl FnOnce(&mut State) -> T) -> Result<T, gst::FlowError> {
        lock(&self.state).as_mut().map(function).ok_or(gst::FlowError::Flushing)
    }

    fn sink_chain(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.check_liveness()?;
        let result = self.with_state(|state| {
            state.has_input = true;
            let warning = state.collector.push_buffer(buffer)?;
            Ok(warning.map(|warning| (state.posted.is_new(&warning), warning)))
        })?;
        match result.map_err(|error| self.post(&error))? {
            Some((true, warning)) => {
                gst::element_imp_warning!(self, gst::StreamError::Decode, ("{warning}"));
            }
            Some((false, warning)) => gst::warning!(CAT, imp = self, "{warning}"),
            None => (),
        }
        self.push_documents()?;
        self.push_gap(buffer.pts(), buffer.duration())
    }

    /// Posts a warning if all text of a source that may never end would wait for its end.
    fn check_liveness(&self) -> Result<(), gst::FlowError> {
        let is_first = self.with_state(|state| {
            let is_single = state.settings.segment_duration().is_none();
            is_single && !std::mem::replace(&mut state.is_liveness_checked, true)
        })?;
        let mut query = gst::query::Latency::new();
        if is_first && self.sinkpad.peer_query(&mut query) && query.result().0 {
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Settings,
                ("segment-duration: expected a duration with a live source, found 0: the only document is written at the end of the stream")
            );
        }
        Ok(())
    }

    /// Pushes the documents of the segments that have ended.
    fn push_documents(&self) -> Result<gst::FlowSuccess, gst::FlowError> {
        loop {
            let document = self.with_state(|state| {
                let segment = state.collector.next_segment();
                segment.map(|segment| state.document(&segment)).transpose()
            })??;
            let Some(document) = document else { return Ok(gst::FlowSuccess::Ok) };
            gst::log!(CAT, imp = self, "Pushing {document:?}");
            self.srcpad.push(document)?;
        }
    }

    /// Reports progress downstream while the only document is not finished, so that other branches
    /// of the pipeline do not wait for it.
    fn push_gap(
        &self,
        timestamp: Option<gst::ClockTime>,
        duration: Option<gst::ClockTime>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let is_single = self.with_state(|state| state.settings.segment_duration().is_none())?;
        if let (true, Some(timestamp), Some(duration)) = (is_single, timestamp, duration) {
            self.srcpad.push_event(gst::event::Gap::builder(timestamp).duration(duration).build());
        }
        Ok(gst::FlowSuccess::Ok)
    }

    /// Ends the current segment and pushes its document, or the only document.
    fn finish(&self) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.with_state(|state| {
            state.has_input = false;
            state.collector.finish();
        })?;
        let result = self.push_documents();
        self.with_state(|state| state.is_discont = true)?;
        result
    }

    fn sink_event(
        &self,
        pad: &gst::Pad,
        event: gst::Event,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = pad, "Handling {event:?}");
        let push = |event| match self.srcpad.push_event(event) {
            true => Ok(gst::FlowSuccess::Ok),
            false => Err(gst::FlowError::Error),
        };
        match event.view() {
            gst::EventView::StreamStart(_) => {
                if self.with_state(|state| state.has_input)? {
                    self.finish()?;
                }
                self.with_state(|state| state.tagged_language = None)?;
                push(event)
            }
            gst::EventView::Caps(caps) => {
                let result = self.with_state(|state| state.collector.set_caps(caps.caps()))?;
                result.map_err(|error| self.post(&error))?;
                push(gst::event::Caps::new(&src_caps()))
            }
            gst::EventView::Segment(segment) => {
                // The end of the previous segment needs its timestamps.
                let result = self.with_state(|state| {
                    let jumps = state.collector.would_jump(segment.segment());
                    Ok(jumps? && state.settings.segment_duration().is_some())
                })?;
                if result.map_err(|error| self.post(&error))? {
                    self.finish()?;
                }
                let result =
                    self.with_state(|state| state.collector.set_segment(segment.segment()))?;
                result.map_err(|error| self.post(&error))?;
                push(event)
            }
            gst::EventView::Tag(tag) => {
                let language = tag.tag().get::<gst::tags::LanguageCode>();
                let language = language.map(|language| language.get().to_owned());
                if let Some(language) = language.filter(|language| is_language_tag(language)) {
                    self.with_state(|state| state.tagged_language = Some(language))?;
                }
                push(event)
            }
            gst::EventView::Gap(gap) => {
                let (timestamp, duration) = gap.get();
                self.with_state(|state| {
                    state.has_input = true;
                    state.collector.push_gap(timestamp, duration);
                })?;
                self.push_documents()?;
                self.push_gap(Some(timestamp), duration)
            }
            gst::EventView::FlushStop(_) => {
                self.with_state(|state| {
                    state.collector.flush();
                    state.has_input = false;
                    state.is_discont = true;
                })?;
                push(event)
            }
            gst::EventView::Eos(_) => {
                let result = self.finish();
                push(event)?;
                result
            }
            _ => match gst::Pad::event_default(pad, Some(&*self.obj()), event) {
                true => Ok(gst::FlowSuccess::Ok),
                false => Err(gst::FlowError::Error),
            },
        }
    }

    fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        let gst::QueryViewMut::Latency(query) = query.view_mut() else {
            return gst::Pad::query_default(pad, Some(&*self.obj()), query);
        };
        let mut upstream = gst::query::Latency::new();
        if !self.sinkpad.peer_query(&mut upstream) {
            return false;
        }
        let (live, min, max) = upstream.result();
        // A document leaves when its last text has arrived.
        let delay = lock(&self.settings).segment_duration().unwrap_or_default();
        query.set(live, min.saturating_add(delay), max.map(|max| max.saturating_add(delay)));
        true
    }

    /// Posts an error and returns its flow.
    fn post(&self, error: &InputError) -> gst::FlowError {
        match error {
            InputError::Caps(_) => {
                gst::element_imp_error!(self, gst::CoreError::Negotiation, ("{error}"));
            }
            _ => gst::element_imp_error!(self, gst::StreamError::Format, ("{error}")),
        }
        error.flow()
    }

    fn start(&self) -> Result<(), gst::StateChangeError> {
        let settings = lock(&self.settings).clone();
        let options = settings.collector_options().map_err(|reason| {
            gst::element_imp_error!(self, gst::LibraryError::Settings, ("{reason}"));
            gst::StateChangeError
        })?;
        *lock(&self.state) = Some(State {
            collector: Collector::new(options),
            settings,
            tagged_language: None,
            posted: PostedWarnings::default(),
            is_liveness_checked: false,
            has_input: false,
            is_discont: false,
        });
        Ok(())
    }
}

fn src_caps() -> gst::Caps {
    gst::Caps::new_empty_simple("application/ttml+xml")
}

#[glib::object_subclass]
impl ObjectSubclass for TtmlEnc {
    const NAME: &'static str = "GstTtmlEnc";
    type Type = super::TtmlEnc;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| klass.pad_template(name).expect("pad_templates() has it");
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.sink_chain(&buffer),
                )
            })
            .event_full_function(|pad, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |imp| imp.sink_event(pad, event),
                )
            })
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.src_query(pad, query))
            })
            .build();
        srcpad.use_fixed_caps();
        Self { sinkpad, srcpad, settings: Mutex::default(), state: Mutex::default() }
    }
}

impl ObjectImpl for TtmlEnc {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::PROPERTIES.as_ref()
    }

    fn constructed(&self) {
        self.parent_constructed();
        for pad in [&self.sinkpad, &self.srcpad] {
            self.obj().add_pad(pad).expect("a new element has no pad of that name");
        }
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        lock(&self.settings).get(pspec.name())
    }
}

impl GstObjectImpl for TtmlEnc {}

impl ElementImpl for TtmlEnc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "TTML encoder",
                "Codec/Encoder/Subtitle",
                "Writes captions as TTML: EBU-TT-D or IMSC 1.1 Text",
                "The gst-plugin-multitalkerasr authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let template = |name, direction, caps: &gst::Caps| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps)
                    .expect("name and presence go together")
            };
            vec![
                template("sink", gst::PadDirection::Sink, &CueFormat::all_caps()),
                template("src", gst::PadDirection::Src, &src_caps()),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            self.start()?;
        }
        let result = self.parent_change_state(transition);
        if transition == gst::StateChange::PausedToReady {
            *lock(&self.state) = None;
        }
        result
    }
}
