// SPDX-License-Identifier: MPL-2.0

//! Words as text: dated, in the order of time, and in each output format.

pub mod format;
pub mod sequencer;
pub mod utterance;
