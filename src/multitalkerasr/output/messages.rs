// SPDX-License-Identifier: MPL-2.0

//! Messages on the bus.

use gst::prelude::*;

use crate::multitalkerasr::CAT;
use crate::multitalkerasr::input::InputError;
use crate::multitalkerasr::shared::Shared;
use crate::multitalkerasr::text::activity::DatedActivity;
use crate::multitalkerasr::text::identities::Person;
use crate::multitalkerasr::text::speaker::Speaker;
use crate::multitalkerasr::text::utterance::{Moment, Utterance};
use multitalker_asr::Error;
use multitalker_asr::lock::lock;

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

/// Posts a finished segment.
pub fn post_transcript(shared: &Shared, segment: &Utterance) {
    post_utterance(shared, "multitalkerasr/transcript", segment);
}

/// Posts a segment in progress.
pub fn post_partial(shared: &Shared, segment: &Utterance) {
    post_utterance(shared, "multitalkerasr/partial", segment);
}

fn post_utterance(shared: &Shared, name: &str, utterance: &Utterance) {
    let structure = gst::Structure::builder(name)
        .field("text", utterance.text())
        .field("speaker-id", utterance.speaker.id())
        .field_if_some("speaker-name", utterance.person.name.as_ref())
        .field_if_some("identity", utterance.person.identity)
        .field("session-id", &utterance.session_id)
        .field("start-time", utterance.start().stream_time)
        .field("end-time", utterance.end().stream_time)
        .field("running-time", utterance.running_time)
        .field("confidence", utterance.confidence())
        .field("words", utterance.words_array())
        .build();
    post(shared, structure);
}

/// Who a speaker is.
pub struct Identified {
    pub speaker: Speaker,
    pub person: Person,
    /// Similarity of the voices, from -1 to 1.
    pub score: f32,
    /// Start of the speech from which this holds.
    pub since: Moment,
    /// Running time of this start.
    pub running_time: Option<gst::ClockTime>,
    /// Number of a person who turned out to be the same one.
    pub replaces: Option<u64>,
}

/// Posts who a speaker is.
pub fn post_identified(shared: &Shared, identified: &Identified) {
    let structure = gst::Structure::builder("multitalkerasr/speaker")
        .field("speaker-id", identified.speaker.id())
        .field_if_some("identity", identified.person.identity)
        .field_if_some("name", identified.person.name.as_ref())
        .field("score", f64::from(identified.score))
        .field("session-id", &shared.settings.live().session_id)
        .field("start-time", identified.since.stream_time)
        .field("running-time", identified.running_time)
        .field_if_some("replaces", identified.replaces)
        .build();
    post(shared, structure);
}

/// Posts who is active from now on.
pub fn post_speakers(shared: &Shared, activity: &DatedActivity) {
    let ids = activity.speakers.iter().map(|speaker| speaker.id().to_send_value());
    let names = activity.labels.iter().map(|label| label.to_send_value());
    let structure = gst::Structure::builder("multitalkerasr/speakers")
        .field("speaker-ids", gst::Array::from_values(ids))
        .field("speaker-names", gst::Array::from_values(names))
        .field("session-id", &shared.settings.live().session_id)
        .field("start-time", activity.start.stream_time)
        .field("running-time", activity.running_time)
        .build();
    post(shared, structure);
}

/// Posts the transcript log: the segments, or the turns if nothing is recognized.
pub fn post_transcripts(shared: &Shared, recognizes: bool) {
    let transcript = lock(&shared.transcript_log).transcript();
    let (name, field, content) = match recognizes {
        true => ("multitalkerasr/transcripts", "seglst", transcript.seglst()),
        false => ("multitalkerasr/rttm", "rttm", transcript.rttm()),
    };
    let structure = gst::Structure::builder(name)
        .field("session-id", &shared.settings.live().session_id)
        .field(field, content)
        .build();
    post(shared, structure);
}

/// Posts a warning that the transcript log is full.
pub fn post_full_log(shared: &Shared, max_transcripts: u32) {
    post_warning!(
        shared,
        gst::ResourceError::NoSpaceLeft,
        ("The transcript log is full: expected at most {max_transcripts} segments \
             (max-transcripts), found one more; the oldest segments are dropped from now on")
    );
}

fn post(shared: &Shared, structure: gst::Structure) {
    let Some(element) = shared.element() else { return };
    let message = gst::message::Element::builder(structure).src(&element).build();
    // Without a bus there is no receiver.
    let _ = element.post_message(message);
}

/// Posts the progress of loading the model.
pub fn post_progress(shared: &Shared, type_: gst::ProgressType, text: &str) {
    let Some(element) = shared.element() else { return };
    gst::info!(CAT, obj = element, "{text}");
    let message = gst::message::Progress::builder(type_, "loading", text).src(&element).build();
    // Without a bus there is no receiver.
    let _ = element.post_message(message);
}

/// Posts an error in the input. Missing caps are not posted, since either an error in the caps was
/// posted before or the flow return is enough.
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

/// Posts an error of the engine in the corresponding domain of GStreamer.
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
