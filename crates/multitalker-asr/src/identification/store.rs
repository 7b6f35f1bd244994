// SPDX-License-Identifier: MPL-2.0

//! Files with voice prints.
//!
//! A file is JSON: the fingerprint of the model that computed the embeddings, and a list of people.
//! Voice prints are personal data, so files are readable by their owner alone.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use ndarray::ArrayView1;
use serde::{Deserialize, Serialize};

use crate::cancel::Canceller;
use crate::error::Error;
use crate::file;
use crate::identification::known_speakers::{KnownSpeaker, KnownSpeakers};
use crate::identification::voice_print::VoicePrint;

const EXPECTED: &str = "voice prints as multitalkerasr writes them (JSON)";

/// Version of the format.
const VERSION: u32 = 1;

/// Largest file that is read; 5,000 people with embeddings of 512 values have 30 MB.
const MAX_BYTES: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct StoredFile {
    version: u32,
    /// SHA-256 of the model that computed the embeddings.
    model: String,
    speakers: Vec<StoredSpeaker>,
}

#[derive(Serialize, Deserialize)]
struct StoredSpeaker {
    identity: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Duration of the speech.
    seconds: f32,
    /// Mean embedding of unit length.
    embedding: Vec<f32>,
}

/// Reads the people in a file whose voices were computed by the model with this fingerprint and
/// dimension; none if there is no file.
///
/// # Errors
/// [`Error::UnreadableFile`] if the file holds anything else or cannot be read, [`Error::Mismatch`]
/// if another model computed the voices, and [`Error::Canceled`].
pub fn read(
    path: &Path,
    fingerprint: &str,
    dimension: usize,
    canceller: &Canceller,
) -> Result<KnownSpeakers, Error> {
    let bytes = match file::read(path, EXPECTED, MAX_BYTES, canceller) {
        Ok(bytes) => bytes,
        Err(Error::FileNotFound { .. }) => return Ok(KnownSpeakers::default()),
        Err(error) => return Err(error),
    };
    let unreadable =
        |found| Error::UnreadableFile { path: path.to_owned(), expected: EXPECTED, found };
    let stored: StoredFile =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if stored.version != VERSION {
        return Err(unreadable(format!("version {}", stored.version)));
    }
    if stored.model != fingerprint {
        return Err(Error::Mismatch {
            path: path.to_owned(),
            what: "model of the voice prints".to_owned(),
            expected: fingerprint.to_owned(),
            found: stored.model,
        });
    }
    let mut speakers: Vec<KnownSpeaker> = Vec::with_capacity(stored.speakers.len());
    for (speaker, number) in stored.speakers.into_iter().zip(1..) {
        let is_sound = speaker.embedding.len() == dimension
            && speaker.embedding.iter().all(|value| value.is_finite())
            && speaker.seconds.is_finite()
            && speaker.seconds > 0.0
            && (1..=i64::MAX as u64).contains(&speaker.identity);
        if !is_sound || speakers.iter().any(|known| known.identity == speaker.identity) {
            return Err(unreadable(format!(
                "person {number} with a repeated number, or without {dimension} finite values"
            )));
        }
        let voice = VoicePrint::new(ArrayView1::from(&speaker.embedding), speaker.seconds);
        let StoredSpeaker { identity, name, .. } = speaker;
        speakers.push(KnownSpeaker { identity, name, is_enrolled: false, voice });
    }
    Ok(KnownSpeakers::new(speakers))
}

/// Writes all people to a file, which is replaced as a whole and which only its owner can read.
///
/// # Errors
/// [`io::Error`] if the folder is missing, is read-only, or has no space; the file is then
/// unchanged.
pub fn write(path: &Path, fingerprint: &str, known: &KnownSpeakers) -> io::Result<()> {
    let speakers = known.list().iter().map(|known| StoredSpeaker {
        identity: known.identity,
        name: known.name.clone(),
        seconds: known.voice.seconds(),
        embedding: known.voice.embedding().to_vec(),
    });
    let stored = StoredFile {
        version: VERSION,
        model: fingerprint.to_owned(),
        speakers: speakers.collect(),
    };
    let mut bytes = serde_json::to_vec(&stored)?;
    bytes.push(b'\n');
    replace(path, &bytes)
}

/// Replaces a file by a new one, which only its owner can read.
///
/// # Errors
/// [`io::Error`] as in [`write`].
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| _ = fs::remove_file(&new))
}
