#![doc = include_str!("../README.md")]

mod conv;
mod conv_grad;
mod coords;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod dense;
mod element;
mod error;
mod folded;
mod gradients;
mod init;
mod kernel_map;
mod kernels;
mod key;
mod layers;
mod load;
mod manager;
mod merge;
#[cfg(any(test, feature = "metal"))]
mod metal;
mod neighbours;
mod norm;
mod norm_bf16;
mod norm_inplace;
mod norm_kernel;
mod norm_op;
mod norm_tensor;
mod ops;
mod params;
mod pool;
mod precision;
mod rows;
mod sort;
mod spec;
mod tape;
mod tensor;
mod unit;

pub use conv::{allow_tf32, conv, conv_cat, conv_transpose, tf32_is_allowed};
pub use coords::{Coords, rows_of_input};
pub use error::SparseError;
pub use kernel_map::KernelMap;
pub use kernels::simd_path;
pub use manager::CoordinateManager;
pub use merge::Merge;
pub use pool::{avg_pool, global_avg_pool, global_max_pool, global_sum_pool, max_pool, sum_pool};
pub use precision::Precision;
pub use spec::ConvSpec;
pub use tensor::SparseTensor;

// Parameters, normalisation and layers, built on the above.
pub use folded::FoldedConv;
pub use gradients::backward;
pub use init::ConvInit;
pub use layers::{Pointwise, SparseConv3d, SparseConvTranspose3d};
pub use load::{LoadMode, LoadReport, ShapeMismatch};
pub use norm::{BatchNorm, DEFAULT_BN_MOMENTUM};
pub use ops::{add, cat, relu};
pub use params::VarStore;
pub use tape::{After, Layer, Recompute, Tape, TapeOptions, TapeSpan, TapeStep, TapeValue, tape_spans};
pub use unit::unit_norm;
