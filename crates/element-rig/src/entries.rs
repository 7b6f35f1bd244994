// SPDX-License-Identifier: MPL-2.0

//! Buffers and events that cross the pads of the element.

use std::sync::mpsc;

use gst::prelude::*;

use crate::TIMEOUT;

/// A buffer or event that crossed a pad. Times are in nanoseconds.
#[expect(missing_docs, reason = "the fields have the names of GStreamer")]
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Buffer { pts: u64, duration: u64, text: String },
    Gap { pts: u64, duration: u64 },
    SpeakerChange(String),
    NewItem { speaker: String, content: String, running_time: u64, duration: u64 },
    FinalTranscript,
    Caps(String),
    Segment(gst::FormattedSegment<gst::ClockTime>),
    FlushStart,
    FlushStop,
    Eos,
    Other(gst::EventType),
}

impl Entry {
    /// Returns whether this is a buffer.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Buffer { .. })
    }
}

fn entry(data: &gst::PadProbeData) -> Option<Entry> {
    if let gst::PadProbeData::Buffer(buffer) = data {
        let map = buffer.map_readable().expect("readable");
        return Some(Entry::Buffer {
            pts: buffer.pts().expect("a PTS").nseconds(),
            duration: buffer.duration().expect("a duration").nseconds(),
            text: std::str::from_utf8(&map).expect("UTF-8").to_owned(),
        });
    }
    let gst::PadProbeData::Event(event) = data else { return None };
    let custom = |structure: &gst::StructureRef| {
        let text = |field| structure.get::<String>(field).expect("a string");
        let time = |field| structure.get::<gst::ClockTime>(field).expect("a time").nseconds();
        match structure.name().as_str() {
            "rstranscribe/speaker-change" => Entry::SpeakerChange(text("speaker")),
            "rstranscribe/final-transcript" => Entry::FinalTranscript,
            "rstranscribe/new-item" => Entry::NewItem {
                speaker: text("speaker"),
                content: text("content"),
                running_time: time("running-time"),
                duration: time("duration"),
            },
            _ => Entry::Other(event.type_()),
        }
    };
    Some(match event.view() {
        gst::EventView::Gap(gap) => {
            let (pts, duration) = gap.get();
            Entry::Gap { pts: pts.nseconds(), duration: duration.expect("a duration").nseconds() }
        }
        gst::EventView::CustomDownstream(event) => custom(event.structure()?),
        gst::EventView::CustomUpstream(event) => custom(event.structure()?),
        gst::EventView::Caps(caps) => Entry::Caps(caps.caps().to_string()),
        gst::EventView::Segment(segment) => {
            Entry::Segment(segment.segment().downcast_ref().expect("a segment in TIME").clone())
        }
        gst::EventView::FlushStart(_) => Entry::FlushStart,
        gst::EventView::FlushStop(_) => Entry::FlushStop,
        gst::EventView::Eos(_) => Entry::Eos,
        _ => Entry::Other(event.type_()),
    })
}

/// Records what the element pushes downstream through `src` and upstream through `sink`.
pub fn record(element: &gst::Element) -> mpsc::Receiver<Entry> {
    let (sender, receiver) = mpsc::channel();
    record_pad(&element.static_pad("src").expect("an always pad"), DOWNSTREAM, &sender);
    let sinkpad = element.static_pad("sink").expect("an always pad");
    record_pad(&sinkpad, gst::PadProbeType::EVENT_UPSTREAM, &sender);
    receiver
}

pub(crate) const DOWNSTREAM: gst::PadProbeType = gst::PadProbeType::BUFFER
    .union(gst::PadProbeType::EVENT_DOWNSTREAM)
    .union(gst::PadProbeType::EVENT_FLUSH);

pub(crate) fn record_pad(pad: &gst::Pad, mask: gst::PadProbeType, sender: &mpsc::Sender<Entry>) {
    let sender = sender.clone();
    pad.add_probe(mask, move |_, info| {
        if let Some(entry) = info.data.as_ref().and_then(entry) {
            // The test may have ended.
            let _ = sender.send(entry);
        }
        gst::PadProbeReturn::Ok
    });
}

#[track_caller]
pub(crate) fn until(
    entries: &mpsc::Receiver<Entry>,
    mut is_last: impl FnMut(&Entry) -> bool,
) -> Vec<Entry> {
    let mut found = Vec::new();
    loop {
        let entry = entries.recv_timeout(TIMEOUT).expect("further output");
        found.push(entry.clone());
        if is_last(&entry) {
            return found;
        }
    }
}

/// Names the kinds of the first `count` entries.
pub fn kinds(entries: &[Entry], count: usize) -> Vec<&'static str> {
    let kinds = entries.iter().map(|entry| match entry {
        Entry::Other(gst::EventType::StreamStart) => "stream-start",
        Entry::Other(gst::EventType::Tag) => "tag",
        Entry::Other(_) => "other",
        Entry::Caps(_) => "caps",
        Entry::Segment(_) => "segment",
        Entry::Gap { .. } => "gap",
        Entry::Buffer { .. } => "buffer",
        Entry::Eos => "eos",
        _ => "custom",
    });
    kinds.take(count).collect()
}

/// Returns PTS and text of the buffers among the entries.
pub fn buffers(entries: &[Entry]) -> Vec<(u64, &str)> {
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Buffer { pts, text, .. } => Some((*pts, text.as_str())),
            _ => None,
        })
        .collect()
}

/// Asserts that buffers and gaps cover all time from `start` on and that time never goes back.
/// Returns the end.
#[track_caller]
pub fn assert_continuous(entries: &[Entry], start: u64) -> u64 {
    let (mut position, mut last_pts) = (start, start);
    for entry in entries {
        match entry {
            Entry::Buffer { pts, duration, .. } => {
                assert!(*pts >= last_pts, "{entry:?} after {last_pts}");
                assert!(*pts <= position, "{entry:?} leaves a gap after {position}");
                assert!(*duration > 0, "{entry:?}");
                last_pts = *pts;
                position = position.max(pts + duration);
            }
            Entry::Gap { pts, duration } => {
                assert_eq!(*pts, position, "{entry:?}");
                assert!(*duration > 0, "{entry:?}");
                position += duration;
                last_pts = position;
            }
            _ => (),
        }
    }
    position
}
