// SPDX-License-Identifier: MPL-2.0

//! The inputs and outputs of a run.

use ndarray::ArrayViewD;
use ort::value::DynValue;

/// The value of an input.
pub enum Input<'a> {
    /// Floating-point numbers, in standard layout.
    F32(ArrayViewD<'a, f32>),
    /// Lengths, of shape `[lengths]`.
    I64(&'a [i64]),
    /// A token, of shape `[1, 1]`.
    Token(i64),
    /// An output of an earlier run.
    Tensor(&'a Tensor),
}

/// A requested output, by its name.
#[derive(Clone, Copy)]
pub enum OutputSpec<'n> {
    /// An output whose values are read after the run.
    Values(&'n str),
    /// An input of a later run, which stays in the memory of the device.
    State(&'n str),
}

impl<'n> OutputSpec<'n> {
    /// Returns the name of the output.
    pub fn name(self) -> &'n str {
        match self {
            Self::Values(name) | Self::State(name) => name,
        }
    }
}

/// An output of a run. It can be an input of the next run without a copy.
pub struct Tensor(pub(super) DynValue);
