//! The optimiser's step and rows of embeddings on an NVIDIA GPU: launchers beside the `.cu` files of their kernels.
//!
//! Nothing here waits for the GPU. Launchers are tested without one, over emulated kernels (`tests.rs`).

mod optimizer;
mod rows;

#[cfg(feature = "cuda")]
mod storage;

pub(crate) use optimizer::{adamw_step, gradient_report, sgd_step};
pub(crate) use rows::{RowsOnDevice, collect_rows, gather_rows};
#[cfg(feature = "cuda")]
pub(crate) use storage::{report_of, with_view};

#[cfg(test)]
mod tests;
