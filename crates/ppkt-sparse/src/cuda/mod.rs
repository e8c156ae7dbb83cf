//! NVIDIA GPUs.
//!
//! | file | what |
//! |---|---|
//! | `gpu.rs` | what a launcher needs of a device: memory and launches; implemented twice, below |
//! | `device.rs` | by candle's CUDA device (feature `cuda`) |
//! | `emulated.rs` | by the processor, in tests: the same launchers and the same kernels |
//! | `on_devices.rs` | what is made once for each device |
//! | `sort.{cu,rs}` | stable radix sort of keys |
//! | `map.{cu,rs}` | kernel maps: neighbour tables and lists of pairs |
//!
//! A launcher is a function over [`gpu::Gpu`], so that what the tests run on the processor is what runs on a GPU:
//! kernels, sizes of grids, and the order of launches. Nothing in a launcher waits for the device or reads from it.

#[cfg(feature = "cuda")]
mod device;
#[cfg(test)]
mod emulated;
mod gpu;
mod map;
#[cfg(feature = "cuda")]
mod on_devices;
mod sort;

#[cfg(feature = "cuda")]
pub(crate) use map::{DeviceKeys, DeviceTable};
#[cfg(feature = "cuda")]
pub(crate) use on_devices::OnDevices;
