// SPDX-License-Identifier: MPL-2.0

//! Tests the configuration beside the graphs.

use std::sync::Arc;

use multitalker_asr::{ChunkLatency, Error, Model, Precision, Stream, StreamOptions};
use serde_json::Value;
use tempfile::TempDir;
use test_support::data;

use super::{CONFIG, FP32, folder_with, load};

/// Returns a folder whose configuration has another `value` at `pointer`.
fn with_config(pointer: &str, value: Value) -> TempDir {
    let folder = folder_with(&FP32);
    let text = std::fs::read_to_string(data().join("tiny-models").join(CONFIG)).expect("readable");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    *config.pointer_mut(pointer).expect("an entry of the configuration") = value;
    std::fs::write(folder.path().join(CONFIG), config.to_string()).expect("written");
    folder
}

#[test]
fn configuration_is_optional() {
    let folder = folder_with(&FP32);
    let model = load(folder.path(), Precision::Auto).expect("loads");
    let mut stream = Stream::new(model, StreamOptions::default()).expect("options that fit");
    let audio = test_support::read_wav(&data().join("audio/news.wav"));
    assert!(!stream.push(&audio).expect("inference runs").is_empty());
}

#[test]
fn config_that_differs_is_named() {
    for (pointer, value, entry, expected) in [
        ("/encoder/d_model", 512, "encoder.d_model", "64 to match encoder.onnx"),
        ("/encoder/num_layers", 24, "encoder.num_layers", "3 to match encoder.onnx"),
        ("/encoder/left_context", 70, "encoder.left_context", "28 to match encoder.onnx"),
        ("/encoder/subsampling_factor", 4, "encoder.subsampling_factor", "8 to match the features"),
        ("/decoder/vocab_size", 1024, "decoder.vocab_size", "96 to match decoder_joint.onnx"),
        ("/decoder/pred_hidden", 640, "decoder.pred_hidden", "48 to match decoder_joint.onnx"),
        ("/preprocessor/n_mels", 80, "preprocessor.n_mels", "128 to match encoder.onnx"),
        (
            "/preprocessor/sample_rate",
            8000,
            "preprocessor.sample_rate",
            "16000 to match the features",
        ),
    ] {
        let folder = with_config(pointer, value.into());
        let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
        let found = format!("found {value}");
        for part in [CONFIG, entry, expected, found.as_str()] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
    let folder = with_config("/preprocessor/normalize", "per_feature".into());
    let error = load(folder.path(), Precision::Fp32).err().expect("refused").to_string();
    assert!(error.contains("found per_feature"), "{error}");
}

/// Loads a folder with the fp32 models and `text` as its configuration.
fn with_text(text: &str) -> Result<Arc<Model>, Error> {
    let folder = folder_with(&FP32);
    std::fs::write(folder.path().join(CONFIG), text).expect("written");
    load(folder.path(), Precision::Fp32)
}

#[test]
fn context_of_another_size_is_refused() {
    for value in [
        "0",
        "1",
        "8",
        "10",
        "17",
        "1000",
        "1000000",
        "1000000000",
        "1099511627776",
        "9223372036854775808",
        "18446744073709551615",
        "-1",
        "9.5",
        "\"1000000000\"",
        "[0, 1000]",
    ] {
        for (key, other) in [("drop_extra_pre_encoded", "2"), ("unknown", "1")] {
            let config = format!(
                "{{\"encoder\": {{\"pre_encode_cache_size\": {value}, \"{key}\": {other}}}}}"
            );
            let error = with_text(&config).err().unwrap_or_else(|| panic!("{value} is refused"));
            let error = error.to_string();
            let entry =
                "encoder.pre_encode_cache_size: expected 9 to match the encoder's subsampling";
            for part in [CONFIG, entry] {
                assert!(error.contains(part), "{part} is not in: {error}");
            }
        }
    }
    for value in ["9", "9.0", "\"9\"", "[0, 9]", "null"] {
        let config = format!("{{\"encoder\": {{\"pre_encode_cache_size\": {value}}}}}");
        assert_eq!(with_text(&config).expect("loads").warnings(), [], "{value}");
    }
}

#[test]
fn config_that_cannot_be_read_is_a_warning() {
    let long = "x".repeat(2 << 20);
    for text in ["", "no JSON", "[]", "{\"encoder\": ", "{\"a\": NaN}", long.as_str()] {
        let model = with_text(text).expect("loads");
        let [warning] = model.warnings() else { panic!("{:?}", model.warnings()) };
        let warning = warning.to_string();
        for part in [CONFIG, "is ignored: expected a JSON object, found", "of the graphs"] {
            assert!(warning.contains(part), "{part} is not in: {warning}");
        }
        assert!(warning.len() < 3000, "{} bytes", warning.len());
        assert!(Stream::new(model, StreamOptions::default()).is_ok());
    }
    let model = with_text("{\"encoder\": {\"d_model\": \"a lot\", \"att_context_size\": \"all\"}}");
    let model = model.expect("loads");
    let warnings: Vec<_> = model.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("encoder.d_model is ignored: expected a number"), "{warnings:?}");
    assert!(warnings[0].contains("found \"a lot\""), "{warnings:?}");
    assert!(warnings[1].contains("encoder.att_context_size is ignored"), "{warnings:?}");
}

#[test]
fn numbers_as_text_are_compared_too() {
    let error = with_text("{\"encoder\": {\"d_model\": \"512.0\"}}").err().expect("refused");
    let error = error.to_string();
    for part in [CONFIG, "encoder.d_model", "expected 64 to match encoder.onnx", "found 512.0"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn messages_are_bounded() {
    let long = "x".repeat(900_000);
    let config = serde_json::json!({"preprocessor": {"normalize": long}}).to_string();
    let error = with_text(&config).err().expect("refused");
    assert!(error.to_string().len() < 3000 && format!("{error:?}").len() < 3000);
    let pairs = vec![[28, -1]; 100_000];
    let config = serde_json::json!({"encoder": {"att_context_size": [pairs, "x"]}}).to_string();
    let model = with_text(&config).expect("loads");
    assert!(model.warnings()[0].to_string().len() < 3000);
}

#[test]
fn chunk_that_the_encoder_does_not_support_is_refused() {
    let folder = with_config("/encoder/att_context_size", serde_json::json!([[28, 13], [28, 0]]));
    let model = load(folder.path(), Precision::Fp32).expect("loads");
    for (chunk_latency, known) in [
        (ChunkLatency::Ms1120, true),
        (ChunkLatency::Ms560, false),
        (ChunkLatency::Ms160, false),
        (ChunkLatency::Ms80, true),
    ] {
        let options = StreamOptions { chunk_latency, ..StreamOptions::default() };
        match Stream::new(model.clone(), options) {
            Ok(_) => assert!(known, "{chunk_latency:?}"),
            Err(error) => {
                assert!(!known, "{chunk_latency:?}: {error}");
                assert!(error.to_string().contains("one of [14, 1] encoded frames"), "{error}");
            }
        }
    }
}
