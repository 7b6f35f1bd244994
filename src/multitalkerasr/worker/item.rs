// SPDX-License-Identifier: MPL-2.0

//! Items of the worker's queue.

use crate::multitalkerasr::input::Audio;

/// Work for the worker.
#[derive(Debug)]
pub enum Item {
    Audio(Audio),
    /// A serialized event that is not a GAP.
    Event(gst::Event),
    /// One GAP event, or several adjacent ones. Either all of them are too short for a
    /// discontinuity, or none is.
    Gap {
        start: gst::ClockTime,
        end: gst::ClockTime,
        is_short: bool,
    },
    /// Audio that was dropped from the queue.
    Dropped {
        start: gst::ClockTime,
        end: gst::ClockTime,
        cause: Cause,
    },
    /// Source pads were linked, or released.
    Pads,
    /// Nothing arrived before the deadline.
    Quiet,
    #[cfg(test)]
    Panic,
}

impl Item {
    /// Returns the number of samples of audio in this item.
    pub fn samples(&self) -> usize {
        match self {
            Self::Audio(audio) => audio.samples.len(),
            _ => 0,
        }
    }
}

/// Reason why live audio is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Recognition, or loading the model, takes longer than the audio lasts.
    Recognition,
    /// Pushing the text takes longer than the audio lasts.
    Downstream,
}
