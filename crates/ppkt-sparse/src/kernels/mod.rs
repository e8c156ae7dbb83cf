//! The arithmetic of sparse convolution, on slices.
//!
//! # Algorithm
//!
//! *Output-stationary*: rows of the result are cut into blocks of [`BLOCK`]. For a block and a kernel voxel there is a
//! list of pairs (row that is read, row that is written); a micro-kernel takes a few pairs at a time, loads the rows
//! that are written into registers, adds the product of the rows that are read with the kernel voxel's matrix, and
//! stores them. Nothing is gathered into or scattered from a buffer, and a block is written by one thread.
//!
//! The weight gradient sums outer products over the same lists; its sum over the blocks is cut into parts whose number
//! depends on the shapes alone, and the parts are added in order.
//!
//! # Determinism
//!
//! Every element is summed in an order that depends on the pairs alone: the same bits for any number of threads. The
//! instruction sets differ from each other in the last bits (fused or separate rounding).
//!
//! # Layout
//!
//! Features are `[rows, channels]`, weights `[K, cin, cout]`, both row-major without gaps. Any number of channels and
//! of rows, zero included.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod pack;
mod plain;
#[cfg(target_arch = "x86_64")]
mod product;
mod simd;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod transpose;
#[cfg(target_arch = "x86_64")]
mod wgrad;

pub(crate) use simd::Simd;
pub use simd::simd_path;

use crate::kernel_map::PairLists;

/// A weight `[K, cin, cout]`, to be read as it is or with the matrix of each kernel voxel transposed and the kernel
/// voxels in the other order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight<'a> {
    /// The elements.
    pub(crate) data: &'a [f32],
    /// Rows of a matrix as stored.
    pub(crate) cin: usize,
    /// Columns of a matrix as stored.
    pub(crate) cout: usize,
    /// Multiply by the transpose.
    pub(crate) transposed: bool,
    /// Kernel voxel `k` of the pairs means matrix `K - 1 - k`.
    pub(crate) mirrored: bool,
}

impl Weight<'_> {
    fn volume(&self) -> usize {
        self.data.len() / (self.cin * self.cout).max(1)
    }

    /// The matrix for kernel voxel `k`, as stored.
    fn matrix(&self, k: usize) -> &[f32] {
        let k = if self.mirrored { self.volume() - 1 - k } else { k };
        &self.data[k * self.cin * self.cout..(k + 1) * self.cin * self.cout]
    }

    /// Channels of the rows that are read.
    fn inner(&self) -> usize {
        if self.transposed { self.cout } else { self.cin }
    }

    /// Channels of the rows that are written.
    fn outer(&self) -> usize {
        if self.transposed { self.cin } else { self.cout }
    }
}

/// `out[t] = Σ x[s] · weight[k]` over the pairs `(k, s, t)`: `[n_target, outer]`.
pub(crate) fn gather_product(simd: Simd, lists: &PairLists, x: &[f32], weight: Weight<'_>) -> Vec<f32> {
    assert_eq!(x.len(), lists.n_source * weight.inner());
    assert_eq!(weight.data.len(), lists.volume * weight.cin * weight.cout);
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => product::run(&avx512::PRODUCT, lists, x, weight),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => product::run(&avx2::PRODUCT, lists, x, weight),
        Simd::Plain => plain::gather_product(lists, x, weight),
    }
}

/// `dw[k] = Σ x[s]ᵀ · grad[t]` over the pairs `(k, s, t)`: `[K, cin, cout]`.
pub(crate) fn weight_gradient(
    simd: Simd,
    lists: &PairLists,
    x: &[f32],
    cin: usize,
    grad: &[f32],
    cout: usize,
) -> Vec<f32> {
    assert_eq!(x.len(), lists.n_source * cin);
    assert_eq!(grad.len(), lists.n_target * cout);
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => wgrad::run(&avx512::WGRAD, lists, x, cin, grad, cout),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => wgrad::run(&avx2::WGRAD, lists, x, cin, grad, cout),
        Simd::Plain => plain::weight_gradient(lists, x, cin, grad, cout),
    }
}
