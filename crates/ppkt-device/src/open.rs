//! From a choice to candle's device.

use candle_core::{Device, DeviceLocation};

use crate::{DeviceChoice, DeviceError};

impl DeviceChoice {
    /// Opens the device.
    ///
    /// On an NVIDIA GPU all work is put into one stream, whichever thread asks for it, so that what one thread computes
    /// is there for the next without waiting.
    ///
    /// # Errors
    /// [`DeviceError`], each with its remedy; never another device than the one that was asked for.
    pub fn open(self) -> Result<Device, DeviceError> {
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

/// The most bytes of a GPU that this program had in use at one time; none on the processor, and where it is not counted.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => crate::cuda::peak_bytes(device),
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
