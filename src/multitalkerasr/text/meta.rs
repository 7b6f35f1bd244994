// SPDX-License-Identifier: MPL-2.0

//! The meta of text buffers.

use crate::multitalkerasr::text::cues::CueLayout;
use crate::multitalkerasr::text::utterance::Utterance;

/// Name of the meta and of its structure.
pub const NAME: &str = "MultitalkerItemMeta";

/// Registers the meta in this process.
pub fn register() {
    gst::meta::CustomMeta::register_simple(NAME);
}

/// Attaches speaker, confidence and words of an utterance, and the lines of a cue, to the buffer.
pub fn add(buffer: &mut gst::BufferRef, utterance: &Utterance, layout: Option<&CueLayout>) {
    // This does not fail, since the meta is registered with the element.
    let Ok(mut meta) = gst::meta::CustomMeta::add(buffer, NAME) else { return };
    let structure = meta.mut_structure();
    structure.set("speaker", utterance.speaker.id());
    if let Some(identity) = utterance.person.identity {
        structure.set("identity", identity);
    }
    if let Some(name) = &utterance.person.name {
        structure.set("speaker-name", name);
    }
    structure.set("confidence", utterance.confidence());
    structure.set("words", utterance.words_array());
    if let Some(layout) = layout {
        structure.set("lines", gst::Array::new(layout.lines.iter().map(|(_, text)| text)));
        let speakers = layout.lines.iter().map(|(speaker, _)| speaker.id());
        structure.set("line-speakers", gst::Array::new(speakers));
        structure.set("row", layout.row);
    }
}
