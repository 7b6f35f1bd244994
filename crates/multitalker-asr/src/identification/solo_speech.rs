// SPDX-License-Identifier: MPL-2.0

//! Finds the speech in which one person speaks alone, and cuts it into windows for embeddings.

use std::ops::Range;

use ndarray::ArrayView2;

/// Probability above which a speaker counts as active, and below which the others count as silent.
const ACTIVE: f32 = 0.5;
const SILENT: f32 = 0.3;

/// Frames of 80 ms left out at both ends of a run: the diarizer is uncertain there.
const EDGE_FRAMES: u64 = 1;

/// Frames in which one speaker speaks alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Index of the speaker.
    pub speaker: usize,
    /// Ranges of frames of 80 ms, in order.
    pub frames: Vec<Range<u64>>,
}

impl Window {
    /// Returns the number of frames.
    pub fn len(&self) -> u64 {
        self.frames.iter().map(|range| range.end - range.start).sum()
    }

    /// Returns the first frame.
    pub fn start(&self) -> u64 {
        self.frames.first().map_or(0, |range| range.start)
    }
}

/// Lengths of windows in frames of 80 ms.
#[derive(Clone, Copy, Debug)]
pub struct WindowLengths {
    /// Shortest window.
    pub min: u64,
    /// Longest window.
    pub max: u64,
    /// Longest time between the parts of a window.
    pub max_gap: u64,
}

/// Cuts the probabilities of one stream into windows.
pub struct SoloSpeech {
    lengths: WindowLengths,
    next_frame: u64,
    /// Speaker and first frame of the current run.
    run: Option<(usize, u64)>,
    /// Speech of each speaker that is too short for a window yet.
    pending: Vec<Window>,
}

impl SoloSpeech {
    /// Creates a cutter before the first frame.
    pub fn new(lengths: WindowLengths) -> Self {
        Self { lengths, next_frame: 0, run: None, pending: Vec::new() }
    }

    /// Begins again before the first frame.
    pub fn reset(&mut self) {
        *self = Self::new(self.lengths);
    }

    /// Returns the first frame that a later window may contain.
    pub fn needs_from(&self) -> u64 {
        let pending = self.pending.iter().filter(|window| !window.frames.is_empty());
        let run = self.run.map(|(_, start)| start);
        pending.map(Window::start).chain(run).min().unwrap_or(self.next_frame)
    }

    /// Adds the probabilities of the next frames, `[frames, speakers]`, and returns the windows that
    /// they complete.
    pub fn push(&mut self, probabilities: ArrayView2<'_, f32>) -> Vec<Window> {
        let mut windows = Vec::new();
        for row in probabilities.rows() {
            let mut active = row.iter().enumerate().filter(|(_, p)| **p >= SILENT);
            let solo = match (active.next(), active.next()) {
                (Some((speaker, &p)), None) if p > ACTIVE => Some(speaker),
                _ => None,
            };
            if self.run.map(|(speaker, _)| speaker) != solo {
                self.end_run(&mut windows);
                self.run = solo.map(|speaker| (speaker, self.next_frame + EDGE_FRAMES));
            }
            self.next_frame += 1;
            self.take_long_run(&mut windows);
            self.drop_old();
        }
        windows
    }

    /// Returns the windows of the speech so far, at the end of the audio.
    pub fn finish(&mut self) -> Vec<Window> {
        let mut windows = Vec::new();
        self.end_run(&mut windows);
        let rest = std::mem::take(&mut self.pending).into_iter();
        windows.extend(rest.filter(|window| window.len() >= self.lengths.min));
        windows
    }

    /// Takes a window out of the current run as soon as it is long enough.
    fn take_long_run(&mut self, windows: &mut Vec<Window>) {
        let Some((speaker, start)) = self.run else { return };
        let end = self.next_frame.saturating_sub(EDGE_FRAMES);
        let pending = self.pending.get(speaker).map_or(0, Window::len);
        if end > start && pending + (end - start) >= self.lengths.max {
            self.add(speaker, start..end);
            self.run = Some((speaker, end));
            windows.extend(self.take(speaker));
        }
    }

