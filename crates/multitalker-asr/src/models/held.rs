// SPDX-License-Identifier: MPL-2.0

//! Delayed loading, for tests of events that occur in the meantime.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::cancel::Canceller;
use crate::error::Error;
use crate::monitor::Monitor;

/// The folders from which loading is currently held.
static HELD: LazyLock<Monitor<Vec<PathBuf>>> = LazyLock::new(|| Monitor::new(Vec::new()));

/// Holds every load from `folder` until [`release_loading`].
#[doc(hidden)]
pub fn hold_loading(folder: &Path) {
    HELD.update(|held| held.push(folder.to_owned()));
}

/// Continues loads from `folder`.
#[doc(hidden)]
pub fn release_loading(folder: &Path) {
    HELD.update(|held| held.retain(|other| other != folder));
}

/// Waits until `folder` is released, if a test holds it.
///
/// # Errors
/// [`Error::Canceled`] shortly after `canceller` is canceled.
pub fn wait_while_held(folder: &Path, canceller: &Canceller) -> Result<(), Error> {
    HELD.wait_for(canceller, |held| (!held.iter().any(|other| other == folder)).then_some(()))
}
