// SPDX-License-Identifier: MPL-2.0

//! Tests of the element, one module for each subject. A test that needs a process of its own is a
//! binary of its own beside this folder.

mod description;
mod errors;
mod flow;
mod formats;
mod latency;
mod live;
mod log;
#[cfg(unix)]
mod many;
mod order;
mod overload;
mod pads;
mod presets;
mod seek;
mod segments;
mod stop;
mod timestamps;
mod transcripts;
mod vocabulary;
