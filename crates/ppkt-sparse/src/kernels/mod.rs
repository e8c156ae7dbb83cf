//! The arithmetic of sparse convolution on slices.

mod plain;

pub(crate) use plain::{gather_product, weight_gradient};
