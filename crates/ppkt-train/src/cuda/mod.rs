//! The optimiser's step on an NVIDIA GPU: launchers beside the `.cu` file of their kernels.
//!
//! Nothing here waits for the GPU. Launchers are tested without one, over emulated kernels (`tests.rs`).

mod optimizer;

#[cfg(feature = "cuda")]
mod storage;

pub(crate) use optimizer::{adamw_step, gradient_report, sgd_step};
#[cfg(feature = "cuda")]
pub(crate) use storage::{report_of, with_view};

#[cfg(test)]
mod tests;
