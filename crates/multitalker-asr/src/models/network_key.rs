// SPDX-License-Identifier: MPL-2.0

//! Identity of a loaded network.

use std::path::Path;

use crate::file::FileId;
use crate::onnx::intra_op_threads;
use crate::options::{ExecutionProvider, OptimizationLevel, RuntimeOptions};

/// Identity of a network in memory: equal keys share one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NetworkKey {
    /// The graph, and its weights if they are in the usual file beside it.
    files: [Option<FileId>; 2],
    provider: ExecutionProvider,
    device: u32,
    threads: usize,
    optimization_level: OptimizationLevel,
    sessions: usize,
}

impl NetworkKey {
    /// Returns the key of the network at `path` with `runtime` and this number of `sessions`.
    pub fn new(path: &Path, runtime: &RuntimeOptions, sessions: usize) -> Self {
        let mut weights = path.as_os_str().to_owned();
        weights.push(".data");
        Self {
            files: [FileId::of(path), FileId::of(Path::new(&weights))],
            provider: runtime.execution_provider,
            device: runtime.device,
            threads: intra_op_threads(runtime),
            optimization_level: runtime.optimization_level,
            sessions,
        }
    }
}
