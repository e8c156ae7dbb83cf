//! The Metal kernels' other side: for tests, and for making their Metal text. Never published.
//!
//! No Apple machine is needed: the kernels are written in WGSL (`src/metal/STEM.wgsl` of the crates that have them).
//! [`Gpu`] runs that WGSL on a Vulkan device, for which one in software will do; [`assert_metal_is_made_of_wgsl`] holds
//! the checked-in `STEM.metal` against what naga makes of it.
//!
//! On Debian the software device is `apt-get install mesa-vulkan-drivers libvulkan1`.

mod gpu;
mod metal;

pub use gpu::{Gpu, Memory};
pub use metal::{assert_metal_is_made_of_wgsl, entry_points, to_metal};
