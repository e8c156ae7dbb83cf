//! What features are made of.

use half::bf16;
use ppkt_device::launch::Number;

/// What features are made of; arithmetic is in f32.
pub(crate) trait Feature: Number {
    /// The end of the names of its kernels.
    const NAME: &'static str;
}

impl Feature for f32 {
    const NAME: &'static str = "f32";
}

impl Feature for bf16 {
    const NAME: &'static str = "bf16";
}

/// The name of a kernel for a type of features.
pub(crate) fn kernel<T: Feature>(name: &str) -> String {
    format!("{name}_{}", T::NAME)
}
