// SPDX-License-Identifier: MPL-2.0

//! The entries of the property table that describe caption cues.

use gst::glib;
use gst::prelude::*;

use crate::multitalkerasr::properties::cue_settings::CueSettings;
use crate::multitalkerasr::properties::table::{Property, checked};

/// Returns the entries.
pub fn properties() -> Vec<Property> {
    let cues = CueSettings::default();
    vec![
        Property::run(
            glib::ParamSpecUInt::builder("max-columns")
                .nick("Maximum number of columns")
                .blurb("Maximum width of a line of a cue, in columns of a fixed-width font")
                .minimum(10)
                .maximum(200)
                .default_value(cues.max_columns)
                .mutable_ready()
                .build(),
            |run| run.cues.max_columns.to_value(),
            |run, value| run.cues.max_columns = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("max-lines")
                .nick("Maximum number of lines")
                .blurb("Maximum number of lines of a cue")
                .minimum(1)
                .maximum(8)
                .default_value(cues.max_lines)
                .mutable_ready()
                .build(),
            |run| run.cues.max_lines.to_value(),
            |run, value| run.cues.max_lines = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("max-screen-lines")
                .nick("Maximum number of screen lines")
                .blurb(
                    "Maximum number of lines of all cues at a time, at least max-lines; beyond \
                     it, speakers take turns",
                )
                .minimum(1)
                .maximum(16)
                .default_value(cues.max_screen_lines)
                .mutable_ready()
                .build(),
            |run| run.cues.max_screen_lines.to_value(),
            |run, value| run.cues.max_screen_lines = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("min-cue-duration")
                .nick("Minimum cue duration")
                .blurb("Minimum duration of a cue, in ms, unless the next one needs its place")
                .minimum(1)
                .maximum(3_600_000)
                .default_value(cues.min_duration_ms)
                .mutable_ready()
                .build(),
            |run| run.cues.min_duration_ms.to_value(),
            |run, value| run.cues.min_duration_ms = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("max-cue-duration")
                .nick("Maximum cue duration")
                .blurb("Maximum duration of a cue, in ms; adds to latency with text-unit=cue")
                .minimum(100)
                .maximum(3_600_000)
                .default_value(cues.max_duration_ms)
                .mutable_ready()
                .build(),
            |run| run.cues.max_duration_ms.to_value(),
            |run, value| run.cues.max_duration_ms = checked(value),
        ),
        Property::run(
            glib::ParamSpecFloat::builder("max-cps")
                .nick("Maximum reading speed in characters")
                .blurb(
                    "Maximum number of characters a second in a cue, which lasts into the pause \
                     after it; exceeded where speech leaves no pause",
                )
                .minimum(1.0)
                .maximum(1000.0)
                .default_value(cues.max_cps)
                .mutable_ready()
                .build(),
            |run| run.cues.max_cps.to_value(),
            |run, value| run.cues.max_cps = checked(value),
        ),
        Property::run(
            glib::ParamSpecFloat::builder("max-wpm")
                .nick("Maximum reading speed in words")
                .blurb("Maximum number of words a minute in a cue, until the next speaker begins")
                .minimum(1.0)
                .maximum(10_000.0)
                .default_value(cues.max_wpm)
                .mutable_ready()
                .build(),
            |run| run.cues.max_wpm.to_value(),
            |run, value| run.cues.max_wpm = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("min-cue-gap")
                .nick("Minimum cue gap")
                .blurb("Minimum gap between a cue and the next one in its place, in ms, or none")
                .maximum(3_600_000)
                .default_value(cues.min_gap_ms)
                .mutable_ready()
                .build(),
            |run| run.cues.min_gap_ms.to_value(),
            |run, value| run.cues.min_gap_ms = checked(value),
        ),
        Property::run(
            glib::ParamSpecUInt::builder("start-lead")
                .nick("Start lead")
                .blurb(
                    "Time by which cues start before the recognized start of their words, which \
                     is late, in ms",
                )
                .maximum(3_600_000)
                .default_value(cues.start_lead_ms)
                .mutable_ready()
                .build(),
            |run| run.cues.start_lead_ms.to_value(),
            |run, value| run.cues.start_lead_ms = checked(value),
        ),
        Property::run(
            glib::ParamSpecEnum::builder_with_default("simultaneous", cues.simultaneous)
                .nick("Simultaneous")
                .blurb("Presentation of people who talk at once, in cues of the pad src")
                .mutable_ready()
                .build(),
            |run| run.cues.simultaneous.to_value(),
            |run, value| run.cues.simultaneous = checked(value),
        ),
    ]
}
