// SPDX-License-Identifier: MPL-2.0

//! Templates of the source pads, and the request pads of single speakers.

use std::sync::Mutex;

use crate::multitalkerasr::text::format::TextFormat;
use crate::multitalkerasr::text::speaker::Speaker;
use multitalker_asr::lock::lock;

/// Maximum number of speakers of any diarizer.
const MAX_SPEAKERS: usize = 8;

/// Returns the templates of all source pads.
pub fn templates() -> [gst::PadTemplate; 3] {
    let (text, json) = (TextFormat::all_caps(), TextFormat::Json.caps());
    [
        ("src", gst::PadPresence::Always, text.clone()),
        ("speaker_%u", gst::PadPresence::Request, text),
        ("unsynced_src", gst::PadPresence::Always, json),
    ]
    .map(|(name, presence, caps)| {
        gst::PadTemplate::new(name, gst::PadDirection::Src, presence, &caps)
            .expect("name and presence go together")
    })
}

/// A pad with the text of one speaker.
#[derive(Clone, Debug)]
pub struct SpeakerPad {
    pub speaker: Speaker,
    pub pad: gst::Pad,
}

/// The requested pads.
#[derive(Debug, Default)]
pub struct SpeakerPads(Mutex<Vec<SpeakerPad>>);

impl SpeakerPads {
    /// Adds a pad, made by `make`, for the speaker that `name` contains or else for the first
    /// speaker without a pad. `speakers` is the number of speakers of the model, if it is known.
    ///
    /// # Errors
    /// A message if the name is invalid, the pad exists, or no speaker is left.
    pub fn request(
        &self,
        name: Option<&str>,
        speakers: Option<usize>,
        make: impl FnOnce(Speaker) -> gst::Pad,
    ) -> Result<gst::Pad, String> {
        let speakers = speakers.unwrap_or(MAX_SPEAKERS);
        let mut pads = lock(&self.0);
        let is_free = |speaker: &Speaker| pads.iter().all(|pad| pad.speaker != *speaker);
        let speaker = match name {
            Some(name) => {
                let speaker = Speaker::of_pad(name).filter(|speaker| speaker.index() < speakers);
                speaker.filter(is_free)
            }
            None => (0..speakers).map(Speaker::new).find(is_free),
        };
        let speaker = speaker.ok_or_else(|| {
            let last = Speaker::new(speakers.saturating_sub(1)).pad_name();
            match name {
                Some(name) => format!(
                    "Pad: expected a name from speaker_0 to {last} that is not in use, found {name}"
                ),
                None => format!("Pad: all pads from speaker_0 to {last} are in use"),
            }
        })?;
        let pad = make(speaker);
        pads.push(SpeakerPad { speaker, pad: pad.clone() });
        Ok(pad)
    }

    /// Removes a pad.
    pub fn remove(&self, pad: &gst::Pad) {
        lock(&self.0).retain(|known| known.pad != *pad);
    }

    /// Returns whether a pad was requested and not removed.
    pub fn contains(&self, pad: &gst::Pad) -> bool {
        lock(&self.0).iter().any(|known| known.pad == *pad)
    }

    /// Returns the current pads.
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
        let make = |speaker: Speaker| {
            gst::Pad::builder(gst::PadDirection::Src).name(speaker.pad_name()).build()
        };
        let request = |name, speakers| pads.request(name, speakers, make);
        let first = request(None, None).expect("a pad");
        assert_eq!(first.name(), "speaker_0");
        assert_eq!(request(Some("speaker_2"), None).expect("a pad").name(), "speaker_2");
        assert_eq!(request(None, None).expect("a pad").name(), "speaker_1");
        assert_eq!(request(None, None).expect("a pad").name(), "speaker_3");
        for (name, speakers, expected) in [
            (Some("speaker_2"), None, "speaker_0 to speaker_7 that is not in use, found speaker_2"),
            (Some("speaker_8"), None, "found speaker_8"),
            (Some("speaker_4"), Some(4), "speaker_0 to speaker_3"),
            (Some("speaker_x"), None, "found speaker_x"),
            (Some("src"), None, "found src"),
            (None, Some(4), "all pads from speaker_0 to speaker_3 are in use"),
        ] {
            let error = request(name, speakers).expect_err("no such pad");
            assert!(error.contains(expected), "{error}");
        }
        assert!(pads.contains(&first));
        pads.remove(&first);
        assert!(!pads.contains(&first));
        assert_eq!(request(None, Some(4)).expect("a pad").name(), "speaker_0", "free again");
    }
}
