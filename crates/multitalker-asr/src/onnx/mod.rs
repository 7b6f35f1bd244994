// SPDX-License-Identifier: MPL-2.0

//! ONNX Runtime. No other module names `ort`, so another runtime or version changes this folder
//! only.

mod checks;
pub(super) mod diagnosis;
mod library;
mod network;
mod ports;
mod providers;
mod session;
mod session_pool;
mod tensor;
mod values;

pub use library::{LogLevel, library, set_log_handler};
pub use network::{Network, fuzz_metadata};
pub use ports::Element;
pub use session::{available_threads, computes_on_cpu, intra_op_threads, return_free_memory};
pub use tensor::{Input, OutputSpec, Tensor};
