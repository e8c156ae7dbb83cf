//! The optimiser's step and rows of embeddings on an Apple GPU: launchers, each beside the WGSL of its kernels and the Metal text that naga makes
//! of it.
//!
//! Nothing here waits for the GPU. Launchers are tested on a Vulkan device; none has run on Apple's hardware
//! (docs/metal.md).

mod optimizer;
mod rows;
#[cfg(feature = "metal")]
mod storage;

#[cfg(feature = "metal")]
pub(crate) use optimizer::{Of, adamw_step, sgd_step};
#[cfg(feature = "metal")]
pub(crate) use rows::{RowsOnDevice, collect as collect_rows, gather as gather_rows};
#[cfg(feature = "metal")]
pub(crate) use storage::report_of;

#[cfg(test)]
mod tests;
