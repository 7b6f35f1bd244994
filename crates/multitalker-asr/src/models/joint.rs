// SPDX-License-Identifier: MPL-2.0

//! The prediction and joint networks of the transducer in one graph.

use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis};

use super::{Cancellable, EncoderGraph, check_against_encoder, check_values};
use crate::cancel::Canceller;
use crate::error::{Error, ModelWarning};
use crate::onnx::{Element, Input, Network, OutputSpec, Tensor};
use crate::options::RuntimeOptions;
use crate::recognition::networks::JointNetwork;

/// Largest plausible sizes: the published graph has 2 layers of 640 values, and 1025 logits.
const MAX_LAYERS: usize = 1 << 6;
const MAX_HIDDEN: usize = 1 << 14;
const MAX_D_MODEL: usize = 1 << 14;
const MAX_LOGITS: usize = 1 << 20;
const MAX_STATE_VALUES: usize = 1 << 18;

/// The prediction and joint networks.
pub struct JointGraph {
    network: Network,
    /// Number of values in an encoded frame.
    pub d_model: usize,
    /// Number of LSTM layers of the prediction network.
    pub layers: usize,
    /// Number of values in the state of a layer.
    pub hidden: usize,
    /// Number of tokens without the blank.
    pub vocabulary: usize,
}

impl JointGraph {
    /// Loads and checks the graph, for up to `sessions` runs at a time.
    ///
    /// # Errors
    /// The errors of [`Network::load`], and [`Error::Mismatch`] if the file contains another graph.
    pub fn load(
        path: &Path,
        options: &RuntimeOptions,
        sessions: usize,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        let network = Network::load(path, "the decoder's ONNX file", options, sessions, canceller)?;
        network.require(
            &[("encoder_outputs", 3), ("targets", 2), ("input_states_1", 3), ("input_states_2", 3)],
            &[("outputs", 4), ("states_1", 3), ("states_2", 3)],
        )?;
        network.require_elements(
            &["encoder_outputs", "input_states_1", "input_states_2"],
            Element::F32,
        )?;
        network.require_elements(&["outputs", "states_1", "states_2"], Element::F32)?;
        network.require_elements(&["targets"], Element::I64)?;
        network.require_dynamic(&[("encoder_outputs", 1)])?;
        let layers = network.bounded_dim("input_states_1", 0, MAX_LAYERS)?;
        let hidden = network.bounded_dim("input_states_1", 2, MAX_HIDDEN)?;
        check_values(&network, "input_states_1", &[layers, hidden], MAX_STATE_VALUES)?;
        network.require_dims(&[("input_states_2", 0, layers), ("input_states_2", 2, hidden)])?;
        network.check_dims(&[
            ("encoder_outputs", 0, 1),
            ("targets", 0, 1),
            ("targets", 1, 1),
            ("input_states_1", 1, 1),
            ("input_states_2", 1, 1),
            ("states_1", 0, layers),
            ("states_1", 2, hidden),
            ("states_2", 0, layers),
            ("states_2", 2, hidden),
        ])?;
        let logits = network.bounded_dim("outputs", 3, MAX_LOGITS)?;
        if logits < 2 {
            return Err(network.mismatch(
                "dimension 3 of outputs",
                "at least a token and the blank",
                logits,
            ));
        }
        Ok(Self {
            d_model: network.bounded_dim("encoder_outputs", 2, MAX_D_MODEL)?,
            layers,
            hidden,
            vocabulary: logits - 1,
            network,
        })
    }

    /// Checks that the graph accepts the frames of `encoder`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if their sizes differ.
    pub fn check_encoder(&self, encoder: &EncoderGraph) -> Result<(), Error> {
        let expected = (encoder.d_model, encoder);
        check_against_encoder(&self.network, "values in an encoded frame", expected, self.d_model)
    }

    /// Returns the name of the file without its folder.
    pub fn file_name(&self) -> String {
        self.network.file_name()
    }

    /// Returns a defect that does not prevent the network from running.
    pub fn warning(&self) -> Option<ModelWarning> {
        self.network.warning()
    }
}

/// State of the prediction network: the output and the cell of each layer, `[layers, 1, hidden]`.
pub struct JointState {
    output: Tensor,
    cell: Tensor,
}

impl JointNetwork for Cancellable<JointGraph> {
    type State = JointState;

    fn frame_size(&self) -> usize {
        self.graph.d_model
    }

    fn blank(&self) -> usize {
        self.graph.vocabulary
    }

    fn parallel_runs(&self) -> usize {
        self.graph.network.sessions()
    }

    fn failure(&self, reason: String) -> Error {
        self.graph.network.failure(reason)
    }

    fn initial_state(&self) -> Result<JointState, Error> {
        let shape = [self.graph.layers, 1, self.graph.hidden];
        let zeros = || self.graph.network.zeros(&shape);
        Ok(JointState { output: zeros()?, cell: zeros()? })
    }

    fn run(
        &self,
        frames: ArrayView2<'_, f32>,
        token: usize,
        state: &JointState,
    ) -> Result<(Array2<f32>, JointState), Error> {
        let graph = &*self.graph;
        let logits_shape = (frames.nrows(), graph.vocabulary + 1);
        let [logits, output, cell] = graph.network.run(
            vec![
                ("encoder_outputs", Input::F32(frames.insert_axis(Axis(0)).into_dyn())),
                ("targets", Input::Token(token as i64)),
                ("input_states_1", Input::Tensor(&state.output)),
                ("input_states_2", Input::Tensor(&state.cell)),
            ],
            [
                OutputSpec::Values("outputs"),
                OutputSpec::State("states_1"),
                OutputSpec::State("states_2"),
            ],
            &self.canceller,
        )?;
        let state_shape = [graph.layers, 1, graph.hidden];
        graph.network.check_shape("states_1", &output, &state_shape)?;
        graph.network.check_shape("states_2", &cell, &state_shape)?;
        graph.network.check_shape("outputs", &logits, &[1, logits_shape.0, 1, logits_shape.1])?;
        let logits = graph.network.values(&logits)?;
        let logits = logits.into_shape_with_order(logits_shape).expect("checked above");
        Ok((logits.to_owned(), JointState { output, cell }))
    }
}
