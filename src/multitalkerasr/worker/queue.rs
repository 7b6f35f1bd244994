// SPDX-License-Identifier: MPL-2.0

//! The bounded queue between the chain function and the worker, and the canceling of what the
//! worker does.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::multitalkerasr::input::Audio;
use crate::multitalkerasr::input::timeline::{duration_of, is_continuous};
use multitalker_asr::Canceller;
use multitalker_asr::SAMPLE_RATE_HZ;
use multitalker_asr::lock::lock;

/// Why live audio is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Recognition, or loading the model, takes longer than the audio.
    Recognition,
    /// Pushing the text takes longer than the audio.
    Downstream,
}

/// What the worker is given.
#[derive(Debug)]
pub enum Item {
    Audio(Audio),
    Event(gst::Event),
    /// One GAP event or several that touch, all of them too short for a discontinuity or none.
    Gap {
        start: gst::ClockTime,
        end: gst::ClockTime,
        is_short: bool,
    },
    /// Audio that was dropped.
    Missing {
        from: gst::ClockTime,
        to: gst::ClockTime,
        cause: Cause,
    },
    /// Source pads came or went.
    Pads,
    /// Nothing came before the deadline.
    Quiet,
    #[cfg(test)]
    Panic,
}

impl Item {
    fn samples(&self) -> usize {
        match self {
            Self::Audio(audio) => audio.samples.len(),
            _ => 0,
        }
    }
}

/// A push during which less audio than this comes is not the reason why audio waits: 100 ms.
const MIN_BLOCKED_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 10;

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
    /// The worker loads or recognizes; with an item in hand it otherwise waits for downstream.
    computing: bool,
    /// Samples that came since the worker stopped computing.
    came_in_push: usize,
    /// Of the queued samples, how many more there are because downstream blocked.
    blocked_samples: usize,
    /// The worker must forget all before its next item.
    flushed: bool,
    /// What the chain function returns.
    flow: Result<(), gst::FlowError>,
    /// Nothing will be recognized any more: `flow` stays an error.
    failed: bool,
}

impl QueueState {
    fn accept_audio(&mut self) {
        if !self.failed {
            self.flow = Ok(());
        }
    }

    /// Counts the samples that came while downstream blocked.
    fn end_push(&mut self) {
        if self.came_in_push >= MIN_BLOCKED_SAMPLES {
            self.blocked_samples += self.came_in_push;
        }
        self.came_in_push = 0;
        self.blocked_samples = self.blocked_samples.min(self.queued_samples);
    }

    /// Of the queued samples, how many more there are because downstream blocked or blocks.
    fn blocked_samples(&self) -> usize {
        let now = match self.came_in_push {
            0..MIN_BLOCKED_SAMPLES => 0,
            came => came,
        };
        self.queued_samples.min(self.blocked_samples + now)
    }

    /// Queues the time of a GAP event, so that the events of a sparse stream, which come all at once,
    /// take no more room than one.
    fn push_gap(&mut self, start: gst::ClockTime, end: gst::ClockTime) {
        let short = is_continuous(start, end);
        match self.items.back_mut() {
            Some(Item::Gap { start: first, end: last, is_short })
                if *is_short == short && (*first..=*last).contains(&start) =>
            {
                *last = end.max(*last);
            }
            _ => self.items.push_back(Item::Gap { start, end, is_short: short }),
        }
    }

    fn clear_audio(&mut self) {
        self.queued_samples = 0;
        self.came_in_push = 0;
        self.blocked_samples = 0;
    }

