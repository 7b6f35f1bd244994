// SPDX-License-Identifier: MPL-2.0

//! Operating point of the diarizer and the values that depend on it: the engine's options, the
//! latency of the element and the length of its queue.

use crate::multitalkerasr::properties::enums::{DiarizationPreset, TextUnit};
use crate::multitalkerasr::properties::settings::{LiveSettings, RunSettings};
use multitalker_asr as engine;

/// Possible diarizers as long as the file is not loaded.
const UNKNOWN_DIARIZERS: [engine::DiarizerKind; 2] = {
    let [first, second] = engine::DiarizerVersion::ALL;
    [
        engine::DiarizerKind { version: first, fixed_preset: None },
        engine::DiarizerKind { version: second, fixed_preset: None },
    ]
};

impl RunSettings {
    /// Returns the options of a stream with this diarizer, for a live or a non-live source.
    pub fn stream_options(
        &self,
        live: bool,
        diarizer: Option<engine::DiarizerKind>,
    ) -> engine::StreamOptions {
        let kind = diarizer.unwrap_or(UNKNOWN_DIARIZERS[0]);
        engine::StreamOptions {
            chunk_latency: self.chunk_latency.into(),
            diarization: self.operating_point(live, kind),
            activity_threshold: self.activity_threshold,
            max_speakers: (self.max_speakers > 0).then_some(self.max_speakers as usize),
            target_mode: self.target_mode.into(),
            segment_pause_ms: self.segment_pause_ms,
            max_segment_ms: self.max_segment_duration_ms,
            // With a diarizer, its long chunks for files already fill the batches.
            fill_batches: !live && diarizer.is_none(),
        }
    }

    /// Returns the selected preset and its replacement, if a diarizer of this version does not
    /// offer the selected one.
    pub fn substituted_preset(
        &self,
        version: engine::DiarizerVersion,
    ) -> Option<(DiarizationPreset, DiarizationPreset)> {
        let selected = self.selected_preset()?;
        let offered = selected.offered_by(version);
        (selected != offered).then(|| (self.diarization_preset, offered.into()))
    }

    /// Checks that the diarizer of `model` can run the selected preset.
    ///
    /// # Errors
    /// [`engine::Error::Mismatch`] if the axes of its graph are fixed for another preset.
    pub fn check_preset(&self, model: &engine::Model) -> Result<(), engine::Error> {
        let Some(preset) = self.selected_preset() else { return Ok(()) };
        model.operating_point(preset, self.chunk_latency.into()).map(|_| ())
    }

    /// Returns an error if the activity of the speakers of `model` is not available for a live source.
    pub fn check_live(&self, model: &engine::Model) -> Option<engine::Error> {
        model.annotated_speakers()?;
        Some(engine::Error::InvalidOption {
            option: "diarization-model",
            expected: "a Sortformer, since the source is live".to_owned(),
            found: format!(
                "the RTTM file {}",
                self.diarization_model.as_deref().unwrap_or_default()
            ),
        })
    }

    /// Returns the latency that the element adds to a live pipeline. Before the diarizer is known,
    /// this is the maximum over all versions.
    pub fn live_latency(
        &self,
        live: &LiveSettings,
        diarizer: Option<engine::DiarizerKind>,
    ) -> gst::ClockTime {
        match live.is_desynchronized() {
            true => gst::ClockTime::ZERO,
            false => self.latency(live.compute_ms(), diarizer),
        }
    }

    /// Returns the time from audio to its text: [`RunSettings::live_latency`], or its value with
    /// the default `latency` if text is desynchronized.
    pub fn text_latency(
        &self,
        live: &LiveSettings,
        diarizer: Option<engine::DiarizerKind>,
    ) -> gst::ClockTime {
        match live.is_desynchronized() {
            true => self.latency(LiveSettings::DEFAULT_LATENCY_MS, diarizer),
            false => self.latency(live.compute_ms(), diarizer),
        }
    }

