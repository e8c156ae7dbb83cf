#![doc = include_str!("../README.md")]

mod conv;
mod coords;
mod error;
mod kernel_map;
mod kernels;
mod key;
mod manager;
mod pool;
mod spec;
mod tensor;

pub use conv::{conv, conv_transpose};
pub use coords::{Coords, rows_of_input};
pub use error::SparseError;
pub use kernel_map::KernelMap;
pub use manager::CoordinateManager;
pub use pool::{avg_pool, global_avg_pool, global_max_pool, global_sum_pool, max_pool, sum_pool};
pub use spec::ConvSpec;
pub use tensor::SparseTensor;

// Parameters, normalisation and layers, built on the above.
