// SPDX-License-Identifier: MPL-2.0

//! Loading of the networks of a run, and of the people whose voices are known.

use std::path::Path;
use std::sync::Arc;

use crate::multitalkerasr::output::messages::{post_error, post_progress, post_warning};
use crate::multitalkerasr::properties::settings::RunSettings;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::worker::enrollment::decode;
use crate::multitalkerasr::worker::queue::Queue;
use crate::multitalkerasr::worker::recognition::fail;
use gst::prelude::*;
use multitalker_asr::{Error, Identification, IdentificationOptions, Model, SpeakerEmbeddingModel};

/// Networks and people of a run.
#[derive(Default)]
pub struct Loaded {
    /// `None` after a failure.
    pub model: Option<Arc<Model>>,
    /// `None` without a model of voices.
    pub identification: Option<Identification>,
}

/// Loads the networks of the settings, and posts the progress. After an error or a cancellation there
/// are none.
pub fn load(shared: &Shared, queue: &Queue, settings: &Arc<RunSettings>) -> Loaded {
    let Some(model) = load_model(shared, queue, settings) else { return Loaded::default() };
    match load_identification(shared, queue, settings, &model) {
        Ok(identification) => Loaded { model: Some(model), identification },
        Err(Error::Canceled) => Loaded::default(),
        Err(error) => {
            fail(shared, queue, &error);
            Loaded::default()
        }
    }
}

fn load_model(shared: &Shared, queue: &Queue, settings: &Arc<RunSettings>) -> Option<Arc<Model>> {
    let Some(options) = settings.model_options() else {
        post_error!(
            shared,
            gst::ResourceError::Settings,
            ("No model: set the property model-dir to the folder that contains it")
        );
        queue.fail();
        return None;
    };
    let path = match (options.recognize, &options.diarization_model) {
        (false, Some(diarizer)) => diarizer,
        _ => &options.model_dir,
    };
    let path = path.display().to_string();
    post_progress(shared, gst::ProgressType::Start, &format!("Loading the model of {path}"));
    // The networks of an earlier run are still in memory, unless their files have changed.
    let loaded = Model::load(&options, &queue.loading)
        .and_then(|model| settings.check_preset(&model).map(|()| model));
    match loaded {
        Ok(model) => {
            let names = model.annotated_speakers().unwrap_or_default();
            shared.set_annotated_names(names.into_iter().map(str::to_owned).collect());
            shared.keep_model(settings, &model);
            post_progress(
                shared,
                gst::ProgressType::Complete,
                &format!("Loaded the model of {path}"),
            );
            for warning in model.warnings() {
                post_warning!(shared, gst::LibraryError::Settings, ("{warning}"));
            }
            post_substituted_preset(shared, settings, &model);
            let speakers = model.speakers();
            for pad in shared.speaker_pads.list() {
                if pad.speaker.index() >= speakers {
                    post_warning!(
                        shared,
                        gst::LibraryError::Settings,
                        (
                            "{} will stay empty: the model has only {speakers} speakers",
                            pad.pad.name()
                        )
                    );
                }
            }
            Some(model)
        }
        Err(Error::Canceled) => {
            post_progress(shared, gst::ProgressType::Canceled, "Loading was canceled");
            None
        }
        Err(error) => {
            post_progress(shared, gst::ProgressType::Error, &format!("Cannot load {path}"));
            fail(shared, queue, &error);
            None
        }
    }
}

/// Posts a warning if the version of the diarizer does not offer the preset.
fn post_substituted_preset(shared: &Shared, settings: &RunSettings, model: &Model) {
    let Some(version) = model.diarizer().map(|diarizer| diarizer.version) else { return };
    let Some((set, used)) = settings.substituted_preset(version) else { return };
    post_warning!(
        shared,
        gst::LibraryError::Settings,
        (
            "diarization-preset: expected one that version {version} of the diarizer offers, found \
             {}; using {} instead",
            set.nick(),
            used.nick()
        )
    );
}

/// Loads the model of voices, if there is one, and the people whose voices are known.
///
/// # Errors
/// [`Error::InvalidOption`] without a diarizer or with a threshold out of range, and the errors of
/// [`SpeakerEmbeddingModel::load`], [`Identification::read`], and [`Identification::enroll_folder`].
fn load_identification(
    shared: &Shared,
    queue: &Queue,
    settings: &RunSettings,
    model: &Model,
) -> Result<Option<Identification>, Error> {
    let Some(path) = &settings.speaker_embedding_model else { return Ok(None) };
    if model.diarizer().is_none() {
        return Err(Error::InvalidOption {
            option: "speaker-embedding-model",
            expected: "a diarization-model, which determines who speaks alone".to_owned(),
            found: "none".to_owned(),
        });
    }
    let canceller = &queue.loading;
    let voices =
        SpeakerEmbeddingModel::load(Path::new(path), &settings.runtime_options(), canceller)?;
    if let Some(warning) = voices.warning() {
        post_warning!(shared, gst::LibraryError::Settings, ("{warning}"));
    }
    let threshold = Some(settings.speaker_threshold).filter(|threshold| *threshold > 0.0);
    let mut identification = Identification::new(voices, IdentificationOptions { threshold })?;
    if let Some(store) = &settings.speakers_store {
        identification.read(Path::new(store), canceller)?;
    }
    if let Some(folder) = &settings.speakers_dir {
        let mut decode = |path: &Path| decode(path, canceller);
        let warnings = identification.enroll_folder(Path::new(folder), &mut decode, canceller)?;
        for warning in warnings {
            post_warning!(shared, gst::ResourceError::OpenRead, ("{warning}"));
        }
    }
    Ok(Some(identification))
}
