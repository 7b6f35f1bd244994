// SPDX-License-Identifier: MPL-2.0

//! Voice prints: what is remembered of a voice.

use ndarray::{Array1, ArrayView1};

/// Duration that a voice print weighs at most, so that it follows a voice that changes over hours.
const MAX_SECONDS: f32 = 300.0;

/// Running mean of the embeddings of one voice, weighted by the durations of their speech.
#[derive(Clone, Debug, PartialEq)]
pub struct VoicePrint {
    /// Weighted sum, `[dimension]`.
    sum: Array1<f32>,
    /// Duration of the speech.
    seconds: f32,
}

impl VoicePrint {
    /// Creates a print of one `embedding` of unit length.
    pub fn new(embedding: ArrayView1<'_, f32>, seconds: f32) -> Self {
        Self { sum: &embedding * seconds, seconds }
    }

    /// Returns the duration of the speech that the print weighs.
    pub fn seconds(&self) -> f32 {
        self.seconds
    }

    /// Returns the mean embedding of unit length, `[dimension]`.
    pub fn embedding(&self) -> Array1<f32> {
        let norm = norm(self.sum.view());
        if norm > 0.0 { &self.sum / norm } else { self.sum.clone() }
    }

    /// Adds the speech of another print of the same voice.
    pub fn add(&mut self, other: &Self) {
        self.sum += &other.sum;
        self.seconds += other.seconds;
        if self.seconds > MAX_SECONDS {
            self.sum *= MAX_SECONDS / self.seconds;
            self.seconds = MAX_SECONDS;
        }
    }

    /// Returns the cosine similarity of two prints, from -1 to 1.
    pub fn similarity(&self, other: &Self) -> f32 {
        let norms = norm(self.sum.view()) * norm(other.sum.view());
        if norms > 0.0 { (self.sum.dot(&other.sum) / norms).clamp(-1.0, 1.0) } else { 0.0 }
    }
}

fn norm(vector: ArrayView1<'_, f32>) -> f32 {
    vector.dot(&vector).sqrt()
}

#[cfg(test)]
mod tests {
    use ndarray::aview1;

    use super::*;

    #[test]
    fn longer_speech_weighs_more() {
        let mut print = VoicePrint::new(aview1(&[1.0, 0.0]), 3.0);
        print.add(&VoicePrint::new(aview1(&[0.0, 1.0]), 4.0));
        assert_eq!(print.embedding(), aview1(&[0.6, 0.8]));
        assert_eq!(print.seconds(), 7.0);
        assert!((print.similarity(&VoicePrint::new(aview1(&[0.6, 0.8]), 1.0)) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn old_speech_fades() {
        let mut print = VoicePrint::new(aview1(&[1.0, 0.0]), MAX_SECONDS);
        for _ in 0..10 {
            print.add(&VoicePrint::new(aview1(&[0.0, 1.0]), MAX_SECONDS));
        }
        assert_eq!(print.seconds(), MAX_SECONDS);
        assert!(print.similarity(&VoicePrint::new(aview1(&[0.0, 1.0]), 1.0)) > 0.99);
    }

    #[test]
    fn opposite_embeddings_leave_a_print_like_no_other() {
        let mut print = VoicePrint::new(aview1(&[1.0, 0.0]), 1.0);
        print.add(&VoicePrint::new(aview1(&[-1.0, 0.0]), 1.0));
        assert_eq!(print.similarity(&VoicePrint::new(aview1(&[1.0, 0.0]), 1.0)), 0.0);
        assert_eq!(print.embedding(), aview1(&[0.0, 0.0]));
    }
}
