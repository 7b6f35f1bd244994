// SPDX-License-Identifier: MPL-2.0

//! Dated activity of the speakers, without words.

use crate::multitalkerasr::text::identities::Person;
use crate::multitalkerasr::text::speaker::Speaker;
use crate::multitalkerasr::text::utterance::Moment;

/// The speakers who are active from a time on.
#[derive(Debug)]
pub struct DatedActivity {
    pub start: Moment,
    /// Running time of the start.
    pub running_time: Option<gst::ClockTime>,
    pub speakers: Vec<Speaker>,
    /// Name of each of the speakers, else the index.
    pub labels: Vec<String>,
}

/// A turn of one speaker.
#[derive(Debug)]
pub struct DatedTurn {
    pub speaker: Speaker,
    /// Who the speaker was when the turn was dated.
    pub person: Person,
    pub session_id: String,
    pub start: Moment,
    pub end: Moment,
}
