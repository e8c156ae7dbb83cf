//! The losses on an Apple GPU: launchers, each beside the WGSL of its kernels and the Metal text that naga makes of it.
//!
//! Nothing here waits for the GPU. Launchers are tested on a Vulkan device; none has run on Apple's hardware
//! (docs/metal.md).

mod distance;
mod lovasz;
mod nce;
mod pooled;
mod segmentation;

pub(crate) use distance::distance;
pub(crate) use nce::info_nce;
pub(crate) use pooled::pooled_info_nce;
pub(crate) use segmentation::segmentation;

/// The GPU of a storage.
#[cfg(feature = "metal")]
pub(crate) fn gpu_of(storage: &candle_core::MetalStorage) -> ppkt_device::metal::Metal {
    use candle_core::backend::BackendStorage;
    ppkt_device::metal::Metal::new(storage.device())
}

/// What a loss over two inputs leaves on the GPU.
pub(crate) struct PairOutcome<B> {
    /// The value, one number.
    pub(crate) loss: B,
    /// Rows whose own partner is the nearest, one number.
    pub(crate) hits: B,
    /// By each input, of its size, where it is wanted.
    pub(crate) grads: [Option<B>; 2],
}

/// What a loss over one input leaves on the GPU.
pub(crate) struct RowsOutcome<B> {
    /// The value, one number.
    pub(crate) loss: B,
    /// Rows that are right, one number.
    pub(crate) n_right: B,
    /// By the input.
    pub(crate) grad: B,
}

#[cfg(test)]
mod tests;
