// SPDX-License-Identifier: MPL-2.0

//! Enrollment: a folder with recordings of people whose voices shall be known by name.
//!
//! Each recording is the folder's file `NAME.wav`, or any file in its folder `NAME`. The voice prints
//! are kept in a file beside them, so that each recording is decoded once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ndarray::ArrayView1;
use serde::{Deserialize, Serialize};

use crate::cancel::Canceller;
use crate::error::Error;
use crate::features::SAMPLE_RATE_HZ;
use crate::file;
use crate::identification::voice_print::VoicePrint;
use crate::identification::{store, voice_print};
use crate::models::SpeakerEmbeddingModel;

/// Name of the file with the voice prints of a folder.
const CACHE_NAME: &str = ".multitalkerasr-voices.json";

/// Largest cache that is read.
const MAX_CACHE_BYTES: u64 = 64 << 20;

const EXPECTED: &str = "a folder with recordings of people";

/// Maximum number of recordings in a folder and its subfolders.
const MAX_RECORDINGS: usize = 10_000;

/// Duration of the speech that a voice print needs.
const MIN_SECONDS: f32 = 5.0;

/// Length of the windows that embeddings are computed of: 2.4 s.
const WINDOW_SAMPLES: usize = SAMPLE_RATE_HZ as usize * 12 / 5;

/// Windows whose power is below this part of the loudest window's count as pauses: -20 dB.
const PAUSE_POWER: f32 = 0.01;

