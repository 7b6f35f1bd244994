// SPDX-License-Identifier: MPL-2.0

//! Measures the memory use of a long stream. The binary has no other test, because the test
//! measures its own process.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use multitalker_asr::{ChunkLatency, Stream, StreamOptions};
use test_support::allocated_bytes;

#[test]
fn memory_is_flat() {
    let meeting = test_support::read_wav(&test_support::data().join("audio/meeting.wav"));
    let options = StreamOptions { chunk_latency: ChunkLatency::Ms560, ..StreamOptions::default() };
    let mut stream = Stream::new(test_support::tiny_model(), options).expect("options that fit");
    let mut minutes = |count: usize| {
        // The maximum is used, because the allocated memory depends on the position in a chunk.
        let mut most = 0;
        for _ in 0..count {
            for second in meeting[..60 * 16_000].chunks(16_000) {
                stream.push(second).expect("inference runs");
                most = most.max(allocated_bytes());
            }
        }
        most
    };
    let warm = minutes(3);
    let later = minutes(12);
    println!("{warm} bytes, then {later} bytes in 12 minutes of audio");
    // The features of 12 minutes alone take 37 MB.
    assert!(later < warm + 200_000, "from {warm} bytes to {later} bytes in 12 minutes of audio");
}
