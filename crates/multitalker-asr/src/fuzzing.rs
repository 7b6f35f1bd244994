// SPDX-License-Identifier: MPL-2.0

//! Readers of external files for the fuzz targets of `fuzz/` and `tests/fuzz_targets.rs`: they
//! return for any bytes, and their results are bounded.

use std::path::Path;

use crate::diarization::rttm::Rttm;
use crate::models::ModelConfig;
use crate::onnx::{self, diagnosis};
use crate::recognition::tokenizer::Tokenizer;

/// Maximum length of a message about a file with a short name.
const MAX_MESSAGE_BYTES: usize = 8 << 10;

/// Reads `multitalker_config.json`.
pub fn config(bytes: &[u8]) {
    let config = ModelConfig::parse(Path::new("multitalker_config.json"), bytes);
    assert!(config.chunk_frames().is_none_or(|frames| !frames.is_empty()));
    for warning in config.into_warnings() {
        let text = warning.to_string();
        assert!(text.contains("multitalker_config.json") && text.len() <= MAX_MESSAGE_BYTES);
    }
}

/// Reads `tokenizer.model`, and the text of its first pieces.
pub fn tokenizer(bytes: &[u8]) {
    match Tokenizer::parse(Path::new("tokenizer.model"), bytes) {
        Ok(tokenizer) => {
            let ids: Vec<usize> = (0..tokenizer.len().min(100)).collect();
            for &id in &ids {
                tokenizer.kind(id);
            }
            // A model may refuse its own pieces, with an error.
            let _ = tokenizer.text(&ids);
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("tokenizer.model") && text.len() <= MAX_MESSAGE_BYTES);
        }
    }
}

/// Reads an RTTM file.
pub fn rttm(bytes: &[u8]) {
    match Rttm::parse(bytes) {
        Ok(rttm) => assert!(rttm.names().len() > 0),
        Err(found) => assert!(!found.is_empty()),
    }
}

/// Reads the header of an ONNX file, and numbers of its metadata.
pub fn metadata(bytes: &[u8]) {
    diagnosis::fuzz_header(bytes);
    onnx::fuzz_metadata(&String::from_utf8_lossy(bytes));
}
