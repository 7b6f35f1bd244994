// SPDX-License-Identifier: MPL-2.0

//! Identification: whose voice each speaker of the diarizer has.
//!
//! The diarizer distinguishes a few speakers at a time by numbers, which mean other people in the
//! next conversation and may do so within one. Identification compares voices instead. It cuts the
//! speech in which one person speaks alone into windows, computes an embedding of each, and finds
//! the person whose voice it is: an enrolled one, one who spoke before, or a new one.

mod enrollment;
pub mod features;
mod known_speakers;
mod solo_speech;
mod store;
mod tracker;
mod voice_print;

use std::io;
use std::path::Path;
use std::sync::Arc;

use ndarray::ArrayView2;

use crate::cancel::Canceller;
use crate::error::Error;
use crate::events::{Event, Segment, Word};
use crate::features::{MAX_AMPLITUDE, SAMPLE_RATE_HZ};
use crate::identification::known_speakers::KnownSpeakers;
use crate::identification::solo_speech::{SoloSpeech, Window, WindowLengths};
use crate::identification::tracker::{Decisions, Tracker};
use crate::identification::voice_print::VoicePrint;
use crate::models::SpeakerEmbeddingModel;
use crate::options::ENCODED_FRAME_SAMPLES;

/// Windows of speech in frames of 80 ms: at least 1.2 s, at most 2.4 s, with parts at most 10 s
/// apart.
const WINDOWS: WindowLengths = WindowLengths { min: 15, max: 30, max_gap: 125 };

/// Probability above which two speakers count as active at the same time.
const OVERLAPPING: f32 = 0.5;

/// Time by which the first word of some speech may begin before its first window, in frames of 80 ms.
const ONSET_FRAMES: u64 = 3;

/// Number of changes of a speaker that are remembered; words are only about the last ones.
const MAX_HISTORY: usize = 64;

/// By how much single windows of one voice may be less similar than their mean.
const TOLERANCE: f32 = 0.1;

/// By how much a window has to be more similar to another person than to the one in its slot.
const MARGIN: f32 = 0.05;

/// Level to which all speech is scaled, -30 dB below full scale.
const LEVEL: f32 = 0.0316;

/// Level of the quietest speech, -80 dB below full scale.
const MIN_LEVEL: f32 = 1e-4;

/// Silence after which the diarizer forgets its speakers: 4 s. People who stay are recognized by
/// their voices, and those who come get room.
const FORGET_FRAMES: u64 = 50;

/// Options of an [`Identification`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IdentificationOptions {
    /// Cosine similarity from which two voices are the same person's, more than 0 and less than 1.
    /// It depends on the model; `None` takes the model's own.
    pub threshold: Option<f32>,
}

/// A statement about whose voice a speaker has. A later one about the same speaker and time corrects
/// it.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeakerIdentity {
    /// Index of the speaker.
    pub speaker: usize,
    /// Number of the person, at least 1, which no other person of this [`Identification`] has.
    pub identity: u64,
    /// Name of the person, unless it is unknown.
    pub name: Option<String>,
    /// Cosine similarity of this speech and the person's voice, from -1 to 1; 1 for a person who was
    /// not known before.
    pub score: f32,
    /// First sample of the speech from which this holds, until the next statement about the speaker.
    pub since_sample: u64,
    /// The number of a person who turned out to be the same one. Everything that was attributed to
    /// it is this person's.
    pub replaces: Option<u64>,
}

