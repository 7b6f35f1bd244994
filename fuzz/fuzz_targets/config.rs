// SPDX-License-Identifier: MPL-2.0

#![no_main]

use gstmultitalkerasr::engine::fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::config(bytes));
