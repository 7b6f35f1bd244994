// SPDX-License-Identifier: MPL-2.0

//! Elements that load the models of the tests.

use gst::prelude::*;
use test_support::data;

/// The folder of the tiny models.
pub fn models() -> String {
    data().join("tiny-models").display().to_string()
}

/// The tiny diarization model.
pub fn sortformer() -> String {
    data().join("tiny-models/sortformer.onnx").display().to_string()
}

/// Properties that select the tiny models, in gst-launch syntax.
pub fn tiny_models() -> String {
    format!("model-dir={} diarization-model={} precision=fp32", models(), sortformer())
}

/// Makes an element with the tiny models and additional properties.
pub fn element(properties: &[(&str, &str)]) -> gst::Element {
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("registered");
    element.set_property("model-dir", models());
    element.set_property("diarization-model", sortformer());
    // The output of the 8-bit models depends on the processor.
    element.set_property_from_str("precision", "fp32");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    element
}

/// Makes an element with the trained demo models and additional properties.
pub fn demo_element(properties: &[(&str, &str)]) -> gst::Element {
    let folder = data().join("demo-models");
    let element = gst::ElementFactory::make("multitalkerasr").build().expect("registered");
    element.set_property("model-dir", folder.display().to_string());
    element.set_property("diarization-model", folder.join("sortformer.onnx").display().to_string());
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    element
}
