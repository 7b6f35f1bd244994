// SPDX-License-Identifier: MPL-2.0

//! Everything that can go wrong in the engine, with what was expected and what was found.

use std::path::PathBuf;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// ONNX Runtime is in none of the places where it is looked for.
    #[error(
        "ONNX Runtime was not found: tried {}. Set ORT_DYLIB_PATH or the onnxruntime-library \
         property to libonnxruntime.so of version {required} or newer",
        tried.join(", ")
    )]
    RuntimeNotFound {
        /// Each place, with the reason why it did not serve.
        tried: Vec<String>,
        /// Oldest version that would do.
        required: String,
    },
    /// The library is there and is not a usable ONNX Runtime.
    #[error("cannot use the ONNX Runtime library {}: expected version {required} or newer, found {found}", path.display())]
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
    #[error("execution provider {requested} is not available: {reason}")]
    ProviderUnavailable {
        /// Its name.
        requested: &'static str,
        /// What ONNX Runtime says, and what it offers instead.
        reason: String,
    },
    /// A file of the model is not there.
    #[error("{} was not found: expected {expected}", path.display())]
    FileNotFound {
        /// The file or folder.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },
    /// A file is there and cannot be read as what it should be.
    #[error("cannot load {} as {expected}: {found}", path.display())]
    UnreadableFile {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What the reader said.
        found: String,
    },
    /// A file is what it should be and does not fit the others.
    #[error("{} does not fit: {what}: expected {expected}, found {found}", path.display())]
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
    #[error("{option}: expected {expected}, found {found}")]
    InvalidOption {
        /// Its name in words.
        option: &'static str,
        /// Its range.
        expected: String,
        /// Its value.
        found: String,
    },
    /// A network failed while it ran.
    #[error("inference with {} failed: {reason}", path.display())]
    Inference {
        /// The network's file.
        path: PathBuf,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// The work was cancelled; see [`Canceller`](super::Canceller).
    #[error("cancelled")]
    Cancelled,
    /// The stream has finished or failed and takes no audio before it is reset.
    #[error("the stream has ended: reset it before pushing more audio")]
    Ended,
}
