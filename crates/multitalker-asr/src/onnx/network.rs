// SPDX-License-Identifier: MPL-2.0

//! One ONNX graph: loading it, asking for its shapes, and running it for many streams.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use ndarray::{ArrayViewD, Axis};
use ort::memory::{AllocationDevice, MemoryInfo};
use ort::session::{RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::{DynTensorValueType, DynValue, Outlet, TensorElementType, TensorRef};

use super::diagnosis;
use super::runtime::{PreparedBuilder, library_path, session_builder};
use super::session_pool::SessionPool;
use crate::cancel::Canceller;
use crate::error::{Error, ModelWarning};
use crate::file;
use crate::options::RuntimeOptions;

/// Weights of this size or less are read into memory where the library does not follow a link.
const MAX_WEIGHTS_IN_MEMORY_BYTES: u64 = 4 << 30;

/// A graph and its weights, shared by all streams.
pub struct Network {
    path: PathBuf,
    sessions: usize,
    pool: SessionPool<Session>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    metadata: Vec<(String, String)>,
    /// Weights that the sessions may refer to.
    weights: Option<Weights>,
    /// Where states stay between runs, if not in the processor's memory.
    device_memory: Option<MemoryInfo<'static>>,
}

/// An input or output of a graph; a dimension that is not fixed is `None`.
struct Port {
    name: String,
    dims: Vec<Option<usize>>,
    element: Option<TensorElementType>,
}

/// The type of the values of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floating-point numbers.
    F32,
    /// 64-bit integers.
    I64,
}

