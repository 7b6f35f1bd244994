// SPDX-License-Identifier: MPL-2.0

//! Activity of the speakers from an RTTM file, NIST's Rich Transcription Time Marked format, in the
//! place of a diarizer.
//!
//! Source: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix
//! A, and `spk_supervision=rttm` of NeMo 3.0.0, whose rounding this module follows.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array2, s};

use crate::cancel::Canceller;
use crate::diarization::activity::ActivitySource;
use crate::error::Error;
use crate::features::frame_buffer::FrameBuffer;
use crate::features::{FRAMES_PER_ENCODED_FRAME, SAMPLE_RATE_HZ};
use crate::file::{self, recognize};

/// Expected content of a file.
const EXPECTED: &str = "an RTTM file";

/// Maximum size of a file, enough for a hundred thousand turns.
const MAX_BYTES: u64 = 16 << 20;

/// Maximum number of speakers in a file. The recognizer keeps several MB for each.
const MAX_SPEAKERS: usize = 64;

/// Maximum time in seconds, 31 years.
const MAX_SECONDS: f64 = 1e9;

/// Number of frames in a second, as in NeMo: the inverse of 0.08, rounded.
const FRAMES_PER_SECOND: f64 = 12.5;

/// Maximum number of recordings that a message names.
const MAX_NAMED: usize = 10;

/// Types of lines.
const TYPES: [&str; 14] = [
    "SPEAKER",
    "SPKR-INFO",
    "LEXEME",
    "NON-LEX",
    "NON-SPEECH",
    "NOSCORE",
    "NO_RT_METADATA",
    "SEGMENT",
    "FILLER",
    "EDIT",
    "IP",
    "SU",
    "CB",
    "A/P",
];

/// The turns of all speakers of one recording.
#[derive(Debug, Default, PartialEq)]
pub struct Rttm {
    /// In the order of their first turn.
    speakers: Vec<RttmSpeaker>,
}

/// The turns of one speaker.
#[derive(Debug, PartialEq)]
struct RttmSpeaker {
    /// Empty if the file gives none.
    name: String,
    /// Start and end in seconds, in the order of the file.
    turns: Vec<(f64, f64)>,
}

