// SPDX-License-Identifier: MPL-2.0

//! Reads cues from text buffers.

use crate::cues::{self, CueText, RunStyle, json, markup};
use crate::multitalkerasr::ITEM_META;

/// Maximum size of a buffer in bytes.
const MAX_SIZE: usize = 1 << 20;

/// Formats of text buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CueFormat {
    Json,
    PangoMarkup,
    Utf8,
}

impl CueFormat {
    /// Returns the caps of all formats, the richest first.
    pub fn all_caps() -> gst::Caps {
        let text = gst::Caps::builder("text/x-raw")
            .field("format", gst::List::new(["pango-markup", "utf8"]))
            .build();
        let mut caps = gst::Caps::new_empty_simple("application/x-json");
        caps.merge(text);
        caps
    }

    /// Returns the format of fixed caps.
    pub fn of_caps(caps: &gst::CapsRef) -> Option<Self> {
        let structure = caps.structure(0)?;
        match (structure.name().as_str(), structure.get::<&str>("format").ok()) {
            ("application/x-json", _) => Some(Self::Json),
            ("text/x-raw", Some("pango-markup")) => Some(Self::PangoMarkup),
            ("text/x-raw", Some("utf8")) => Some(Self::Utf8),
            _ => None,
        }
    }

    /// Reads a buffer. A buffer without text has no cue; one that cannot be read as its format has a
    /// cue if it is legible as plain text, and always a reason.
    pub fn read(self, buffer: &gst::BufferRef) -> (Option<CueText>, Option<String>) {
        if buffer.size() > MAX_SIZE {
            let reason = format!("expected at most {MAX_SIZE} bytes, found {}", buffer.size());
            return (None, Some(reason));
        }
        let Ok(map) = buffer.map_readable() else {
            return (None, Some("the buffer cannot be read".to_owned()));
        };
        let text = String::from_utf8_lossy(&map);
        let replaced = std::str::from_utf8(&map).err().map(|error| error.to_string());
        let (mut cue, reason) = match self {
            Self::Json => match json::read(&text) {
                Ok(cue) => (cue, replaced),
                Err(reason) => (None, Some(reason)),
            },
            Self::PangoMarkup => match markup::read(&text) {
                Ok(lines) => (Some(CueText { lines, ..Default::default() }), replaced),
                Err(reason) => (Some(plain(&text)), Some(reason)),
            },
            Self::Utf8 => (Some(plain(&text)), replaced),
        };
        if let Some(cue) = &mut cue {
            add_speaker(cue, buffer);
        }
        (cue.filter(|cue| !cue.lines.is_empty()), reason)
    }
}

fn plain(text: &str) -> CueText {
    let mut lines = Vec::new();
    cues::append(&mut lines, text, RunStyle::default());
    cues::trim(&mut lines);
    CueText { lines, ..Default::default() }
}

/// Adds the speaker of the buffer's meta to a cue without one.
fn add_speaker(cue: &mut CueText, buffer: &gst::BufferRef) {
    let Ok(meta) = gst::meta::CustomMeta::from_buffer(buffer, ITEM_META) else { return };
    let structure = meta.structure();
    let speaker = structure.get::<u32>("speaker").ok().and_then(|id| usize::try_from(id).ok());
    if cue.speaker.is_none() && speaker.is_some() {
        cue.speaker = speaker;
        cue.name = structure.get::<String>("speaker-name").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: CueFormat, text: &[u8]) -> (Vec<String>, bool) {
        gst::init().expect("GStreamer");
        let (cue, reason) = format.read(&gst::Buffer::from_slice(text.to_vec()));
        let lines = cue.unwrap_or_default().lines;
        let line = |line: cues::Line| line.into_iter().map(|run| run.text).collect();
        (lines.into_iter().map(line).collect(), reason.is_some())
    }

    #[test]
    fn text_that_is_not_in_its_format_is_plain_text_with_a_reason() {
        let lines = |text: &str| vec![text.to_owned()];
        assert_eq!(read(CueFormat::Utf8, b"R&D <b>\0"), (lines("R&D <b>"), false));
        assert_eq!(read(CueFormat::Utf8, b"a\xFF"), (lines("a\u{FFFD}"), true));
        assert_eq!(read(CueFormat::PangoMarkup, b"<b>R&amp;D</b>"), (lines("R&D"), false));
        assert_eq!(read(CueFormat::PangoMarkup, b"R&D <b>"), (lines("R&D <b>"), true));
        assert_eq!(read(CueFormat::Json, b"{\"text\":\"a\"}\n"), (lines("a"), false));
        assert_eq!(read(CueFormat::Json, b"a"), (vec![], true));
        assert_eq!(read(CueFormat::Utf8, b" \n"), (vec![], false));
        assert_eq!(read(CueFormat::Utf8, &vec![b'a'; MAX_SIZE + 1]), (vec![], true));
    }

    #[test]
    fn formats_are_those_of_the_caps() {
        gst::init().expect("GStreamer");
        let of = |caps: &str| CueFormat::of_caps(&caps.parse::<gst::Caps>().expect("caps"));
        assert_eq!(of("application/x-json"), Some(CueFormat::Json));
        assert_eq!(of("text/x-raw,format=pango-markup"), Some(CueFormat::PangoMarkup));
        assert_eq!(of("text/x-raw,format=utf8"), Some(CueFormat::Utf8));
        assert_eq!(of("text/x-raw"), None);
    }
}
