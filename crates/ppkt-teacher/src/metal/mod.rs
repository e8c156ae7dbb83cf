//! The projection of the teacher's features, and what the networks need besides candle's operations, on an Apple GPU:
//! launchers, beside the WGSL of their kernels and the Metal text that naga makes of it. Tested on a Vulkan device; never run on Apple's hardware (docs/metal.md).

mod grouped;
mod taps;

pub(crate) use grouped::grouped_conv;
pub(crate) use taps::{collect, read};

/// The GPU of a storage.
#[cfg(feature = "metal")]
pub(crate) fn gpu_of(storage: &candle_core::MetalStorage) -> ppkt_device::metal::Metal {
    use candle_core::backend::BackendStorage;
    ppkt_device::metal::Metal::new(storage.device())
}

#[cfg(test)]
mod tests;
