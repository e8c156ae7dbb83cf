//! Inference on the CPU: activations channels last, weights packed once, no autograd graph.
//!
//! A convolution is a matrix product whose left side is never built: for every output pixel and kernel tap the
//! micro-kernel is given the address of a run of input channels (or of zeros, outside the image). Batch norm is
//! folded into the weights beforehand; bias, residual and ReLU are added while the results are still in registers.
//!
//! **Same bits for any number of threads**: every output is summed by one thread, in the order of the kernel's taps
//! and channels, however the work is cut.

mod attention;
mod conv;
mod depthwise;
mod isa;
mod kernel;
mod lines;
mod map;
mod math;
mod norm;
mod panel;
mod pool;
mod rotary;
mod side_by_side;

pub(crate) use attention::attention;
pub(crate) use conv::{Activation, Conv, ConvGeometry};
pub(crate) use depthwise::Depthwise7;
pub(crate) use isa::Isa;
pub(crate) use map::{Buffers, Map};
pub(crate) use norm::LayerNorm;
pub(crate) use pool::max_pool_3x3_s2;
pub(crate) use rotary::Angles;
pub(crate) use side_by_side::side_by_side;

#[cfg(test)]
mod tests;
