// SPDX-License-Identifier: MPL-2.0

//! The element's properties. `table` lists them, `settings` holds their values, and
//! `operating_point` derives latency and engine options from these.

mod cue_properties;
pub mod cue_settings;
pub mod enums;
mod operating_point;
pub mod settings;
mod table;

pub use table::{get, pspecs, set};
