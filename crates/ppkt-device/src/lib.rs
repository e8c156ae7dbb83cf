#![doc = include_str!("../README.md")]
//!
//! | file | what |
//! |---|---|
//! | `choice.rs` | what a user asks for: `auto`, `cpu`, `cuda`, `cuda:1`, `metal` |
//! | `open.rs` | from a choice to candle's device |
//! | `timer.rs` | how long a device needs for something |
//! | `found.rs` | what there is on this machine, and what each thing lacks |
//! | `error.rs` | what stands in the way, with the remedy; also of errors that come up in the middle of a step |
//! | `launch/` | what launchers of CUDA kernels ask of a device, so that tests can run them without one |
//! | `wgsl/` | what kernels written in WGSL ask of a device |
//! | `cuda/` | kernels of our own on an NVIDIA GPU (feature `cuda`) |
//! | `metal.rs` | kernels of our own on an Apple GPU (feature `metal`) |

mod choice;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
mod found;
pub mod launch;
#[cfg(feature = "metal")]
pub mod metal;
mod open;
mod timer;
pub mod wgsl;

pub use choice::DeviceChoice;
pub use error::{DeviceError, remedy};
pub use found::{Finding, findings};
pub use open::{name, peak_bytes, send, used_bytes};
pub use timer::milliseconds;