/// Identifies the speakers of a stream by their voices, see
/// [`Stream::set_identification`](crate::Stream::set_identification). It outlives the stream and
/// keeps the people.
pub struct Identification {
    model: Arc<SpeakerEmbeddingModel>,
    known: KnownSpeakers,
    tracker: Tracker,
    solo: SoloSpeech,
    /// Samples from `first_sample` on.
    samples: Vec<f32>,
    first_sample: u64,
    /// Frames added, and the last frame in which someone was active.
    frames: u64,
    last_active: u64,
    /// Whether the diarizer has speakers to forget.
    is_occupied: bool,
    /// Since which sample each speaker is which person, in order; `None` while that is unknown.
    history: Vec<Vec<(u64, Option<u64>)>>,
    /// Samples at which the diarizer forgot its speakers, and how often it did so before.
    forgotten: Vec<u64>,
    forgotten_before: u64,
    /// Statements that were not taken yet.
    statements: Vec<SpeakerIdentity>,
}

impl Identification {
    /// Creates an identification without known people.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the threshold is out of range.
    pub fn new(
        model: Arc<SpeakerEmbeddingModel>,
        options: IdentificationOptions,
    ) -> Result<Self, Error> {
        let threshold = options.threshold.unwrap_or(model.threshold());
        if !(threshold > 0.0 && threshold < 1.0) {
            return Err(Error::InvalidOption {
                option: "similarity of voices",
                expected: "more than 0 and less than 1".to_owned(),
                found: threshold.to_string(),
            });
        }
        Ok(Self {
            known: KnownSpeakers::default(),
            tracker: Tracker::new(decisions(threshold), 0),
            solo: SoloSpeech::new(WINDOWS),
            samples: Vec::new(),
            first_sample: 0,
            frames: 0,
            last_active: 0,
            is_occupied: false,
            history: Vec::new(),
            forgotten: Vec::new(),
            forgotten_before: 0,
            statements: Vec::new(),
            model,
        })
    }

    /// Reads the people of a file that [`Self::write`] wrote. Without a file, nobody is known.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] if the file holds anything else or cannot be read,
    /// [`Error::Mismatch`] if another model computed the voices, and [`Error::Canceled`].
    pub fn read(&mut self, path: &Path, canceller: &Canceller) -> Result<(), Error> {
        let (fingerprint, dimension) = (self.model.fingerprint(), self.model.dimension());
        self.known = store::read(path, fingerprint, dimension, canceller)?;
        Ok(())
    }