    fn end_run(&mut self, windows: &mut Vec<Window>) {
        let Some((speaker, start)) = self.run.take() else { return };
        let end = self.next_frame.saturating_sub(EDGE_FRAMES);
        if end > start {
            self.add(speaker, start..end);
        }
        if self.pending.get(speaker).is_some_and(|window| window.len() >= self.lengths.min) {
            windows.extend(self.take(speaker));
        }
    }

    /// Drops speech that has waited for more for too long.
    fn drop_old(&mut self) {
        let oldest = self.next_frame.saturating_sub(self.lengths.max_gap);
        let in_run = self.run.map(|(speaker, _)| speaker);
        for window in &mut self.pending {
            let is_old = window.frames.last().is_some_and(|range| range.end < oldest);
            if is_old && in_run != Some(window.speaker) {
                window.frames.clear();
            }
        }
    }

    fn add(&mut self, speaker: usize, frames: Range<u64>) {
        for speaker in self.pending.len()..=speaker {
            self.pending.push(Window { speaker, frames: Vec::new() });
        }
        self.pending[speaker].frames.push(frames);
    }

    fn take(&mut self, speaker: usize) -> Option<Window> {
        let window = self.pending.get_mut(speaker)?;
        Some(Window { speaker, frames: std::mem::take(&mut window.frames) })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    const LENGTHS: WindowLengths = WindowLengths { min: 10, max: 20, max_gap: 30 };

    /// Rows of two speakers: `.` nobody, `a`, `b`, `x` both, and `?` a and perhaps b.
    fn rows(text: &str) -> Array2<f32> {
        let row = |c| match c {
            'a' => [0.9, 0.1],
            'b' => [0.1, 0.9],
            'x' => [0.9, 0.9],
            '?' => [0.9, 0.4],
            _ => [0.1, 0.1],
        };
        let values: Vec<_> = text.chars().flat_map(row).collect();
        Array2::from_shape_vec((text.len(), 2), values).expect("rows of two")
    }

    /// Speakers of the windows, and start and end of their parts.
    fn windows(text: &str) -> Vec<(usize, Vec<[u64; 2]>)> {
        let mut solo = SoloSpeech::new(LENGTHS);
        let mut windows = Vec::new();
        for row in rows(text).rows() {
            windows.extend(solo.push(row.insert_axis(ndarray::Axis(0))));
        }
        windows.extend(solo.finish());
        let parts = |frames: Vec<Range<u64>>| frames.iter().map(|it| [it.start, it.end]).collect();
        windows.into_iter().map(|window| (window.speaker, parts(window.frames))).collect()
    }

    #[test]
    fn edges_and_overlap_are_left_out() {
        let text = format!("..{}{}{}", "a".repeat(12), "x".repeat(5), "b".repeat(14));
        assert_eq!(windows(&text), [(0, vec![[3, 13]]), (1, vec![[20, 32]])]);
        assert_eq!(windows(&"?".repeat(40)), []);
    }

    #[test]
    fn long_speech_is_cut_and_short_speech_collected() {
        assert_eq!(windows(&"a".repeat(45)), [(0, vec![[1, 21]]), (0, vec![[21, 41]])]);
        let short = "aaaaaa..".repeat(3);
        assert_eq!(windows(&short), [(0, vec![[1, 5], [9, 13], [17, 21]])]);
    }

    #[test]
    fn speech_waits_only_for_a_while() {
        let text = format!("aaaaaaaa{}{}", ".".repeat(60), "a".repeat(12));
        assert_eq!(windows(&text), [(0, vec![[69, 79]])]);
    }

    #[test]
    fn needed_frames_are_bounded() {
        let mut solo = SoloSpeech::new(LENGTHS);
        let text = format!("aaaa{}{}", "b".repeat(200), ".".repeat(200));
        for (index, row) in rows(&text).rows().into_iter().enumerate() {
            solo.push(row.insert_axis(ndarray::Axis(0)));
            let kept = index as u64 + 1 - solo.needs_from();
            assert!(kept <= LENGTHS.max + LENGTHS.max_gap + 2, "{kept} frames at {index}");
        }
        assert_eq!(solo.needs_from(), 404);
    }
}