    fn latency(&self, compute_ms: u32, diarizer: Option<engine::DiarizerKind>) -> gst::ClockTime {
        let chunk_latency = self.chunk_latency.into();
        let sum = |ms: &[u32]| -> gst::ClockTime {
            ms.iter().map(|&ms| gst::ClockTime::from_mseconds(u64::from(ms))).sum()
        };
        if !self.recognize {
            let points = self.possible_points(true, diarizer);
            let diarizer_ms = points.map(|point| point.diarizer_latency_ms()).max();
            return sum(&[diarizer_ms.unwrap_or_default(), compute_ms]);
        }
        let points = self.possible_points(true, diarizer);
        let algorithm_ms = points.map(|point| point.latency_ms(chunk_latency)).max();
        // Without a diarizer, the recognizer's chunk is the only delay, as in lockstep.
        let algorithm_ms = algorithm_ms.unwrap_or_else(|| {
            let lockstep = engine::DiarizationPreset::Lockstep;
            lockstep.operating_point(chunk_latency).latency_ms(chunk_latency)
        });
        let unit_ms = match self.text_unit {
            TextUnit::Word => engine::WORD_LATENCY_MS,
            TextUnit::Cue => engine::WORD_LATENCY_MS.saturating_add(self.cues.latency_ms()),
            TextUnit::Segment => {
                let end_ms = self.segment_pause_ms.max(engine::WORD_END_MS);
                self.max_segment_duration_ms.saturating_add(end_ms)
            }
        };
        sum(&[algorithm_ms, unit_ms, compute_ms])
    }

    /// Returns the number of samples that may wait for the worker: the longer chunk of recognizer
    /// and diarizer, plus 2 s. Before the diarizer is known, this is the maximum over all versions.
    pub fn max_queued_samples(&self, live: bool, diarizer: Option<engine::DiarizerKind>) -> usize {
        let diarizer_chunks = self.possible_points(live, diarizer).map(|point| point.chunk_frames);
        let recognizer_chunk = match self.recognize {
            true => engine::ChunkLatency::from(self.chunk_latency).encoded_frames(),
            false => 0,
        };
        let frames = diarizer_chunks.fold(recognizer_chunk, usize::max);
        frames * engine::ENCODED_FRAME_SAMPLES as usize + 2 * engine::SAMPLE_RATE_HZ as usize
    }

    /// Returns the preset of the property; `None` for `auto`.
    fn selected_preset(&self) -> Option<engine::DiarizationPreset> {
        self.diarization_preset.into()
    }

    fn operating_point(&self, live: bool, kind: engine::DiarizerKind) -> engine::OperatingPoint {
        let preset = self.selected_preset().or(kind.fixed_preset).unwrap_or(match live {
            true => engine::DiarizationPreset::Lockstep,
            false => engine::DiarizationPreset::ThirtySeconds,
        });
        preset.operating_point_of(kind.version, self.chunk_latency.into())
    }

