// SPDX-License-Identifier: MPL-2.0

//! The version of a Sortformer file, and the constants of its speaker cache.
//!
//! The exporters of version 3 write the same entries under different names: parakeet-rs writes
//! `n_spk`, Vernacula `vernacula.diar.num_speakers`, and so on. An entry is accepted under any of
//! its names, with and without that prefix. Files of version 2 have no constants, or the defaults of
//! the operating point for which they were exported, which the presets replace.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::metadata::Metadata;
use crate::diarization::compression::Compression;
use crate::diarization::{DiarizationPreset, DiarizerVersion};
use crate::error::Error;
use crate::features::FRAMES_PER_ENCODED_FRAME;
use crate::onnx::Network;
use crate::options::ChunkLatency;

/// Prefix of the names of Vernacula's entries.
const PREFIX: &str = "vernacula.diar.";

/// The only contract that Vernacula defines.
const CONTRACT: &str = "sortformer-hr-1";

/// Outputs with probabilities for every 10 ms, which only version 3 has.
const FINE_OUTPUTS: [&str; 2] = ["preds_hires", "spkcache_fifo_chunk_preds_hr"];

/// parakeet-rs's output with the probabilities of version 3.
pub const COARSE_OUTPUT: &str = "preds_diar";

/// Dimensions of a graph, to compare with its metadata.
pub struct Dimensions {
    /// Number of mel bins.
    pub n_mels: usize,
    /// Number of values in an embedding.
    pub d_model: usize,
    /// Number of speakers.
    pub speakers: usize,
}

/// Determines the version from the outputs and the metadata, and reads the constants of the speaker
/// cache.
///
/// # Errors
/// [`Error::Mismatch`] if the entries contradict each other or the graph, or if a number is out of
/// its range.
pub fn read(
    network: &Network,
    dimensions: &Dimensions,
) -> Result<(DiarizerVersion, Compression), Error> {
    let metadata = Metadata::with_prefix(network, PREFIX);
    for (names, size) in [
        (["n_spk", "num_speakers"], dimensions.speakers),
        (["emb_dim", "fc_d_model"], dimensions.d_model),
        (["feat_dim", "n_mels"], dimensions.n_mels),
        (["subsampling_factor", "subsampling"], FRAMES_PER_ENCODED_FRAME),
    ] {
        metadata.number(&names, size..=size)?;
    }
    let version = version(&metadata)?;
    let most = version.max_speakers();
    if dimensions.speakers == 0 || dimensions.speakers > most {
        let by = "which its outputs and its metadata indicate";
        let expected = format!("1 to {most} of version {version}, {by}");
        return Err(network.mismatch("speakers", expected, dimensions.speakers));
    }
    Ok((version, compression(&metadata, version, dimensions)?))
}

fn version(metadata: &Metadata<'_>) -> Result<DiarizerVersion, Error> {
    if let Some((key, contract)) = metadata.entry(&["contract"])?
        && contract != CONTRACT
    {
        return Err(metadata.mismatch(&key, CONTRACT, contract));
    }
    let has_output = |name: &&str| metadata.network.has_output(name);
    let upsample = metadata.number(&["upsample_factor"], 1..=FRAMES_PER_ENCODED_FRAME)?;
    let is_3 = has_output(&COARSE_OUTPUT)
        || FINE_OUTPUTS.iter().any(has_output)
        || metadata.entry(&["contract"])?.is_some()
        || upsample.is_some_and(|factor| factor > 1)
        || metadata.flag(&["high_resolution"])? == Some(true)
        || metadata.flag(&["use_learnable_sil_emb"])? == Some(true)
        || metadata.entry(&["learnable_sil_emb"])?.is_some()
        || metadata.entry(&["learnable_sil_emb_f32le_b64"])?.is_some();
    Ok(if is_3 { DiarizerVersion::V3 } else { DiarizerVersion::V2 })
}

