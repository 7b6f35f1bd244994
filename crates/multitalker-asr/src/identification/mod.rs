// SPDX-License-Identifier: MPL-2.0

//! Identification of speakers by their voices.

pub mod features;
