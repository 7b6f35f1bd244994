// SPDX-License-Identifier: MPL-2.0

//! The meta of text buffers.

use crate::multitalkerasr::text::utterance::Utterance;

/// Name of the meta and of its structure.
const NAME: &str = "MultitalkerItemMeta";

/// Registers the meta in this process.
pub fn register() {
    gst::meta::CustomMeta::register_simple(NAME);
}

/// Attaches speaker, confidence and words of an utterance to its buffer.
pub fn add(buffer: &mut gst::BufferRef, utterance: &Utterance) {
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
}