fn compression(
    metadata: &Metadata<'_>,
    version: DiarizerVersion,
    dimensions: &Dimensions,
) -> Result<Compression, Error> {
    let preset = DiarizationPreset::ThirtySeconds;
    let cache = preset.operating_point_of(version, ChunkLatency::Ms1120).speaker_cache_frames;
    let share = cache / dimensions.speakers;
    let mut compression = Compression {
        learned_silence: learned_silence(metadata, version, dimensions.d_model)?,
        ..Compression::default()
    };
    if version == DiarizerVersion::V3 {
        compression.silence_frames_per_speaker = 1;
    }
    let silence = metadata.number(&["spkcache_sil_frames_per_spk"], 0..=share.saturating_sub(1))?;
    if let Some(frames) = silence {
        compression.silence_frames_per_speaker = frames;
    }
    for (key, range, value) in [
        ("pred_score_threshold", 1e-6..=1.0, &mut compression.score_threshold),
        ("scores_boost_latest", 0.0..=100.0, &mut compression.latest_boost),
        ("sil_threshold", 0.0..=8.0, &mut compression.silence_threshold),
        ("strong_boost_rate", 0.0..=100.0, &mut compression.strong_boost_rate),
        ("weak_boost_rate", 0.0..=100.0, &mut compression.weak_boost_rate),
        ("min_pos_scores_rate", 0.0..=100.0, &mut compression.min_positive_rate),
    ] {
        if let Some(found) = metadata.number(&[key], range)? {
            *value = found;
        }
    }
    Ok(compression)
}

/// Reads the embedding of silence, which version 3 has unless its metadata denies it.
fn learned_silence(
    metadata: &Metadata<'_>,
    version: DiarizerVersion,
    d_model: usize,
) -> Result<Option<Vec<f32>>, Error> {
    let used = metadata.flag(&["use_learnable_sil_emb"])?;
    let list = metadata.entry(&["learnable_sil_emb"])?;
    let base64 = metadata.entry(&["learnable_sil_emb_f32le_b64"])?;
    let (key, embedding) = match (list, base64) {
        (Some((key, text)), _) => {
            let numbers = text.split(|c: char| c.is_whitespace() || "[],;".contains(c));
            // One number more than fits is enough to detect too many.
            let numbers = numbers.filter(|number| !number.is_empty()).take(d_model + 1);
            let parsed: Result<Vec<f32>, _> = numbers.map(str::parse).collect();
            (key, parsed.map_err(|error| error.to_string()))
        }
        (None, Some((key, text))) => {
            let bytes = BASE64_STANDARD.decode(text).map_err(|error| error.to_string());
            let parsed = bytes.and_then(|bytes| match bytes.as_chunks::<4>() {
                (numbers, []) => Ok(numbers.iter().map(|n| f32::from_le_bytes(*n)).collect()),
                _ => Err(format!("{} bytes", bytes.len())),
            });
            (key, parsed)
        }
        (None, None) if version == DiarizerVersion::V2 || used == Some(false) => return Ok(None),
        (None, None) => {
            let what = "learnable_sil_emb in the metadata";
            let expected = format!("{d_model} numbers, the silence of version 3");
            return Err(metadata.network.mismatch(what, expected, "none"));
        }
    };
    if used == Some(false) {
        return Err(metadata.mismatch("use_learnable_sil_emb", format!("1 to match {key}"), "0"));
    }
    match embedding {
        Ok(numbers) if numbers.len() == d_model && numbers.iter().all(|n| n.is_finite()) => {
            Ok(Some(numbers))
        }
        other => {
            let expected = format!("{d_model} finite numbers");
            let found = match other {
                Ok(numbers) if numbers.len() > d_model => format!("more than {d_model} numbers"),
                Ok(numbers) if numbers.len() < d_model => format!("{} numbers", numbers.len()),
                Ok(_) => "some that are not finite".to_owned(),
                Err(error) => error,
            };
            Err(metadata.mismatch(&key, expected, &found))
        }
    }
}
