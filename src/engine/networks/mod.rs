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

pub use encoder::EncoderGraph;
pub use joint::JointGraph;
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

/// Refuses what is not a number among the `values` of an output.
fn check_finite(network: &Network, what: &str, values: &[f32]) -> Result<(), Error> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(found) => Err(network.failure(format!("expected numbers as {what}, found {found}"))),
    }
}
