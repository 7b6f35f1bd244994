// SPDX-License-Identifier: MPL-2.0

//! Sessions: one graph, ready to run with the options of the caller.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::memory::MemoryInfo;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::diagnosis;
use super::library::{library, unusable};
use super::providers::{self, PreparedBuilder};
use crate::cancel::Canceller;
use crate::error::Error;
use crate::file;
use crate::options::{OptimizationLevel, RuntimeOptions};

/// Number of threads beyond which a chunk gets no faster.
const MAX_AUTO_THREADS: usize = 4;

/// Weights up to this size are read into memory if the library does not follow a link to them.
const MAX_WEIGHTS_IN_MEMORY_BYTES: u64 = 4 << 30;

/// Returns the number of threads of one inference with `options`.
pub fn intra_op_threads(options: &RuntimeOptions) -> usize {
    match options.intra_op_threads {
        0 => available_threads().min(MAX_AUTO_THREADS),
        threads => threads,
    }
}

/// Returns the number of threads that the machine runs at a time.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns whether sessions with `options` run on the CPU. An automatic choice of the provider is
/// made first.
///
/// # Errors
/// The errors of [`session_builder`].
pub fn computes_on_cpu(options: &RuntimeOptions) -> Result<bool, Error> {
    Ok(session_builder(options)?.on_cpu)
}

/// Creates a builder of sessions with `options`.
///
/// # Errors
/// The errors of [`library`] and of [`providers::register`]: [`Error::RuntimeNotFound`],
/// [`Error::RuntimeUnusable`], [`Error::RuntimeConflict`], [`Error::ProviderUnavailable`] and
/// [`Error::InvalidOption`].
fn session_builder(options: &RuntimeOptions) -> Result<PreparedBuilder, Error> {
    let library = library(options.library.as_deref())?;
    let level = match options.optimization_level {
        OptimizationLevel::DisableAll => GraphOptimizationLevel::Disable,
        OptimizationLevel::EnableBasic => GraphOptimizationLevel::Level1,
        OptimizationLevel::EnableExtended => GraphOptimizationLevel::Level2,
        OptimizationLevel::EnableAll => GraphOptimizationLevel::All,
    };
    let builder = || -> Result<SessionBuilder, ort::Error> {
        Ok(Session::builder(&library.environment)?
            .with_intra_threads(intra_op_threads(options))?
            // A thread that spins after its share of the work takes the core from the next network.
            .with_intra_op_spinning(false)?
            // Otherwise the weights of the file stay in the arena beside the prepacked ones.
            .with_device_allocated_initializers()?
            // Memory planned for one shape stays allocated when the shape changes: hundreds of MiB
            // in a diarizer.
            .with_memory_pattern(false)?
            .with_optimization_level(level)?)
    };
    let builder = builder().map_err(|error| {
        unusable(library.path, format!("one that rejects the options: {error}"))
    })?;
    providers::register(builder, options.execution_provider, options.device)
}

/// Returns freed memory to the system, once after a whole model is loaded: glibc keeps hundreds of
/// MiB between the blocks that are still in use.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Creates the sessions of one network.
pub struct Loader<'a> {
    /// The file of the graph.
    pub path: &'a Path,
    /// The expected content of the file, for error messages.
    pub expected: &'static str,
    /// The options of the sessions.
    pub options: &'a RuntimeOptions,
    /// Cancels the load.
    pub canceller: &'a Canceller,
    /// The weights that the sessions refer to, once they are in memory.
    pub weights: Option<Weights>,
}

/// The weights file of a graph, in memory.
pub struct Weights {
    /// The file.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Arc<[u8]>,
}

/// A session, and the memory of its device if tensors can stay there between runs.
type LoadedSession = (Session, Option<MemoryInfo<'static>>);

impl Loader<'_> {
    /// Creates a session. Weights behind a link that the library rejects are read into memory.
    ///
    /// # Errors
    /// [`Error::UnreadableFile`] and [`Error::FileNotFound`] for the graph and its weights, the
    /// errors of [`session_builder`], and [`Error::Canceled`].
    pub fn load(&mut self) -> Result<LoadedSession, Error> {
        let refused = match self.commit()? {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        let reason = refused.to_string();
        if self.weights.is_none()
            && diagnosis::refuses_link(&reason)
            && let Some(path) = diagnosis::external_weights(self.path, &reason)
            && let Some(bytes) = self.read_weights(&path)?
        {
            self.weights = Some(Weights { path, bytes });
            if let Ok(loaded) = self.commit()? {
                return Ok(loaded);
            }
            self.weights = None;
        }
        let library = library(self.options.library.as_deref())?;
        Err(diagnosis::explain(self.path, self.expected, &library.path, &reason))
    }

    /// Creates a session; the inner error is the library's complaint about the file.
    fn commit(&self) -> Result<Result<LoadedSession, ort::Error>, Error> {
        let PreparedBuilder { mut builder, device_memory, .. } = session_builder(self.options)?;
        if let Some(weights) = &self.weights {
            let name = weights.path.file_name().unwrap_or_default();
            match builder.with_external_initializer_file_in_memory(name, weights.bytes.clone()) {
                Ok(with_weights) => builder = with_weights,
                Err(error) => return Ok(Err(ort::Error::new(error.to_string()))),
            }
        }
        let load = builder.canceler();
        let cancel = move || {
            let _ = load.cancel();
        };
        let session =
            self.canceller.while_blocked(cancel, || builder.commit_from_file(self.path))?;
        if self.canceller.is_canceled() {
            return Err(Error::Canceled);
        }
        Ok(session.map(|session| (session, device_memory)))
    }

    /// Reads the file behind a link to the weights; `None` if it is too large or cannot be read.
    fn read_weights(&self, path: &Path) -> Result<Option<Arc<[u8]>>, Error> {
        let expected = "the weights of an ONNX file";
        let Ok(metadata) = file::check(path, expected) else { return Ok(None) };
        if metadata.len() > MAX_WEIGHTS_IN_MEMORY_BYTES {
            return Ok(None);
        }
        file::read_shared(path, expected, metadata.len(), self.canceller).map(Some)
    }
}
