// SPDX-License-Identifier: MPL-2.0

//! One ONNX graph: loading it, and running it for many streams.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use ort::memory::MemoryInfo;
use ort::session::{RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::{Outlet, TensorRef};

use super::ports::Port;
use super::session::{Loader, Weights};
use super::session_pool::SessionPool;
use super::tensor::{Input, OutputSpec, Tensor};
use crate::cancel::Canceller;
use crate::error::{Error, ModelWarning};
use crate::file;
use crate::options::RuntimeOptions;

/// A graph and its weights, shared by all streams.
pub struct Network {
    path: PathBuf,
    sessions: usize,
    pool: SessionPool<Session>,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    metadata: Vec<(String, String)>,
    /// Weights that the sessions may refer to.
    weights: Option<Weights>,
    /// The memory in which states stay between runs; `None` for the memory of the CPU.
    pub(super) device_memory: Option<MemoryInfo<'static>>,
}

impl Network {
    /// Loads `path`, which should contain `expected`, and the weights beside it, for up to `sessions`
    /// runs at a time.
    ///
    /// # Errors
    /// [`Error::FileNotFound`] and [`Error::UnreadableFile`] for the graph and its weights,
    /// [`Error::RuntimeNotFound`], [`Error::RuntimeUnusable`] and [`Error::RuntimeConflict`] for the
    /// library, [`Error::ProviderUnavailable`] and [`Error::InvalidOption`] for the options, and
    /// [`Error::Canceled`].
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

    /// Returns a defect that does not prevent the network from running.
    pub fn warning(&self) -> Option<ModelWarning> {
        let weights = self.weights.as_ref()?;
        Some(ModelWarning::WeightsInMemory {
            path: weights.path.clone(),
            bytes: weights.bytes.len() as u64,
            remedy: "use ONNX Runtime 1.24.2 or newer for a cache of the Hugging Face Hub, or copy \
                     the files into one folder",
        })
    }

    /// Returns the name of the file without its folder.
    pub fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the largest number of runs at a time.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// Returns an entry of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Returns a number in the metadata.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the entry is not a number.
    pub fn parse_metadata<T>(&self, key: &str) -> Result<Option<T>, Error>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = self.metadata(key) else { return Ok(None) };
        let what = format!("{key} in the metadata");
        parse(text).map(Some).map_err(|found| self.mismatch(&what, "a number", found))
    }

    /// Creates an [`Error::Mismatch`] of this file.
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
        inputs: Vec<(&str, Input<'_>)>,
        outputs: [OutputSpec<'_>; N],
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

    /// Creates an [`Error::Inference`] of this file.
    pub fn failure(&self, reason: impl ToString) -> Error {
        Error::Inference { path: self.path.clone(), reason: reason.to_string() }
    }
}

fn run_session<const N: usize>(
    session: &mut Session,
    inputs: Vec<(&str, Input<'_>)>,
    outputs: [OutputSpec<'_>; N],
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

/// Does the same as [`run_session`], with the states in the memory of the device before and after.
fn run_on_device<const N: usize>(
    session: &mut Session,
    memory: &MemoryInfo<'_>,
    inputs: Vec<(&str, Input<'_>)>,
    outputs: [OutputSpec<'_>; N],
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
    outputs: [OutputSpec<'_>; N],
) -> Result<[Tensor; N], ort::Error> {
    let names = outputs.map(OutputSpec::name);
    let mut taken = names.map(|name| results.remove(name));
    if let Some(missing) = taken.iter().position(Option::is_none) {
        return Err(ort::Error::new(format!("no output {}", names[missing])));
    }
    Ok(std::array::from_fn(|i| Tensor(taken[i].take().expect("checked above"))))
}

/// Parses metadata, for the fuzz target.
pub fn fuzz_metadata(text: &str) {
    let _ = (parse::<usize>(text), parse::<f32>(text), parse::<std::num::NonZeroUsize>(text));
}

/// Parses the number in `text`; the error describes the text.
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
    use std::thread;
    use std::time::Duration;

    use ndarray::Array3;
    use ort::memory::{AllocationDevice, AllocatorType, MemoryType};

    use super::*;

    /// Returns the logits and the gathered states of two runs of the decoder, the second of which
    /// begins with the states of the first.
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
        // The memory of the CPU stands in for that of a device.
        let memory =
            MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default);
        let bound = Network { device_memory: Some(memory.expect("known")), ..load() };
        let found = two_runs(&bound);
        assert_eq!(found, two_runs(&load()));
        assert_ne!(found[0], found[2], "the second run depends on the first");
    }
    /// Runs a Sortformer that multiplies matrices for years.
    fn run_forever(network: &Network, canceller: &Canceller) -> Result<(), Error> {
        let n_mels = network.dim("chunk", 2).expect("fixed");
        let d_model = network.dim("fifo", 2).expect("fixed");
        let chunk = Array3::zeros((1, 8, n_mels));
        let no_rows = Array3::zeros((1, 0, d_model));
        let inputs = vec![
            ("chunk", Input::F32(chunk.view().into_dyn())),
            ("chunk_lengths", Input::I64(&[8])),
            ("spkcache", Input::F32(no_rows.view().into_dyn())),
            ("spkcache_lengths", Input::I64(&[0])),
            ("fifo", Input::F32(no_rows.view().into_dyn())),
            ("fifo_lengths", Input::I64(&[0])),
        ];
        let outputs = [OutputSpec::Values("spkcache_fifo_chunk_preds")];
        network.run(inputs, outputs, canceller).map(|_| ())
    }

    #[test]
    fn run_and_wait_for_it_are_canceled_each_by_its_own_canceller() {
        let file = test_support::data().join("fake-models/sortformer-slow.onnx");
        let [running, waiting] = [(); 2].map(|()| Canceller::new());
        let network = Network::load(&file, "a diarizer", &RuntimeOptions::default(), 1, &running)
            .expect("a fixture, and ORT_DYLIB_PATH");
        thread::scope(|scope| {
            let wait_until_blocked = |canceller: &Canceller| {
                while canceller.blocked_calls() == 0 {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_millis(50));
            };
            let first = scope.spawn(|| run_forever(&network, &running));
            wait_until_blocked(&running);
            let second = scope.spawn(|| run_forever(&network, &waiting));
            wait_until_blocked(&waiting);
            waiting.cancel();
            assert!(matches!(second.join().expect("no panic"), Err(Error::Canceled)));
            assert!(!first.is_finished());
            running.cancel();
            assert!(matches!(first.join().expect("no panic"), Err(Error::Canceled)));
        });
    }
}
