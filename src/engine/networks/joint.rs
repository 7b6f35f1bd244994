// SPDX-License-Identifier: MPL-2.0

//! The prediction and joint networks of the transducer in one graph.

use std::path::Path;

use super::{EncoderGraph, InStream, check_size};
use crate::engine::config::RuntimeOptions;
use crate::engine::error::Error;
use crate::engine::onnx::{Canceller, Input, Network, Output, Tensor};
use crate::engine::rnnt::JointNetwork;

/// The prediction and joint networks.
pub struct JointGraph {
    network: Network,
    /// Values in an encoded frame.
    pub d_model: usize,
    /// LSTM layers of the prediction network.
    pub layers: usize,
    /// Values in the state of one of them.
    pub hidden: usize,
    /// Tokens, without the blank.
    pub vocabulary: usize,
}

impl JointGraph {
    /// Loads and checks the graph, to be run by as many threads at a time as there are `sessions`.
    ///
    /// # Errors
    /// Those of the file, and [`Error::Mismatch`] where it is another graph.
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
        let layers = network.dim("input_states_1", 0)?;
        let hidden = network.dim("input_states_1", 2)?;
        for (name, axis, expected) in [("input_states_2", 0, layers), ("input_states_2", 2, hidden)]
        {
            let what = format!("dimension {axis} of {name}");
            check_size(&network, &what, expected, network.dim(name, axis)?)?;
        }
        let logits = network.dim("outputs", 3)?;
        if logits < 2 {
            return Err(network.mismatch(
                "dimension 3 of outputs",
                "a token and the blank",
                logits,
            ));
        }
        Ok(Self {
            d_model: network.dim("encoder_outputs", 2)?,
            layers,
            hidden,
            vocabulary: logits - 1,
            network,
        })
    }

    /// Checks the graph against the encoder whose frames it takes.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn check_encoder(&self, encoder: &EncoderGraph) -> Result<(), Error> {
        let what = "values in an encoded frame, by the encoder";
        check_size(&self.network, what, encoder.d_model, self.d_model)
    }
}

/// State of the prediction network: of each layer the output and the cell.
pub struct JointState {
    output: Tensor,
    cell: Tensor,
}

impl JointNetwork for InStream<JointGraph> {
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
        frames: &[f32],
        token: usize,
        state: &JointState,
    ) -> Result<(Vec<f32>, JointState), Error> {
        let graph = &*self.graph;
        let shape = [1, frames.len() / graph.d_model, graph.d_model];
        let [logits, output, cell] = graph.network.run(
            vec![
                ("encoder_outputs", Input::F32(&shape, frames)),
                ("targets", Input::Token(token as i64)),
                ("input_states_1", Input::Tensor(&state.output)),
                ("input_states_2", Input::Tensor(&state.cell)),
            ],
            [Output::Values("outputs"), Output::State("states_1"), Output::State("states_2")],
            &self.canceller,
        )?;
        let (_, logits) = graph.network.values(&logits)?;
        Ok((logits.to_vec(), JointState { output, cell }))
    }
}
