// SPDX-License-Identifier: MPL-2.0

//! The bounded queue between the chain function and the worker, and the cancelling of what the
//! worker does.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::timeline::{duration_of, is_continuous};
use crate::engine::Canceller;
use crate::engine::sync::lock;

/// What happens to audio when too much is queued.
#[derive(Clone, Copy, Debug)]
pub enum WhenFull {
    /// It waits until the queue holds less than this.
    Wait { max_samples: usize },
    /// The oldest makes room in a queue of this capacity.
    DropOldest { max_samples: usize },
}

/// What the worker is given.
#[derive(Debug)]
pub enum Item {
    Audio {
        pts: gst::ClockTime,
        samples: Vec<f32>,
        /// Whether data was lost before it.
        resync: bool,
    },
    Event(gst::Event),
    /// Audio that was dropped.
    Missing {
        from: gst::ClockTime,
        to: gst::ClockTime,
    },
    /// Source pads came or went.
    Pads,
}

impl Item {
    fn samples(&self) -> usize {
        match self {
            Self::Audio { samples, .. } => samples.len(),
            Self::Event(_) | Self::Missing { .. } | Self::Pads => 0,
        }
    }
}

#[derive(Debug)]
struct QueueState {
    items: VecDeque<Item>,
    queued_samples: usize,
    /// Between FLUSH_START and FLUSH_STOP.
    flushing: bool,
    /// The worker is to return.
    stopping: bool,
    /// The worker has an item in hand.
    busy: bool,
    /// The worker must forget all before its next item.
    flushed: bool,
    /// What the chain function returns.
    flow: Result<(), gst::FlowError>,
    /// Nothing will be recognised any more: `flow` stays an error.
    failed: bool,
}

impl QueueState {
    fn accept_audio(&mut self) {
        if !self.failed {
            self.flow = Ok(());
        }
    }

    /// Drops audio from the front, as one piece, until at most `max_samples` are left.
    fn drop_oldest(&mut self, max_samples: usize) {
        let is_audio = |item: &Item| matches!(item, Item::Audio { .. });
        while self.queued_samples > max_samples
            && let Some(index) = self.items.iter().position(is_audio)
            && let Some(Item::Audio { pts, samples, .. }) = self.items.remove(index)
        {
            self.queued_samples -= samples.len();
            let end = pts.saturating_add(duration_of(samples.len()));
            match index.checked_sub(1).and_then(|before| self.items.get_mut(before)) {
                Some(Item::Missing { to, .. }) if is_continuous(*to, pts) => *to = end,
                _ => self.items.insert(index, Item::Missing { from: pts, to: end }),
            }
        }
    }
}

/// Between the streaming thread, the application's threads and the worker.
pub struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    /// Of the model.
    pub loading: Canceller,
    /// Of the stream.
    pub inference: Canceller,
}