/// A value for an input.
pub enum Input<'a> {
    /// Floating-point numbers of a shape.
    F32(ArrayViewD<'a, f32>),
    /// Integers in one dimension: lengths.
    I64(&'a [i64]),
    /// One integer in two dimensions: a token.
    Token(i64),
    /// What a run gave.
    Tensor(&'a Tensor),
}

/// An output of a run by its name.
#[derive(Clone, Copy)]
pub enum OutputSpec {
    /// What is read after the run.
    Values(&'static str),
    /// What is an input of a later run: it stays on the device that computed it.
    State(&'static str),
}

impl OutputSpec {
    fn name(self) -> &'static str {
        match self {
            Self::Values(name) | Self::State(name) => name,
        }
    }
}

/// An output of a run, which can be the input of the next without a copy.
pub struct Tensor(DynValue);

impl Network {
    /// Loads `path`, which should hold `expected`, with the weights beside it, to be run by as many
    /// threads at a time as there are `sessions`.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] and [`Error::UnreadableFile`] for the graph and its weights, the
    /// errors of the library and of the execution provider, and [`Error::Canceled`].
    pub fn load(
        path: &Path,
        expected: &'static str,
        options: &RuntimeOptions,
        sessions: usize,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        file::check(path, expected)?;
        if let Some(known) = file::head(path).as_deref().and_then(file::recognize) {
            let found = known.to_string();
            return Err(Error::UnreadableFile { path: path.to_owned(), expected, found });
        }
        let mut loader = Loader { path, expected, options, canceller, weights: None };
        let mut all = vec![loader.load()?];
        while all.len() < sessions {
            all.push(loader.load()?);
        }
        let ports = |outlets: &[Outlet]| outlets.iter().map(Port::new).collect();
        let (session, _) = &all[0];
        Ok(Self {
            path: path.to_owned(),
            inputs: ports(session.inputs()),
            outputs: ports(session.outputs()),
            metadata: metadata(session),
            sessions: all.len(),
            device_memory: all[0].1.take(),
            pool: SessionPool::new(all.into_iter().map(|(session, _)| session).collect()),
            weights: loader.weights,
        })
    }

    /// A defect with which the network runs nevertheless.
    pub fn warning(&self) -> Option<ModelWarning> {
        let weights = self.weights.as_ref()?;
        Some(ModelWarning::WeightsInMemory {
            path: weights.path.clone(),
            bytes: weights.bytes.len() as u64,
            remedy: "use ONNX Runtime 1.24.2 or newer for a cache of the Hugging Face Hub, or copy \
                     the files into one folder",
        })
    }

    /// The name of the file without its folder.
    pub fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Threads that can run this at a time.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// An entry of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// A number in the metadata.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where the entry is something else.
    pub fn parse_metadata<T>(&self, key: &str) -> Result<Option<T>, Error>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = self.metadata(key) else { return Ok(None) };
        let what = format!("{key} in the metadata");
        parse(text).map(Some).map_err(|found| self.mismatch(&what, "a number", found))
    }

    /// Whether there is an output of this name.
    pub fn has_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|port| port.name == name)
    }

    /// Checks that the graph has these inputs and no others, and at least these outputs, with so
    /// many dimensions.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with all names and ranks that are there.
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

    /// The fixed size of dimension `axis` of the input or output `name`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where it is not fixed.
    pub fn dim(&self, name: &str, axis: usize) -> Result<usize, Error> {
        self.fixed_dim(name, axis).ok_or_else(|| {
            self.mismatch(&format!("dimension {axis} of {name}"), "a fixed size", "none")
        })
    }

    /// The fixed size of dimension `axis` of the input or output `name`, at least 1 and at most
    /// `max`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where it is not fixed or out of this range.
    pub fn bounded_dim(&self, name: &str, axis: usize, max: usize) -> Result<usize, Error> {
        let size = self.dim(name, axis)?;
        if (1..=max).contains(&size) {
            return Ok(size);
        }
        let what = format!("dimension {axis} of {name}");
        Err(self.mismatch(&what, format!("from 1 to {max}"), size))
    }

    /// Checks these dimensions of inputs and outputs, where they are fixed: name, axis, size.
    ///
    /// # Errors
    /// [`Error::Mismatch`] names the first that differs.
    pub fn check_dims(&self, expected: &[(&str, usize, usize)]) -> Result<(), Error> {
        for &(name, axis, expected) in expected {
            if let Some(found) = self.fixed_dim(name, axis).filter(|&found| found != expected) {
                return Err(self.mismatch(&format!("dimension {axis} of {name}"), expected, found));
            }
        }
        Ok(())
    }

    /// Checks that these dimensions of inputs are not fixed: name and axis.
    ///
    /// # Errors
    /// [`Error::Mismatch`] names the first that is.
    pub fn require_dynamic(&self, dims: &[(&str, usize)]) -> Result<(), Error> {
        for &(name, axis) in dims {
            if let Some(size) = self.fixed_dim(name, axis) {
                let what = format!("dimension {axis} of {name}");
                return Err(self.mismatch(&what, "any number of frames", format!("always {size}")));
            }
        }
        Ok(())
    }

    /// Checks the type of the values of these inputs and outputs.
    ///
    /// # Errors
    /// [`Error::Mismatch`] names the first that has another.
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

    /// An [`Error::Mismatch`] of this file.
    pub fn mismatch(&self, what: &str, expected: impl ToString, found: impl ToString) -> Error {
        Error::Mismatch {
            path: self.path.clone(),
            what: what.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// Runs the graph as soon as a session is free, and returns these outputs.
    ///
    /// # Errors
    /// [`Error::Inference`] if the run fails, and [`Error::Canceled`] shortly after `canceller` is
    /// canceled.
    pub fn run<const N: usize>(
        &self,
        inputs: Vec<(&'static str, Input<'_>)>,
        outputs: [OutputSpec; N],
        canceller: &Canceller,
    ) -> Result<[Tensor; N], Error> {
        let options = Arc::new(RunOptions::new().map_err(|error| self.failure(error))?);
        let terminated = options.clone();
        let terminate = move || {
            // Setting the flag fails in no known version; without it the run ends by itself.
            let _ = terminated.terminate();
        };
        let mut session = self.pool.acquire(canceller)?;
        let result = canceller.while_blocked(terminate, || match &self.device_memory {
            None => run_session(&mut session, inputs, outputs, &options),
            Some(memory) => run_on_device(&mut session, memory, inputs, outputs, &options),
        });
        drop(session);
        result?.map_err(|error| match canceller.is_canceled() {
            true => Error::Canceled,
            false => self.failure(error),
        })
    }

    /// The shape and the values of an output of this network.
    ///
    /// # Errors
    /// [`Error::Inference`] where they are no floating-point numbers.
    pub fn values<'t>(&self, tensor: &'t Tensor) -> Result<ArrayViewD<'t, f32>, Error> {
        tensor.0.try_extract_array().map_err(|e| self.failure(e))
    }

    /// Checks the shape of what a run gave, without a copy from a device.
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

    /// The values of an output that is a list of lengths.
    ///
    /// # Errors
    /// [`Error::Inference`] where they are something else.
    pub fn lengths(&self, tensor: &Tensor) -> Result<Vec<i64>, Error> {
        let (_, values) = tensor.0.try_extract_tensor::<i64>().map_err(|e| self.failure(e))?;
        Ok(values.to_vec())
    }

    /// Zeros in the given shape, as the first value of a cache.
    ///
    /// # Errors
    /// [`Error::Inference`] where memory is short.
    pub fn zeros(&self, shape: &[usize]) -> Result<Tensor, Error> {
        self.tensor(shape.to_vec(), vec![0.0; shape.iter().product()])
    }

    /// A tensor of the given rows, each of one tensor with the same shape but for its rows.
    ///
    /// # Errors
    /// [`Error::Inference`] where memory is short.
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

    /// A copy in the processor's memory, where the tensor is not there.
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

    /// An [`Error::Inference`] of this file.
    pub fn failure(&self, reason: impl ToString) -> Error {
        Error::Inference { path: self.path.clone(), reason: reason.to_string() }
    }
}

