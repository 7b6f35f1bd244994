// SPDX-License-Identifier: MPL-2.0

//! Decides whose voice each speaker of the diarizer has, from embeddings of their speech.
//!
//! The diarizer's speakers are slots: after a while, another person may occupy one, and a person may
//! come back in another one. The voice in a slot is compared with the known voices as soon as there
//! is enough of it. From then on, each window is compared with the person in the slot. If windows
//! stop matching for long enough, the person in the slot is determined again, from the first of
//! them.

use crate::identification::known_speakers::{KnownSpeaker, KnownSpeakers};
use crate::identification::voice_print::VoicePrint;

/// Thresholds of similarity and durations of speech that decisions need.
#[derive(Clone, Copy, Debug)]
pub struct Decisions {
    /// Similarity from which two voices are the same person's.
    pub threshold: f32,
    /// By how much single windows of one voice may be less similar.
    pub tolerance: f32,
    /// By how much a window has to be more similar to another person to be of that one.
    pub margin: f32,
    /// Similarity from which two people turn out to be one.
    pub merge_threshold: f32,
    /// Speech after which a known voice is recognized.
    pub known_seconds: f32,
    /// Speech after which a voice is a new person's.
    pub new_seconds: f32,
    /// Speech of which a person has to have at least so much not to be merged into another one.
    pub settled_seconds: f32,
    /// Frames of simultaneous speech after which two slots are different people.
    pub overlap_frames: u32,
}

/// A decision about a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Index of the diarizer's speaker.
    pub slot: usize,
    /// Number of the person.
    pub identity: u64,
    /// Similarity to the voice of the person before this speech; 1 for a new person.
    pub score: f32,
    /// First frame from which this holds.
    pub since_frame: u64,
    /// The person of whom all earlier speech is also this person's.
    pub replaces: Option<u64>,
}

/// The voice in a slot.
#[derive(Clone, Debug, Default)]
struct Slot {
    identity: Option<u64>,
    /// Speech since the voice changed that is not decided yet, and its first frame.
    undecided: Option<(VoicePrint, u64)>,
}

/// The voices in all slots.
pub struct Tracker {
    decisions: Decisions,
    slots: Vec<Slot>,
    /// Frames in which two slots were active at once, `[slots * slots]`.
    overlaps: Vec<u32>,
}

impl Tracker {
    /// Creates a tracker of empty slots.
    pub fn new(decisions: Decisions, slots: usize) -> Self {
        let overlaps = vec![0; slots * slots];
        Self { decisions, slots: vec![Slot::default(); slots], overlaps }
    }

    /// Returns the thresholds.
    pub fn decisions(&self) -> Decisions {
        self.decisions
    }

    /// Empties all slots.
    pub fn reset(&mut self) {
        *self = Self::new(self.decisions, self.slots.len());
    }

