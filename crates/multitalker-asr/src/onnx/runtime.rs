// SPDX-License-Identifier: MPL-2.0

//! The ONNX Runtime library of the process: finding it, its log, and sessions with our options.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use crate::error::Error;
use crate::file;
use crate::lock::lock;
use crate::options::{ExecutionProvider, OptimizationLevel, RuntimeOptions};

/// The name by which the system's own library is looked for.
const SYSTEM_LIBRARY: &str = "libonnxruntime.so.1";

/// Beyond this many threads a chunk gets no faster.
const MAX_AUTO_THREADS: usize = 4;

/// How serious a message of ONNX Runtime is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warning,
    /// Everything else.
    Debug,
}

static LOG_HANDLER: OnceLock<fn(LogLevel, &str)> = OnceLock::new();

/// Sends the messages of ONNX Runtime to `handler` instead of nowhere. The first call counts.
pub fn set_log_handler(handler: fn(LogLevel, &str)) {
    LOG_HANDLER.get_or_init(|| handler);
}

/// The library in use and what it was initialized to. It stays until the process ends, since ONNX
/// Runtime can be initialized only once.
struct Loaded {
    path: PathBuf,
    environment: Environment,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// Threads of one inference with `options`.
pub fn intra_op_threads(options: &RuntimeOptions) -> usize {
    match options.intra_op_threads {
        0 => available_threads().min(MAX_AUTO_THREADS),
        threads => threads,
    }
}

/// Threads that the machine runs at a time.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A builder of sessions, with the provider that was really chosen.
pub struct PreparedBuilder {
    /// Makes a session with the options.
    pub builder: SessionBuilder,
    /// The memory of the device, where it is another than the processor's and is known.
    pub device_memory: Option<MemoryInfo<'static>>,
    /// Whether all operators run on the processor.
    pub on_cpu: bool,
}

/// Loads the library of the process, if need be.
///
/// # Errors
/// [`Error::RuntimeNotFound`], [`Error::RuntimeUnusable`] and [`Error::RuntimeConflict`].
pub fn check_library(options: &RuntimeOptions) -> Result<(), Error> {
    environment(options.library.as_deref()).map(|_| ())
}

/// The library of the process, once it is loaded.
pub fn library_path() -> Option<PathBuf> {
    lock(&LOADED).as_ref().map(|loaded| loaded.path.clone())
}

/// Whether sessions with `options` run on the processor, after a provider that is chosen
/// automatically was tried.
///
/// # Errors
/// The errors of [`session_builder`].
pub fn computes_on_cpu(options: &RuntimeOptions) -> Result<bool, Error> {
    Ok(session_builder(options)?.on_cpu)
}

/// A builder of sessions with `options`.
///
/// # Errors
/// The errors of [`check_library`], [`Error::ProviderUnavailable`] and [`Error::InvalidOption`].
pub fn session_builder(options: &RuntimeOptions) -> Result<PreparedBuilder, Error> {
    let (path, environment) = environment(options.library.as_deref())?;
    let unusable = |error: ort::Error| Error::RuntimeUnusable {
        path,
        required: required_version(),
        found: format!("one that refuses the options: {error}"),
    };
    let threads = intra_op_threads(options);
    let level = match options.optimization_level {
        OptimizationLevel::DisableAll => GraphOptimizationLevel::Disable,
        OptimizationLevel::EnableBasic => GraphOptimizationLevel::Level1,
        OptimizationLevel::EnableExtended => GraphOptimizationLevel::Level2,
        OptimizationLevel::EnableAll => GraphOptimizationLevel::All,
    };
    let builder = || -> Result<SessionBuilder, ort::Error> {
        Ok(Session::builder(&environment)?
            .with_intra_threads(threads)?
            // A thread that spins after its part takes the core from the next network.
            .with_intra_op_spinning(false)?
            // Else the weights of the file stay in the arena beside the prepacked ones.
            .with_device_allocated_initializers()?
            // Memory laid out for one shape stays when another comes: hundreds of MiB in a diarizer.
            .with_memory_pattern(false)?
            .with_optimization_level(level)?)
    };
    with_provider(builder().map_err(unusable)?, options)
}

fn with_provider(
    builder: SessionBuilder,
    options: &RuntimeOptions,
) -> Result<PreparedBuilder, Error> {
    let on_cpu = |builder| PreparedBuilder { builder, device_memory: None, on_cpu: true };
    let device = i32::try_from(options.device).map_err(|_| Error::InvalidOption {
        option: "device",
        expected: format!("at most {}", i32::MAX),
        found: options.device.to_string(),
    })?;
    let (name, provider): (_, ExecutionProviderDispatch) = match options.execution_provider {
        ExecutionProvider::Cpu => return Ok(on_cpu(builder)),
        ExecutionProvider::Auto => {
            if !matches!(ep::CUDA::is_available(), Ok(true)) {
                return Ok(on_cpu(builder));
            }
            let cuda = ep::CUDA::default().with_device_id(device).build().error_on_failure();
            return Ok(match builder.with_execution_providers([cuda]) {
                Ok(builder) => PreparedBuilder {
                    builder,
                    device_memory: device_memory(AllocationDevice::CUDA, device),
                    on_cpu: false,
                },
                Err(error) => on_cpu(error.recover()),
            });
        }
        ExecutionProvider::Cuda => ("cuda", ep::CUDA::default().with_device_id(device).build()),
        ExecutionProvider::TensorRt => {
            ("tensorrt", ep::TensorRT::default().with_device_id(device).build())
        }
        ExecutionProvider::OpenVino => ("openvino", ep::OpenVINO::default().build()),
        ExecutionProvider::CoreMl => ("coreml", ep::CoreML::default().build()),
        ExecutionProvider::DirectMl => {
            ("directml", ep::DirectML::default().with_device_id(device).build())
        }
        ExecutionProvider::Rocm => ("rocm", ep::ROCm::default().with_device_id(device).build()),
    };
    let builder = builder.with_execution_providers([provider.error_on_failure()]);
    let builder = builder.map_err(|error| Error::ProviderUnavailable {
        requested: name,
        reason: format!("{error}; the loaded ONNX Runtime offers {}", offered_providers()),
    })?;
    let device_memory = match options.execution_provider {
        ExecutionProvider::Cuda | ExecutionProvider::TensorRt => {
            device_memory(AllocationDevice::CUDA, device)
        }
        _ => None,
    };
    Ok(PreparedBuilder { builder, device_memory, on_cpu: false })
}

/// Where a device keeps tensors; `None`, so that they go through the processor's memory, where
/// ONNX Runtime does not know.
fn device_memory(device: AllocationDevice<'static>, id: i32) -> Option<MemoryInfo<'static>> {
    MemoryInfo::new(device, id, AllocatorType::Device, MemoryType::Default).ok()
}

/// Gives memory that was freed back to the system, once after a whole model was loaded: glibc keeps
/// hundreds of MiB between what is still in use.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The providers that the loaded library was built with.
fn offered_providers() -> String {
    let offered = [
        ("cuda", ep::CUDA::is_available()),
        ("tensorrt", ep::TensorRT::is_available()),
        ("openvino", ep::OpenVINO::is_available()),
        ("coreml", ep::CoreML::is_available()),
        ("directml", ep::DirectML::is_available()),
        ("rocm", ep::ROCm::is_available()),
    ];
    let others = offered.into_iter().filter(|(_, available)| matches!(available, Ok(true)));
    others.map(|(name, _)| name).fold("cpu".to_owned(), |list, name| format!("{list}, {name}"))
}

/// The library of the process and its environment, loaded if need be.
fn environment(requested: Option<&Path>) -> Result<(PathBuf, Environment), Error> {
    let mut loaded = lock(&LOADED);
    if let Some(loaded) = &*loaded {
        return match requested {
            Some(requested) if !same_file(requested, &loaded.path) => Err(Error::RuntimeConflict {
                loaded: loaded.path.clone(),
                requested: requested.to_owned(),
            }),
            _ => Ok((loaded.path.clone(), loaded.environment.clone())),
        };
    }
    let new = load(requested)?;
    let result = (new.path.clone(), new.environment.clone());
    *loaded = Some(new);
    Ok(result)
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Loads the library that the user named, or else looks for one.
fn load(requested: Option<&Path>) -> Result<Loaded, Error> {
    let from_variable = || std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    if let Some(path) = requested.map(Path::to_owned).or_else(|| from_variable().map(PathBuf::from))
    {
        return load_from(&path).map_err(|found| Error::RuntimeUnusable {
            path,
            required: required_version(),
            found,
        });
    }
    let mut tried = Vec::new();
    for path in beside_the_plugin().into_iter().chain([PathBuf::from(SYSTEM_LIBRARY)]) {
        match load_from(&path) {
            Ok(loaded) => return Ok(loaded),
            Err(reason) => tried.push(format!("{} ({reason})", path.display())),
        }
    }
    Err(Error::RuntimeNotFound { tried, required: required_version() })
}

fn required_version() -> String {
    format!("1.{}", ort::MINOR_VERSION)
}

/// Loads one library, or says what is wrong with it.
fn load_from(path: &Path) -> Result<Loaded, String> {
    // The loader would wait for the other end of a pipe. A bare name is looked for by the loader.
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
    Ok(Loaded { path: path.to_owned(), environment })
}

/// The libraries in the folder of the plugin, or of the program that this is linked into.
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

/// The file that this code was loaded from.
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
    // SAFETY: dladdr only compares the address and fills `info`, whose name then points to a
    // string of the loader that lives as long as this code.
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