impl Rttm {
    /// Returns whether the file at `path` is meant as RTTM: its name ends in `.rttm`, or it begins
    /// with a line of this format.
    pub fn is_at(path: &Path) -> bool {
        let extension = path.extension().unwrap_or_default();
        if extension.eq_ignore_ascii_case("rttm") {
            return true;
        }
        let head = file::head(path).unwrap_or_default();
        let head = String::from_utf8_lossy(&head);
        let head = head.strip_prefix('\u{feff}').unwrap_or(&head);
        let first = head.lines().find_map(line_type);
        first.is_some_and(|first| TYPES.iter().any(|known| first.eq_ignore_ascii_case(known)))
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::UnreadableFile`] with the first line that is invalid, or if
    /// the file has no turns or several recordings; [`Error::Canceled`] shortly after `canceller` is
    /// canceled.
    pub fn read(path: &Path, canceller: &Canceller) -> Result<Self, Error> {
        let bytes = file::read(path, EXPECTED, MAX_BYTES, canceller)?;
        Self::parse(&bytes).map_err(|found| Error::UnreadableFile {
            path: path.to_owned(),
            expected: EXPECTED,
            found: recognize(&bytes).map_or(found, |known| known.to_string()),
        })
    }

    /// Parses the content of a file.
    ///
    /// # Errors
    /// A description of the first line that is invalid, or of what the file lacks.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(bytes).map_err(|error| format!("other bytes ({error})"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut speakers: Vec<RttmSpeaker> = Vec::new();
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        let mut recordings: Vec<&str> = Vec::new();
        for (line, number) in text.lines().zip(1_usize..) {
            let turn = Turn::parse(line).map_err(|error| format!("line {number}: {error}"))?;
            let Some(turn) = turn else { continue };
            if recordings.len() <= MAX_NAMED && !recordings.contains(&turn.recording) {
                recordings.push(turn.recording);
            }
            if turn.start >= turn.end {
                continue;
            }
            let index = *by_name.entry(turn.speaker).or_insert(speakers.len());
            if index == MAX_SPEAKERS {
                let one_more = turn.speaker;
                return Err(format!(
                    "line {number}: expected at most {MAX_SPEAKERS} speakers, found one more \
                     ({one_more:?})"
                ));
            }
            if index == speakers.len() {
                speakers.push(RttmSpeaker { name: turn.name(), turns: Vec::new() });
            }
            speakers[index].turns.push((turn.start, turn.end));
        }
        if recordings.len() > 1 {
            return Err(several(&recordings));
        }
        if speakers.is_empty() {
            return Err("no SPEAKER line with a duration".to_owned());
        }
        speakers.sort_by(|a, b| a.start().total_cmp(&b.start()));
        Ok(Self { speakers })
    }

    /// Returns the names of the speakers in the order of their first turn. A name is empty if the
    /// file gives none.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.speakers.iter().map(|speaker| speaker.name.as_str())
    }

    /// Returns the frames of 80 ms in which each speaker is active, disjoint and in order. Frame 0
    /// begins `offset` samples after the start of the recording.
    fn frames(&self, offset: u64) -> Vec<Vec<Range<u64>>> {
        let offset = offset as f64 / f64::from(SAMPLE_RATE_HZ);
        // A conversion to an integer rounds down, as in NeMo.
        let frame = |seconds: f64| ((seconds - offset).max(0.0) * FRAMES_PER_SECOND) as u64;
        let of_speaker = |speaker: &RttmSpeaker| {
            let turns = speaker.turns.iter();
            join(turns.map(|&(start, end)| frame(start)..frame(end)).collect())
        };
        self.speakers.iter().map(of_speaker).collect()
    }
}

impl RttmSpeaker {
    fn start(&self) -> f64 {
        self.turns.iter().map(|&(start, _)| start).fold(f64::INFINITY, f64::min)
    }
}

/// A `SPEAKER` line.
struct Turn<'a> {
    recording: &'a str,
    speaker: &'a str,
    /// In seconds.
    start: f64,
    /// In seconds.
    end: f64,
}

impl<'a> Turn<'a> {
    /// Parses a line: `SPEAKER recording channel start duration <NA> <NA> speaker`, and further
    /// fields. Returns `None` for comments and other types of lines.
    fn parse(line: &'a str) -> Result<Option<Self>, String> {
        let Some(found) = line_type(line) else { return Ok(None) };
        if !TYPES.iter().any(|known| found.eq_ignore_ascii_case(known)) {
            return Err(format!("expected SPEAKER or another type of RTTM, found {found:?}"));
        }
        if !found.eq_ignore_ascii_case(TYPES[0]) {
            return Ok(None);
        }
        let fields: Vec<&str> = line.split_whitespace().take(8).collect();
        let &[_, recording, _, start, duration, _, _, speaker] = &fields[..] else {
            return Err(format!("expected at least 8 fields, found {}", fields.len()));
        };
        let start = seconds("start", start)?;
        let duration = seconds("duration", duration)?;
        Ok(Some(Self { recording, speaker, start, end: to_ms(start + duration) }))
    }

    fn name(&self) -> String {
        match self.speaker {
            "<NA>" => String::new(),
            name => name.to_owned(),
        }
    }
}

/// Returns the first field of a line that is neither empty nor a comment.
fn line_type(line: &str) -> Option<&str> {
    line.split_whitespace().next().filter(|first| !first.starts_with(';'))
}

/// Parses a time in seconds, and rounds it to milliseconds.
fn seconds(field: &str, text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=MAX_SECONDS).contains(number));
    number
        .map(to_ms)
        .ok_or_else(|| format!("expected a {field} of 0 to {MAX_SECONDS} seconds, found {text:?}"))
}

/// Rounds seconds to milliseconds, exactly as Python's `round` does: the value that the number
/// stands for, not its product with 1000, decides.
fn to_ms(seconds: f64) -> f64 {
    format!("{seconds:.3}").parse().unwrap_or(seconds)
}

/// Sorts ranges, joins those that touch or overlap, and drops those that are empty.
fn join(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Describes a file with several recordings.
fn several(recordings: &[&str]) -> String {
    let named: Vec<_> =
        recordings.iter().take(MAX_NAMED).map(|recording| format!("{recording:?}")).collect();
    let more = if recordings.len() > MAX_NAMED { " and others" } else { "" };
    format!("the turns of several recordings instead of one: {}{more}", named.join(", "))
}

/// The activity of the speakers in one stream: probability 1 in the frames of their turns, 0
/// elsewhere and after the last turn.
pub struct RttmActivity {
    rttm: Arc<Rttm>,
    /// Number of speakers; later ones are never active.
    max_speakers: usize,
    /// Frames of each speaker.
    frames: Vec<Vec<Range<u64>>>,
    next_frame: u64,
}

impl RttmActivity {
    /// Creates the activity of a recording from its start, of the first `max_speakers` alone.
    pub fn new(rttm: Arc<Rttm>, max_speakers: Option<usize>) -> Self {
        let frames = rttm.frames(0);
        let max_speakers = max_speakers.unwrap_or(frames.len());
        Self { rttm, max_speakers, frames, next_frame: 0 }
    }

    /// Returns the probabilities of `frames`, `[frames, speakers]`.
    fn probabilities(&self, frames: Range<u64>) -> Array2<f32> {
        let rows = (frames.end - frames.start) as usize;
        let mut probabilities = Array2::zeros((rows, self.frames.len()));
        for (speaker, active) in self.frames.iter().enumerate().take(self.max_speakers) {
            let first = active.partition_point(|range| range.end <= frames.start);
            for range in active[first..].iter().take_while(|range| range.start < frames.end) {
                let start = range.start.max(frames.start) - frames.start;
                let end = range.end.min(frames.end) - frames.start;
                let rows = start as usize..end as usize;
                probabilities.slice_mut(s![rows, speaker]).fill(1.0);
            }
        }
        probabilities
    }
}

impl ActivitySource for RttmActivity {
    /// Does nothing, since the speakers of the file stay the same.
    fn forget(&mut self) {}

    fn rewind(&mut self) {
        self.next_frame = 0;
        self.set_offset(0);
    }

    fn set_degraded(&mut self, _degraded: bool) {}

    fn set_offset(&mut self, samples: u64) {
        self.frames = self.rttm.frames(samples);
    }

    fn needs_from(&self) -> Option<u64> {
        None
    }

    fn is_ready(&self, features: &FrameBuffer, ended: bool) -> bool {
        let mel_frames = FRAMES_PER_ENCODED_FRAME as u64;
        let needed = if ended { 1 } else { mel_frames };
        self.next_frame * mel_frames + needed <= features.end()
    }

    fn step(&mut self, features: &FrameBuffer) -> Result<Array2<f32>, Error> {
        let mel_frames = FRAMES_PER_ENCODED_FRAME as u64;
        let complete = features.end() / mel_frames;
        // The last frame of the audio may be incomplete.
        let end = complete.max(self.next_frame + 1);
        let probabilities = self.probabilities(self.next_frame..end);
        self.next_frame = end;
        Ok(probabilities)
    }
}
