// SPDX-License-Identifier: MPL-2.0

//! The three graphs of the published contract behind the traits of the loops that use them.
//!
//! No dimension is a constant here: each is read from one place of a graph and compared with all
//! others where it stands again.

mod encoder;
mod joint;
mod sortformer;

use std::sync::Arc;

use super::error::Error;
use super::onnx::{Canceller, Network};

pub use encoder::{EncoderCache, EncoderGraph};
pub use joint::{JointGraph, JointState};
pub use sortformer::SortformerGraph;

/// A graph as one stream uses it.
pub struct InStream<G> {
    /// The graph, shared by all streams.
    pub graph: Arc<G>,
    /// Stops the runs of this stream.
    pub canceller: Canceller,
}

/// Compares two sizes that must be one.
fn check_size(network: &Network, what: &str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(network.mismatch(what, expected, found)) }
}