impl Queue {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(QueueState {
                items: VecDeque::new(),
                queued_samples: 0,
                flushing: false,
                stopping: false,
                busy: false,
                flushed: false,
                flow: Ok(()),
                failed: false,
            }),
            changed: Condvar::new(),
            loading: Canceller::new(),
            inference: Canceller::new(),
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, QueueState>) -> MutexGuard<'a, QueueState> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues audio as soon as there is room, or makes room. `resync` says that data was lost before
    /// it.
    pub fn push_audio(
        &self,
        pts: gst::ClockTime,
        samples: Vec<f32>,
        resync: bool,
        when_full: WhenFull,
    ) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        loop {
            if state.flushing || state.stopping {
                return Err(gst::FlowError::Flushing);
            }
            state.flow?;
            match when_full {
                WhenFull::DropOldest { max_samples } => {
                    if state.queued_samples + samples.len() > max_samples {
                        // By half, so that there are few holes.
                        state.drop_oldest(max_samples / 2);
                    }
                    break;
                }
                WhenFull::Wait { max_samples } if state.queued_samples < max_samples => break,
                WhenFull::Wait { .. } => state = self.wait(state),
            }
        }
        state.queued_samples += samples.len();
        state.items.push_back(Item::Audio { pts, samples, resync });
        self.changed.notify_all();
        Ok(())
    }

    /// Queues a serialised event, unless flushing. Audio is taken again after a STREAM_START.
    pub fn push_event(&self, event: gst::Event) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        if state.flushing || state.stopping {
            return Err(gst::FlowError::Flushing);
        }
        if event.type_() == gst::EventType::StreamStart {
            state.accept_audio();
        }
        state.items.push_back(Item::Event(event));
        self.changed.notify_all();
        Ok(())
    }

    /// Has the worker see to its pads.
    pub fn push_pads(&self) {
        lock(&self.state).items.push_back(Item::Pads);
        self.changed.notify_all();
    }

    /// Drops what is queued, interrupts the inference and lets nothing in.
    pub fn flush_start(&self) {
        let mut state = lock(&self.state);
        state.flushing = true;
        // Upstream does not repeat these.
        state.items.retain(|item| match item {
            Item::Event(event) => {
                let is_over = [gst::EventType::Segment, gst::EventType::Eos];
                event.is_sticky() && !is_over.contains(&event.type_())
            }
            Item::Audio { .. } | Item::Missing { .. } => false,
            Item::Pads => true,
        });
        state.queued_samples = 0;
        self.inference.cancel();
        self.changed.notify_all();
    }

    /// Waits for the worker to be idle, calls `forward` and starts afresh.
    pub fn flush_stop(&self, forward: impl FnOnce() -> bool) -> bool {
        let mut state = lock(&self.state);
        while state.busy && !state.stopping {
            state = self.wait(state);
        }
        drop(state);
        let forwarded = forward();
        let mut state = lock(&self.state);
        state.flushing = false;
        state.flushed = true;
        state.accept_audio();
        self.changed.notify_all();
        forwarded
    }

    /// Interrupts all and lets the worker return.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopping = true;
        state.items.clear();
        state.queued_samples = 0;
        self.loading.cancel();
        self.inference.cancel();
        self.changed.notify_all();
    }

    /// Puts the item in hand down and waits for the next; `None` when stopping. The flag says
    /// whether there was a flush between the two.
    pub fn take(&self) -> Option<(Item, bool)> {
        let mut state = lock(&self.state);
        state.busy = false;
        self.changed.notify_all();
        loop {
            if state.stopping {
                return None;
            }
            if !state.flushing
                && let Some(item) = state.items.pop_front()
            {
                if let Item::Audio { samples, .. } = &item {
                    state.queued_samples -= samples.len();
                }
                state.busy = true;
                self.changed.notify_all();
                return Some((item, std::mem::take(&mut state.flushed)));
            }
            state = self.wait(state);
        }
    }

    /// Whether nothing waits for the worker.
    pub fn is_empty(&self) -> bool {
        lock(&self.state).items.is_empty()
    }

    /// Samples that wait for the worker.
    pub fn queued_samples(&self) -> usize {
        lock(&self.state).queued_samples
    }

    /// Whether what is in hand is of no use any more.
    pub fn is_interrupted(&self) -> bool {
        let state = lock(&self.state);
        state.flushing || state.stopping
    }

    /// Cancels again what an engine that was reset has forgotten to have been cancelled.
    pub fn renew_cancellation(&self) {
        let state = lock(&self.state);
        if state.flushing || state.stopping {
            self.inference.cancel();
        }
    }

    /// Makes the chain function return an error; if not `for_good`, until audio is taken again with
    /// the next flush, stream or linked source pad. An error of one stream is none of the next.
    pub fn refuse_audio(&self, error: gst::FlowError, for_good: bool) {
        let mut state = lock(&self.state);
        let mut is_refused = true;
        state.items.retain(|item| match item {
            Item::Audio { .. } | Item::Missing { .. } => !is_refused,
            Item::Event(event) if event.type_() == gst::EventType::StreamStart => {
                is_refused = for_good;
                true
            }
            Item::Event(_) | Item::Pads => true,
        });
        state.queued_samples = state.items.iter().map(Item::samples).sum();
        if for_good || (is_refused && state.flow.is_ok()) {
            state.flow = Err(error);
        }
        state.failed |= for_good;
        self.changed.notify_all();
    }

    /// Makes the chain function take audio again, unless it was refused for good.
    pub fn accept_audio(&self) {
        lock(&self.state).accept_audio();
    }

    /// Releases those who wait for a worker that is gone.
    pub fn abandon(&self) {
        self.refuse_audio(gst::FlowError::Error, true);
        lock(&self.state).busy = false;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SAMPLE_RATE_HZ;

    const MAX_SAMPLES: usize = 100;
    const WAIT: WhenFull = WhenFull::Wait { max_samples: MAX_SAMPLES };

    fn event() -> gst::Event {
        gst::init().expect("GStreamer");
        gst::event::Eos::new()
    }

    fn is_audio(taken: Option<(Item, bool)>) -> Option<bool> {
        taken.map(|(item, _)| matches!(item, Item::Audio { .. }))
    }

    /// With times in whole seconds.
    fn describe(item: Item) -> String {
        match item {
            Item::Audio { pts, .. } => format!("audio {}", pts.seconds()),
            Item::Missing { from, to } => format!("missing {}-{}", from.seconds(), to.seconds()),
            Item::Event(_) => "event".to_owned(),
            Item::Pads => "pads".to_owned(),
        }
    }

    #[test]
    fn order_is_kept() {
        let queue = Queue::new();
        queue.push_audio(gst::ClockTime::ZERO, vec![0.0; 10], false, WAIT).expect("taken");
        assert_eq!(queue.push_event(event()), Ok(()));
        queue.push_audio(gst::ClockTime::ZERO, vec![0.0; 10], false, WAIT).expect("taken");
        let taken: Vec<_> = (0..3).map(|_| is_audio(queue.take())).collect();
        assert_eq!(taken, [Some(true), Some(false), Some(true)]);
    }

    #[test]
    fn audio_waits_for_room() {
        let queue = Queue::new();
        queue.push_audio(gst::ClockTime::ZERO, vec![0.0; MAX_SAMPLES], false, WAIT).expect("taken");
        std::thread::scope(|scope| {
            let second =
                scope.spawn(|| queue.push_audio(gst::ClockTime::SECOND, vec![0.0], false, WAIT));
            // Both come out, however the threads meet.
            assert_eq!(is_audio(queue.take()), Some(true));
            assert_eq!(is_audio(queue.take()), Some(true));
            assert_eq!(second.join().expect("no panic"), Ok(()));
        });
    }

    #[test]
    fn flush_drops_all_and_releases_those_who_wait() {
        let queue = Queue::new();
        queue.push_audio(gst::ClockTime::ZERO, vec![0.0; MAX_SAMPLES], false, WAIT).expect("taken");
        assert_eq!(queue.push_event(event()), Ok(()));
        std::thread::scope(|scope| {
            let waiting =
                scope.spawn(|| queue.push_audio(gst::ClockTime::SECOND, vec![0.0], false, WAIT));
            queue.flush_start();
            assert_eq!(waiting.join().expect("no panic"), Err(gst::FlowError::Flushing));
        });
        assert!(queue.inference.is_cancelled() && !queue.loading.is_cancelled());
        assert_eq!(queue.push_event(event()), Err(gst::FlowError::Flushing));
        assert!(queue.flush_stop(|| true));
        queue.push_audio(gst::ClockTime::ZERO, vec![0.0], false, WAIT).expect("taken");
        let (item, flushed) = queue.take().expect("an item");
        assert!(matches!(item, Item::Audio { samples, .. } if samples.len() == 1) && flushed);
    }

    #[test]
    fn flush_keeps_what_upstream_does_not_repeat() {
        gst::init().expect("GStreamer");
        let queue = Queue::new();
        let caps = gst::event::Caps::new(&gst::Caps::new_empty_simple("audio/x-raw"));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        for event in [event(), gst::event::StreamStart::new("id"), caps] {
            queue.push_event(event).expect("taken");
        }
        queue.push_event(gst::event::Segment::new(&segment)).expect("taken");
        queue.flush_start();
        queue.flush_stop(|| true);
        queue.push_event(gst::event::Segment::new(&segment)).expect("taken");
        let taken = || match queue.take().expect("an item") {
            (Item::Event(event), flushed) => (event.type_(), flushed),
            other => panic!("{other:?}"),
        };
        assert_eq!(taken(), (gst::EventType::StreamStart, true));
        assert_eq!(taken(), (gst::EventType::Caps, false));
        assert_eq!(taken(), (gst::EventType::Segment, false));
        assert!(lock(&queue.state).items.is_empty());
    }

    #[test]
    fn errors_of_downstream_end_with_a_flush_and_failures_do_not() {
        let queue = Queue::new();
        let push = || queue.push_audio(gst::ClockTime::ZERO, vec![0.0], false, WAIT);
        let flush = || {
            queue.flush_start();
            queue.flush_stop(|| true);
        };
        queue.refuse_audio(gst::FlowError::Eos, false);
        assert_eq!(push(), Err(gst::FlowError::Eos));
        flush();
        assert_eq!(push(), Ok(()));
        queue.refuse_audio(gst::FlowError::Error, true);
        flush();
        assert_eq!(push(), Err(gst::FlowError::Error));
        assert_eq!(queue.push_event(event()), Ok(()), "EOS goes through");
    }

    #[test]
    fn reset_of_the_engine_does_not_undo_a_new_cancellation() {
        let queue = Queue::new();
        queue.flush_start();
        queue.inference.rearm();
        queue.renew_cancellation();
        assert!(queue.inference.is_cancelled());
    }

    #[test]
    fn stopping_releases_the_worker() {
        let queue = Queue::new();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| queue.take().is_none());
            queue.stop();
            assert!(worker.join().expect("no panic"));
        });
        assert!(queue.loading.is_cancelled() && queue.inference.is_cancelled());
    }

    #[test]
    fn live_audio_drops_the_oldest_and_says_which() {
        const SECOND: usize = SAMPLE_RATE_HZ as usize;
        let queue = Queue::new();
        let push = |second: u64| {
            let pts = gst::ClockTime::from_seconds(second);
            let when_full = WhenFull::DropOldest { max_samples: 4 * SECOND };
            queue.push_audio(pts, vec![0.0; SECOND], false, when_full).expect("taken");
        };
        assert_eq!(queue.push_event(event()), Ok(()), "stays");
        (0..11).for_each(push);
        assert_eq!(queue.push_event(event()), Ok(()));
        let mut taken = Vec::new();
        for _ in 0..6 {
            taken.push(describe(queue.take().expect("an item").0));
        }
        // Four are left of the first six, two of each four from then on, and so forth.
        assert_eq!(taken[..2], ["event", "missing 0-8"]);
        assert_eq!(taken[2..], ["audio 8", "audio 9", "audio 10", "event"]);
        assert_eq!(queue.queued_samples(), 0);

        // A jump of the times is not missing.
        let when_full = WhenFull::DropOldest { max_samples: 2 * SECOND };
        for second in [100, 101, 50, 51, 52] {
            let pts = gst::ClockTime::from_seconds(second);
            queue.push_audio(pts, vec![0.0; SECOND], false, when_full).expect("taken");
        }
        let missing: Vec<_> = (0..2).map(|_| describe(queue.take().expect("an item").0)).collect();
        assert_eq!(missing, ["missing 100-102", "missing 50-51"]);
        while queue.queued_samples() > 0 {
            queue.take();
        }

        // One buffer that is longer than the queue is taken whole.
        let when_full = WhenFull::DropOldest { max_samples: SECOND };
        queue
            .push_audio(gst::ClockTime::ZERO, vec![0.0; 3 * SECOND], false, when_full)
            .expect("taken");
        assert_eq!(queue.queued_samples(), 3 * SECOND);
    }

    #[test]
    fn what_is_refused_of_one_stream_is_taken_of_the_next() {
        let queue = Queue::new();
        let push = |pts| queue.push_audio(pts, vec![0.0], false, WAIT);
        push(gst::ClockTime::ZERO).expect("taken");
        queue.refuse_audio(gst::FlowError::Eos, false);
        assert_eq!(push(gst::ClockTime::ZERO), Err(gst::FlowError::Eos));
        let next = || {
            gst::init().expect("GStreamer");
            queue.push_event(gst::event::StreamStart::new("next")).expect("taken");
        };
        next();
        push(gst::ClockTime::SECOND).expect("taken");
        assert_eq!(is_audio(queue.take()), Some(false));
        // What is refused while the next stream already waits is of the one before it.
        next();
        push(2 * gst::ClockTime::SECOND).expect("taken");
        queue.refuse_audio(gst::FlowError::Eos, false);
        push(3 * gst::ClockTime::SECOND).expect("taken");
        let left: Vec<_> = (0..3).map(|_| describe(queue.take().expect("an item").0)).collect();
        assert_eq!(left, ["event", "audio 2", "audio 3"]);
        assert_eq!(queue.queued_samples(), 0);

        queue.refuse_audio(gst::FlowError::NotLinked, false);
        queue.accept_audio();
        push(gst::ClockTime::ZERO).expect("taken");
        queue.refuse_audio(gst::FlowError::Error, true);
        next();
        queue.accept_audio();
        assert_eq!(push(gst::ClockTime::ZERO), Err(gst::FlowError::Error), "for good");
    }
}
