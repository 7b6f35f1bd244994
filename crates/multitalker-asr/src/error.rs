// SPDX-License-Identifier: MPL-2.0

//! Errors of the engine, with the expected and the found values.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// Maximum length in bytes of an external text in a message.
const MAX_FIELD_BYTES: usize = 1024;

/// An error of the engine. Messages are bounded: external texts are cut after 1 KiB.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No ONNX Runtime library was found.
    #[error(
        "ONNX Runtime was not found: tried {}. Set ORT_DYLIB_PATH or the onnxruntime-library \
         property to libonnxruntime.so of version {required} or newer",
        cut(&tried.join(", "))
    )]
    RuntimeNotFound {
        /// Each place that was tried, with the reason for its failure.
        tried: Vec<String>,
        /// Oldest supported version.
        required: String,
    },
    /// The library exists but is not a usable ONNX Runtime.
    #[error("cannot use the ONNX Runtime library {}: expected version {required} or newer, found {}", path.display(), cut(found))]
    RuntimeUnusable {
        /// The library.
        path: PathBuf,
        /// Oldest supported version.
        required: String,
        /// Its version, or another reason.
        found: String,
    },
    /// The process has already loaded another ONNX Runtime.
    #[error(
        "this process has already loaded the ONNX Runtime library {}, so {} cannot be loaded beside it",
        loaded.display(),
        requested.display()
    )]
    RuntimeConflict {
        /// The library in use.
        loaded: PathBuf,
        /// The requested library.
        requested: PathBuf,
    },
    /// The execution provider is not available.
    #[error("execution provider {requested} is not available: {}", cut(reason))]
    ProviderUnavailable {
        /// Name of the execution provider.
        requested: &'static str,
        /// Message of ONNX Runtime, and the available execution providers.
        reason: String,
    },
    /// A file of the model does not exist.
    #[error("{} was not found: expected {}", path.display(), cut(expected))]
    FileNotFound {
        /// The file or folder.
        path: PathBuf,
        /// Description of the expected file.
        expected: String,
    },
    /// A file exists but does not have the expected content.
    #[error("cannot load {} as {expected}: {}", path.display(), cut(found))]
    UnreadableFile {
        /// The file.
        path: PathBuf,
        /// Description of the expected file.
        expected: &'static str,
        /// Description of the file that was found, or the reason for the failure.
        found: String,
    },
    /// A file is of the expected kind but does not fit the others.
    #[error(
        "{} does not fit: {}: expected {}, found {}",
        path.display(), cut(what), cut(expected), cut(found)
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The dimension, input, output or entry.
        what: String,
        /// The value that the rest of the model requires, and the file that requires it.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// An option is out of its range.
    #[error("{option}: expected {}, found {}", cut(expected), cut(found))]
    InvalidOption {
        /// Name of the option in words.
        option: &'static str,
        /// Valid range.
        expected: String,
        /// The given value.
        found: String,
    },
    /// A network failed while it ran.
    #[error("inference with {} failed: {}", path.display(), cut(reason))]
    Inference {
        /// The network's file.
        path: PathBuf,
        /// Message of ONNX Runtime, or the reason why the results are invalid.
        reason: String,
    },
    /// A [`Canceller`](crate::Canceller) canceled the work.
    #[error("canceled")]
    Canceled,
    /// The stream has finished or failed, and accepts no audio until it is reset.
    #[error("the stream has ended: reset it before pushing more audio")]
    Ended,
}

impl fmt::Debug for Error {
    /// Writes the name of the variant and the message, which is bounded, unlike the fields.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = match self {
            Self::RuntimeNotFound { .. } => "RuntimeNotFound",
            Self::RuntimeUnusable { .. } => "RuntimeUnusable",
            Self::RuntimeConflict { .. } => "RuntimeConflict",
            Self::ProviderUnavailable { .. } => "ProviderUnavailable",
            Self::FileNotFound { .. } => "FileNotFound",
            Self::UnreadableFile { .. } => "UnreadableFile",
            Self::Mismatch { .. } => "Mismatch",
            Self::InvalidOption { .. } => "InvalidOption",
            Self::Inference { .. } => "Inference",
            Self::Canceled => "Canceled",
            Self::Ended => "Ended",
        };
        write!(f, "{variant}: {self}")
    }
}

/// A defect of a model's files that does not prevent their use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelWarning {
    /// The configuration cannot be read; the dimensions come from the graphs.
    #[error(
        "{} is ignored: expected a JSON object, found {}; the dimensions are those of the graphs",
        path.display(), cut(found)
    )]
    IgnoredConfig {
        /// The file.
        path: PathBuf,
        /// Description of its content.
        found: String,
    },
    /// An entry of the configuration cannot be read and is ignored.
    #[error("{}: {entry} is ignored: expected {expected}, found {}", path.display(), cut(found))]
    IgnoredConfigEntry {
        /// The file.
        path: PathBuf,
        /// The names of the section and of the entry, separated by a dot.
        entry: String,
        /// Description of valid values.
        expected: &'static str,
        /// The value, as JSON.
        found: String,
    },
    /// ONNX Runtime refuses weights behind a link, so they were read into memory.
    #[error(
        "the weights {} are behind a link that ONNX Runtime does not follow: they take {bytes} \
         bytes of memory more; {remedy}",
        path.display()
    )]
    WeightsInMemory {
        /// The file next to the graph.
        path: PathBuf,
        /// Size in bytes.
        bytes: u64,
        /// Instructions for avoiding this.
        remedy: &'static str,
    },
}

/// Returns `text` if it is short, otherwise its beginning and its length.
fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_FIELD_BYTES {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_FIELD_BYTES);
    format!("{}… ({} bytes)", &text[..end], text.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded() {
        let long = "ä".repeat(1_000_000);
        let fields = || (long.clone(), long.clone(), long.clone());
        let (what, expected, found) = fields();
        let path = PathBuf::from("encoder.onnx");
        let mismatch = Error::Mismatch { path: path.clone(), what, expected, found };
        for text in [mismatch.to_string(), format!("{mismatch:?}"), format!("{mismatch:#?}")] {
            assert!(text.len() < 4 * MAX_FIELD_BYTES, "{} bytes", text.len());
            assert!(text.contains("encoder.onnx") && text.contains("… (2000000 bytes)"), "{text}");
        }
        let (found, reason, entry) = fields();
        for text in [
            Error::UnreadableFile { path: path.clone(), expected: "x", found }.to_string(),
            Error::Inference { path: path.clone(), reason: reason.clone() }.to_string(),
            Error::RuntimeNotFound { tried: vec![reason], required: String::new() }.to_string(),
            ModelWarning::IgnoredConfig { path, found: entry }.to_string(),
        ] {
            assert!(text.len() < 2 * MAX_FIELD_BYTES, "{} bytes", text.len());
        }
        assert_eq!(cut("short"), "short");
    }
}
