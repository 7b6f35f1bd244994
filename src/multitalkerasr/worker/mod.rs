// SPDX-License-Identifier: MPL-2.0

//! The thread between the chain function and the source pads. It loads the model, and handles audio
//! and serialized events in their order.

mod enrollment;
pub mod item;
mod loading;
pub mod overload;
pub mod queue;
pub mod recognition;
pub mod stretch;
mod vocabulary;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::output::messages::{post_error, post_transcripts};
use crate::multitalkerasr::output::src_pads::SrcPads;
use crate::multitalkerasr::properties::settings::RunSettings;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::worker::item::Item;
use crate::multitalkerasr::worker::loading::{Loaded, load};
use crate::multitalkerasr::worker::queue::Queue;
use crate::multitalkerasr::worker::stretch::Stretch;

/// Starts the thread, which returns after [`Queue::stop`].
///
/// # Errors
/// [`std::io::Error`] if the operating system cannot create the thread.
pub fn spawn(
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    settings: Arc<RunSettings>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("multitalkerasr".to_owned()).spawn(move || {
        let recognize = || {
            let loaded = load(&shared, &queue, &settings);
            run(&shared, &queue, settings.clone(), loaded);
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(recognize)) {
            report(&shared, &queue, &*panic);
            // Events and flushes must still pass, as after any other error.
            let forward = || run(&shared, &queue, settings.clone(), Loaded::default());
            if let Err(panic) = catch_unwind(AssertUnwindSafe(forward)) {
                report(&shared, &queue, &*panic);
                queue.abandon();
            }
        }
    })
}

/// Refuses audio for the rest of the run, posts the panic as an error and ends the text, which no
/// other thread would do.
fn report(shared: &Shared, queue: &Queue, panic: &(dyn Any + Send)) {
    let cause = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown cause");
    queue.fail();
    post_error!(shared, gst::LibraryError::Failed, ("Panicked: {cause}"));
    shared.push_event(&gst::event::Eos::new());
}

fn run(shared: &Shared, queue: &Queue, settings: Arc<RunSettings>, loaded: Loaded) {
    let recognizes = settings.recognize;
    let stretch = Stretch::new(shared, queue, settings, loaded);
    let mut worker = Worker { shared, queue, stretch, recognizes, in_caps: None };
    loop {
        if queue.is_empty() {
            worker.stretch.recognition.run_deferred();
        }
        let deadline = worker.stretch.pause_deadline();
        let Some((item, flushed)) = queue.take(deadline) else { break };
        if flushed {
            worker.stretch.flush();
        }
        worker.handle(item);
    }
    worker.stretch.recognition.store_speakers();
}

struct Worker<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    stretch: Stretch<'a>,
    recognizes: bool,
    /// Caps of the audio.
    in_caps: Option<gst::Caps>,
}

impl<'a> Worker<'a> {
    fn handle(&mut self, item: Item) {
        match item {
            Item::Audio(audio) => self.stretch.push_audio(&audio),
            Item::Event(event) => self.event(event),
            Item::Gap { start, end, is_short } => self.stretch.push_gaps(start, end, is_short),
            Item::Dropped { start, end, cause } => self.stretch.skip_dropped(start, end, cause),
            Item::Pads => self.src_pads().update_pads(),
            Item::Quiet => self.stretch.pause(),
            #[cfg(test)]
            Item::Panic => panic!("injected"),
        }
    }

    fn src_pads(&mut self) -> &mut SrcPads<'a> {
        &mut self.stretch.recognition.src_pads
    }

    fn event(&mut self, event: gst::Event) {
        gst::log!(CAT, obj = self.shared.sinkpad, "Handling {event:?}");
        self.src_pads().update_pads();
        match event.view() {
            gst::EventView::StreamStart(_) => self.stretch.stream_start(event),
            gst::EventView::Caps(caps) => {
                let in_caps = caps.caps_owned();
                match self.in_caps.replace(in_caps.clone()) {
                    Some(previous) if previous == in_caps => return,
                    Some(_) => self.stretch.interrupt(),
                    None => (),
                }
                self.src_pads().caps();
            }
            gst::EventView::Segment(segment) => self.stretch.segment(segment, event.seqnum()),
            gst::EventView::SegmentDone(_) => {
                self.stretch.interrupt();
                self.src_pads().forward(&event);
            }
            gst::EventView::Eos(_) => {
                self.stretch.interrupt();
                if !self.queue.is_interrupted() {
                    post_transcripts(self.shared, self.recognizes);
                }
                self.src_pads().eos(event);
            }
            // Stream tags describe the audio, not the text.
            gst::EventView::Tag(tag) if tag.tag().scope() == gst::TagScope::Stream => (),
            _ => self.src_pads().forward(&event),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use gst::prelude::*;

    use super::*;
    use crate::multitalkerasr::input::Audio;
    use crate::multitalkerasr::properties::enums::OverloadPolicy;
    use crate::multitalkerasr::worker::overload::Limit;

    #[test]
    fn panic_is_one_error_and_ends_the_text() {
        gst::init().expect("GStreamer");
        let pad = |direction| gst::Pad::builder(direction).build();
        let src = pad(gst::PadDirection::Src);
        let shared =
            Shared::new(pad(gst::PadDirection::Sink), src.clone(), pad(gst::PadDirection::Src));
        let element: gst::Element = gst::Bin::new().upcast();
        shared.set_element(&element);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let (sender, events) = mpsc::channel();
        let sink = gst::Pad::builder(gst::PadDirection::Sink)
            .event_function(move |_, _, event| sender.send(event.type_()).is_ok())
            .build();
        for pad in [&src, &sink] {
            pad.set_active(true).expect("activates");
        }
        src.link(&sink).expect("links");
        src.push_event(gst::event::StreamStart::new("text"));

        let queue = Arc::new(Queue::new());
        let worker = spawn(Arc::new(shared), queue.clone(), Arc::default()).expect("a thread");
        queue.push_panic();
        let next = || events.recv_timeout(Duration::from_secs(60)).expect("an event");
        assert_eq!(next(), gst::EventType::StreamStart);
        assert_eq!(next(), gst::EventType::Eos);
        let errors: Vec<_> = bus
            .iter()
            .filter_map(|message| match message.view() {
                gst::MessageView::Error(error) => Some(error.error().message().to_owned()),
                _ => None,
            })
            .collect();
        // The first error is that there is no model.
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert_eq!(errors[1], "Panicked: injected");

        let push = || {
            let samples = vec![0.0; 20];
            let audio = Audio { pts: gst::ClockTime::ZERO, samples, resync: false, live: false };
            let policy = OverloadPolicy::default();
            queue.push_audio(audio, Limit { max_samples: 10, policy })
        };
        assert_eq!(push(), Err(gst::FlowError::Error));
        // A flush neither hangs nor admits audio, and events pass.
        queue.flush_start();
        assert!(queue.flush_stop(|| src.push_event(gst::event::FlushStop::new(true))));
        assert_eq!(next(), gst::EventType::FlushStop);
        assert_eq!(push(), Err(gst::FlowError::Error));
        queue.push_event(gst::event::StreamStart::new("again")).expect("accepted");
        assert_eq!(next(), gst::EventType::StreamStart);
        queue.stop();
        worker.join().expect("no panic");
    }
}
