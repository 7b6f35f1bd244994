// SPDX-License-Identifier: MPL-2.0

//! The ONNX Runtime library of the process: finding it, loading it, and its log.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use ort::LoadDynamicError;
use ort::environment::Environment;

use crate::error::Error;
use crate::file;
use crate::lock::lock;

/// The name for which the system's loader searches.
const SYSTEM_LIBRARY: &str = "libonnxruntime.so.1";

/// The severity of a message from ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// A failure.
    Error,
    /// A suspicious condition.
    Warning,
    /// Everything else.
    Debug,
}

static LOG_HANDLER: OnceLock<fn(LogLevel, &str)> = OnceLock::new();

/// Sends the messages of ONNX Runtime to `handler`; without one they are discarded. Only the first
/// call has an effect.
pub fn set_log_handler(handler: fn(LogLevel, &str)) {
    LOG_HANDLER.get_or_init(|| handler);
}

/// The library in use and its environment. Both stay until the process ends, since ONNX Runtime can
/// be initialized only once.
#[derive(Clone)]
pub struct Library {
    /// The file, or the bare name that the system's loader resolved.
    pub path: PathBuf,
    /// The environment of all sessions.
    pub environment: Environment,
}

static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// Returns the library of the process. The first call loads it: from `requested`, else from
/// `ORT_DYLIB_PATH`, from the folder of the plugin, or from the system.
///
/// # Errors
/// [`Error::RuntimeNotFound`] and [`Error::RuntimeUnusable`] if none can be loaded, and
/// [`Error::RuntimeConflict`] if a library other than `requested` is already loaded.
pub fn library(requested: Option<&Path>) -> Result<Library, Error> {
    let mut loaded = lock(&LOADED);
    match (&*loaded, requested) {
        (Some(library), Some(requested)) if !same_file(requested, &library.path) => {
            Err(Error::RuntimeConflict {
                loaded: library.path.clone(),
                requested: requested.to_owned(),
            })
        }
        (Some(library), _) => Ok(library.clone()),
        (None, _) => Ok(loaded.insert(load(requested)?).clone()),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Loads the requested library, or else the first usable one in the default places.
fn load(requested: Option<&Path>) -> Result<Library, Error> {
    let from_variable = || std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    if let Some(path) = requested.map(Path::to_owned).or_else(|| from_variable().map(PathBuf::from))
    {
        return load_from(&path).map_err(|found| unusable(path, found));
    }
    let mut tried = Vec::new();
    for path in beside_the_plugin().into_iter().chain([PathBuf::from(SYSTEM_LIBRARY)]) {
        match load_from(&path) {
            Ok(library) => return Ok(library),
            Err(reason) => tried.push(format!("{} ({reason})", path.display())),
        }
    }
    Err(Error::RuntimeNotFound { tried, required: required_version() })
}

/// Creates an [`Error::RuntimeUnusable`].
pub fn unusable(path: PathBuf, found: String) -> Error {
    Error::RuntimeUnusable { path, required: required_version(), found }
}

fn required_version() -> String {
    format!("1.{}", ort::MINOR_VERSION)
}

/// Loads one library; the error describes the file or version that was found instead.
fn load_from(path: &Path) -> Result<Library, String> {
    // The loader would block on a pipe until its other end opens. A bare name is left to the loader.
    if let Some(kind) = file::irregular(path) {
        return Err(kind.to_owned());
    }
    let builder = ort::init_from(path).map_err(|error| match error {
        LoadDynamicError::Dlopen { error, .. } => {
            error.source().map_or_else(|| error.to_string(), ToString::to_string)
        }
        LoadDynamicError::MissingApi { .. } => "a library without OrtGetApiBase".to_owned(),
        LoadDynamicError::InvalidVersionString => "no readable version".to_owned(),
        LoadDynamicError::BadVersion { version_str, .. } => format!("version {version_str}"),
    })?;
    let environment = builder
        .with_name("multitalkerasr")
        .with_telemetry(false)
        .with_logger(Arc::new(|level, _category, _id, location, message| {
            if let Some(handler) = LOG_HANDLER.get() {
                let level = match level {
                    ort::logging::LogLevel::Error | ort::logging::LogLevel::Fatal => {
                        LogLevel::Error
                    }
                    ort::logging::LogLevel::Warning => LogLevel::Warning,
                    _ => LogLevel::Debug,
                };
                handler(level, &format!("{message} ({location})"));
            }
        }))
        .build()
        .map_err(|error| error.to_string())?;
    environment.set_log_level(ort::logging::LogLevel::Warning);
    Ok(Library { path: path.to_owned(), environment })
}

/// Returns the libraries in the folder of the plugin, or of the program that contains this code.
fn beside_the_plugin() -> Vec<PathBuf> {
    let Some(folder) = own_file().and_then(|file| file.parent().map(Path::to_owned)) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("libonnxruntime.so"))
        })
        .collect();
    found.sort();
    found
}

/// Returns the file that contains this code.
#[cfg(unix)]
fn own_file() -> Option<PathBuf> {
    use std::ffi::CStr;
    use std::os::unix::ffi::OsStrExt;

    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: dladdr only compares the address and fills `info`; the name then points to a string
    // of the loader that lives as long as this code.
    let name = unsafe {
        let found = libc::dladdr(own_file as *const () as *const libc::c_void, &mut info);
        (found != 0 && !info.dli_fname.is_null()).then(|| CStr::from_ptr(info.dli_fname))?
    };
    PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes())).canonicalize().ok()
}

#[cfg(not(unix))]
fn own_file() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn library_that_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("libonnxruntime.so");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        assert_eq!(load_from(&pipe).err().as_deref(), Some("a named pipe"));
        assert_eq!(load_from(folder.path()).err().as_deref(), Some("a folder"));
    }
}
