// SPDX-License-Identifier: MPL-2.0

//! Tests an unusable ONNX Runtime. A process never unloads the runtime, so this is a binary of its
//! own.

use element_rig::*;
use gst::prelude::*;

/// Returns the only error of an element that uses this library.
#[track_caller]
fn error_with(library: &str) -> String {
    let element = element(&[("onnxruntime-library", library)]);
    let rig = Rig::of(element, Some(F32_CAPS));
    let message = rig.wait_for(gst::MessageType::Error);
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    rig.element.set_state(gst::State::Null).expect("stops");
    assert!(rig.bus.pop_filtered(&[gst::MessageType::Error]).is_none(), "one error");
    assert!(error.error().matches(gst::LibraryError::Init), "{error:?}");
    error.error().message().to_owned()
}

#[test]
fn missing_or_unusable_runtime_is_one_clear_error() {
    init();
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing.so").display().to_string();
    let error = error_with(&missing);
    assert!(error.contains("ONNX Runtime") && error.contains(&missing), "{error}");

    let text = folder.path().join("text.so");
    std::fs::write(&text, "not a library").expect("written");
    let text = text.display().to_string();
    let error = error_with(&text);
    assert!(error.contains("ONNX Runtime") && error.contains(&text), "{error}");

    // The file is a library, but not ONNX Runtime.
    let error = error_with("libc.so.6");
    assert!(error.contains("ONNX Runtime") && error.contains("libc.so.6"), "{error}");
}
