// SPDX-License-Identifier: MPL-2.0

//! Ways out of the element: source pads, the transcript log and the observed latency.

pub mod latency;
pub mod messages;
pub mod speaker_pads;
pub mod src_pads;
pub mod transcript_log;
