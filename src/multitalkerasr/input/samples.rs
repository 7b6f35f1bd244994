// SPDX-License-Identifier: MPL-2.0

//! Sample formats that the sink pad accepts, and their conversion to the engine's format: mono
//! `f32` samples at 16 kHz.

use multitalker_asr::SAMPLE_RATE_HZ;

/// Format of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    S16,
    F32,
}

impl SampleFormat {
    /// Returns the caps of all formats.
    pub fn all_caps() -> gst::Caps {
        gst_audio::AudioCapsBuilder::new_interleaved()
            .format_list([gst_audio::AUDIO_FORMAT_F32, gst_audio::AUDIO_FORMAT_S16])
            .rate(SAMPLE_RATE_HZ as i32)
            .channels(1)
            .build()
    }

    /// Returns the format of fixed caps; `None` if they are not among [`Self::all_caps`].
    pub fn from_caps(caps: &gst::CapsRef) -> Option<Self> {
        let info = gst_audio::AudioInfo::from_caps(caps).ok()?;
        let layout_fits = info.rate() == SAMPLE_RATE_HZ && info.channels() == 1;
        match info.format() {
            gst_audio::AUDIO_FORMAT_S16 if layout_fits => Some(Self::S16),
            gst_audio::AUDIO_FORMAT_F32 if layout_fits => Some(Self::F32),
            _ => None,
        }
    }

    /// Returns the number of bytes per sample.
    pub const fn bytes(self) -> usize {
        match self {
            Self::S16 => size_of::<i16>(),
            Self::F32 => size_of::<f32>(),
        }
    }

    /// Converts samples. Full scale is 1; the conversion is exact for both formats.
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
