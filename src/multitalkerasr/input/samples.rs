// SPDX-License-Identifier: MPL-2.0

//! The formats of audio that the element takes.

use multitalker_asr::SAMPLE_RATE_HZ;

#[derive(Clone, Copy, Debug)]
pub enum SampleFormat {
    S16,
    F32,
}

impl SampleFormat {
    pub fn of(caps: &gst::CapsRef) -> Option<Self> {
        let info = gst_audio::AudioInfo::from_caps(caps).ok()?;
        let layout_fits = info.rate() == SAMPLE_RATE_HZ && info.channels() == 1;
        match info.format() {
            gst_audio::AUDIO_FORMAT_S16 if layout_fits => Some(Self::S16),
            gst_audio::AUDIO_FORMAT_F32 if layout_fits => Some(Self::F32),
            _ => None,
        }
    }

    pub const fn bytes(self) -> usize {
        match self {
            Self::S16 => size_of::<i16>(),
            Self::F32 => size_of::<f32>(),
        }
    }

    /// Full scale is 1; exact for both formats.
    pub fn samples(self, data: &[u8]) -> Vec<f32> {
        match self {
            Self::S16 => data
                .as_chunks()
                .0
                .iter()
                .map(|&bytes| f32::from(i16::from_ne_bytes(bytes)) / 32768.0)
                .collect(),
            Self::F32 => {
                data.as_chunks().0.iter().map(|&bytes| f32::from_ne_bytes(bytes)).collect()
            }
        }
    }
}
