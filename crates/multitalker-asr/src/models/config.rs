// SPDX-License-Identifier: MPL-2.0

//! `multitalker_config.json`: the exporter's description of the model, compared with the graphs.
//!
//! Exporters write their own Python values, so numbers may be text, and `att_context_size` is a
//! pair, a list of pairs, or either of them as text. An entry that cannot be read is ignored with a
//! warning; one that contradicts the graphs is an error.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cancel::Canceller;
use crate::error::{Error, ModelWarning};
use crate::features::{FFT_SIZE, FRAMES_PER_ENCODED_FRAME, SAMPLE_RATE_HZ};
use crate::file;
use crate::models::{EncoderGraph, JointGraph, LEFT_CONTEXT_MEL_FRAMES};

/// Size of the largest file that is read: published ones are smaller than 1 KiB.
const MAX_BYTES: u64 = 1 << 20;

/// Deepest nesting of lists that is searched for attention contexts.
const MAX_NESTING: usize = 8;

/// The relevant entries; absent ones are not compared.
#[derive(Debug, Default)]
pub struct ModelConfig {
    path: PathBuf,
    numbers: Vec<(&'static str, Number)>,
    normalize: Option<String>,
    chunk_frames: Option<Vec<usize>>,
    warnings: Vec<ModelWarning>,
}

/// A number in the file.
#[derive(Debug)]
struct Number {
    /// `None` for a negative, fractional or huge number, which equals no size.
    value: Option<usize>,
    /// The number as it is written, for messages.
    text: String,
}

/// The entries with one number, which is compared with the graphs.
const NUMBERS: [&str; 14] = [
    "encoder.d_model",
    "encoder.num_layers",
    "encoder.subsampling_factor",
    "encoder.left_context",
    "encoder.conv_context",
    "encoder.pre_encode_cache_size",
    "encoder.drop_extra_pre_encoded",
    "decoder.vocab_size",
    "decoder.pred_hidden",
    "decoder.pred_rnn_layers",
    "decoder.blank_id",
    "preprocessor.sample_rate",
    "preprocessor.n_mels",
    "preprocessor.n_fft",
];

impl ModelConfig {
    /// Reads the file; without one, the result has no entries.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] if `path` is not a regular file or cannot be read, and
    /// [`Error::Canceled`].
    pub fn read(path: &Path, canceller: &Canceller) -> Result<Self, Error> {
        let bytes = match file::read(path, "the model's configuration", MAX_BYTES, canceller) {
            Ok(bytes) => bytes,
            Err(Error::FileNotFound { .. }) => return Ok(Self::default()),
            Err(Error::UnreadableFile { found, .. }) if file::is_regular(path) => {
                return Ok(Self::ignored(path, found));
            }
            Err(error) => return Err(error),
        };
        Ok(Self::parse(path, &bytes))
    }

