// SPDX-License-Identifier: MPL-2.0

//! Execution providers: everything that depends on the hardware on which ONNX Runtime computes.
//!
//! Another provider needs a variant of [`ExecutionProvider`], its entry in [`ACCELERATORS`] and
//! [`Provider::of`] below, and its feature of `ort` in `Cargo.toml`.

use ort::ep::{self, ExecutionProviderDispatch};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;

use crate::error::Error;
use crate::options::ExecutionProvider;

/// All providers but the CPU, which every ONNX Runtime has.
const ACCELERATORS: [ExecutionProvider; 6] = [
    ExecutionProvider::Cuda,
    ExecutionProvider::TensorRt,
    ExecutionProvider::OpenVino,
    ExecutionProvider::CoreMl,
    ExecutionProvider::DirectMl,
    ExecutionProvider::Rocm,
];

/// The providers that [`ExecutionProvider::Auto`] tries in this order before the CPU.
const AUTOMATIC: [ExecutionProvider; 1] = [ExecutionProvider::Cuda];

/// The properties of an accelerator.
struct Provider {
    name: &'static str,
    /// Whether the loaded library was built with it.
    is_offered: fn() -> ort::Result<bool>,
    registration: ExecutionProviderDispatch,
    /// The memory in which it keeps tensors between runs; `None` if they pass through the memory of
    /// the CPU.
    memory: Option<AllocationDevice<'static>>,
}

impl Provider {
    /// Returns the properties of `provider` on the device of this index; `None` for the CPU.
    fn of(provider: ExecutionProvider, device: i32) -> Option<Self> {
        let cuda_memory = Some(AllocationDevice::CUDA);
        Some(match provider {
            ExecutionProvider::Auto | ExecutionProvider::Cpu => return None,
            ExecutionProvider::Cuda => {
                Self::new("cuda", ep::CUDA::default().with_device_id(device), cuda_memory)
            }
            ExecutionProvider::TensorRt => {
                Self::new("tensorrt", ep::TensorRT::default().with_device_id(device), cuda_memory)
            }
            ExecutionProvider::OpenVino => Self::new("openvino", ep::OpenVINO::default(), None),
            ExecutionProvider::CoreMl => Self::new("coreml", ep::CoreML::default(), None),
            ExecutionProvider::DirectMl => {
                Self::new("directml", ep::DirectML::default().with_device_id(device), None)
            }
            ExecutionProvider::Rocm => {
                Self::new("rocm", ep::ROCm::default().with_device_id(device), None)
            }
        })
    }

    fn new<P>(name: &'static str, provider: P, memory: Option<AllocationDevice<'static>>) -> Self
    where
        P: ep::ExecutionProvider + Into<ExecutionProviderDispatch>,
    {
        let registration = provider.into().error_on_failure();
        Self { name, is_offered: P::is_available, registration, memory }
    }

    fn is_offered(&self) -> bool {
        matches!((self.is_offered)(), Ok(true))
    }

    /// Describes `builder`, after this provider was registered with it.
    fn prepared(&self, builder: SessionBuilder, device: i32) -> PreparedBuilder {
        let device_memory = self.memory.clone().and_then(|memory| {
            MemoryInfo::new(memory, device, AllocatorType::Device, MemoryType::Default).ok()
        });
        PreparedBuilder { builder, device_memory, on_cpu: false }
    }
}

/// A builder of sessions with a registered provider.
pub struct PreparedBuilder {
    /// The builder.
    pub builder: SessionBuilder,
    /// The memory of the device, if tensors can stay there between runs.
    pub device_memory: Option<MemoryInfo<'static>>,
    /// Whether all operators run on the CPU.
    pub on_cpu: bool,
}

/// Registers `requested` with `builder`, to compute on the device of this index.
///
/// # Errors
/// [`Error::InvalidOption`] if `device` is out of range, and [`Error::ProviderUnavailable`] if the
/// provider cannot be used; [`ExecutionProvider::Auto`] falls back to the CPU instead.
pub fn register(
    mut builder: SessionBuilder,
    requested: ExecutionProvider,
    device: u32,
) -> Result<PreparedBuilder, Error> {
    let device = i32::try_from(device).map_err(|_| Error::InvalidOption {
        option: "device",
        expected: format!("at most {}", i32::MAX),
        found: device.to_string(),
    })?;
    if let Some(provider) = Provider::of(requested, device) {
        let builder = builder.with_execution_providers([provider.registration.clone()]);
        let builder = builder.map_err(|error| Error::ProviderUnavailable {
            requested: provider.name,
            reason: format!("{error}; the loaded ONNX Runtime offers {}", offered_names()),
        })?;
        return Ok(provider.prepared(builder, device));
    }
    if requested == ExecutionProvider::Auto {
        let candidates = AUTOMATIC.into_iter().filter_map(|choice| Provider::of(choice, device));
        for provider in candidates.filter(Provider::is_offered) {
            match builder.with_execution_providers([provider.registration.clone()]) {
                Ok(builder) => return Ok(provider.prepared(builder, device)),
                Err(error) => builder = error.recover(),
            }
        }
    }
    Ok(PreparedBuilder { builder, device_memory: None, on_cpu: true })
}

/// Returns the names of the providers with which the loaded library was built.
fn offered_names() -> String {
    let accelerators = ACCELERATORS.into_iter().filter_map(|choice| Provider::of(choice, 0));
    let offered = accelerators.filter(Provider::is_offered).map(|provider| provider.name);
    std::iter::once("cpu").chain(offered).collect::<Vec<_>>().join(", ")
}
