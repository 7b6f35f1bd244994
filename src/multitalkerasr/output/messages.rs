// SPDX-License-Identifier: MPL-2.0

//! Messages on the bus.

use gst::prelude::*;

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::input::InputError;
use crate::multitalkerasr::shared::Shared;
use multitalker_asr::Error;

/// Posts an error message of the element that owns a [`Shared`], with the arguments of
/// `gst::element_error!`.
macro_rules! post_error {
    ($shared:expr, $($args:tt)*) => {
        if let Some(element) = $shared.element() {
            gst::element_error!(element, $($args)*);
        }
    };
}

/// Posts a warning message of the element that owns a [`Shared`], with the arguments of
/// `gst::element_warning!`.
macro_rules! post_warning {
    ($shared:expr, $($args:tt)*) => {
        if let Some(element) = $shared.element() {
            gst::element_warning!(element, $($args)*);
        }
    };
}

pub(crate) use {post_error, post_warning};

/// Posts an element message.
pub fn post(shared: &Shared, structure: gst::Structure) {
    let Some(element) = shared.element() else { return };
    let message = gst::message::Element::builder(structure).src(&element).build();
    // It fails without a bus, where nobody waits for it.
    let _ = element.post_message(message);
}

/// Posts the progress of loading the model.
pub fn post_progress(shared: &Shared, type_: gst::ProgressType, text: &str) {
    let Some(element) = shared.element() else { return };
    gst::info!(CAT, obj = element, "{text}");
    let message = gst::message::Progress::builder(type_, "loading", text).src(&element).build();
    // It fails without a bus, where nobody waits for it.
    let _ = element.post_message(message);
}

/// Posts an error of the input; nothing without caps, since an error of the caps was posted then or
/// core returns the error upstream.
pub fn post_input_error(shared: &Shared, error: &InputError) {
    match error {
        InputError::NoCaps => (),
        InputError::Unreadable => post_error!(shared, gst::ResourceError::Read, ("{error}")),
        InputError::Caps(_)
        | InputError::SegmentFormat(_)
        | InputError::Rate(_)
        | InputError::NoPts => post_error!(shared, gst::StreamError::Format, ("{error}")),
    }
}

/// Posts an error of the engine in the domain of GStreamer that it belongs to.
pub fn post_engine_error(shared: &Shared, error: &Error) {
    fn post<E: gst::MessageErrorDomain>(shared: &Shared, domain: E, error: &Error) {
        post_error!(shared, domain, ("{error}"), ["{error:?}"]);
    }
    gst::error!(CAT, obj = shared.sinkpad, "{error}");
    match error {
        Error::FileNotFound { .. } => post(shared, gst::ResourceError::NotFound, error),
        Error::UnreadableFile { .. } => post(shared, gst::ResourceError::OpenRead, error),
        Error::Mismatch { .. } => post(shared, gst::ResourceError::Settings, error),
        Error::InvalidOption { .. } => post(shared, gst::LibraryError::Settings, error),
        Error::RuntimeNotFound { .. }
        | Error::RuntimeUnusable { .. }
        | Error::RuntimeConflict { .. }
        | Error::ProviderUnavailable { .. } => post(shared, gst::LibraryError::Init, error),
        Error::Inference { .. } => post(shared, gst::StreamError::Decode, error),
        _ => post(shared, gst::LibraryError::Failed, error),
    }
}
