// SPDX-License-Identifier: MPL-2.0

//! Models that load only once the test allows it.

use multitalker_asr::{hold_loading, release_loading};

use crate::models;

/// A copy of the tiny models whose loading blocks until [`release`](Self::release).
pub struct HeldModels(tempfile::TempDir);

impl HeldModels {
    /// Copies the models and blocks their loading.
    #[expect(clippy::new_without_default, reason = "it writes files")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for entry in std::fs::read_dir(models()).expect("the models") {
            let file = entry.expect("a file");
            std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
        }
        hold_loading(folder.path());
        Self(folder)
    }

    /// The value for the property `model-dir`.
    pub fn path(&self) -> String {
        self.0.path().display().to_string()
    }

    /// Lets loading continue.
    pub fn release(&self) {
        release_loading(self.0.path());
    }
}