    /// Begins again at frame 0 with the same people in the slots.
    pub fn rewind(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.undecided = None);
    }

    /// Counts a frame in which two slots were active at once.
    pub fn add_overlap(&mut self, a: usize, b: usize) {
        for index in [a * self.slots.len() + b, b * self.slots.len() + a] {
            if let Some(frames) = self.overlaps.get_mut(index) {
                *frames = frames.saturating_add(1);
            }
        }
    }

    /// Adds speech of a slot from `frame` on, and returns a decision if there is a new one.
    pub fn observe(
        &mut self,
        known: &mut KnownSpeakers,
        slot: usize,
        voice: &VoicePrint,
        frame: u64,
    ) -> Option<Decision> {
        let current = self.slots.get(slot)?.identity;
        if let Some(identity) = current
            && let Some(score) = self.fit(known, slot, identity, voice)
        {
            if score >= self.decisions.threshold {
                known.learn(identity, voice);
            }
            self.slots[slot].undecided = None;
            return self.merge(known, slot, identity);
        }
        let same = self.decisions.threshold - self.decisions.tolerance;
        let undecided = &mut self.slots[slot].undecided;
        let (voice, since_frame) = match undecided.take() {
            Some((mut before, start)) if before.similarity(voice) >= same => {
                before.add(voice);
                (before, start)
            }
            _ => (voice.clone(), frame),
        };
        *undecided = Some((voice.clone(), since_frame));
        let allowed = |known: &KnownSpeaker| !self.is_beside(slot, known.identity);
        let closest = known.closest(&voice, allowed).map(|(known, score)| (known.identity, score));
        let (identity, score) = match closest {
            Some((identity, score))
                if score >= self.decisions.threshold
                    && voice.seconds() >= self.decisions.known_seconds =>
            {
                known.learn(identity, &voice);
                (identity, score)
            }
            _ if voice.seconds() >= self.decisions.new_seconds => (known.add(voice), 1.0),
            _ => return None,
        };
        self.slots[slot] = Slot { identity: Some(identity), undecided: None };
        (current != Some(identity)).then_some(Decision {
            slot,
            identity,
            score,
            since_frame,
            replaces: None,
        })
    }

    /// Returns the similarity of a window to the person in its slot, unless it is of another person.
    fn fit(
        &self,
        known: &KnownSpeakers,
        slot: usize,
        identity: u64,
        voice: &VoicePrint,
    ) -> Option<f32> {
        let score = known.get(identity)?.voice.similarity(voice);
        let is_another = |other: &KnownSpeaker| {
            other.identity != identity && !self.is_beside(slot, other.identity)
        };
        let other = known.closest(voice, is_another).map_or(-1.0, |(_, score)| score);
        let fits = score >= self.decisions.threshold - self.decisions.tolerance
            && other <= score + self.decisions.margin;
        fits.then_some(score)
    }

    /// Returns whether a person is in another slot that was active at the same time as this one.
    fn is_beside(&self, slot: usize, identity: u64) -> bool {
        self.slots.iter().enumerate().any(|(other, it)| {
            other != slot
                && it.identity == Some(identity)
                && self.overlaps[slot * self.slots.len() + other] >= self.decisions.overlap_frames
        })
    }

    /// Merges the person in a slot into another one if their voices have become similar, unless both
    /// are enrolled or the person is known well enough.
    fn merge(&mut self, known: &mut KnownSpeakers, slot: usize, identity: u64) -> Option<Decision> {
        let person = known.get(identity)?;
        if person.is_enrolled || person.voice.seconds() > self.decisions.settled_seconds {
            return None;
        }
        let voice = person.voice.clone();
        let allowed = |other: &KnownSpeaker| {
            other.identity != identity && !self.is_beside(slot, other.identity)
        };
        let (other, score) = known.closest(&voice, allowed)?;
        if score < self.decisions.merge_threshold {
            return None;
        }
        let into = other.identity;
        known.merge(identity, into);
        for slot in self.slots.iter_mut().filter(|slot| slot.identity == Some(identity)) {
            slot.identity = Some(into);
        }
        let replaces = Some(identity);
        Some(Decision { slot, identity: into, score, since_frame: 0, replaces })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr1;

    use super::*;

    const DECISIONS: Decisions = Decisions {
        threshold: 0.8,
        tolerance: 0.1,
        margin: 0.05,
        merge_threshold: 0.86,
        known_seconds: 2.0,
        new_seconds: 3.0,
        settled_seconds: 20.0,
        overlap_frames: 5,
    };

    /// Two seconds of the voice at an angle in degrees.
    fn voice(degrees: f32) -> VoicePrint {
        let angle = degrees.to_radians();
        VoicePrint::new(arr1(&[angle.cos(), angle.sin()]).view(), 2.0)
    }

    struct Rig {
        tracker: Tracker,
        known: KnownSpeakers,
        frame: u64,
    }

    impl Rig {
        fn new() -> Self {
            Self { tracker: Tracker::new(DECISIONS, 4), known: KnownSpeakers::default(), frame: 0 }
        }

        /// Adds a window and returns slot, identity and first frame of a decision.
        fn push(&mut self, slot: usize, degrees: f32) -> Option<(usize, u64, u64)> {
            let decision = self.tracker.observe(&mut self.known, slot, &voice(degrees), self.frame);
            self.frame += 25;
            decision.map(|decision| (decision.slot, decision.identity, decision.since_frame))
        }
    }

    #[test]
    fn new_voices_are_new_people_and_known_ones_are_recognized() {
        let mut rig = Rig::new();
        assert_eq!(rig.push(0, 0.0), None);
        assert_eq!(rig.push(0, 5.0), Some((0, 1, 0)));
        assert_eq!(rig.push(1, 90.0), None);
        assert_eq!(rig.push(1, 90.0), Some((1, 2, 50)));
        assert_eq!(rig.push(0, 0.0), None);
        rig.tracker.reset();
        assert_eq!(rig.push(0, 85.0), Some((0, 2, 125)), "in another slot");
        assert_eq!(rig.known.list().len(), 2);
    }

    #[test]
    fn voice_in_a_slot_changes() {
        let mut rig = Rig::new();
        rig.push(0, 0.0);
        rig.push(0, 0.0);
        assert_eq!(rig.push(0, 60.0), None, "one window may be wrong");
        assert_eq!(rig.push(0, 0.0), None);
        assert_eq!(rig.push(0, 60.0), None);
        assert_eq!(rig.push(0, 60.0), Some((0, 2, 100)), "from the first window that differs");
        assert_eq!(rig.push(0, 0.0), Some((0, 1, 150)), "a known voice");
    }

    #[test]
    fn simultaneous_speakers_are_different_people() {
        let mut rig = Rig::new();
        rig.push(0, 0.0);
        rig.push(0, 0.0);
        for _ in 0..5 {
            rig.tracker.add_overlap(1, 0);
        }
        assert_eq!(rig.push(1, 10.0), None);
        assert_eq!(rig.push(1, 10.0), Some((1, 2, 50)));
        assert_eq!(rig.push(2, 10.0), Some((2, 2, 100)), "a speaker in two slots");
    }

    #[test]
    fn young_people_are_merged_when_their_voices_converge() {
        let mut rig = Rig::new();
        (0..10).for_each(|_| _ = rig.push(0, 0.0));
        rig.push(1, 50.0);
        assert_eq!(rig.push(1, 50.0), Some((1, 2, 250)));
        let mut merged = None;
        for _ in 0..7 {
            assert_eq!((merged, rig.known.list().len()), (None, 2));
            merged = rig.push(1, 25.0);
        }
        assert_eq!(merged, Some((1, 1, 0)));
        assert_eq!(rig.known.list().len(), 1);
    }

    #[test]
    fn enrolled_people_are_recognized_early_and_never_merged() {
        let mut rig = Rig::new();
        rig.known.enroll("Ada", voice(0.0));
        rig.known.enroll("Grace", voice(30.0));
        assert_eq!(rig.push(3, 28.0), Some((3, 2, 0)));
        for _ in 0..3 {
            assert_eq!(rig.push(3, 20.0), None);
        }
        assert_eq!(rig.known.list().len(), 2);
        assert_eq!(rig.known.get(2).and_then(|known| known.name.as_deref()), Some("Grace"));
    }
}
