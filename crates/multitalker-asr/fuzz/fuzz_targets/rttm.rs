// SPDX-License-Identifier: MPL-2.0

#![no_main]

use multitalker_asr::fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::rttm(bytes));
