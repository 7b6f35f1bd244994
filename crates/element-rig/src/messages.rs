// SPDX-License-Identifier: MPL-2.0

//! Messages on the bus.

use multitalker_asr::Segment;

use crate::{SAMPLE_NS, TIMEOUT};

/// Waits for a message of a type and drops those before it.
#[track_caller]
pub fn wait_for(bus: &gst::Bus, type_: gst::MessageType) -> gst::Message {
    let timeout = gst::ClockTime::try_from(TIMEOUT).expect("in range");
    bus.timed_pop_filtered(timeout, &[type_]).unwrap_or_else(|| panic!("no {type_:?} message"))
}

/// Returns the structures with this name among the element messages.
pub fn structures(messages: impl Iterator<Item = gst::Message>, name: &str) -> Vec<gst::Structure> {
    messages
        .filter(|message| message.type_() == gst::MessageType::Element)
        .filter_map(|message| message.structure().map(ToOwned::to_owned))
        .filter(|structure| structure.name() == name)
        .collect()
}

/// Returns the warnings among the messages.
pub fn warnings(messages: &[gst::Message]) -> Vec<gst::message::Warning<gst::Message>> {
    messages
        .iter()
        .filter_map(|message| match message.view() {
            gst::MessageView::Warning(warning) => Some(warning.to_owned()),
            _ => None,
        })
        .collect()
}

/// A segment. Times are in nanoseconds.
#[expect(missing_docs, reason = "the fields have the names of the message")]
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    pub speaker: u32,
    pub text: String,
    pub start: u64,
    pub end: u64,
    pub words: Vec<(String, u64, u64)>,
}

/// Reads a `multitalkerasr/transcript` message.
pub fn transcript(message: &gst::Structure) -> Transcript {
    let time = |structure: &gst::StructureRef, field| {
        structure.get::<gst::ClockTime>(field).expect("a time").nseconds()
    };
    let words: gst::Array = message.get("words").expect("an array");
    let words = words.iter().map(|word| {
        let word: gst::Structure = word.get().expect("a structure");
        (word.get("word").expect("a string"), time(&word, "start"), time(&word, "end"))
    });
    Transcript {
        speaker: message.get("speaker-id").expect("a uint"),
        text: message.get("text").expect("a string"),
        start: time(message, "start-time"),
        end: time(message, "end-time"),
        words: words.collect(),
    }
}

/// Converts a segment of the engine for audio that begins at `base_ns`.
pub fn engine_transcript(segment: &Segment, base_ns: u64) -> Transcript {
    let time = |sample: u64| base_ns + sample * SAMPLE_NS;
    let words = segment.words.iter();
    Transcript {
        speaker: segment.speaker as u32,
        text: segment.text(),
        start: time(segment.start_sample()),
        end: time(segment.end_sample()),
        words: words
            .map(|word| (word.text.clone(), time(word.start_sample), time(word.end_sample)))
            .collect(),
    }
}

/// Returns the segments among the messages.
pub fn transcripts(messages: &[gst::Message]) -> Vec<Transcript> {
    let messages = messages.iter().cloned();
    structures(messages, "multitalkerasr/transcript").iter().map(transcript).collect()
}
