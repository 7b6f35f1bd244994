// SPDX-License-Identifier: MPL-2.0

//! The pads that text leaves by: their templates, and those of single speakers, which come and go.

use std::sync::Mutex;

use crate::multitalkerasr::text::format::TextFormat;
use multitalker_asr::lock::lock;

/// Speakers that any diarizer of this family knows.
const MAX_SPEAKERS: usize = 8;

/// Name of the template, and what precedes the number in a name.
pub const SPEAKER_TEMPLATE: &str = "speaker_%u";
const SPEAKER_PREFIX: &str = "speaker_";

/// The templates of all source pads.
pub fn templates() -> [gst::PadTemplate; 3] {
    let (text, json) = (TextFormat::all_caps(), TextFormat::Json.caps());
    [
        ("src", gst::PadPresence::Always, text.clone()),
        (SPEAKER_TEMPLATE, gst::PadPresence::Request, text),
        ("unsynced_src", gst::PadPresence::Always, json),
    ]
    .map(|(name, presence, caps)| {
        gst::PadTemplate::new(name, gst::PadDirection::Src, presence, &caps)
            .expect("name and presence go together")
    })
}

/// Name of the pad of a speaker.
pub fn speaker_name(speaker: usize) -> String {
    format!("{SPEAKER_PREFIX}{speaker}")
}

/// A pad with the text of one speaker.
#[derive(Clone, Debug)]
pub struct SpeakerPad {
    /// Counted from 0.
    pub speaker: usize,
    pub pad: gst::Pad,
}

/// The pads that were requested.
#[derive(Debug, Default)]
pub struct SpeakerPads(Mutex<Vec<SpeakerPad>>);

impl SpeakerPads {
    /// Adds the pad that `make` makes for a speaker: the one in `name`, else the first that has
    /// none. `speakers` is how many there are, where that is known.
    ///
    /// # Errors
    /// What was expected and found where there can be no such pad.
    pub fn request(
        &self,
        name: Option<&str>,
        speakers: Option<usize>,
        make: impl FnOnce(usize) -> gst::Pad,
    ) -> Result<gst::Pad, String> {
        let speakers = speakers.unwrap_or(MAX_SPEAKERS);
        let mut pads = lock(&self.0);
        let is_free = |speaker: &usize| pads.iter().all(|pad| pad.speaker != *speaker);
        let speaker = match name {
            Some(name) => {
                let number = name.strip_prefix(SPEAKER_PREFIX).and_then(|n| n.parse().ok());
                number.filter(|number| (0..speakers).contains(number) && is_free(number))
            }
            None => (0..speakers).find(is_free),
        };
        let speaker = speaker.ok_or_else(|| {
            let last = speakers.saturating_sub(1);
            format!(
                "Pad: expected one of speaker_0 to speaker_{last} that is not there yet, found {}",
                name.unwrap_or("that all are")
            )
        })?;
        let pad = make(speaker);
        pads.push(SpeakerPad { speaker, pad: pad.clone() });
        Ok(pad)
    }

    /// Takes a pad out.
    pub fn remove(&self, pad: &gst::Pad) {
        lock(&self.0).retain(|known| known.pad != *pad);
    }

    pub fn contains(&self, pad: &gst::Pad) -> bool {
        lock(&self.0).iter().any(|known| known.pad == *pad)
    }

    /// Those that there are now.
    pub fn list(&self) -> Vec<SpeakerPad> {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;

    #[test]
    fn names_stand_for_speakers() {
        gst::init().expect("GStreamer");
        let pads = SpeakerPads::default();
        let make =
            |speaker| gst::Pad::builder(gst::PadDirection::Src).name(speaker_name(speaker)).build();
        let request = |name, speakers| pads.request(name, speakers, make);
        let first = request(None, None).expect("a pad");
        assert_eq!(first.name(), "speaker_0");
        assert_eq!(request(Some("speaker_2"), None).expect("a pad").name(), "speaker_2");
        assert_eq!(request(None, None).expect("a pad").name(), "speaker_1");
        assert_eq!(request(None, None).expect("a pad").name(), "speaker_3");
        for (name, speakers) in [
            (Some("speaker_2"), None),
            (Some("speaker_8"), None),
            (Some("speaker_4"), Some(4)),
            (Some("speaker_x"), None),
            (Some("src"), None),
            (None, Some(4)),
        ] {
            let error = request(name, speakers).expect_err("no such pad");
            assert!(error.contains("expected") && error.contains("found"), "{error}");
        }
        assert!(pads.contains(&first));
        pads.remove(&first);
        assert!(!pads.contains(&first));
        assert_eq!(request(None, Some(4)).expect("a pad").name(), "speaker_0", "free again");
    }
}
