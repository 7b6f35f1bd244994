// SPDX-License-Identifier: MPL-2.0

//! The element between the test and the readers of other projects.

use std::path::{Path, PathBuf};
use std::process::Command;

use element_rig::{Entry, Rig};
use gst::prelude::*;
use serde_json::{Value, json};

pub const JSON: &str = "application/x-json";
pub const UTF8: &str = "text/x-raw,format=utf8";
pub const MARKUP: &str = "text/x-raw,format=pango-markup";

/// Starts an element with properties, and pushes caps and a segment from 0 on.
pub fn rig(caps: &str, properties: &[(&str, &str)]) -> Rig {
    Rig::of(ttmlenc(properties), Some(caps))
}

/// Creates an element with properties.
pub fn ttmlenc(properties: &[(&str, &str)]) -> gst::Element {
    element_rig::init();
    let element = gst::ElementFactory::make("ttmlenc").build().expect("registered");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    element
}

pub fn ms(time: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(time)
}

/// Creates a buffer with a time span in milliseconds.
pub fn buffer(text: &str, begin_ms: u64, end_ms: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(text.to_owned().into_bytes());
    let fields = buffer.get_mut().expect("not shared");
    fields.set_pts(ms(begin_ms));
    fields.set_duration(ms(end_ms - begin_ms));
    buffer
}

/// Creates the JSON of a speaker's text.
pub fn speech(speaker: usize, text: &str) -> String {
    json!({"kind": "segment", "session_id": "", "speaker": speaker, "text": text}).to_string()
        + "\n"
}

/// Returns start and end in milliseconds and text of the documents.
pub fn documents(entries: &[Entry]) -> Vec<(u64, u64, String)> {
    let document = |entry: &Entry| match entry {
        Entry::Buffer { pts, duration, text } => {
            Some((pts / 1_000_000, (pts + duration) / 1_000_000, text.clone()))
        }
        _ => None,
    };
    entries.iter().filter_map(document).collect()
}

/// Returns the only document.
#[track_caller]
pub fn only_document(entries: &[Entry]) -> String {
    let mut documents = documents(entries);
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.remove(0).2
}

/// A document on disk, for programs that read it.
pub struct File {
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    pub fn new(document: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("document.ttml");
        std::fs::write(&path, document).expect("writable");
        Self { path, _folder: folder }
    }
}

#[track_caller]
fn read_with(program: &mut Command, file: &Path) -> Value {
    let output = test_support::limit::output(program.arg(file));
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        std::fs::read_to_string(file).expect("readable")
    );
    let mut documents: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// Returns what ttconv reads. The document also passes the render model of IMSC.
#[track_caller]
pub fn read_with_ttconv(file: &Path) -> Value {
    let root = test_support::repository();
    let mut python = Command::new(root.join(".venv/bin/python"));
    read_with(python.arg(root.join("tests/read_ttml.py")).arg("--hrm"), file)
}

/// Returns what imsc.js reads.
#[track_caller]
pub fn read_with_imsc(file: &Path) -> Value {
    let mut node = Command::new("node");
    read_with(node.arg(test_support::repository().join("tests/node/read_imsc.js")), file)
}

/// Returns begin and end in milliseconds and the texts from the top to the bottom, of each change of
/// what the readers show. All readers agree.
#[track_caller]
pub fn shown(document: &str) -> Vec<(u64, u64, Vec<String>)> {
    let rows = styled(document);
    let rows = rows.as_array().expect("rows").iter().map(|row| {
        let number = |name: &str| row[name].as_u64().expect("a number");
        let text = |line: &Value| {
            let runs = line.as_array().expect("runs").iter();
            runs.map(|run| run["text"].as_str().expect("text")).collect::<String>()
        };
        let lines = row["lines"].as_array().expect("lines").iter().map(text);
        (number("begin"), number("end"), lines.collect())
    });
    rows.collect()
}

/// Returns what the readers show, with styles. All readers agree.
#[track_caller]
pub fn styled(document: &str) -> Value {
    let file = File::new(document);
    let by_ttconv = read_with_ttconv(&file.path);
    let by_imsc = read_with_imsc(&file.path);
    assert_eq!(by_ttconv, by_imsc, "{document}");
    by_ttconv
}

/// Returns a row of [`shown`].
pub fn row(begin: u64, end: u64, lines: &[&str]) -> (u64, u64, Vec<String>) {
    (begin, end, lines.iter().map(|line| (*line).to_owned()).collect())
}

/// Returns the texts of the warnings that the element posted.
pub fn warnings(rig: &Rig) -> Vec<String> {
    let messages: Vec<_> = rig.bus.iter().collect();
    let warnings = element_rig::warnings(&messages);
    warnings.iter().map(|warning| warning.error().to_string()).collect()
}

/// Pushes STREAM_START, CAPS, and a segment.
pub fn start(rig: &mut Rig, caps: &str, segment: &gst::FormattedSegment<gst::ClockTime>) {
    rig.push_event(gst::event::StreamStart::new("test"));
    rig.push_event(gst::event::Caps::new(&caps.parse().expect("caps")));
    rig.push_event(gst::event::Segment::new(segment));
}

/// A segment from one time to another in milliseconds, which plays the media from `time_ms` on.
pub fn segment(start_ms: u64, stop_ms: u64, time_ms: u64) -> gst::FormattedSegment<gst::ClockTime> {
    let mut segment = gst::FormattedSegment::new();
    segment.set_start(ms(start_ms));
    segment.set_stop(ms(stop_ms));
    segment.set_time(ms(time_ms));
    segment
}
