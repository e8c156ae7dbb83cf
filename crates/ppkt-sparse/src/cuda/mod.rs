//! NVIDIA GPUs.
//!
//! | file | what |
//! |---|---|
//! | `feature.rs` | what features are made of |
//! | `on_devices.rs` | what is made once for each device |
//! | `sort.{cu,rs}` | stable radix sort of keys |
//! | `conv.rs`, `conv_*.cu` | convolution and its gradients |
//! | `conv_candle.rs` | from candle's tensors to `conv.rs` (feature `cuda`) |
//! | `conv_plan.rs` | which kernel a convolution takes, and how its work is cut |
//! | `map.{cu,rs}` | kernel maps: neighbour tables and lists of pairs |
//! | `norm.{cu,rs}` | batch normalisation with residual and ReLU |
//! | `pool.{cu,rs}` | pooling, local and global |
//! | `rows.{cu,rs}` | ReLU, channels side by side, sums over rows, rows of length one, merged rows |
//! | `rows.cuh` | what kernels over rows share |
//! | `samples.rs` | numbers and voxels for the tests |
//! | `tensors.rs` | rows and types of candle's tensors (feature `cuda`) |
//! | `ops.rs` | the crate's operations on tensors (feature `cuda`) |
//!
//! A launcher is a function over [`Gpu`](ppkt_device::launch::Gpu), so that what the tests run on the processor is what runs on a GPU:
//! kernels, sizes of grids, and the order of launches. Nothing in a launcher waits for the device or reads from it.

mod conv;
#[cfg(feature = "cuda")]
pub(crate) mod conv_candle;
mod conv_plan;
mod feature;
mod map;
mod norm;
#[cfg(feature = "cuda")]
mod on_devices;
#[cfg(feature = "cuda")]
pub(crate) mod ops;
mod pool;
mod rows;
#[cfg(test)]
mod samples;
mod sort;
#[cfg(feature = "cuda")]
mod tensors;

#[cfg(feature = "cuda")]
pub(crate) use map::{DeviceKeys, DeviceTable};
#[cfg(feature = "cuda")]
pub(crate) use on_devices::OnDevices;
#[cfg(feature = "cuda")]
pub(crate) use rows::Merging;
