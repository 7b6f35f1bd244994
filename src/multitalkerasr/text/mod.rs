// SPDX-License-Identifier: MPL-2.0

//! Text: words of speakers, dated and in temporal order, and their output formats.

pub mod activity;
pub mod clock;
pub mod cues;
pub mod format;
pub mod identities;
mod json;
pub mod meta;
pub mod sequencer;
pub mod speaker;
pub mod utterance;
