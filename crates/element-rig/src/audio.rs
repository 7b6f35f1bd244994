// SPDX-License-Identifier: MPL-2.0

//! Audio files, buffers and segments.

use test_support::{data, read_wav};

use crate::SAMPLE_NS;

/// Reads a file of `testdata/audio`.
pub fn audio(name: &str) -> Vec<f32> {
    read_wav(&data().join("audio").join(name))
}

/// Reads the conversation of `make demo`.
pub fn conversation() -> Vec<f32> {
    read_wav(&data().join("demo/conversation.wav"))
}

/// Makes a buffer in the format of [`F32_CAPS`](crate::F32_CAPS).
pub fn f32_buffer(pts_ns: Option<u64>, samples: &[f32]) -> gst::Buffer {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    buffer(pts_ns, samples.len(), bytes)
}

/// Makes a buffer with the DISCONT flag.
pub fn discont_buffer(pts_ns: u64, samples: &[f32]) -> gst::Buffer {
    let mut buffer = f32_buffer(Some(pts_ns), samples);
    buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
    buffer
}

/// Makes a buffer in the format of [`S16_CAPS`](crate::S16_CAPS).
pub fn s16_buffer(pts_ns: Option<u64>, samples: &[i16]) -> gst::Buffer {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    buffer(pts_ns, samples.len(), bytes)
}

fn buffer(pts_ns: Option<u64>, samples: usize, bytes: Vec<u8>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    let writable = buffer.get_mut().expect("a new buffer");
    writable.set_pts(pts_ns.map(gst::ClockTime::from_nseconds));
    writable.set_duration(gst::ClockTime::from_nseconds(samples as u64 * SAMPLE_NS));
    buffer
}

/// Makes a segment from its start, stream time and base in seconds.
pub fn segment(start_s: u64, time_s: u64, base_s: u64) -> gst::FormattedSegment<gst::ClockTime> {
    let mut segment = gst::FormattedSegment::new();
    segment.set_start(gst::ClockTime::from_seconds(start_s));
    segment.set_time(gst::ClockTime::from_seconds(time_s));
    segment.set_base(gst::ClockTime::from_seconds(base_s));
    segment
}