    /// Writes all people and their voices to a file that only its owner can read.
    ///
    /// # Errors
    /// [`io::Error`] if the folder is missing, is read-only, or has no space; an existing file is
    /// then unchanged.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        store::write(path, self.model.fingerprint(), &self.known)
    }

    /// Makes the people known whose recordings are in `folder`, as files `NAME.wav` or in folders
    /// `NAME`, in any format that `decode` turns into 16 kHz mono samples. Their voice prints are kept
    /// in a file in the folder, if it is writable. Returns a message about each recording that could
    /// not be used.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] or [`Error::UnreadableFile`] if the folder cannot be read or has too
    /// many files, [`Error::Inference`] or [`Error::Mismatch`] if the model fails, and the errors of
    /// `decode` besides [`Error::UnreadableFile`], which becomes a message.
    pub fn enroll_folder(
        &mut self,
        folder: &Path,
        decode: &mut dyn FnMut(&Path) -> Result<Vec<f32>, Error>,
        canceller: &Canceller,
    ) -> Result<Vec<String>, Error> {
        let enrollment = enrollment::enroll(folder, &self.model, decode, canceller)?;
        for (name, voice) in enrollment.voices {
            self.known.enroll(&name, voice);
        }
        Ok(enrollment.warnings)
    }

    /// Names a person. An empty name removes the name.
    pub fn set_name(&mut self, identity: u64, name: &str) {
        self.known.set_name(identity, name);
    }

    /// Returns the statements since the last call.
    pub fn take_statements(&mut self) -> Vec<SpeakerIdentity> {
        std::mem::take(&mut self.statements)
    }

    /// Returns the number of the person who has the voice of a speaker at a sample, as far as it is
    /// known.
    pub fn identity(&self, speaker: usize, sample: u64) -> Option<u64> {
        let history = self.history.get(speaker)?;
        let entry = history.iter().rev().find(|(since, _)| *since <= sample);
        entry.or(history.first())?.1
    }

    /// Returns how often the diarizer has forgotten its speakers before a sample. Each time, their
    /// indices begin again at 0.
    pub fn generation(&self, sample: u64) -> u64 {
        let here = self.forgotten.iter().filter(|forgotten| **forgotten <= sample).count();
        self.forgotten_before + here as u64
    }

    /// Splits the segments in which the voice of the speaker changes.
    pub(crate) fn split_segments(&self, events: Vec<Event>) -> Vec<Event> {
        let split = |event| match event {
            Event::Segment(Segment { speaker, words }) => {
                let identity = |word: &Word| self.identity(speaker, word.start_sample);
                let parts = words.chunk_by(|a, b| identity(a) == identity(b));
                let segment = |words: &[Word]| Segment { speaker, words: words.to_vec() };
                parts.map(segment).map(Event::Segment).collect()
            }
            event => vec![event],
        };
        events.into_iter().flat_map(split).collect()
    }

    /// Adds samples of the stream.
    pub(crate) fn push_audio(&mut self, samples: &[f32]) {
        let bounded = |sample: f32| match sample.is_finite() {
            true => sample.clamp(-MAX_AMPLITUDE, MAX_AMPLITUDE),
            false => 0.0,
        };
        self.samples.extend(samples.iter().map(|sample| bounded(*sample)));
    }

    /// Adds the probabilities of the next frames, `[frames, speakers]`. Returns whether the diarizer
    /// shall forget its speakers, since nobody has spoken for a while and other people may be next.
    ///
    /// # Errors
    /// [`Error::Inference`] or [`Error::Mismatch`] if the model fails, and [`Error::Canceled`].
    pub(crate) fn add_probabilities(
        &mut self,
        probabilities: ArrayView2<'_, f32>,
        canceller: &Canceller,
    ) -> Result<bool, Error> {
        let speakers = probabilities.ncols();
        if self.history.len() != speakers {
            self.tracker = Tracker::new(self.tracker.decisions(), speakers);
            self.history = vec![Vec::new(); speakers];
        }
        for row in probabilities.rows() {
            let active: Vec<_> = (0..speakers).filter(|&k| row[k] > OVERLAPPING).collect();
            for (index, &a) in active.iter().enumerate() {
                self.is_occupied = true;
                self.last_active = self.frames;
                active[..index].iter().for_each(|&b| self.tracker.add_overlap(a, b));
            }
            self.frames += 1;
        }
        for window in self.solo.push(probabilities) {
            self.observe(&window, canceller)?;
        }
        self.discard_used();
        Ok(self.is_occupied && self.frames - self.last_active > FORGET_FRAMES)
    }

    /// Evaluates the rest of the speech at the end of the audio.
    ///
    /// # Errors
    /// As [`Self::add_probabilities`].
    pub(crate) fn finish(&mut self, canceller: &Canceller) -> Result<(), Error> {
        for window in self.solo.finish() {
            self.observe(&window, canceller)?;
        }
        Ok(())
    }

    /// Begins again at sample 0 with the same speakers.
    pub(crate) fn rewind(&mut self) {
        self.solo.reset();
        self.tracker.rewind();
        self.forgotten_before += self.forgotten.len() as u64;
        self.forgotten.clear();
        self.samples.clear();
        (self.first_sample, self.frames, self.last_active) = (0, 0, 0);
        self.statements.clear();
        for history in &mut self.history {
            history.drain(..history.len().saturating_sub(1));
            history.iter_mut().for_each(|(since, _)| *since = 0);
        }
    }

    /// Begins again at sample 0 with speakers of whom nothing is known.
    pub(crate) fn reset(&mut self) {
        self.rewind();
        self.forget();
        self.history.iter_mut().for_each(Vec::clear);
    }

    /// Notes that the next speakers may be other people.
    pub(crate) fn forget(&mut self) {
        self.tracker.reset();
        self.is_occupied = false;
        self.forgotten.push(self.frames * ENCODED_FRAME_SAMPLES);
        if self.forgotten.len() > MAX_HISTORY {
            self.forgotten.remove(0);
            self.forgotten_before += 1;
        }
        for speaker in 0..self.history.len() {
            self.add_history(speaker, self.frames * ENCODED_FRAME_SAMPLES, None);
        }
    }

    fn observe(&mut self, window: &Window, canceller: &Canceller) -> Result<(), Error> {
        let samples = self.samples_of(window);
        let Some(voice) = voice_print(&samples, &self.model, canceller)? else { return Ok(()) };
        let slot = window.speaker;
        let decided = self.tracker.observe(&mut self.known, slot, &voice, window.start());
        let Some(decision) = decided else { return Ok(()) };
        let since_frame = decision.since_frame.saturating_sub(ONSET_FRAMES);
        let since_sample = since_frame * ENCODED_FRAME_SAMPLES;
        let identity = Some(decision.identity);
        match decision.replaces {
            Some(_) => {
                let entries = self.history.iter_mut().flatten();
                let replaced = entries.filter(|(_, identity)| *identity == decision.replaces);
                replaced.for_each(|(_, of_entry)| *of_entry = identity);
            }
            None => self.add_history(slot, since_sample, identity),
        }
        self.statements.push(SpeakerIdentity {
            speaker: slot,
            identity: decision.identity,
            name: self.known.get(decision.identity).and_then(|known| known.name.clone()),
            score: decision.score,
            since_sample,
            replaces: decision.replaces,
        });
        Ok(())
    }

    fn add_history(&mut self, speaker: usize, since_sample: u64, identity: Option<u64>) {
        let history = &mut self.history[speaker];
        history.push((since_sample, identity));
        history.drain(..history.len().saturating_sub(MAX_HISTORY));
    }

    fn samples_of(&self, window: &Window) -> Vec<f32> {
        let at = |frame: u64| {
            let sample = (frame * ENCODED_FRAME_SAMPLES).saturating_sub(self.first_sample);
            (sample as usize).min(self.samples.len())
        };
        let ranges = window.frames.iter().map(|frames| at(frames.start)..at(frames.end));
        ranges.flat_map(|range| self.samples[range].iter().copied()).collect()
    }

    fn discard_used(&mut self) {
        let needed = self.solo.needs_from() * ENCODED_FRAME_SAMPLES;
        let used = (needed.saturating_sub(self.first_sample) as usize).min(self.samples.len());
        self.samples.drain(..used);
        self.first_sample += used as u64;
    }
}

