// SPDX-License-Identifier: MPL-2.0

//! Tests of the element `ttmlenc`. What it writes is read by software of others.

#![cfg(target_os = "linux")]

mod documents;
mod input;
mod rig;
mod segments;
