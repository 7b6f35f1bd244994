// SPDX-License-Identifier: MPL-2.0

//! Formats for the exchange and the scoring of transcripts.

use serde::{Deserialize, Serialize};

/// A row of SegLST, the segment-wise long-form transcription format of the CHiME challenges and of
/// meeteval. A JSON file is an array of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegLstRow {
    /// Name of the recording.
    pub session_id: String,
    /// Name of the speaker.
    pub speaker: String,
    /// Number of the person, if the voice was identified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<u64>,
    /// Words, separated by spaces.
    pub words: String,
    /// Start in seconds since the start of the recording.
    pub start_time: f64,
    /// End in seconds since the start of the recording.
    pub end_time: f64,
}

impl SegLstRow {
    /// Returns the `SPEAKER` line of NIST's Rich Transcription Time Marked format for this turn.
    /// Spaces in names become underscores, since spaces separate the fields. A recording without a
    /// name is called `recording`, since some readers skip `<NA>`.
    pub fn rttm(&self) -> String {
        let name =
            |name: &str, missing: &str| match name.split_whitespace().collect::<Vec<_>>().join("_")
            {
                name if name.is_empty() => missing.to_owned(),
                name => name,
            };
        format!(
            "SPEAKER {} 1 {:.3} {:.3} <NA> <NA> {} <NA> <NA>",
            name(&self.session_id, "recording"),
            self.start_time,
            self.end_time - self.start_time,
            name(&self.speaker, "<NA>"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rttm_has_ten_fields() {
        let row = SegLstRow {
            session_id: "the news".to_owned(),
            speaker: String::new(),
            identity: None,
            words: "good evening".to_owned(),
            start_time: 1.04,
            end_time: 2.5,
        };
        assert_eq!(row.rttm(), "SPEAKER the_news 1 1.040 1.460 <NA> <NA> <NA> <NA> <NA>");
        let row = SegLstRow { session_id: " ".to_owned(), speaker: "Ada L".to_owned(), ..row };
        assert_eq!(row.rttm(), "SPEAKER recording 1 1.040 1.460 <NA> <NA> Ada_L <NA> <NA>");
    }
}
