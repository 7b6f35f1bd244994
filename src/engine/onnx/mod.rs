// SPDX-License-Identifier: MPL-2.0

//! Everything that touches ONNX Runtime; no other module names `ort`.

mod cancel;
mod network;
mod queue;
mod runtime;

pub use cancel::Canceller;
pub use network::{Input, Network, Output, Tensor};
pub use runtime::{LogLevel, available_threads, intra_op_threads, set_log_handler};
