// SPDX-License-Identifier: MPL-2.0

//! The properties of the element.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use crate::cues::collector::CollectorOptions;
use crate::cues::color;
use crate::cues::language::is_language_tag;
use crate::cues::timeline::CueTimeline;
use crate::ttmlenc::document::TtmlProfile;

/// Smallest duration of a segment.
const MIN_SEGMENT_DURATION: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// Values of the properties.
#[derive(Clone, Debug)]
pub struct Settings {
    pub profile: TtmlProfile,
    pub timeline: CueTimeline,
    /// In nanoseconds; 0 for a single document.
    pub segment_duration: u64,
    pub language: String,
    pub speaker_colors: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profile: TtmlProfile::default(),
            timeline: CueTimeline::default(),
            segment_duration: 0,
            language: String::new(),
            speaker_colors: "white,yellow,cyan,lime".to_owned(),
        }
    }
}

/// The properties, in the order of `gst-inspect-1.0`.
pub static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let default = Settings::default();
    vec![
        glib::ParamSpecEnum::builder_with_default("profile", default.profile)
            .nick("Profile")
            .blurb("Profile of TTML that the documents conform to")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("segment-duration")
            .nick("Segment duration")
            .blurb(
                "Duration of the part of the stream that one document covers, in nanoseconds, at \
                 least 100 ms (0: one document, at the end of the stream)",
            )
            .default_value(default.segment_duration)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("timeline", default.timeline)
            .nick("Timeline")
            .blurb("Times that the documents contain")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("language")
            .nick("Language")
            .blurb(
                "Language tag of the text, such as en or de-CH (unset or empty: the language of the \
                 stream's tags, else und)",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("speaker-colors")
            .nick("Speaker colors")
            .blurb(
                "Colors of the speakers whose text has none, in Pango's notation, separated by \
                 commas; cycled when there are more speakers than colors",
            )
            .default_value(Some(default.speaker_colors.as_str()))
            .mutable_ready()
            .build(),
    ]
});

impl Settings {
    /// Sets a property.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let text = || value.get::<Option<String>>().ok().flatten().unwrap_or_default();
        // GObject has checked the types.
        match name {
            "profile" => self.profile = value.get().unwrap_or_default(),
            "segment-duration" => self.segment_duration = value.get().unwrap_or_default(),
            "timeline" => self.timeline = value.get().unwrap_or_default(),
            "language" => self.language = text(),
            "speaker-colors" => self.speaker_colors = text(),
            _ => (),
        }
    }

    /// Returns a property.
    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "profile" => self.profile.to_value(),
            "segment-duration" => self.segment_duration.to_value(),
            "timeline" => self.timeline.to_value(),
            "language" => self.language.to_value(),
            _ => self.speaker_colors.to_value(),
        }
    }

    /// Returns the duration of a segment, or `None` for a single document.
    pub fn segment_duration(&self) -> Option<gst::ClockTime> {
        let duration = gst::ClockTime::try_from(self.segment_duration).ok()?;
        (!duration.is_zero()).then_some(duration.max(MIN_SEGMENT_DURATION))
    }

    /// Returns how cues are collected.
    ///
    /// # Errors
    ///
    /// Returns a reason if a property has a value that is none.
    pub fn collector_options(&self) -> Result<CollectorOptions, String> {
        if !self.language.is_empty() && !is_language_tag(&self.language) {
            return Err(format!(
                "language: expected a language tag such as en or de-CH, found {:?}",
                self.language
            ));
        }
        let speaker_colors = color::parse_list(&self.speaker_colors)
            .map_err(|found| format!("speaker-colors: expected colors, found {found:?}"))?;
        Ok(CollectorOptions {
            timeline: self.timeline,
            segment_duration: self.segment_duration(),
            speaker_colors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_have_a_minimum_duration() {
        let duration = |segment_duration| {
            Settings { segment_duration, ..Default::default() }.segment_duration()
        };
        assert_eq!(duration(0), None);
        assert_eq!(duration(1), Some(MIN_SEGMENT_DURATION));
        assert_eq!(duration(2_000_000_000), Some(gst::ClockTime::from_seconds(2)));
    }
}
