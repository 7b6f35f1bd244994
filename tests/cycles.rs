// SPDX-License-Identifier: MPL-2.0

//! Starting and stopping leaves nothing behind. Alone in its process, which it measures.

#![cfg(target_os = "linux")]

use element_rig::*;
use gst::prelude::*;

/// What the process has of memory (in KiB), threads and open files.
#[derive(Clone, Copy, Debug)]
struct Usage {
    memory_kib: u64,
    threads: u64,
    files: usize,
}

impl Usage {
    fn min(self, other: Self) -> Self {
        Self {
            memory_kib: self.memory_kib.min(other.memory_kib),
            threads: self.threads.min(other.threads),
            files: self.files.min(other.files),
        }
    }

    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("an entry");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        Self {
            memory_kib: number("VmRSS:"),
            threads: number("Threads:"),
            files: std::fs::read_dir("/proc/self/fd").expect("Linux").count(),
        }
    }
}

#[test]
fn five_hundred_starts_and_stops_leave_nothing_behind() {
    // Keeps the model, so that the cycles are quick.
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
        while rig.harness.try_pull().is_some() {}
        rig.element.set_state(gst::State::Playing).expect("starts");
    };
    let mut usages = Vec::new();
    for index in 0..500 {
        cycle(index);
        // The least of several: a thread that has ended may still be counted for a moment.
        if index % 100 >= 90 {
            usages.push(Usage::now());
        }
    }
    let usages: Vec<_> = usages
        .chunks(10)
        .filter_map(|of_hundred| of_hundred.iter().copied().reduce(Usage::min))
        .collect();
    let (warm, last) = (usages[1], usages[4]);
    assert!(last.threads <= warm.threads, "{usages:#?}");
    assert!(last.files <= warm.files, "{usages:#?}");
    // Of 300 cycles each may not leave 10 KiB; its audio alone is 94 KiB.
    assert!(last.memory_kib < warm.memory_kib + 3000, "{usages:#?}");
}
