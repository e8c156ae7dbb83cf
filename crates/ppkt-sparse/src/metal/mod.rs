//! The operations on an Apple GPU: kernels in WGSL, of which naga makes Metal text, and their launchers.
//!
//! | file | what |
//! |---|---|
//! | `map` | neighbour tables from sorted keys |
//! | `conv`: `product`, `weight_gradient` | sparse convolution and both gradients |
//! | `norm` | batch normalisation with residual and ReLU, and its gradients |
//! | `ops.rs` | from candle's storages to the launchers, and back |
//! | `pool` | pooling over neighbours and batch items, and its gradients |
//! | `rows` | ReLU, columns side by side, rows of length one, and their gradients |
//!
//! A launcher is generic over [`Compute`]: candle's Metal back end runs the Metal text, and the tests run the WGSL itself,
//! through the same launchers, on a Vulkan device. None of it has run on Apple's hardware: docs/metal.md.

pub(crate) mod conv;
pub(crate) mod map;
pub(crate) mod norm;
#[cfg(feature = "metal")]
pub(crate) mod ops;
pub(crate) mod pool;
pub(crate) mod rows;

#[cfg(test)]
mod tests;

#[cfg(test)]
use ppkt_device::wgsl::KernelSource;

/// All kernels of the crate.
#[cfg(test)]
pub(crate) const SOURCES: [&KernelSource; 6] =
    [&map::MAP, &conv::PRODUCT, &conv::WEIGHT_GRADIENT, &norm::NORM, &pool::POOL, &rows::ROWS];
