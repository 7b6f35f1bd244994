// SPDX-License-Identifier: MPL-2.0

//! Checks of the names, ranks, sizes and types of a graph's inputs and outputs.

use ort::value::TensorElementType;

use super::network::Network;
use super::ports::{Element, Port};
use crate::error::Error;

impl Network {
    /// Returns whether the graph has an output of this name.
    pub fn has_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|port| port.name == name)
    }

    /// Returns the name of the input at `index` in the order of the file.
    pub fn input_name(&self, index: usize) -> Option<&str> {
        self.inputs.get(index).map(|port| port.name.as_str())
    }

    /// Returns the name of the output at `index` in the order of the file.
    pub fn output_name(&self, index: usize) -> Option<&str> {
        self.outputs.get(index).map(|port| port.name.as_str())
    }

    /// Checks that the graph has exactly these inputs and at least these outputs, given as names and
    /// ranks.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the names and ranks of all inputs or outputs.
    pub fn require(
        &self,
        inputs: &[(&str, usize)],
        outputs: &[(&str, usize)],
    ) -> Result<(), Error> {
        for (what, required, found) in
            [("inputs", inputs, &self.inputs), ("outputs", outputs, &self.outputs)]
        {
            let fits = |&(name, rank): &(&str, usize)| {
                found.iter().any(|port| port.name == name && port.dims.len() == rank)
            };
            let is_known = |port: &Port| required.iter().any(|&(name, _)| port.name == name);
            let has_others = what == "inputs" && !found.iter().all(is_known);
            if has_others || !required.iter().all(fits) {
                let list = |ports: &mut dyn Iterator<Item = (&str, usize)>| {
                    let ports: Vec<_> =
                        ports.map(|(n, rank)| format!("{n} of rank {rank}")).collect();
                    ports.join(", ")
                };
                return Err(self.mismatch(
                    what,
                    list(&mut required.iter().copied()),
                    list(&mut found.iter().map(|port| (port.name.as_str(), port.dims.len()))),
                ));
            }
        }
        Ok(())
    }

    /// Returns the fixed size of dimension `axis` of the input or output `name`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the size is not fixed.
    pub fn dim(&self, name: &str, axis: usize) -> Result<usize, Error> {
        self.fixed_dim(name, axis).ok_or_else(|| {
            self.mismatch(&format!("dimension {axis} of {name}"), "a fixed size", "none")
        })
    }

    /// Returns the fixed size of dimension `axis` of the input or output `name`, from 1 to `max`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the size is not fixed or is out of this range.
    pub fn bounded_dim(&self, name: &str, axis: usize, max: usize) -> Result<usize, Error> {
        let size = self.dim(name, axis)?;
        if (1..=max).contains(&size) {
            return Ok(size);
        }
        let what = format!("dimension {axis} of {name}");
        Err(self.mismatch(&what, format!("from 1 to {max}"), size))
    }

    /// Checks that these dimensions, given as name, axis and size, are fixed to their size.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for the first that is dynamic or differs.
    pub fn require_dims(&self, expected: &[(&str, usize, usize)]) -> Result<(), Error> {
        for &(name, axis, size) in expected {
            self.dim(name, axis)?;
            self.check_dims(&[(name, axis, size)])?;
        }
        Ok(())
    }

    /// Checks the sizes of these dimensions, given as name, axis and size, if they are fixed.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for the first that differs.
    pub fn check_dims(&self, expected: &[(&str, usize, usize)]) -> Result<(), Error> {
        for &(name, axis, expected) in expected {
            if let Some(found) = self.fixed_dim(name, axis).filter(|&found| found != expected) {
                return Err(self.mismatch(&format!("dimension {axis} of {name}"), expected, found));
            }
        }
        Ok(())
    }

    /// Checks that these dimensions of inputs, given as name and axis, are not fixed.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for the first that is fixed.
    pub fn require_dynamic(&self, dims: &[(&str, usize)]) -> Result<(), Error> {
        for &(name, axis) in dims {
            if let Some(size) = self.fixed_dim(name, axis) {
                let what = format!("dimension {axis} of {name}");
                return Err(self.mismatch(&what, "any number of frames", format!("always {size}")));
            }
        }
        Ok(())
    }

    /// Checks the element type of these inputs and outputs.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for the first of another type.
    pub fn require_elements(&self, names: &[&str], element: Element) -> Result<(), Error> {
        let expected = match element {
            Element::F32 => TensorElementType::Float32,
            Element::I64 => TensorElementType::Int64,
        };
        for name in names {
            let found = self.port(name).and_then(|port| port.element);
            if found != Some(expected) {
                let found = found.map_or("no tensor".to_owned(), |found| found.to_string());
                return Err(self.mismatch(&format!("values of {name}"), expected, found));
            }
        }
        Ok(())
    }

    fn port(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().chain(&self.outputs).find(|port| port.name == name)
    }

    fn fixed_dim(&self, name: &str, axis: usize) -> Option<usize> {
        self.port(name)?.dims.get(axis).copied().flatten()
    }
}