    /// Drops audio from the front, as one piece, until at most `max_samples` are left.
    fn drop_oldest(&mut self, max_samples: usize) {
        let cause = match self.blocked_samples() > self.queued_samples / 2 {
            true => Cause::Downstream,
            false => Cause::Recognition,
        };
        let is_audio = |item: &Item| matches!(item, Item::Audio(_));
        while self.queued_samples > max_samples
            && let Some(index) = self.items.iter().position(is_audio)
            && let Some(Item::Audio(Audio { pts, samples, .. })) = self.items.remove(index)
        {
            self.queued_samples -= samples.len();
            let end = pts.saturating_add(duration_of(samples.len()));
            match index.checked_sub(1).and_then(|before| self.items.get_mut(before)) {
                Some(Item::Missing { to, cause: known, .. }) if is_continuous(*to, pts) => {
                    (*to, *known) = (end, cause);
                }
                _ => self.items.insert(index, Item::Missing { from: pts, to: end, cause }),
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
                // It begins with loading the model.
                computing: true,
                came_in_push: 0,
                blocked_samples: 0,
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

    /// Queues audio. If the queue holds `max_samples`, a live source makes room by dropping the
    /// oldest, and any other waits for room.
    pub fn push_audio(&self, audio: Audio, max_samples: usize) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        loop {
            if state.flushing || state.stopping {
                return Err(gst::FlowError::Flushing);
            }
            state.flow?;
            if audio.live {
                if state.queued_samples + audio.samples.len() > max_samples {
                    // By half, so that there are few gaps.
                    state.drop_oldest(max_samples / 2);
                }
                break;
            }
            if state.queued_samples < max_samples {
                break;
            }
            state = self.wait(state);
        }
        state.queued_samples += audio.samples.len();
        if state.busy && !state.computing {
            state.came_in_push += audio.samples.len();
        }
        state.items.push_back(Item::Audio(audio));
        self.changed.notify_all();
        Ok(())
    }

    /// Queues a serialized event, unless flushing. Audio is taken again after a STREAM_START.
    pub fn push_event(&self, event: gst::Event) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        if state.flushing || state.stopping {
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

    /// Asks the worker to update its pads. One request serves all that have come before the worker
    /// takes it.
    pub fn push_pads(&self) {
        let mut state = lock(&self.state);
        if state.stopping || state.items.iter().any(|item| matches!(item, Item::Pads)) {
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
            Item::Audio(_) | Item::Missing { .. } | Item::Gap { .. } => false,
            _ => true,
        });
        state.clear_audio();
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
        state.clear_audio();
        self.loading.cancel();
        self.inference.cancel();
        self.changed.notify_all();
    }

    /// Puts the item in hand down and waits for the next, which is [`Item::Quiet`] at the
    /// `deadline`; `None` when stopping. The flag says whether there was a flush between the two.
    pub fn take(&self, deadline: Option<Instant>) -> Option<(Item, bool)> {
        let mut state = lock(&self.state);
        state.end_push();
        state.busy = false;
        state.computing = false;
        self.changed.notify_all();
        loop {
            if state.stopping {
                return None;
            }
            if !state.flushing
                && let Some(item) = state.items.pop_front()
            {
                if let Item::Audio(audio) = &item {
                    state.queued_samples -= audio.samples.len();
                    state.blocked_samples = state.blocked_samples.min(state.queued_samples);
                }
                state.busy = true;
                self.changed.notify_all();
                return Some((item, std::mem::take(&mut state.flushed)));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state = match left.filter(|_| !state.flushing) {
                None => self.wait(state),
                Some(Duration::ZERO) => {
                    state.busy = true;
                    return Some((Item::Quiet, std::mem::take(&mut state.flushed)));
                }
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Does work of the worker that needs nobody else, so that what comes in the meantime does not
    /// wait because of downstream.
    pub fn computing<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = lock(&self.state);
        state.end_push();
        state.computing = true;
        drop(state);
        let result = work();
        lock(&self.state).computing = false;
        result
    }

    /// Whether nothing waits for the worker.
    pub fn is_empty(&self) -> bool {
        lock(&self.state).items.is_empty()
    }

    /// Samples that wait because recognition is slow, and not because downstream blocked.
    pub fn backlog_samples(&self) -> usize {
        let state = lock(&self.state);
        state.queued_samples - state.blocked_samples()
    }

    /// Whether what is in hand is of no use any more.
    pub fn is_interrupted(&self) -> bool {
        let state = lock(&self.state);
        state.flushing || state.stopping
    }

    /// Cancels again what an engine that was reset has forgotten to have been canceled.
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
            Item::Audio(_) | Item::Missing { .. } => !is_refused,
            Item::Event(event) if event.type_() == gst::EventType::StreamStart => {
                is_refused = for_good;
                true
            }
            _ => true,
        });
        state.clear_audio();
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

    const SECOND: usize = SAMPLE_RATE_HZ as usize;
    const MAX_SAMPLES: usize = 100;

    fn audio(pts: gst::ClockTime, samples: usize, live: bool) -> Audio {
        Audio { pts, samples: vec![0.0; samples], resync: false, live }
    }

    /// Pushes audio of a source that is not live.
    fn push(queue: &Queue, pts: gst::ClockTime, samples: usize) -> Result<(), gst::FlowError> {
        queue.push_audio(audio(pts, samples, false), MAX_SAMPLES)
    }

    /// Pushes a second of live audio.
    fn push_live(queue: &Queue, second: u64, max_samples: usize) {
        let audio = audio(gst::ClockTime::from_seconds(second), SECOND, true);
        queue.push_audio(audio, max_samples).expect("accepted");
    }

    fn event() -> gst::Event {
        gst::init().expect("GStreamer");
        gst::event::Eos::new()
    }

    fn is_audio(taken: Option<(Item, bool)>) -> Option<bool> {
        taken.map(|(item, _)| matches!(item, Item::Audio(_)))
    }

    fn queued_samples(queue: &Queue) -> usize {
        lock(&queue.state).queued_samples
    }

    /// With times in whole seconds.
    fn describe(item: Item) -> String {
        match item {
            Item::Audio(audio) => format!("audio {}", audio.pts.seconds()),
            Item::Missing { from, to, cause } => {
                format!("missing {}-{} {cause:?}", from.seconds(), to.seconds())
            }
            Item::Gap { start, end, is_short } => {
                format!("gap {}-{} {is_short}", start.mseconds(), end.mseconds())
            }
            Item::Event(_) => "event".to_owned(),
            Item::Pads => "pads".to_owned(),
            Item::Quiet => "quiet".to_owned(),
            Item::Panic => "panic".to_owned(),
        }
    }

    #[test]
    fn order_is_kept() {
        let queue = Queue::new();
        push(&queue, gst::ClockTime::ZERO, 10).expect("accepted");
        assert_eq!(queue.push_event(event()), Ok(()));
        push(&queue, gst::ClockTime::ZERO, 10).expect("accepted");
        let taken: Vec<_> = (0..3).map(|_| is_audio(queue.take(None))).collect();
        assert_eq!(taken, [Some(true), Some(false), Some(true)]);
    }

    #[test]
    fn audio_waits_for_room() {
        let queue = Queue::new();
        push(&queue, gst::ClockTime::ZERO, MAX_SAMPLES).expect("accepted");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| push(&queue, gst::ClockTime::SECOND, 1));
            // Both come out, however the threads meet.
            assert_eq!(is_audio(queue.take(None)), Some(true));
            assert_eq!(is_audio(queue.take(None)), Some(true));
            assert_eq!(second.join().expect("no panic"), Ok(()));
        });
    }

