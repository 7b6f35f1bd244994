// SPDX-License-Identifier: MPL-2.0

//! Settings of caption cues, as rules.

use std::time::Duration;

use multitalker_captions::{Rules, RulesError};

use crate::multitalkerasr::properties::enums::Simultaneous;

/// Time by which the starts of words are late, in ms, as found on three talks.
const START_LEAD_MS: u32 = 250;

/// Rules that cues follow, in the units of the properties.
#[derive(Clone, Debug, PartialEq)]
pub struct CueSettings {
    pub max_columns: u32,
    pub max_lines: u32,
    pub max_screen_lines: u32,
    pub min_duration_ms: u32,
    pub max_duration_ms: u32,
    pub max_cps: f32,
    pub max_wpm: f32,
    pub min_gap_ms: u32,
    pub start_lead_ms: u32,
    pub simultaneous: Simultaneous,
}

impl Default for CueSettings {
    fn default() -> Self {
        let rules = Rules::default();
        let lines = |lines| u32::try_from(lines).unwrap_or(u32::MAX);
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self {
            max_columns: lines(rules.max_columns),
            max_lines: lines(rules.max_lines),
            max_screen_lines: lines(rules.max_screen_lines),
            min_duration_ms: ms(rules.min_duration),
            max_duration_ms: ms(rules.max_duration),
            max_cps: rules.max_cps as f32,
            max_wpm: rules.max_wpm as f32,
            min_gap_ms: ms(rules.min_gap),
            start_lead_ms: START_LEAD_MS,
            simultaneous: Simultaneous::default(),
        }
    }
}

impl CueSettings {
    /// Returns the rules.
    pub fn rules(&self) -> Rules {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        Rules {
            max_columns: self.max_columns as usize,
            max_lines: self.max_lines as usize,
            max_screen_lines: self.max_screen_lines as usize,
            min_duration: ms(self.min_duration_ms),
            max_duration: ms(self.max_duration_ms),
            max_cps: self.max_cps.into(),
            max_wpm: self.max_wpm.into(),
            min_gap: ms(self.min_gap_ms),
            start_lead: ms(self.start_lead_ms),
            simultaneous: self.simultaneous.into(),
            ..Rules::default()
        }
    }

    /// Returns the time from the start of a cue until it is complete, in ms of audio after its words.
    pub fn latency_ms(&self) -> u32 {
        self.max_duration_ms.saturating_add(self.min_gap_ms).saturating_add(self.start_lead_ms)
    }

    /// Checks that the settings do not contradict each other.
    ///
    /// # Errors
    /// A message that names a property, the expected range, and the value.
    pub fn check(&self) -> Result<(), String> {
        self.rules().check().map_err(|RulesError { rule, expected, found }| {
            let property = match rule {
                "min_duration" => "min-cue-duration".to_owned(),
                "max_duration" => "max-cue-duration".to_owned(),
                "min_gap" => "min-cue-gap".to_owned(),
                rule => rule.replace('_', "-"),
            };
            format!("{property}: expected {expected}, found {found}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_name_the_property() {
        assert_eq!(CueSettings::default().check(), Ok(()));
        let settings = CueSettings { min_duration_ms: 8000, ..CueSettings::default() };
        let error = "min-cue-duration: expected 1ms to 7s, found 8s";
        assert_eq!(settings.check(), Err(error.to_owned()));
        let settings = CueSettings { max_lines: 5, ..CueSettings::default() };
        let error = "max-screen-lines: expected 5 to 16, found 4";
        assert_eq!(settings.check(), Err(error.to_owned()));
    }
}
