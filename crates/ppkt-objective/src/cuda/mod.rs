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

use ppkt_device::Compute;

/// Threads of a block that works on one row, or sums: `ROW_THREADS` of `rows.cuh`.
const ROW_THREADS: u32 = 128;

/// Threads of a block where each has a row of its own; `THREADS` of `segmentation.cu`.
const LANES: u32 = 256;

/// What a loss over two inputs leaves on the GPU.
pub(crate) struct PairOutcome<C: Compute> {
    /// The value, one number.
    pub(crate) loss: C::Memory<f32>,
    /// Rows whose own partner is the nearest, one number.
    pub(crate) hits: C::Memory<f32>,
    /// By each input, of its size, where it is wanted.
    pub(crate) grads: [Option<C::Memory<f32>>; 2],
}

/// What a loss over one input leaves on the GPU.
pub(crate) struct RowsOutcome<C: Compute> {
    /// The value, one number.
    pub(crate) loss: C::Memory<f32>,
    /// Rows that are right, one number.
    pub(crate) n_right: C::Memory<f32>,
    /// By the input.
    pub(crate) grad: C::Memory<f32>,
}

/// As an argument that is read, if it is there.
fn read_if<M: ppkt_device::Memory>(memory: Option<&M>) -> ppkt_device::Arg {
    memory.map_or(ppkt_device::Arg::NONE, M::read)
}

#[cfg(test)]
mod tests;
