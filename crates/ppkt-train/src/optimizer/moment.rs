//! Memory of an optimiser, where its parameter is.

use candle_core::Device;

use super::no_kernel;
use crate::error::Result;

/// Momentum, or a moment, of one parameter.
pub(crate) enum Moment {
    Cpu(Vec<f32>),
    #[cfg(feature = "cuda")]
    Cuda(ppkt_device::cuda::CudaMemory<f32>, ppkt_device::cuda::CudaDevice),
    #[cfg(feature = "metal")]
    Metal(ppkt_device::metal::MetalBuffer, ppkt_device::metal::Metal),
}

impl Moment {
    /// `n` zeros.
    pub(super) fn zeros(n: usize, device: &Device) -> Result<Self> {
        match device {
            // Written now: zeros from the system take no memory before the first step, and what is in use before that
            // is what a memory limit begins with.
            Device::Cpu => Ok(Self::Cpu(std::iter::repeat_n(0.0, n).collect())),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                Ok(Self::Cuda(ppkt_device::launch::Gpu::zeros(device, n)?, device.clone()))
            }
            #[cfg(feature = "metal")]
            Device::Metal(_) => Self::of(vec![0.0; n], device),
            #[cfg_attr(
                all(feature = "cuda", feature = "metal"),
                expect(unreachable_patterns, reason = "all are named")
            )]
            device => Err(no_kernel(device)),
        }
    }

    /// A copy of values.
    pub(super) fn of(values: Vec<f32>, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu => Ok(Self::Cpu(values)),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                Ok(Self::Cuda(ppkt_device::launch::Gpu::upload(device, &values)?, device.clone()))
            }
            #[cfg(feature = "metal")]
            Device::Metal(device) => {
                use ppkt_device::wgsl::Compute;
                let gpu = ppkt_device::metal::Metal::new(device);
                let words: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
                Ok(Self::Metal(gpu.upload(&words)?, gpu))
            }
            #[cfg_attr(
                all(feature = "cuda", feature = "metal"),
                expect(unreachable_patterns, reason = "all are named")
            )]
            device => Err(no_kernel(device)),
        }
    }

    /// The values, on the CPU.
    pub(super) fn values(&self) -> Result<Vec<f32>> {
        match self {
            Self::Cpu(values) => Ok(values.clone()),
            #[cfg(feature = "cuda")]
            Self::Cuda(values, device) => Ok(values.to_vec(device)?),
            #[cfg(feature = "metal")]
            Self::Metal(values, gpu) => Ok(gpu.tensor(values.clone(), values.words())?.to_vec1()?),
        }
    }
}