    /// Reads the entries from the bytes of the file at `path`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Self {
        let found =
            match serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)) {
                Ok(Value::Object(entries)) => {
                    return Self::of_entries(path, &Value::Object(entries));
                }
                Ok(other) => kind(&other).to_owned(),
                Err(error) => match file::recognize(bytes) {
                    Some(known) => known.to_string(),
                    None => error.to_string(),
                },
            };
        Self::ignored(path, found)
    }

    fn ignored(path: &Path, found: String) -> Self {
        let warning = ModelWarning::IgnoredConfig { path: path.to_owned(), found };
        Self { path: path.to_owned(), warnings: vec![warning], ..Self::default() }
    }

    fn of_entries(path: &Path, entries: &Value) -> Self {
        let mut config = Self { path: path.to_owned(), ..Self::default() };
        for section in ["encoder", "decoder", "preprocessor"] {
            if let Some(value) = entries.get(section)
                && !matches!(value, Value::Object(_) | Value::Null)
            {
                config.warn(section, "an object", value);
            }
        }
        let entry = |name: &str| {
            let (section, key) = name.split_once('.')?;
            entries.get(section)?.get(key).filter(|value| !value.is_null())
        };
        for name in NUMBERS {
            let Some(value) = entry(name) else { continue };
            match number(value) {
                Some(number) => config.numbers.push((name, number)),
                None => config.warn(name, "a number", value),
            }
        }
        let name = "preprocessor.normalize";
        match entry(name) {
            None => (),
            Some(Value::String(text)) => config.normalize = Some(text.clone()),
            Some(other) => config.warn(name, "a name", other),
        }
        let name = "encoder.att_context_size";
        if let Some(value) = entry(name) {
            match chunk_frames(value) {
                Some(frames) => config.chunk_frames = Some(frames).filter(|f| !f.is_empty()),
                None => config.warn(name, "pairs of left and right context", value),
            }
        }
        config
    }

    fn warn(&mut self, entry: &str, expected: &'static str, found: &Value) {
        self.warnings.push(ModelWarning::IgnoredConfigEntry {
            path: self.path.clone(),
            entry: entry.to_owned(),
            expected,
            found: found.to_string(),
        });
    }

    /// Returns the chunk lengths in encoded frames for which the encoder was trained; `None` if the
    /// file contains none.
    pub fn chunk_frames(&self) -> Option<Vec<usize>> {
        self.chunk_frames.clone()
    }

    /// Returns the warnings about ignored entries.
    pub fn into_warnings(self) -> Vec<ModelWarning> {
        self.warnings
    }

    /// Compares all entries with the graphs and with the feature extraction.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for the first entry that differs.
    pub fn check(&self, encoder: &EncoderGraph, joint: &JointGraph) -> Result<(), Error> {
        let (by_encoder, by_joint) = (encoder.file_name(), joint.file_name());
        let by_features = "the features".to_owned();
        let by_subsampling = "the encoder's subsampling".to_owned();
        let extra = LEFT_CONTEXT_MEL_FRAMES.div_ceil(FRAMES_PER_ENCODED_FRAME);
        for (entry, expected, by) in [
            ("encoder.d_model", encoder.d_model, &by_encoder),
            ("encoder.num_layers", encoder.layers, &by_encoder),
            ("encoder.left_context", encoder.left_context, &by_encoder),
            ("encoder.conv_context", encoder.conv_context, &by_encoder),
            ("encoder.subsampling_factor", FRAMES_PER_ENCODED_FRAME, &by_features),
            ("encoder.pre_encode_cache_size", LEFT_CONTEXT_MEL_FRAMES, &by_subsampling),
            ("encoder.drop_extra_pre_encoded", extra, &by_subsampling),
            ("decoder.vocab_size", joint.vocabulary, &by_joint),
            ("decoder.blank_id", joint.vocabulary, &by_joint),
            ("decoder.pred_hidden", joint.hidden, &by_joint),
            ("decoder.pred_rnn_layers", joint.layers, &by_joint),
            ("preprocessor.n_mels", encoder.n_mels, &by_encoder),
            ("preprocessor.sample_rate", SAMPLE_RATE_HZ as usize, &by_features),
            ("preprocessor.n_fft", FFT_SIZE, &by_features),
        ] {
            if let Some((_, found)) = self.numbers.iter().find(|(name, _)| *name == entry)
                && found.value != Some(expected)
            {
                let expected = format!("{expected} to match {by}");
                return Err(self.mismatch(entry, expected, found.text.clone()));
            }
        }
        let none = ["", "na", "none", "null"];
        match &self.normalize {
            Some(name) if !none.iter().any(|none| name.eq_ignore_ascii_case(none)) => Err(self
                .mismatch(
                    "preprocessor.normalize",
                    format!("NA to match {by_features}"),
                    name.clone(),
                )),
            _ => Ok(()),
        }
    }

    fn mismatch(&self, what: &str, expected: String, found: String) -> Error {
        Error::Mismatch { path: self.path.clone(), what: what.to_owned(), expected, found }
    }
}

/// Reads the number in a value, which may also be in text, such as `512.0`, or alone in a list. NeMo
/// writes pairs for the first chunk and for all others; the latter is returned.
fn number(value: &Value) -> Option<Number> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite())?,
        Value::Array(list) if list.len() <= 2 => match list.last()? {
            Value::Array(_) => return None,
            last => return number(last).map(|n| Number { text: value.to_string(), ..n }),
        },
        _ => return None,
    };
    // Larger numbers are not exact, and no size is as large.
    let exact = number.fract() == 0.0 && (0.0..=9e15).contains(&number);
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(Number { value: exact.then_some(number as usize), text })
}

/// Reads the chunk lengths of all attention contexts; `None` if they are not pairs. A right context
/// below 0 is unlimited and has no chunk length.
fn chunk_frames(value: &Value) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    flatten(value, MAX_NESTING, &mut numbers)?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let right = pairs.iter().filter_map(|[_, right]| usize::try_from(*right).ok());
    let mut frames = Vec::new();
    for chunk in right.map(|right| right.saturating_add(1)) {
        if !frames.contains(&chunk) {
            frames.push(chunk);
        }
    }
    Some(frames)
}

