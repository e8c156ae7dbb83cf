//! The optimiser's step and rows of embeddings on an NVIDIA GPU: launchers beside the `.cu` files of their kernels.
//!
//! Nothing here waits for the GPU. Launchers are tested without one, over emulated kernels (`tests.rs`).

mod optimizer;
#[cfg(feature = "cuda")]
mod report;
mod rows;

pub(crate) use optimizer::{adamw_step, gradient_report, sgd_step};
#[cfg(feature = "cuda")]
pub(crate) use report::report_of;
pub(crate) use rows::{RowsOnDevice, collect_rows, gather_rows};

#[cfg(test)]
mod tests;
