// SPDX-License-Identifier: MPL-2.0

//! The bounded queue between the chain function and the worker, and the cancellation of the
//! worker's current work.

mod state;
#[cfg(test)]
mod tests;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use self::state::{Activity, Flow, Gate, State};
use crate::multitalkerasr::input::Audio;
use crate::multitalkerasr::worker::item::Item;
use crate::multitalkerasr::worker::overload::{self, Limit, WhenFull};
use multitalker_asr::Canceller;
use multitalker_asr::lock::lock;

/// A queue that the streaming thread fills, the worker empties, and the threads of the application
/// flush and stop.
///
/// One lock protects its state, and one condition variable announces each change:
///
/// | state | value | entered by | consequence |
/// |---|---|---|---|
/// | gate | open | `new`, `flush_stop` | items go in and out |
/// | | flushing | `flush_start` | pushes return FLUSHING; audio is gone; inference is canceled; `take` blocks |
/// | | stopped | `stop`, to stay | pushes return FLUSHING; loading and inference are canceled; `take` returns `None` |
/// | activity | loading | `new` | waiting audio waits for the recognition |
/// | | idle | `take` without an item, `abandon` | |
/// | | computing | `computing`, while its closure runs | `flush_stop` blocks; waiting audio waits for the recognition |
/// | | pushing | `take` with an item, the end of `computing` | `flush_stop` blocks; waiting audio waits for downstream |
/// | flow | accepted | `new`, `flush_stop`, a STREAM_START, `accept_audio` | audio goes in |
/// | | refused | `refuse_audio` | queued audio is gone; pushing audio returns the error; events go in |
/// | | failed | `fail`, `abandon`, to stay | as refused |
/// | flushed | true | `flush_stop` | the next `take` returns it and clears it |
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Cancels loading the model.
    pub loading: Canceller,
    /// Cancels the engine's stream.
    pub inference: Canceller,
}

