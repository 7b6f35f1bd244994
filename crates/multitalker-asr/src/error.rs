// SPDX-License-Identifier: MPL-2.0

//! Everything that can go wrong in the engine, with what was expected and what was found.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// Longest text from outside in a message, in bytes.
const MAX_FIELD_BYTES: usize = 1024;

/// An error of the engine. Messages are bounded: texts from outside are cut after 1 KiB.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// ONNX Runtime is in none of the places where it is looked for.
    #[error(
        "ONNX Runtime was not found: tried {}. Set ORT_DYLIB_PATH or the onnxruntime-library \
         property to libonnxruntime.so of version {required} or newer",
        cut(&tried.join(", "))
    )]
    RuntimeNotFound {
        /// Each place, with the reason why it did not serve.
        tried: Vec<String>,
        /// Oldest version that would do.
        required: String,
    },
    /// The library is there and is not a usable ONNX Runtime.
    #[error("cannot use the ONNX Runtime library {}: expected version {required} or newer, found {}", path.display(), cut(found))]
    RuntimeUnusable {
        /// The library.
        path: PathBuf,
        /// Oldest version that would do.
        required: String,
        /// Its version, or what else is wrong with it.
        found: String,
    },
    /// A process has one ONNX Runtime, and another one was asked for.
    #[error(
        "this process has already loaded the ONNX Runtime library {}, so {} cannot be loaded beside it",
        loaded.display(),
        requested.display()
    )]
    RuntimeConflict {
        /// The library in use.
        loaded: PathBuf,
        /// The library that was asked for.
        requested: PathBuf,
    },
    /// The execution provider is not to be had.
    #[error("execution provider {requested} is not available: {}", cut(reason))]
    ProviderUnavailable {
        /// Its name.
        requested: &'static str,
        /// What ONNX Runtime says, and what it offers instead.
        reason: String,
    },
    /// A file of the model is not there.
    #[error("{} was not found: expected {}", path.display(), cut(expected))]
    FileNotFound {
        /// The file or folder.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },
    /// A file is there and cannot be read as what it should be.
    #[error("cannot load {} as {expected}: {}", path.display(), cut(found))]
    UnreadableFile {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What the reader said.
        found: String,
    },
    /// A file is what it should be and does not fit the others.
    #[error(
        "{} does not fit: {}: expected {}, found {}",
        path.display(), cut(what), cut(expected), cut(found)
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Which dimension, input, output or entry.
        what: String,
        /// The value that the rest of the model asks for, and who asks for it.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// An option is out of its range.
    #[error("{option}: expected {}, found {}", cut(expected), cut(found))]
    InvalidOption {
        /// Its name in words.
        option: &'static str,
        /// Its range.
        expected: String,
        /// Its value.
        found: String,
    },
    /// A network failed while it ran.
    #[error("inference with {} failed: {}", path.display(), cut(reason))]
    Inference {
        /// The network's file.
        path: PathBuf,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// The work was canceled; see [`Canceller`](crate::Canceller).
    #[error("canceled")]
    Canceled,
    /// The stream has finished or failed and takes no audio before it is reset.
    #[error("the stream has ended: reset it before pushing more audio")]
    Ended,
}

impl fmt::Debug for Error {
    /// The name of the variant and the message, which is bounded as the fields are not.
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

/// A defect of a model's files with which it can still be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelWarning {
    /// The configuration cannot be read, so only the graphs count.
    #[error(
        "{} is ignored: expected a JSON object, found {}; the dimensions are those of the graphs",
        path.display(), cut(found)
    )]
    IgnoredConfig {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        found: String,
    },
    /// An entry of the configuration cannot be read.
    #[error("{}: {entry} is ignored: expected {expected}, found {}", path.display(), cut(found))]
    IgnoredConfigEntry {
        /// The file.
        path: PathBuf,
        /// The names of the section and of the entry, with a dot between.
        entry: String,
        /// What can be read.
        expected: &'static str,
        /// Its value, as JSON.
        found: String,
    },
    /// The library refuses weights behind a link, so they were read into memory.
    #[error(
        "the weights {} are behind a link that ONNX Runtime does not follow: they take {bytes} \
         bytes of memory more; {remedy}",
        path.display()
    )]
    WeightsInMemory {
        /// The file beside the graph.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// How to do without.
        remedy: &'static str,
    },
}

/// `text` where it is short, else its beginning and its length.
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
