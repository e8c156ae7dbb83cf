//! The projection, and what the networks need besides candle's operations, on an NVIDIA GPU: launchers beside the `.cu` file of their kernels.
//!
//! Nothing here waits for the GPU. Launchers are tested without one, over emulated kernels (`tests.rs`).

mod grouped;
mod taps;

pub(crate) use grouped::grouped_conv;
pub(crate) use taps::{taps_backward, taps_forward};

#[cfg(test)]
mod tests;