/// Makes the sessions of one network.
struct Loader<'a> {
    path: &'a Path,
    expected: &'static str,
    options: &'a RuntimeOptions,
    canceller: &'a Canceller,
    weights: Option<Weights>,
}

/// The file beside a graph, in memory.
struct Weights {
    path: PathBuf,
    bytes: Arc<[u8]>,
}

type LoadedSession = (Session, Option<MemoryInfo<'static>>);

impl Loader<'_> {
    fn load(&mut self) -> Result<LoadedSession, Error> {
        let refused = match self.commit()? {
            Ok(loaded) => return Ok(loaded),
            Err(error) => error,
        };
        let reason = refused.to_string();
        if self.weights.is_none()
            && diagnosis::refuses_link(&reason)
            && let Some(path) = diagnosis::external_weights(self.path, &reason)
            && let Some(bytes) = self.read_weights(&path)?
        {
            self.weights = Some(Weights { path, bytes });
            if let Ok(loaded) = self.commit()? {
                return Ok(loaded);
            }
            self.weights = None;
        }
        let library = library_path().unwrap_or_default();
        Err(diagnosis::explain(self.path, self.expected, &library, &reason))
    }

    /// Makes a session; the inner error is the library's about the file.
    fn commit(&self) -> Result<Result<LoadedSession, ort::Error>, Error> {
        let PreparedBuilder { mut builder, device_memory, .. } = session_builder(self.options)?;
        if let Some(weights) = &self.weights {
            let name = weights.path.file_name().unwrap_or_default();
            match builder.with_external_initializer_file_in_memory(name, weights.bytes.clone()) {
                Ok(with_weights) => builder = with_weights,
                Err(error) => return Ok(Err(ort::Error::new(error.to_string()))),
            }
        }
        let load = builder.canceler();
        let cancel = move || {
            let _ = load.cancel();
        };
        let session =
            self.canceller.while_blocked(cancel, || builder.commit_from_file(self.path))?;
        if self.canceller.is_canceled() {
            return Err(Error::Canceled);
        }
        Ok(session.map(|session| (session, device_memory)))
    }

    /// The file at the end of a link to the weights, unless it is too large.
    fn read_weights(&self, path: &Path) -> Result<Option<Arc<[u8]>>, Error> {
        let expected = "the weights of an ONNX file";
        let Ok(metadata) = file::check(path, expected) else { return Ok(None) };
        if metadata.len() > MAX_WEIGHTS_IN_MEMORY_BYTES {
            return Ok(None);
        }
        file::read_shared(path, expected, metadata.len(), self.canceller).map(Some)
    }
}

fn run_session<const N: usize>(
    session: &mut Session,
    inputs: Vec<(&'static str, Input<'_>)>,
    outputs: [OutputSpec; N],
    options: &RunOptions,
) -> Result<[Tensor; N], ort::Error> {
    let mut values: Vec<(std::borrow::Cow<'_, str>, SessionInputValue<'_>)> =
        Vec::with_capacity(inputs.len());
    for (name, input) in inputs {
        let value = match input {
            Input::F32(values) => TensorRef::from_array_view(values)?.into(),
            Input::I64(values) => TensorRef::from_array_view(([values.len()], values))?.into(),
            Input::Token(value) => {
                ort::value::Tensor::from_array(([1_usize, 1], vec![value]))?.into()
            }
            Input::Tensor(tensor) => (&tensor.0).into(),
        };
        values.push((name.into(), value));
    }
    let mut results = session.run_with_options(values, options)?;
    take(&mut results, outputs)
}