    /// Returns the operating points of the diarizer: one for each version as long as the version is
    /// unknown, none without a diarizer.
    fn possible_points(
        &self,
        live: bool,
        diarizer: Option<engine::DiarizerKind>,
    ) -> impl Iterator<Item = engine::OperatingPoint> {
        let kinds = match (&self.diarization_model, diarizer) {
            (None, _) => Vec::new(),
            (Some(_), Some(kind)) => vec![kind],
            (Some(_), None) => UNKNOWN_DIARIZERS.to_vec(),
        };
        kinds.into_iter().map(move |kind| self.operating_point(live, kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multitalkerasr::properties::enums::ChunkLatency;
    use crate::multitalkerasr::properties::settings::MIN_COMPUTE_MS;

    fn with_diarizer() -> RunSettings {
        RunSettings {
            diarization_model: Some("sortformer.onnx".to_owned()),
            ..RunSettings::default()
        }
    }

    fn latency_ms(run: &RunSettings) -> u64 {
        run.live_latency(&LiveSettings::default(), None).mseconds()
    }

    #[test]
    fn latency_of_the_documentation() {
        let mut run = with_diarizer();
        assert_eq!(latency_ms(&run), 2623);
        run.chunk_latency = ChunkLatency::Ms160;
        assert_eq!(latency_ms(&run), 1663);
        run.text_unit = TextUnit::Segment;
        assert_eq!(latency_ms(&run), 160 + 3 + 10_000 + 800 + 500);
        run.segment_pause_ms = 0;
        assert_eq!(latency_ms(&run), 160 + 3 + 10_000 + 400 + 500);
    }

    #[test]
    fn latency_without_recognition_is_that_of_the_diarizer() {
        let mut run = RunSettings { recognize: false, ..with_diarizer() };
        assert_eq!(latency_ms(&run), 1120 + 3 + 500);
        run.diarization_preset = DiarizationPreset::OneSecond;
        let kind = |version| Some(engine::DiarizerKind { version, fixed_preset: None });
        let latency = |kind| run.live_latency(&LiveSettings::default(), kind).mseconds();
        let [version_2, version_3] = engine::DiarizerVersion::ALL;
        assert_eq!(latency(kind(version_2)), 13 * 80 + 3 + 500);
        assert_eq!(latency(kind(version_3)), 13 * 80 + 3 + 500);
        let second = engine::SAMPLE_RATE_HZ as usize;
        assert_eq!(run.max_queued_samples(true, kind(version_2)), 6 * 1280 + 2 * second);
    }

    #[test]
    fn desynchronized_text_adds_no_latency() {
        let run = RunSettings::default();
        let mut live = LiveSettings { latency_ms: u32::MAX, ..LiveSettings::default() };
        assert_eq!(run.live_latency(&live, None), gst::ClockTime::ZERO);
        assert_eq!(run.text_latency(&live, None).mseconds(), 2623);
        live.latency_ms = 0;
        let expected = 2123 + u64::from(MIN_COMPUTE_MS);
        assert_eq!(run.live_latency(&live, None).mseconds(), expected);
        assert_eq!(run.text_latency(&live, None).mseconds(), expected);
    }

    #[test]
    fn latency_without_a_diarizer_ignores_its_preset() {
        let run = RunSettings {
            diarization_preset: DiarizationPreset::ThirtySeconds,
            ..RunSettings::default()
        };
        assert_eq!(latency_ms(&run), 2623);
    }

    #[test]
    fn auto_preset_follows_the_source() {
        let run = RunSettings::default();
        assert_eq!(run.stream_options(true, None).diarization.chunk_frames, 14);
        assert_eq!(run.stream_options(false, None).diarization.chunk_frames, 340);
    }

    #[test]
    fn latency_before_the_diarizer_is_known_is_no_shorter_than_after() {
        let live = LiveSettings::default();
        let presets = [
            DiarizationPreset::Auto,
            DiarizationPreset::Lockstep,
            DiarizationPreset::Ms320,
            DiarizationPreset::Ms640,
            DiarizationPreset::OneSecond,
            DiarizationPreset::TenSeconds,
            DiarizationPreset::ThirtySeconds,
        ];
        for diarization_preset in presets {
            let run = RunSettings { diarization_preset, ..with_diarizer() };
            let known = UNKNOWN_DIARIZERS.map(Some);
            let latency = known.map(|kind| run.live_latency(&live, kind));
            assert_eq!(latency.into_iter().max(), Some(run.live_latency(&live, None)));
            let queued = known.map(|kind| run.max_queued_samples(true, kind));
            assert_eq!(queued.into_iter().max(), Some(run.max_queued_samples(true, None)));
        }
    }

    #[test]
    fn preset_that_a_version_does_not_offer_is_replaced() {
        let run = RunSettings {
            diarization_preset: DiarizationPreset::TenSeconds,
            ..RunSettings::default()
        };
        let [version_2, version_3] = engine::DiarizerVersion::ALL;
        assert_eq!(run.substituted_preset(version_2), None);
        let expected = (DiarizationPreset::TenSeconds, DiarizationPreset::OneSecond);
        assert_eq!(run.substituted_preset(version_3), Some(expected));
        assert_eq!(RunSettings::default().substituted_preset(version_3), None);
    }

    #[test]
    fn auto_preset_is_the_only_one_of_a_diarizer_with_fixed_axes() {
        let [version, _] = engine::DiarizerVersion::ALL;
        let fixed_preset = Some(engine::DiarizationPreset::ThirtySeconds);
        let kind = Some(engine::DiarizerKind { version, fixed_preset });
        let run = with_diarizer();
        assert_eq!(run.stream_options(true, kind).diarization.chunk_frames, 340);
        let live = LiveSettings::default();
        assert!(run.live_latency(&live, kind) > run.live_latency(&live, None));
        let second = engine::SAMPLE_RATE_HZ as usize;
        assert!(run.max_queued_samples(true, kind) > 27 * second);
    }
}
