// SPDX-License-Identifier: MPL-2.0

//! Turns of the speakers, from the probabilities of a diarizer without a recognizer.
//!
//! A speaker is active in the frames whose probability exceeds the threshold. That is NeMo's
//! post-processing with its default parameters: onset and offset 0.5, without padding and without
//! minimum durations.

use ndarray::ArrayView2;

use crate::events::{Activity, Event, Progress, Turn};
use crate::options::ENCODED_FRAME_SAMPLES;

/// The speakers who are active, and since when.
pub struct Turns {
    threshold: f32,
    /// First frame of each speaker's current turn.
    open: Vec<Option<u64>>,
    next_frame: u64,
    progress: Progress,
    /// Events that were not taken yet.
    events: Vec<Event>,
}

impl Turns {
    /// Creates the turns of a number of speakers before the first frame.
    pub fn new(speakers: usize, threshold: f32) -> Self {
        Self {
            threshold,
            open: vec![None; speakers],
            next_frame: 0,
            progress: Progress::default(),
            events: Vec::new(),
        }
    }

    /// Returns to the state before the first frame.
    pub fn reset(&mut self) {
        *self = Self::new(self.open.len(), self.threshold);
    }

    /// Adds the probabilities of the next frames, `[frames, speakers]`.
    pub fn add_probabilities(&mut self, rows: ArrayView2<'_, f32>) {
        for row in rows.rows() {
            let is_active = |speaker: usize| row[speaker] > self.threshold;
            let is_active: Vec<bool> = (0..self.open.len()).map(is_active).collect();
            self.change(self.next_frame * ENCODED_FRAME_SAMPLES, &is_active);
            self.next_frame += 1;
        }
        let end = self.next_frame * ENCODED_FRAME_SAMPLES;
        self.progress = Progress { decoded: end, words: end, segments: end };
    }

    /// Ends all turns; `end` is the number of samples in the audio.
    pub fn finish(&mut self, end: u64) {
        let silence = vec![false; self.open.len()];
        self.change(end.min(self.next_frame * ENCODED_FRAME_SAMPLES), &silence);
        self.progress = Progress { decoded: end, words: end, segments: end };
    }

    /// Returns the progress.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Returns the events since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Emits the turns that end at `sample`, and the speakers from there on if they change.
    fn change(&mut self, sample: u64, is_active: &[bool]) {
        let mut changes = false;
        for (speaker, (open, &is_active)) in self.open.iter_mut().zip(is_active).enumerate() {
            changes |= open.is_some() != is_active;
            if is_active {
                open.get_or_insert(sample);
            } else if let Some(start_sample) = open.take() {
                self.events.push(Event::Turn(Turn { speaker, start_sample, end_sample: sample }));
            }
        }
        if changes {
            let speakers = (0..is_active.len()).filter(|&speaker| is_active[speaker]).collect();
            self.events.push(Event::Activity(Activity { start_sample: sample, speakers }));
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, aview2};

    use super::*;

    fn activity(frame: u64, speakers: &[usize]) -> Event {
        let start_sample = frame * ENCODED_FRAME_SAMPLES;
        Event::Activity(Activity { start_sample, speakers: speakers.to_vec() })
    }

    fn turn(speaker: usize, start_sample: u64, end_sample: u64) -> Event {
        Event::Turn(Turn { speaker, start_sample, end_sample })
    }

    #[test]
    fn each_change_and_each_turn_is_an_event() {
        let mut turns = Turns::new(2, 0.5);
        turns.add_probabilities(aview2(&[[0.5, 0.0], [0.6, 0.0], [0.9, 0.0]]));
        assert_eq!(turns.take_events(), [activity(1, &[0])], "the threshold must be exceeded");
        assert_eq!(turns.progress().words, 3 * 1280);
        turns.add_probabilities(aview2(&[[0.9, 0.7], [0.0, 0.7], [0.0, 0.7]]));
        let expected = [activity(3, &[0, 1]), turn(0, 1280, 4 * 1280), activity(4, &[1])];
        assert_eq!(turns.take_events(), expected);
        // The audio ends within the last frame.
        turns.finish(6 * 1280 - 100);
        let Some(Event::Activity(last)) = turns.events.pop() else { panic!("{:?}", turns.events) };
        assert_eq!((last.start_sample, last.speakers), (6 * 1280 - 100, Vec::new()));
        assert_eq!(turns.take_events(), [turn(1, 3 * 1280, 6 * 1280 - 100)]);
        assert_eq!(turns.progress().segments, 6 * 1280 - 100);
    }

    #[test]
    fn silence_is_no_event() {
        let mut turns = Turns::new(3, 0.5);
        turns.add_probabilities(Array2::zeros((20, 3)).view());
        turns.finish(20 * 1280);
        assert_eq!(turns.take_events(), []);
        turns.reset();
        assert_eq!(turns.progress(), Progress::default());
    }
}
