// SPDX-License-Identifier: MPL-2.0

//! The models: loading and sharing their networks, and the three graphs behind the traits of the
//! loops that run them.
//!
//! No dimension is hard-coded: each is read from one place of a graph and compared with all other
//! places in which it occurs.

mod config;
mod encoder;
mod held;
mod joint;
mod loader;
mod metadata;
mod model;
mod network_key;
mod registry;
mod sortformer;
mod sortformer_metadata;
mod speaker_embedding;
mod speaker_embedding_metadata;

use std::sync::Arc;

use ndarray::Array2;

use crate::cancel::Canceller;
use crate::error::Error;
use crate::onnx::Network;

pub use config::ModelConfig;
pub use encoder::{EncoderGraph, LEFT_CONTEXT_MEL_FRAMES};
pub use held::{hold_loading, release_loading};
pub use joint::JointGraph;
pub use model::{ActivityModel, Model};
pub use sortformer::SortformerGraph;
pub use speaker_embedding::SpeakerEmbeddingModel;

/// A graph for one stream, which can cancel its runs.
pub struct Cancellable<G> {
    /// The graph, shared by all streams.
    pub graph: Arc<G>,
    /// Cancels the runs.
    pub canceller: Canceller,
}

/// Checks that a size in the file of `network` fits the encoder.
///
/// # Errors
/// [`Error::Mismatch`] if the size differs.
fn check_against_encoder(
    network: &Network,
    what: &str,
    (expected, encoder): (usize, &EncoderGraph),
    found: usize,
) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(network.mismatch(what, format!("{expected} to match {}", encoder.file_name()), found))
}

/// Checks that all `values` of an output are finite.
///
/// # Errors
/// [`Error::Inference`] with the first value that is not finite.
fn check_finite(network: &Network, what: &str, values: &Array2<f32>) -> Result<(), Error> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(found) => Err(network.failure(format!("expected numbers as {what}, found {found}"))),
    }
}

/// Checks that a tensor of these sizes has at most `max` values.
///
/// # Errors
/// [`Error::Mismatch`] if it has more.
fn check_values(network: &Network, what: &str, sizes: &[usize], max: usize) -> Result<(), Error> {
    let values = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    match values {
        Some(values) if values <= max => Ok(()),
        _ => Err(network.mismatch(what, format!("at most {max} values"), format!("{sizes:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diarization::DiarizationNetwork;
    use crate::models::Model;
    use crate::options::{ModelOptions, Precision};
    use crate::recognition::decoding::Greedy;
    use crate::recognition::networks::EncoderNetwork;
    use crate::recognition::targets::Targets;
    use crate::recognition::transducer::{DecoderState, decode};

    #[test]
    fn outputs_that_are_no_numbers_are_errors_that_name_the_file() {
        let model_dir = test_support::data().join("tiny-models");
        let options = ModelOptions {
            diarization_model: Some(model_dir.join("sortformer.onnx")),
            model_dir,
            precision: Precision::Fp32,
            ..Default::default()
        };
        let canceller = Canceller::new();
        let model = Model::load(&options, &canceller).expect("fixtures, and ORT_DYLIB_PATH");
        let frames = 14;

        // NaN in the inputs leads to NaN in the outputs.
        let networks = model.recognizer.as_ref().expect("asked for");
        let encoder = Cancellable { graph: networks.encoder.clone(), canceller: canceller.clone() };
        let mel_frames = encoder.left_context_mel_frames() + frames * 8;
        let features = Array2::from_elem((networks.encoder.n_mels, mel_frames), f32::NAN);
        let mut caches = [encoder.initial_cache().expect("memory")];
        let targets = Targets::single_speaker(frames);
        let encoded = encoder.run(features.view(), &targets, &mut caches);

        let graph = model.sortformer().expect("asked for").clone();
        let features = Array2::from_elem((frames * 8, graph.n_mels), f32::NAN);
        let empty = Array2::zeros((0, graph.d_model));
        let empty = empty.view();
        let diarized =
            Cancellable { graph, canceller: canceller.clone() }.run(features.view(), empty, empty);

        let joint = Cancellable { graph: networks.joint.clone(), canceller };
        let mut state = DecoderState::new(&joint, &Greedy::default()).expect("memory");
        let frames = Array2::from_elem((frames, networks.joint.d_model), f32::NAN);
        let mut tokens = Vec::new();
        let decoded = decode(&joint, &Greedy::default(), frames.view(), 0, &mut state, &mut tokens);
        assert_eq!(tokens, []);

        for (error, file) in [
            (encoded.err(), "tiny-models/encoder.onnx"),
            (diarized.err(), "tiny-models/sortformer.onnx"),
            (decoded.err(), "tiny-models/decoder_joint.onnx"),
        ] {
            let error = error.expect("an error").to_string();
            assert!(error.contains(file) && error.contains("found NaN"), "{error}");
        }
    }
}
