// SPDX-License-Identifier: MPL-2.0

//! Memory use of a long stream. The test measures its process, so it is alone in it.

#![cfg(target_os = "linux")]

use multitalker_asr::{ChunkLatency, Stream, StreamOptions};

/// Returns the resident set of this process in MB.
fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("an entry");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number");
    kilobytes / 1024.0
}

#[test]
fn memory_is_flat() {
    let meeting = test_support::read_wav(&test_support::data().join("audio/meeting.wav"));
    let options = StreamOptions { chunk_latency: ChunkLatency::Ms560, ..StreamOptions::default() };
    let mut stream = Stream::new(test_support::tiny_model(), options).expect("options that fit");
    let mut minutes = |count: usize| {
        for _ in 0..count {
            for second in meeting[..60 * 16_000].chunks(16_000) {
                stream.push(second).expect("inference runs");
            }
        }
        resident_mb()
    };
    let warm = minutes(3);
    let later = minutes(12);
    // The features of 12 minutes alone would take 37 MB.
    assert!(later - warm < 4.0, "from {warm:.1} MB to {later:.1} MB in 12 minutes of audio");
}
