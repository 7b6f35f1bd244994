// SPDX-License-Identifier: MPL-2.0

//! Outputs of the element: source pads, bus messages, the transcript log and the observed latency.

mod events;
pub mod latency;
pub mod messages;
pub mod speaker_pads;
mod src_pad;
pub mod src_pads;
pub mod transcript_log;
