// SPDX-License-Identifier: MPL-2.0

//! Starting and stopping leaks nothing. The test measures its own process, so the binary has no
//! other test.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use element_rig::*;
use gst::prelude::*;

/// Resources that the process uses.
#[derive(Clone, Copy, Debug)]
struct Usage {
    allocated_bytes: usize,
    threads: u64,
    files: usize,
}

impl Usage {
    fn min(self, other: Self) -> Self {
        Self {
            allocated_bytes: self.allocated_bytes.min(other.allocated_bytes),
            threads: self.threads.min(other.threads),
            files: self.files.min(other.files),
        }
    }

    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"));
        Self {
            allocated_bytes: test_support::allocated_bytes(),
            threads: threads.expect("an entry").trim().parse().expect("a number"),
            files: std::fs::read_dir("/proc/self/fd").expect("Linux").count(),
        }
    }
}

#[test]
fn five_hundred_starts_and_stops_leave_nothing_behind() {
    // Keeps the model loaded, so that the cycles are quick.
    let _keeper = Rig::new(&[]);
    let samples = audio("jfk.wav");
    let element = element(&[("diarization-preset", "lockstep")]);
    let mut rig = Rig::of(element, Some(F32_CAPS));
    let mut cycle = |index: usize| {
        let caps: gst::Caps = F32_CAPS.parse().expect("caps");
        rig.push_event(gst::event::StreamStart::new("cycle"));
        rig.push_event(gst::event::Caps::new(&caps));
        rig.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        let speaker = rig.element.request_pad_simple("speaker_%u").expect("a pad");
        rig.push(0, &samples[..24_000]);
        if index.is_multiple_of(2) {
            rig.until(Entry::is_text);
        }
        rig.element.release_request_pad(&speaker);
        rig.element.set_state(gst::State::Null).expect("stops");
        rig.posted("none");
        rig.entries.try_iter().for_each(drop);
        // The harness queues everything that is not pulled.
        while rig.harness.try_pull().is_some() {}
        while rig.harness.try_pull_event().is_some() {}
        while rig.harness.try_pull_upstream_event().is_some() {}
        rig.element.set_state(gst::State::Playing).expect("starts");
    };
    let mut usages = Vec::new();
    for index in 0..500 {
        cycle(index);
        // A thread that has ended may be counted for a moment, so the minimum of ten is used.
        if index % 100 >= 90 {
            usages.push(Usage::now());
        }
    }
    let usages: Vec<_> =
        usages.chunks(10).filter_map(|chunk| chunk.iter().copied().reduce(Usage::min)).collect();
    let (warm, last) = (usages[1], usages[4]);
    assert!(last.threads <= warm.threads, "{usages:#?}");
    assert!(last.files <= warm.files, "{usages:#?}");
    // The limit is 300 bytes for each of 300 cycles, each of which pushes 96 kB of audio.
    println!("{usages:#?}");
    assert!(last.allocated_bytes < warm.allocated_bytes + 90_000, "{usages:#?}");
}
