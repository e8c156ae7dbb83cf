//! From a choice to candle's device.

use candle_core::{Device, DeviceLocation, Result, Tensor};

use crate::{DeviceChoice, DeviceError};

impl DeviceChoice {
    /// Opens the device.
    ///
    /// On an NVIDIA GPU all work is put into one stream, whichever thread asks for it, so that what one thread computes
    /// is there for the next without waiting.
    ///
    /// # Errors
    /// [`DeviceError`], each with its remedy; never another device than the one that was asked for.
    pub fn open(self) -> std::result::Result<Device, DeviceError> {
        match self {
            Self::Auto if cfg!(feature = "cuda") => Self::Cuda(0).open(),
            Self::Auto if cfg!(feature = "metal") => Self::Metal.open(),
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => crate::cuda::open(number),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(DeviceError::NotBuilt { feature: "cuda" }),
            #[cfg(feature = "metal")]
            Self::Metal => {
                Device::new_metal(0).map_err(|e| DeviceError::on_opening(self.to_string(), None, e))
            }
            #[cfg(not(feature = "metal"))]
            Self::Metal => Err(DeviceError::NotBuilt { feature: "metal" }),
        }
    }
}

/// A tensor on `device`, without its graph. On an NVIDIA GPU a contiguous one of the processor's comes there behind
/// everything that was asked for before, and nobody waits for it; candle's own `to_device` waits until that is done.
///
/// # Errors
/// As candle's `to_device`.
pub fn send(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device
        && let Some(sent) = crate::cuda::send(tensor, device)?
    {
        return Ok(sent);
    }
    Ok(tensor.detach().to_device(device)?.detach())
}

/// The most bytes of a GPU that this program had in use at one time; none on the processor, and where it is not counted.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::peak_bytes(device),
        _ => None,
    }
}

/// The bytes of a GPU that this program has in use; none on the processor, and where it is not counted.
pub fn used_bytes(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::used_bytes(device),
        _ => None,
    }
}

/// The name under which a device is asked for: `cpu`, `cuda`, `cuda:1`, `metal`.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => DeviceChoice::Cpu,
        DeviceLocation::Cuda { gpu_id } => DeviceChoice::Cuda(gpu_id),
        DeviceLocation::Metal { .. } => DeviceChoice::Metal,
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there() {
        assert_eq!(name(&DeviceChoice::Cpu.open().unwrap()), "cpu");
    }

    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    #[test]
    fn a_gpu_that_was_not_built_for_is_refused_with_the_feature() {
        assert!(DeviceChoice::Auto.open().unwrap().is_cpu());
        for (choice, feature) in [(DeviceChoice::Cuda(0), "cuda"), (DeviceChoice::Metal, "metal")] {
            let error = choice.open().unwrap_err().to_string();
            assert!(error.contains(&format!("--features {feature}")), "{error}");
        }
    }
}
