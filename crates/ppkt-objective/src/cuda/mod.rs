//! The losses on an NVIDIA GPU: launchers, each beside the `.cu` file of its kernels.
//!
//! Nothing here waits for the GPU. Launchers are tested without one, over emulated kernels (`tests.rs`).

mod distance;
mod nce;
mod pooled;
mod segmentation;

pub(crate) use distance::distance;
pub(crate) use nce::info_nce;
pub(crate) use pooled::pooled_info_nce;
pub(crate) use segmentation::segmentation;

use ppkt_device::launch::Gpu;

/// Threads of a block that works on one row, or sums: `ROW_THREADS` of `rows.cuh`.
const ROW_THREADS: u32 = 128;

/// Threads of a block where each has a row of its own; `THREADS` of `segmentation.cu`.
const LANES: u32 = 256;

/// What a loss over two inputs leaves on the GPU.
pub(crate) struct PairOutcome<G: Gpu> {
    /// The value, one number.
    pub(crate) loss: G::Memory<f32>,
    /// Rows whose own partner is the nearest, one number.
    pub(crate) hits: G::Memory<f32>,
    /// By each input, of its size, where it is wanted.
    pub(crate) grads: [Option<G::Memory<f32>>; 2],
}

/// What a loss over one input leaves on the GPU.
pub(crate) struct RowsOutcome<G: Gpu> {
    /// The value, one number.
    pub(crate) loss: G::Memory<f32>,
    /// Rows that are right, one number.
    pub(crate) n_right: G::Memory<f32>,
    /// By the input.
    pub(crate) grad: G::Memory<f32>,
}

#[cfg(test)]
mod tests;
