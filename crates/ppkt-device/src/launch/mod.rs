//! What the launchers of CUDA kernels ask of a device, so that they are written once.
//!
//! A launcher is a function over [`Gpu`]: it makes arrays, and asks for kernels to be run on them. On an NVIDIA GPU it runs
//! over candle's `CudaDevice` (feature `cuda`); in the tests it is the very same launcher, with its grids, its order of
//! arguments and the text of its kernels, over a device that the processor emulates (`ppkt-testkit`).
//!
//! ```
//! use candle_core::Result;
//! use ppkt_device::kernels;
//! use ppkt_device::launch::{Geometry, Gpu, Kernels, View};
//!
//! static ROWS: Kernels = kernels!("rows");
//!
//! /// `max(x, 0)`.
//! fn relu<G: Gpu>(gpu: &G, x: View<'_, f32>) -> Result<G::Memory<f32>> {
//!     let mut y = gpu.uninit(x.len())?;
//!     // __global__ void relu(const float* x, int n, float* y)
//!     ROWS.launch(gpu, "relu").read(x).count(x.len()).write(&mut y).run(Geometry::threads(x.len(), 256))?;
//!     Ok(y)
//! }
//! ```
//!
//! | file | what |
//! |---|---|
//! | `gpu.rs` | memory and launches of a device |
//! | `kernels.rs` | a source of kernels |
//! | `builder.rs` | a launch whose arguments are named, in the order of the kernel's parameters |
//! | `geometry.rs` | numbers of blocks and threads |
//! | `view.rs` | arrays and parts of them, as arguments |
//! | `number.rs` | what arrays are made of |

mod builder;
mod geometry;
mod gpu;
mod kernels;
mod number;
#[cfg(test)]
mod tests;
mod view;

pub use builder::Launch;
pub use geometry::Geometry;
pub use gpu::{Call, Gpu, Limits};
pub use kernels::Kernels;
pub use number::Number;
pub use view::{Arg, Memory, Readable, Span, View, ViewMut, Writable};