impl Queue {
    /// Creates an empty queue, whose worker loads the model.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State::new()),
            changed: Condvar::new(),
            loading: Canceller::new(),
            inference: Canceller::new(),
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues audio. When the queue is full, [`overload::when_full`] decides whether the audio waits
    /// or replaces older audio.
    ///
    /// # Errors
    /// [`gst::FlowError::Flushing`] during a flush and after [`Self::stop`]; the error of
    /// [`Self::refuse_audio`] or [`Self::fail`] while audio is refused.
    pub fn push_audio(&self, audio: Audio, limit: Limit) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        loop {
            if state.is_interrupted() {
                return Err(gst::FlowError::Flushing);
            }
            if let Flow::Refused(error) | Flow::Failed(error) = state.flow {
                return Err(error);
            }
            match overload::when_full(&audio, state.samples, limit) {
                WhenFull::Accept => break,
                WhenFull::Wait => state = self.wait(state),
                WhenFull::DropOldest { max_samples } => {
                    state.drop_oldest(max_samples);
                    break;
                }
            }
        }
        state.push_audio(audio);
        self.changed.notify_all();
        Ok(())
    }

    /// Queues a serialized event. A STREAM_START makes the queue accept audio again.
    ///
    /// # Errors
    /// [`gst::FlowError::Flushing`] during a flush and after [`Self::stop`].
    pub fn push_event(&self, event: gst::Event) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        if state.is_interrupted() {
            return Err(gst::FlowError::Flushing);
        }
        match event.view() {
            gst::EventView::Gap(gap) => {
                let (start, duration) = gap.get();
                let end = start.saturating_add(duration.unwrap_or_default());
                state.push_gap(start, end);
            }
            gst::EventView::StreamStart(_) => {
                state.accept_audio();
                state.items.push_back(Item::Event(event));
            }
            _ => state.items.push_back(Item::Event(event)),
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Asks the worker to rescan the source pads. One request serves all that precede its handling.
    pub fn push_pads(&self) {
        let mut state = lock(&self.state);
        let is_queued = state.items.iter().any(|item| matches!(item, Item::Pads));
        if state.gate == Gate::Stopped || is_queued {
            return;
        }
        state.items.push_back(Item::Pads);
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub fn push_panic(&self) {
        lock(&self.state).items.push_back(Item::Panic);
        self.changed.notify_all();
    }

    /// Begins a flush: drops the audio and the events that upstream repeats, and cancels inference.
    pub fn flush_start(&self) {
        let mut state = lock(&self.state);
        if state.gate != Gate::Stopped {
            state.gate = Gate::Flushing;
        }
        state.retain(|item| match item {
            Item::Event(event) => {
                let is_repeated = [gst::EventType::Segment, gst::EventType::Eos];
                event.is_sticky() && !is_repeated.contains(&event.type_())
            }
            Item::Audio(_) | Item::Dropped { .. } | Item::Gap { .. } => false,
            _ => true,
        });
        self.inference.cancel();
        self.changed.notify_all();
    }

    /// Ends a flush: waits until the worker has no item in hand, calls `forward`, and opens the
    /// queue.
    pub fn flush_stop(&self, forward: impl FnOnce() -> bool) -> bool {
        let mut state = lock(&self.state);
        while state.is_busy() && state.gate != Gate::Stopped {
            state = self.wait(state);
        }
        drop(state);
        let forwarded = forward();
        let mut state = lock(&self.state);
        if state.gate != Gate::Stopped {
            state.gate = Gate::Open;
        }
        state.flushed = true;
        state.accept_audio();
        self.changed.notify_all();
        forwarded
    }

    /// Cancels the current work, drops all items and lets the worker return.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.gate = Gate::Stopped;
        state.retain(|_| false);
        self.loading.cancel();
        self.inference.cancel();
        self.changed.notify_all();
    }

    /// Marks the worker idle and blocks for the next item, which is [`Item::Quiet`] at the
    /// `deadline`; `None` after [`Self::stop`]. The flag is set if there was a flush between this
    /// item and the one before.
    pub fn take(&self, deadline: Option<Instant>) -> Option<(Item, bool)> {
        let mut state = lock(&self.state);
        state.end_push();
        state.activity = Activity::Idle;
        self.changed.notify_all();
        loop {
            let item = match state.gate {
                Gate::Stopped => return None,
                Gate::Flushing => None,
                Gate::Open => {
                    let is_due = || deadline.is_some_and(|deadline| deadline <= Instant::now());
                    state.pop().or_else(|| is_due().then_some(Item::Quiet))
                }
            };
            if let Some(item) = item {
                state.activity = Activity::Pushing;
                self.changed.notify_all();
                return Some((item, std::mem::take(&mut state.flushed)));
            }
            state = match deadline.filter(|_| state.gate == Gate::Open) {
                None => self.wait(state),
                Some(deadline) => self.wait_until(deadline, state),
            };
        }
    }

    fn wait_until<'a>(
        &self,
        deadline: Instant,
        state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Runs a computation of the worker. Audio that arrives in the meantime does not wait because
    /// of downstream.
    pub fn computing<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = lock(&self.state);
        state.end_push();
        state.activity = Activity::Computing;
        drop(state);
        let result = work();
        lock(&self.state).activity = Activity::Pushing;
        result
    }

    /// Returns whether no item waits.
    pub fn is_empty(&self) -> bool {
        lock(&self.state).items.is_empty()
    }

    /// Returns the number of queued samples that wait for the recognition, not because downstream
    /// blocked.
    pub fn backlog_samples(&self) -> usize {
        let state = lock(&self.state);
        state.samples - state.blocked_samples()
    }

    /// Returns whether the results of the current item are no longer needed.
    pub fn is_interrupted(&self) -> bool {
        lock(&self.state).is_interrupted()
    }

    /// Re-applies a pending cancellation after the engine's stream was reset, which clears it.
    pub fn renew_cancellation(&self) {
        let state = lock(&self.state);
        if state.is_interrupted() {
            self.inference.cancel();
        }
    }

    /// Makes [`Self::push_audio`] return an error until the next flush, STREAM_START or linked
    /// source pad, and drops the queued audio of this stream. If another stream is queued, the
    /// error does not apply to it.
    pub fn refuse_audio(&self, error: gst::FlowError) {
        let mut state = lock(&self.state);
        let mut is_this_stream = true;
        state.retain(|item| match item {
            Item::Audio(_) | Item::Dropped { .. } => !is_this_stream,
            Item::Event(event) if event.type_() == gst::EventType::StreamStart => {
                is_this_stream = false;
                true
            }
            _ => true,
        });
        if is_this_stream && state.flow == Flow::Accepted {
            state.flow = Flow::Refused(error);
        }
        self.changed.notify_all();
    }

    /// Makes [`Self::push_audio`] return an error for the rest of the run, and drops all queued
    /// audio.
    pub fn fail(&self) {
        let mut state = lock(&self.state);
        state.retain(|item| !matches!(item, Item::Audio(_) | Item::Dropped { .. }));
        state.flow = Flow::Failed(gst::FlowError::Error);
        self.changed.notify_all();
    }

    /// Accepts audio again after [`Self::refuse_audio`].
    pub fn accept_audio(&self) {
        lock(&self.state).accept_audio();
    }

    /// Releases all threads that wait for a worker that has ended.
    pub fn abandon(&self) {
        self.fail();
        lock(&self.state).activity = Activity::Idle;
        self.changed.notify_all();
    }
}
