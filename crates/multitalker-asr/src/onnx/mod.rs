// SPDX-License-Identifier: MPL-2.0

//! Everything that touches ONNX Runtime; no other module names `ort`.

pub(super) mod diagnosis;
mod network;
mod runtime;
mod session_pool;

pub use network::{Element, Input, Network, OutputSpec, Tensor, fuzz_metadata};
pub use runtime::{
    LogLevel, available_threads, check_library, computes_on_cpu, intra_op_threads,
    return_free_memory, set_log_handler,
};