    #[test]
    fn flush_drops_all_and_releases_those_who_wait() {
        let queue = Queue::new();
        push(&queue, gst::ClockTime::ZERO, MAX_SAMPLES).expect("accepted");
        assert_eq!(queue.push_event(event()), Ok(()));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| push(&queue, gst::ClockTime::SECOND, 1));
            queue.flush_start();
            assert_eq!(waiting.join().expect("no panic"), Err(gst::FlowError::Flushing));
        });
        assert!(queue.inference.is_canceled() && !queue.loading.is_canceled());
        assert_eq!(queue.push_event(event()), Err(gst::FlowError::Flushing));
        assert!(queue.flush_stop(|| true));
        push(&queue, gst::ClockTime::ZERO, 1).expect("accepted");
        let (item, flushed) = queue.take(None).expect("an item");
        assert!(matches!(item, Item::Audio(audio) if audio.samples.len() == 1) && flushed);
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
        let taken = || match queue.take(None).expect("an item") {
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
        let push = || push(&queue, gst::ClockTime::ZERO, 1);
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
        assert!(queue.inference.is_canceled());
    }

    #[test]
    fn stopping_releases_the_worker() {
        let queue = Queue::new();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| queue.take(None).is_none());
            queue.stop();
            assert!(worker.join().expect("no panic"));
        });
        assert!(queue.loading.is_canceled() && queue.inference.is_canceled());
    }

    #[test]
    fn live_audio_drops_the_oldest_and_says_which() {
        let queue = Queue::new();
        let push = |second| push_live(&queue, second, 4 * SECOND);
        assert_eq!(queue.push_event(event()), Ok(()), "stays");
        (0..11).for_each(push);
        assert_eq!(queue.push_event(event()), Ok(()));
        let mut taken = Vec::new();
        for _ in 0..6 {
            taken.push(describe(queue.take(None).expect("an item").0));
        }
        // Four are left of the first six, two of each four from then on, and so forth.
        assert_eq!(taken[..2], ["event", "missing 0-8 Recognition"]);
        assert_eq!(taken[2..], ["audio 8", "audio 9", "audio 10", "event"]);
        assert_eq!(queued_samples(&queue), 0);

        // A jump of the times is not missing.
        [100, 101, 50, 51, 52].into_iter().for_each(|second| push_live(&queue, second, 2 * SECOND));
        let missing: Vec<_> =
            (0..2).map(|_| describe(queue.take(None).expect("an item").0)).collect();
        assert_eq!(missing, ["missing 100-102 Downstream", "missing 50-51 Downstream"]);
        while queued_samples(&queue) > 0 {
            queue.take(None);
        }

        // One buffer that is longer than the queue is taken whole.
        let long = audio(gst::ClockTime::ZERO, 3 * SECOND, true);
        queue.push_audio(long, SECOND).expect("accepted");
        assert_eq!(queued_samples(&queue), 3 * SECOND);
    }

    /// Audio that comes while the worker has an item in hand and does not compute.
    #[test]
    fn audio_that_waits_for_downstream_is_no_backlog() {
        let queue = Queue::new();
        let push = |second| push_live(&queue, second, 8 * SECOND);
        push(0);
        queue.take(None);
        // While it computes, one second comes; while it pushes, three.
        queue.computing(|| push(1));
        (2..5).for_each(push);
        assert_eq!(queue.backlog_samples(), SECOND);
        // As long as the backlog does not grow again, downstream is the cause of it.
        for second in 5..7 {
            queue.take(None);
            queue.computing(|| push(second));
            assert_eq!(queue.backlog_samples(), SECOND);
        }
        queue.computing(|| push(7));
        assert_eq!(queue.backlog_samples(), 2 * SECOND);
        while queued_samples(&queue) > 0 {
            queue.take(None);
        }
        assert_eq!(queue.backlog_samples(), 0);

        // More than half of it came during the push.
        queue.computing(|| (10..13).for_each(push));
        (13..19).for_each(push);
        assert_eq!(describe(queue.take(None).expect("an item").0), "missing 10-14 Downstream");
    }

    #[test]
    fn quiet_is_told_at_the_deadline_and_not_before() {
        let queue = Queue::new();
        let now = Instant::now;
        push(&queue, gst::ClockTime::ZERO, 1).expect("accepted");
        let take = |deadline| describe(queue.take(Some(deadline)).expect("an item").0);
        assert_eq!(take(now()), "audio 0");
        let deadline = now() + Duration::from_millis(20);
        assert_eq!(take(deadline), "quiet");
        assert!(now() >= deadline);
        // What was flushed is not drained.
        queue.flush_start();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| queue.take(Some(now())));
            queue.flush_stop(|| true);
            let taken = worker.join().expect("no panic");
            assert!(matches!(taken, Some((Item::Quiet, true))), "{taken:?}");
        });
    }

    #[test]
    fn gaps_that_touch_are_one() {
        gst::init().expect("GStreamer");
        let queue = Queue::new();
        let gap = |start_ms: u64, duration_ms: u64| {
            let time = gst::ClockTime::from_mseconds;
            let event = gst::event::Gap::builder(time(start_ms)).duration(time(duration_ms));
            queue.push_event(event.build()).expect("taken");
        };
        (0..100_000).for_each(|index| gap(index * 20, 20));
        (0..3).for_each(|index| gap(2_000_000 + index * 1000, 1000));
        gap(0, 1000);
        let taken: Vec<_> =
            (0..3).map(|_| describe(queue.take(None).expect("an item").0)).collect();
        assert_eq!(taken, ["gap 0-2000000 true", "gap 2000000-2003000 false", "gap 0-1000 false"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn one_update_of_the_pads_serves_all_requests() {
        let queue = Queue::new();
        (0..10).for_each(|_| queue.push_pads());
        push(&queue, gst::ClockTime::ZERO, 1).expect("accepted");
        queue.push_pads();
        assert_eq!(describe(queue.take(None).expect("an item").0), "pads");
        assert_eq!(describe(queue.take(None).expect("an item").0), "audio 0");
        assert!(queue.is_empty());
        queue.stop();
        queue.push_pads();
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_refused_of_one_stream_is_taken_of_the_next() {
        let queue = Queue::new();
        let push = |pts| push(&queue, pts, 1);
        push(gst::ClockTime::ZERO).expect("taken");
        queue.refuse_audio(gst::FlowError::Eos, false);
        assert_eq!(push(gst::ClockTime::ZERO), Err(gst::FlowError::Eos));
        let next = || {
            gst::init().expect("GStreamer");
            queue.push_event(gst::event::StreamStart::new("next")).expect("taken");
        };
        next();
        push(gst::ClockTime::SECOND).expect("taken");
        assert_eq!(is_audio(queue.take(None)), Some(false));
        // What is refused while the next stream already waits is of the one before it.
        next();
        push(2 * gst::ClockTime::SECOND).expect("taken");
        queue.refuse_audio(gst::FlowError::Eos, false);
        push(3 * gst::ClockTime::SECOND).expect("taken");
        let left: Vec<_> = (0..3).map(|_| describe(queue.take(None).expect("an item").0)).collect();
        assert_eq!(left, ["event", "audio 2", "audio 3"]);
        assert_eq!(queued_samples(&queue), 0);

        queue.refuse_audio(gst::FlowError::NotLinked, false);
        queue.accept_audio();
        push(gst::ClockTime::ZERO).expect("taken");
        queue.refuse_audio(gst::FlowError::Error, true);
        next();
        queue.accept_audio();
        assert_eq!(push(gst::ClockTime::ZERO), Err(gst::FlowError::Error), "for good");
    }
}
