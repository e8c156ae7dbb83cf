//! The operations on an Apple GPU: kernels in WGSL, of which naga makes Metal text, and their launchers.
//!
//! | file | what |
//! |---|---|
//! | `map` | neighbour tables from sorted keys |
//! | `conv`: `product`, `weight_gradient` | sparse convolution and both gradients |
//! | `norm` | batch normalisation with residual and ReLU, and its gradients |
//! | `pool` | pooling over neighbours and batch items, and its gradients |
//! | `rows` | ReLU, columns side by side, rows of length one, and their gradients |
//! | `sums` | sums over rows |
//!
//! A launcher is generic over [`Compute`]: candle's Metal back end runs the Metal text, and the tests run the WGSL itself,
//! through the same launchers, on a Vulkan device. None of it has run on Apple's hardware: docs/metal.md.

pub(crate) mod conv;
pub(crate) mod map;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod rows;
pub(crate) mod sums;

#[cfg(test)]
mod tests;

use ppkt_device::wgsl::KernelSource;

/// All kernels of the crate.
#[cfg(test)]
pub(crate) const SOURCES: [&KernelSource; 7] =
    [&map::MAP, &conv::PRODUCT, &conv::WEIGHT_GRADIENT, &norm::NORM, &pool::POOL, &rows::ROWS, &sums::SUMS];

/// A number as kernels take it; all that is counted here fits, as rows are checked to.
pub(crate) fn word(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
