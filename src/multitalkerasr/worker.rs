// SPDX-License-Identifier: MPL-2.0

//! The thread between the chain function and the pads: it loads the model, and handles audio and
//! serialised events in their order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::MultitalkerAsr;
use super::conversation::seglst;
use super::imp::CAT;
use super::queue::{Item, Queue};
use super::session::{self, Session};
use super::settings::Settings;
use crate::engine::sync::lock;
use crate::engine::{Error, Model};

/// Starts the thread.
pub fn spawn(
    element: MultitalkerAsr,
    queue: Arc<Queue>,
    settings: Settings,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("multitalkerasr".to_owned()).spawn(move || {
        let worker = || run(&element, &queue, settings);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(worker)) {
            let cause = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("unknown cause");
            gst::element_error!(element, gst::LibraryError::Failed, ("Panicked: {cause}"));
            queue.abandon();
        }
    })
}

fn run(element: &MultitalkerAsr, queue: &Queue, settings: Settings) {
    let model = load(element, queue, &settings);
    let session = Session::new(element, queue, settings, model);
    let mut worker = Worker { element, queue, session, in_caps: None };
    loop {
        if queue.is_empty() {
            worker.session.catch_up();
        }
        let Some((item, flushed)) = queue.take() else { return };
        if flushed {
            worker.session.forget();
        }
        match item {
            Item::Audio { pts, samples, resync } => worker.session.audio(pts, &samples, resync),
            Item::Event(event) => worker.event(event),
            Item::Missing { from, to } => worker.session.missing(from, to),
            Item::Pads => worker.session.outlets.sync(),
        }
    }
}

fn load(element: &MultitalkerAsr, queue: &Queue, settings: &Settings) -> Option<Arc<Model>> {
    let Some(options) = settings.model_options() else {
        gst::element_error!(
            element,
            gst::ResourceError::Settings,
            ("No model: set the property model-dir to the folder that holds it")
        );
        queue.refuse_audio(gst::FlowError::Error, true);
        return None;
    };
    let place = options.model_dir.display().to_string();
    progress(element, gst::ProgressType::Start, &format!("Loading the model of {place}"));
    let loaded =
        element.imp().model(&options).map_or_else(|| Model::load(&options, &queue.loading), Ok);
    match loaded {
        Ok(model) => {
            element.imp().keep_model(options, &model);
            progress(element, gst::ProgressType::Complete, &format!("Loaded the model of {place}"));
            let speakers = model.speakers();
            for pad in element.imp().speaker_pads.list() {
                if pad.speaker >= speakers {
                    gst::element_warning!(
                        element,
                        gst::LibraryError::Settings,
                        (
                            "{} will have no text: expected a pad below speaker_{speakers} for \
                             the {speakers} speakers of the model",
                            pad.pad.name()
                        )
                    );
                }
            }
            Some(model)
        }
        Err(Error::Cancelled) => {
            progress(element, gst::ProgressType::Canceled, "Loading was cancelled");
            None
        }
        Err(error) => {
            progress(element, gst::ProgressType::Error, &format!("Cannot load {place}"));
            session::fail(element, queue, &error);
            None
        }
    }
}

fn progress(element: &MultitalkerAsr, type_: gst::ProgressType, text: &str) {
    gst::info!(CAT, obj = element, "{text}");
    let message = gst::message::Progress::builder(type_, "loading", text);
    // Without a bus there is nobody to tell.
    let _ = element.post_message(message.src(element).build());
}

struct Worker<'a> {
    element: &'a MultitalkerAsr,
    queue: &'a Queue,
    session: Session<'a>,
    in_caps: Option<gst::Caps>,
}

impl Worker<'_> {
    fn event(&mut self, event: gst::Event) {
        gst::log!(CAT, obj = self.element, "Handling {event:?}");
        let outlets = &mut self.session.outlets;
        outlets.sync();
        match event.view() {
            gst::EventView::StreamStart(_) => self.session.stream_start(event),
            gst::EventView::Caps(caps) => {
                let in_caps = caps.caps_owned();
                match self.in_caps.replace(in_caps.clone()) {
                    Some(previous) if previous == in_caps => return,
                    Some(_) => self.session.interrupt(),
                    None => (),
                }
                self.session.outlets.caps();
            }
            gst::EventView::Segment(segment) => self.session.segment(segment, event.seqnum()),
            gst::EventView::Gap(gap) => {
                let (start, duration) = gap.get();
                self.session.gap(start, start.saturating_add(duration.unwrap_or_default()));
            }
            gst::EventView::SegmentDone(_) => {
                self.session.interrupt();
                self.session.outlets.forward(&event);
            }
            gst::EventView::Eos(_) => {
                self.session.interrupt();
                if !self.queue.is_interrupted() {
                    self.post_conversation();
                }
                self.session.outlets.eos(event);
            }
            // What is said of one stream is said of the audio, not of the text.
            gst::EventView::Tag(tag) if tag.tag().scope() == gst::TagScope::Stream => (),
            _ => outlets.forward(&event),
        }
    }

    fn post_conversation(&self) {
        let imp = self.element.imp();
        let session_id = imp.settings().session_id;
        let rows = lock(&imp.conversation).rows();
        session::post(
            self.element,
            gst::Structure::builder("multitalkerasr/transcripts")
                .field("session-id", session_id)
                .field("seglst", seglst(&rows))
                .build(),
        );
    }
}
