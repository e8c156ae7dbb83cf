//! The projection of the teacher's features on an Apple GPU: a launcher, beside the WGSL of its kernels and the Metal text
//! that naga makes of it. Tested on a Vulkan device; never run on Apple's hardware (docs/metal.md).

mod taps;

pub(crate) use taps::{collect, read};

/// The GPU of a storage.
#[cfg(feature = "metal")]
pub(crate) fn gpu_of(storage: &candle_core::MetalStorage) -> ppkt_device::metal::Metal {
    use candle_core::backend::BackendStorage;
    ppkt_device::metal::Metal::new(storage.device())
}

#[cfg(test)]
mod tests;