/// As [`run_session`], with the states in the memory of the device before and after.
fn run_on_device<const N: usize>(
    session: &mut Session,
    memory: &MemoryInfo<'_>,
    inputs: Vec<(&'static str, Input<'_>)>,
    outputs: [OutputSpec; N],
    options: &RunOptions,
) -> Result<[Tensor; N], ort::Error> {
    use ort::value::Tensor as Value;
    let mut binding = session.create_binding()?;
    for (name, input) in inputs {
        match input {
            Input::F32(values) => {
                binding.bind_input(name, &Value::from_array(values.to_owned())?)?;
            }
            Input::I64(values) => {
                binding.bind_input(name, &Value::from_array(([values.len()], values.to_vec()))?)?;
            }
            Input::Token(value) => {
                binding.bind_input(name, &Value::from_array(([1_usize, 1], vec![value]))?)?;
            }
            Input::Tensor(tensor) => binding.bind_input(name, &tensor.0)?,
        }
    }
    let host = MemoryInfo::default();
    for output in outputs {
        let memory = if matches!(output, OutputSpec::State(_)) { memory } else { &host };
        binding.bind_output_to_device(output.name(), memory)?;
    }
    let mut results = session.run_binding_with_options(&binding, options)?;
    take(&mut results, outputs)
}

fn take<const N: usize>(
    results: &mut SessionOutputs<'_>,
    outputs: [OutputSpec; N],
) -> Result<[Tensor; N], ort::Error> {
    let names = outputs.map(OutputSpec::name);
    let mut taken = names.map(|name| results.remove(name));
    if let Some(missing) = taken.iter().position(Option::is_none) {
        return Err(ort::Error::new(format!("no output {}", names[missing])));
    }
    Ok(std::array::from_fn(|i| Tensor(taken[i].take().expect("checked above"))))
}

impl Port {
    fn new(outlet: &Outlet) -> Self {
        let shape = outlet.dtype().tensor_shape();
        let dims = shape.iter().flat_map(|shape| shape.iter());
        Self {
            name: outlet.name().to_owned(),
            dims: dims.map(|&dim| usize::try_from(dim).ok()).collect(),
            element: outlet.dtype().tensor_type(),
        }
    }
}

/// Reads a number of the metadata, for the fuzz target.
pub fn fuzz_metadata(text: &str) {
    let _ = (parse::<usize>(text), parse::<f32>(text), parse::<std::num::NonZeroUsize>(text));
}

/// The number in `text`, or what is there instead.
fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|error| format!("{text} ({error})"))
}

fn metadata(session: &Session) -> Vec<(String, String)> {
    let Ok(metadata) = session.metadata() else { return Vec::new() };
    let keys = metadata.custom_keys().unwrap_or_default();
    keys.into_iter()
        .filter_map(|key| Some((metadata.custom(&key)?, key)))
        .map(|(v, k)| (k, v))
        .collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;
    use ort::memory::{AllocatorType, MemoryType};

    use super::*;

    /// What two runs of the decoder give, the second from the states of the first, gathered.
    fn two_runs(network: &Network) -> [Vec<f32>; 4] {
        let size = network.dim("encoder_outputs", 2).expect("fixed");
        let frames =
            Array3::from_shape_fn((1, 2, size), |(_, row, i)| ((row * size + i) % 7) as f32 - 3.0);
        let layers = network.dim("input_states_1", 0).expect("fixed");
        let hidden = network.dim("input_states_1", 2).expect("fixed");
        let zeros = || network.zeros(&[layers, 1, hidden]).expect("memory");
        let (mut output, mut cell) = (zeros(), zeros());
        let mut found = Vec::new();
        for token in [3, 1] {
            let [logits, next_output, next_cell] = network
                .run(
                    vec![
                        ("encoder_outputs", Input::F32(frames.view().into_dyn())),
                        ("targets", Input::Token(token)),
                        ("input_states_1", Input::Tensor(&output)),
                        ("input_states_2", Input::Tensor(&cell)),
                    ],
                    [
                        OutputSpec::Values("outputs"),
                        OutputSpec::State("states_1"),
                        OutputSpec::State("states_2"),
                    ],
                    &Canceller::new(),
                )
                .expect("the inputs fit");
            found.push(network.values(&logits).expect("numbers").iter().copied().collect());
            let gathered = network.gather([(&next_cell, 1), (&next_cell, 0)].into_iter());
            let gathered = gathered.expect("two rows");
            found.push(network.values(&gathered).expect("numbers").iter().copied().collect());
            (output, cell) = (next_output, next_cell);
        }
        found.try_into().expect("two runs with two each")
    }

    #[test]
    fn states_that_stay_on_a_device_give_the_same() {
        let file = test_support::data().join("tiny-models/decoder_joint.onnx");
        let load = || {
            Network::load(&file, "a decoder", &RuntimeOptions::default(), 1, &Canceller::new())
                .expect("a fixture, and ORT_DYLIB_PATH")
        };
        // The processor's memory stands in for that of a device.
        let memory =
            MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default);
        let bound = Network { device_memory: Some(memory.expect("known")), ..load() };
        let found = two_runs(&bound);
        assert_eq!(found, two_runs(&load()));
        assert_ne!(found[0], found[2], "the second run knows of the first");
    }
}