/// The voice of a person, and what is wrong with the other recordings.
#[derive(Debug, Default)]
pub struct Enrollment {
    /// Voices by name.
    pub voices: BTreeMap<String, VoicePrint>,
    /// A message about each recording that could not be used.
    pub warnings: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Cache {
    /// SHA-256 of the model that computed the embeddings.
    model: String,
    recordings: Vec<CachedRecording>,
}

#[derive(Clone, Serialize, Deserialize)]
struct CachedRecording {
    /// Path within the folder.
    path: PathBuf,
    bytes: u64,
    /// Time of the last change in nanoseconds since 1970.
    modified_ns: u64,
    seconds: f32,
    embedding: Vec<f32>,
}

/// A recording and the name of the person.
struct Recording {
    name: String,
    /// Path within the folder.
    path: PathBuf,
}

/// Computes the voices of the recordings in `folder`, which `decode` turns into 16 kHz mono samples.
/// Recordings that did not change since the last call are taken from the cache.
///
/// # Errors
/// [`Error::FileNotFound`] or [`Error::UnreadableFile`] if the folder cannot be read or has too many
/// files, [`Error::Inference`] or [`Error::Mismatch`] if the model fails, and [`Error::Canceled`].
pub fn enroll(
    folder: &Path,
    model: &SpeakerEmbeddingModel,
    decode: &mut dyn FnMut(&Path) -> Result<Vec<f32>, Error>,
    canceller: &Canceller,
) -> Result<Enrollment, Error> {
    let recordings = list(folder).map_err(|error| file::failure(folder, EXPECTED, &error))?;
    let cache_path = folder.join(CACHE_NAME);
    let old = read_cache(&cache_path, model, canceller);
    let mut new = Cache { model: model.fingerprint().to_owned(), recordings: Vec::new() };
    let mut enrollment = Enrollment::default();
    let mut has_changed = false;
    for Recording { name, path } in recordings {
        let full_path = folder.join(&path);
        let Some((bytes, modified_ns)) = state(&full_path) else { continue };
        let is_current = |cached: &&CachedRecording| {
            cached.path == path && cached.bytes == bytes && cached.modified_ns == modified_ns
        };
        let cached = match old.recordings.iter().find(is_current) {
            Some(cached) => cached.clone(),
            None => match decode(&full_path)
                .and_then(|samples| of_speech(&full_path, &samples, model, canceller))
            {
                Ok(voice) => {
                    has_changed = true;
                    let (seconds, embedding) = (voice.seconds(), voice.embedding().to_vec());
                    CachedRecording { path, bytes, modified_ns, seconds, embedding }
                }
                Err(Error::UnreadableFile { path, expected, found }) => {
                    let error = Error::UnreadableFile { path, expected, found };
                    enrollment.warnings.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        let voice = VoicePrint::new(ArrayView1::from(&cached.embedding), cached.seconds);
        enrollment.voices.entry(name).and_modify(|known| known.add(&voice)).or_insert(voice);
        new.recordings.push(cached);
    }
    if has_changed || new.recordings.len() != old.recordings.len() {
        // The folder may be read-only, which costs time at the next start and nothing else.
        let _ = serde_json::to_vec(&new)
            .map_err(io::Error::other)
            .and_then(|bytes| store::replace(&cache_path, &bytes));
    }
    Ok(enrollment)
}

/// Returns the recordings in a folder, in the order of their paths.
fn list(folder: &Path) -> io::Result<Vec<Recording>> {
    let mut recordings = Vec::new();
    for (path, name) in entries(folder)? {
        if folder.join(&path).is_dir() {
            let person = path.to_string_lossy().into_owned();
            for (file, _) in entries(&folder.join(&path))? {
                recordings.push(Recording { name: person.clone(), path: path.join(file) });
            }
        } else {
            recordings.push(Recording { name, path });
        }
        if recordings.len() > MAX_RECORDINGS {
            let found = format!("more than {MAX_RECORDINGS} files");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, found));
        }
    }
    recordings.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(recordings)
}

/// Returns the names of the entries of a folder, with and without their extensions. Hidden ones are
/// left out.
fn entries(folder: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)?.take(MAX_RECORDINGS + 1) {
        let path = PathBuf::from(entry?.file_name());
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !stem.starts_with('.') {
            entries.push((path, stem));
        }
    }
    Ok(entries)
}

/// Returns size and time of change of a regular file.
fn state(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((metadata.len(), u64::try_from(modified.as_nanos()).ok()?))
}

/// Reads the cache of the model. One that cannot be used is made again.
fn read_cache(path: &Path, model: &SpeakerEmbeddingModel, canceller: &Canceller) -> Cache {
    let bytes = file::read(path, EXPECTED, MAX_CACHE_BYTES, canceller).unwrap_or_default();
    let cache: Cache = serde_json::from_slice(&bytes).unwrap_or_default();
    let is_sound = |recording: &CachedRecording| {
        recording.embedding.len() == model.dimension()
            && recording.embedding.iter().all(|value| value.is_finite())
            && recording.seconds.is_finite()
            && recording.seconds > 0.0
    };
    let is_usable = cache.model == model.fingerprint() && cache.recordings.iter().all(is_sound);
    if is_usable { cache } else { Cache::default() }
}

/// Computes the voice print of a recording of one person.
fn of_speech(
    path: &Path,
    samples: &[f32],
    model: &SpeakerEmbeddingModel,
    canceller: &Canceller,
) -> Result<VoicePrint, Error> {
    let power =
        |window: &[f32]| window.iter().map(|s| s * s).sum::<f32>() / window.len().max(1) as f32;
    let windows = || samples.chunks(WINDOW_SAMPLES);
    let loudest = windows().map(power).fold(0.0, f32::max);
    let mut voice: Option<VoicePrint> = None;
    for window in windows() {
        if power(window) <= loudest * PAUSE_POWER {
            continue;
        }
        let Some(part) = voice_print(window, model, canceller)? else { continue };
        match &mut voice {
            Some(voice) => voice.add(&part),
            None => voice = Some(part),
        }
    }
    let seconds = voice.as_ref().map_or(0.0, VoicePrint::seconds);
    voice.filter(|voice| voice.seconds() >= MIN_SECONDS).ok_or_else(|| Error::UnreadableFile {
        path: path.to_owned(),
        expected: "at least 5 s of speech of one person",
        found: format!("{seconds:.1} s"),
    })
}
