// SPDX-License-Identifier: MPL-2.0

//! The values of tensors: reading, checking and making them.

use ndarray::{ArrayViewD, Axis};
use ort::memory::AllocationDevice;
use ort::value::DynTensorValueType;

use super::network::Network;
use super::tensor::Tensor;
use crate::error::Error;

impl Network {
    /// Returns the values of an output of this network.
    ///
    /// # Errors
    /// [`Error::Inference`] if the values are not 32-bit floating-point numbers.
    pub fn values<'t>(&self, tensor: &'t Tensor) -> Result<ArrayViewD<'t, f32>, Error> {
        tensor.0.try_extract_array().map_err(|e| self.failure(e))
    }

    /// Checks the shape of an output, without a copy from the device.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with both shapes.
    pub fn check_shape(&self, name: &str, tensor: &Tensor, shape: &[usize]) -> Result<(), Error> {
        let found = tensor.0.dtype().tensor_shape();
        let sizes = found.iter().flat_map(|found| found.iter());
        if sizes.map(|&size| usize::try_from(size).ok()).eq(shape.iter().map(|&size| Some(size))) {
            return Ok(());
        }
        let found = found.map_or("none".to_owned(), |found| format!("{:?}", &**found));
        Err(self.mismatch(&format!("shape of {name} in a run"), format!("{shape:?}"), found))
    }

    /// Returns the values of an output that holds lengths.
    ///
    /// # Errors
    /// [`Error::Inference`] if the values are not 64-bit integers.
    pub fn lengths(&self, tensor: &Tensor) -> Result<Vec<i64>, Error> {
        let (_, values) = tensor.0.try_extract_tensor::<i64>().map_err(|e| self.failure(e))?;
        Ok(values.to_vec())
    }

    /// Creates a tensor of zeros, the initial value of a cache.
    ///
    /// # Errors
    /// [`Error::Inference`] if it cannot be allocated.
    pub fn zeros(&self, shape: &[usize]) -> Result<Tensor, Error> {
        self.tensor(shape.to_vec(), vec![0.0; shape.iter().product()])
    }

    /// Gathers rows of several tensors into a tensor of shape `[rows, …]`. Each row is given as a
    /// tensor and an index; the tensors have the same shape except for the number of rows.
    ///
    /// # Errors
    /// [`Error::Inference`] if the tensor cannot be allocated or copied from the device.
    pub fn gather<'t>(
        &self,
        rows: impl ExactSizeIterator<Item = (&'t Tensor, usize)>,
    ) -> Result<Tensor, Error> {
        let (mut shape, mut gathered) = (vec![rows.len()], Vec::new());
        for (tensor, row) in rows {
            let copy = self.copy_from_device(tensor)?;
            let tensor = copy.as_ref().unwrap_or(tensor);
            let values = self.values(tensor)?;
            let of_row = values.index_axis(Axis(0), row);
            gathered.reserve_exact(shape[0] * of_row.len() - gathered.len());
            gathered.extend_from_slice(of_row.as_slice().expect("a row is contiguous"));
            shape.splice(1.., of_row.shape().iter().copied());
        }
        self.tensor(shape, gathered)
    }

    /// Copies a tensor to the memory of the CPU, if it is not there.
    fn copy_from_device(&self, tensor: &Tensor) -> Result<Option<Tensor>, Error> {
        if self.device_memory.is_none() {
            return Ok(None);
        }
        let copy = tensor.0.view().downcast::<DynTensorValueType>();
        let copy = copy.and_then(|tensor| tensor.to(AllocationDevice::CPU, 0));
        copy.map(|tensor| Some(Tensor(tensor.into_dyn()))).map_err(|e| self.failure(e))
    }

    fn tensor(&self, shape: Vec<usize>, values: Vec<f32>) -> Result<Tensor, Error> {
        let tensor = ort::value::Tensor::from_array((shape, values));
        tensor.map(|tensor| Tensor(tensor.into_dyn())).map_err(|e| self.failure(e))
    }
}