/// Returns the voice in some speech, or `None` if the speech is too short or too quiet.
///
/// # Errors
/// [`Error::Inference`] or [`Error::Mismatch`] if the model fails, and [`Error::Canceled`].
fn voice_print(
    samples: &[f32],
    model: &SpeakerEmbeddingModel,
    canceller: &Canceller,
) -> Result<Option<VoicePrint>, Error> {
    let level = (samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32).sqrt();
    if samples.len() < model.min_samples() || level < MIN_LEVEL {
        return Ok(None);
    }
    // Resemblyzer compares levels as well as voices.
    let gain = LEVEL / level;
    let samples: Vec<_> = samples.iter().map(|sample| sample * gain).collect();
    let embedding = model.embed(&samples, canceller)?;
    let seconds = samples.len() as f32 / SAMPLE_RATE_HZ as f32;
    Ok(Some(VoicePrint::new(embedding.view(), seconds)))
}

fn decisions(threshold: f32) -> Decisions {
    Decisions {
        threshold,
        tolerance: TOLERANCE,
        margin: MARGIN,
        merge_threshold: threshold + (1.0 - threshold) * 0.3,
        known_seconds: 1.2,
        new_seconds: 2.4,
        settled_seconds: 20.0,
        overlap_frames: 12,
    }
}
