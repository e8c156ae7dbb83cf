//! The projection on an NVIDIA GPU: launchers beside the `.cu` file of their kernels.
//!
//! Nothing here waits for the GPU. Launchers are tested without one, over emulated kernels (`tests.rs`).

mod taps;

pub(crate) use taps::{taps_backward, taps_forward};

#[cfg(test)]
mod tests;
