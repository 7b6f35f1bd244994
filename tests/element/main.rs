// SPDX-License-Identifier: MPL-2.0

//! Tests of the element, one module per subject. A test that needs its own process is a separate
//! binary next to this folder.

mod annotated;
mod cues;
mod description;
mod errors;
mod flow;
mod formats;
mod identification;
mod latency;
mod live;
mod log;
#[cfg(unix)]
mod many;
mod names;
mod order;
mod overload;
mod pads;
mod presets;
mod seek;
mod segments;
mod stop;
mod timestamps;
mod transcripts;
mod turns;
mod vocabulary;
