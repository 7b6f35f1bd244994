// SPDX-License-Identifier: MPL-2.0

//! State of the queue, which its lock protects.

use std::collections::VecDeque;

use crate::multitalkerasr::input::Audio;
use crate::multitalkerasr::input::timeline::is_continuous;
use crate::multitalkerasr::worker::item::{Cause, Item};
use crate::multitalkerasr::worker::overload;
use multitalker_asr::SAMPLE_RATE_HZ;

/// Minimum amount of audio, 100 ms, that must arrive during a push for downstream to count as the
/// cause of the backlog.
const MIN_BLOCKED_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 10;

/// Whether the queue accepts items and hands them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// Between FLUSH_START and FLUSH_STOP.
    Flushing,
    /// The worker must return.
    Stopped,
}

/// Current work of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It loads the model, before its first item.
    Loading,
    /// It waits for an item, or does not run.
    Idle,
    /// It recognizes the audio of an item.
    Computing,
    /// It handles an item in another way, in which only downstream can hold it up.
    Pushing,
}

/// Result of pushing audio, and whether it is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Accepted,
    /// Audio is refused until the next flush, stream, or newly linked source pad.
    Refused(gst::FlowError),
    /// Audio is refused for the rest of the run.
    Failed(gst::FlowError),
}

#[derive(Debug)]
pub struct State {
    pub items: VecDeque<Item>,
    /// Sum of the samples in `items`.
    pub samples: usize,
    pub gate: Gate,
    pub activity: Activity,
    pub flow: Flow,
    /// There was a flush, and the worker must discard its state before the next item.
    pub flushed: bool,
    /// Samples that arrived since the worker began to push.
    samples_during_push: usize,
    /// Queued samples that would not wait if downstream had not blocked.
    blocked_samples: usize,
}

impl State {
    pub fn new() -> Self {
        Self {
            items: VecDeque::new(),
            samples: 0,
            gate: Gate::Open,
            activity: Activity::Loading,
            flow: Flow::Accepted,
            flushed: false,
            samples_during_push: 0,
            blocked_samples: 0,
        }
    }

    pub fn is_interrupted(&self) -> bool {
        self.gate != Gate::Open
    }

    /// Returns whether the worker has an item in hand.
    pub fn is_busy(&self) -> bool {
        matches!(self.activity, Activity::Computing | Activity::Pushing)
    }

    /// Accepts audio again, unless the run has failed.
    pub fn accept_audio(&mut self) {
        if let Flow::Refused(_) = self.flow {
            self.flow = Flow::Accepted;
        }
    }

    pub fn push_audio(&mut self, audio: Audio) {
        self.samples += audio.samples.len();
        if self.activity == Activity::Pushing {
            self.samples_during_push += audio.samples.len();
        }
        self.items.push_back(Item::Audio(audio));
    }

    /// Queues the time of a GAP event. Adjacent events share an item, since those of a sparse
    /// stream arrive all at once.
    pub fn push_gap(&mut self, start: gst::ClockTime, end: gst::ClockTime) {
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

    /// Removes the first item.
    pub fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.samples -= item.samples();
        self.blocked_samples = self.blocked_samples.min(self.samples);
        Some(item)
    }

    /// Drops the oldest audio until at most `max_samples` are left.
    pub fn drop_oldest(&mut self, max_samples: usize) {
        let cause = match self.blocked_samples() > self.samples / 2 {
            true => Cause::Downstream,
            false => Cause::Recognition,
        };
        let excess = self.samples.saturating_sub(max_samples);
        self.samples -= overload::drop_oldest(&mut self.items, excess, cause);
    }

    /// Removes items, and forgets that downstream blocked.
    pub fn retain(&mut self, keep: impl FnMut(&Item) -> bool) {
        self.items.retain(keep);
        self.samples = self.items.iter().map(Item::samples).sum();
        self.samples_during_push = 0;
        self.blocked_samples = 0;
    }

    /// Ends a push, and counts the samples that waited because downstream blocked.
    pub fn end_push(&mut self) {
        self.blocked_samples = self.blocked_samples();
        self.samples_during_push = 0;
    }

    /// Returns the number of queued samples that would not wait if downstream had not blocked, or
    /// were not blocking now.
    pub fn blocked_samples(&self) -> usize {
        let now = match self.samples_during_push {
            0..MIN_BLOCKED_SAMPLES => 0,
            samples => samples,
        };
        self.samples.min(self.blocked_samples + now)
    }
}
