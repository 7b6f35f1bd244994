// SPDX-License-Identifier: MPL-2.0

//! Audio on its way in: sample formats, and timestamps as sample indices.

pub mod samples;
pub mod timeline;
