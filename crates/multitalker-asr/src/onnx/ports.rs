// SPDX-License-Identifier: MPL-2.0

//! The inputs and outputs that a graph declares.

use ort::value::{Outlet, TensorElementType};

/// An input or output that a graph declares.
pub struct Port {
    pub(super) name: String,
    /// The size of each dimension; `None` if it is not fixed.
    pub(super) dims: Vec<Option<usize>>,
    pub(super) element: Option<TensorElementType>,
}

/// The element type of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floating-point numbers.
    F32,
    /// 64-bit integers.
    I64,
}

impl Port {
    /// Reads the declaration of an input or output.
    pub fn new(outlet: &Outlet) -> Self {
        let shape = outlet.dtype().tensor_shape();
        let dims = shape.iter().flat_map(|shape| shape.iter());
        Self {
            name: outlet.name().to_owned(),
            dims: dims.map(|&dim| usize::try_from(dim).ok()).collect(),
            element: outlet.dtype().tensor_type(),
        }
    }
}