/// Appends the integers of nested lists, and of text that contains such lists.
fn flatten(value: &Value, depth: usize, numbers: &mut Vec<i64>) -> Option<()> {
    let integer = |number: f64| {
        (number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX)).then_some(number as i64)
    };
    match value {
        Value::Null => (),
        Value::Number(number) => numbers.push(integer(number.as_f64()?)?),
        Value::Array(list) => {
            let depth = depth.checked_sub(1)?;
            for value in list {
                flatten(value, depth, numbers)?;
            }
        }
        Value::String(text) => {
            let separates = |c: char| c.is_whitespace() || "[](),".contains(c);
            for word in text.split(separates).filter(|word| !word.is_empty()) {
                numbers.push(integer(word.parse().ok()?)?);
            }
        }
        _ => return None,
    }
    Some(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(config: &Value) -> ModelConfig {
        ModelConfig::parse(Path::new("multitalker_config.json"), config.to_string().as_bytes())
    }

    fn contexts(value: Value) -> ModelConfig {
        parse(&json!({"encoder": {"att_context_size": value}}))
    }

    #[test]
    fn contexts_come_in_all_forms_that_exporters_write() {
        for (value, expected) in [
            (json!([[70, 13], [70, 0]]), vec![14, 1]),
            (json!(["[70, 13]", "[70, 6]", "[70, 1]", "[70, 0]"]), vec![14, 7, 2, 1]),
            (json!("[[70, 13], [70, 6]]"), vec![14, 7]),
            (json!("[70, 13]"), vec![14]),
            (json!("(70, 13)"), vec![14]),
            (json!([70, 6]), vec![7]),
            (json!(["70", "6"]), vec![7]),
            (json!([70.0, 6.0]), vec![7]),
            (json!([[[70, 13], [70, 6]]]), vec![14, 7]),
            (json!([[70, 13], null, [70, 13]]), vec![14]),
            (json!([[-1, -1], [70, 1]]), vec![2]),
        ] {
            let config = contexts(value.clone());
            assert_eq!(config.chunk_frames(), Some(expected), "{value}");
            assert_eq!(config.into_warnings(), [], "{value}");
        }
        for value in [json!(null), json!([]), json!([[-1, -1]]), json!("")] {
            let config = contexts(value.clone());
            assert_eq!(config.chunk_frames(), None, "{value}");
            assert_eq!(config.into_warnings(), [], "{value}");
        }
        assert_eq!(parse(&json!({})).chunk_frames(), None);
    }

    #[test]
    fn contexts_that_cannot_be_read_restrict_nothing_and_are_named() {
        let deep = (0..40).fold(json!([70, 13]), |value, _| json!([value]));
        for value in
            [json!("regular"), json!([70]), json!([[70, 13], "x"]), json!({}), json!(true), deep]
        {
            let config = contexts(value.clone());
            assert_eq!(config.chunk_frames(), None, "{value}");
            let warnings = config.into_warnings();
            let [warning] = &warnings[..] else { panic!("{value}: {warnings:?}") };
            let text = warning.to_string();
            assert!(text.contains("multitalker_config.json"), "{text}");
            assert!(text.contains("encoder.att_context_size is ignored"), "{text}");
        }
    }

    #[test]
    fn numbers_come_as_numbers_or_as_text() {
        for (value, expected) in [
            (json!(512), Some(512)),
            (json!(512.0), Some(512)),
            (json!("512"), Some(512)),
            (json!(" 512.0 "), Some(512)),
            (json!([512]), Some(512)),
            (json!([0, 9]), Some(9)),
            (json!(-1), None),
            (json!(512.5), None),
            (json!(u64::MAX), None),
            (json!(1e300), None),
        ] {
            let found = number(&value).unwrap_or_else(|| panic!("{value} is a number"));
            assert_eq!(found.value, expected, "{value}");
        }
        for value in [json!("many"), json!(true), json!({}), json!([]), json!([[9]]), json!("nan")]
        {
            assert!(number(&value).is_none(), "{value}");
        }
    }

    #[test]
    fn entries_that_cannot_be_read_are_warnings() {
        let config = parse(&json!({
            "model_type": ["?"],
            "encoder": {"d_model": {"size": 512}, "num_layers": null, "unknown": 1},
            "decoder": "{'vocab_size': 1024}",
            "preprocessor": {"normalize": 3},
        }));
        let warnings = config.into_warnings();
        let entries: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(entries.len(), 3, "{entries:#?}");
        for (text, entry) in
            entries.iter().zip(["decoder", "encoder.d_model", "preprocessor.normalize"])
        {
            assert!(text.contains(&format!("{entry} is ignored")), "{text}");
        }
    }

    #[test]
    fn file_without_entries_is_ignored_with_a_warning_that_names_it() {
        let bytes: [&[u8]; 6] =
            [b"", b"{", b"[]", b"\"text\"", b"\xff\xfe{", b"<!DOCTYPE html><html></html>"];
        for bytes in bytes {
            let config = ModelConfig::parse(Path::new("multitalker_config.json"), bytes);
            let warnings = config.into_warnings();
            let [warning] = &warnings[..] else { panic!("{bytes:?}: {warnings:?}") };
            let text = warning.to_string();
            assert!(text.starts_with("multitalker_config.json is ignored"), "{text}");
        }
        let nested = "[".repeat(1_000_000);
        let config = ModelConfig::parse(Path::new("multitalker_config.json"), nested.as_bytes());
        assert_eq!(config.into_warnings().len(), 1);
    }
}
