//! The arithmetic of sparse convolution, on slices.
//!
//! # Algorithm
//!
//! *Output-stationary*: rows of the result are cut into blocks of [`BLOCK`]. For a block and a kernel voxel there is a
//! list of pairs (row that is read, row that is written); a micro-kernel takes a few pairs at a time, loads the rows
//! that are written into registers, adds the product of the rows that are read with the kernel voxel's matrix, and
//! stores them. Nothing is gathered into or scattered from a buffer, and a block is written by one thread.
//!
//! The rows that are read may be those of two tensors side by side ([`Side`]): the product with the first one's part
//! of the matrix is followed, in the same registers, by that with the second's, so that the result has the bits of the
//! product with the tensors put together.
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
pub(crate) mod bf16;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod plain;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod product;
mod simd;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod transpose;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod wgrad;

pub(crate) use simd::Simd;
pub use simd::simd_path;

use crate::kernel_map::PairLists;
use crate::norm_kernel::relu1;
use pack::{Packed, Panels};

/// Transposes a square of an instruction set's lanes: source, elements from row to row, target, elements from row to
/// row.
///
/// # Safety
/// The instruction set must be there, and both squares valid.
type TransposeSquare = unsafe fn(*const f32, usize, *mut f32, usize);

/// Rows that are read: all channels of them, or, where two tensors stand side by side, those of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a, T = f32> {
    /// `channels` numbers for each row.
    pub(crate) data: &'a [T],
    /// Channels of a row.
    pub(crate) channels: usize,
}

impl<'a, T> Side<'a, T> {
    fn row(&self, row: usize) -> &'a [T] {
        &self.data[row * self.channels..(row + 1) * self.channels]
    }
}

/// A weight `[K, cin, cout]`, to be read as it is or with the matrix of each kernel voxel transposed and the kernel
/// voxels in the other order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight<'a> {
    /// The elements.
    data: &'a [f32],
    /// Rows of a matrix as stored.
    cin: usize,
    /// Columns of a matrix as stored.
    cout: usize,
    /// Multiply by the transpose.
    transposed: bool,
    /// Kernel voxel `k` of the pairs means matrix `K - 1 - k`.
    mirrored: bool,
    /// First and number of the input channels whose gradient is wanted.
    inputs: (usize, usize),
}

impl<'a> Weight<'a> {
    /// For the product of features with the weight.
    pub(crate) fn forward(data: &'a [f32], cin: usize, cout: usize) -> Self {
        Self { data, cin, cout, transposed: false, mirrored: false, inputs: (0, cin) }
    }

    /// For the product of a gradient with the transposed weight, as far as it goes to `inputs` (first and number of
    /// the input's channels); `mirrored` where kernel voxel `k` of the pairs means matrix `K - 1 - k`.
    pub(crate) fn backward(
        data: &'a [f32],
        (cin, cout): (usize, usize),
        inputs: (usize, usize),
        mirrored: bool,
    ) -> Self {
        assert!(inputs.0 + inputs.1 <= cin);
        Self { data, cin, cout, transposed: true, mirrored, inputs }
    }

    fn volume(&self) -> usize {
        self.data.len() / (self.cin * self.cout).max(1)
    }

    /// The matrix for kernel voxel `k`, as stored.
    fn matrix(&self, k: usize) -> &'a [f32] {
        let k = if self.mirrored { self.volume() - 1 - k } else { k };
        &self.data[k * self.cin * self.cout..(k + 1) * self.cin * self.cout]
    }

    /// Channels of the rows that are read.
    fn inner(&self) -> usize {
        if self.transposed { self.cout } else { self.cin }
    }

    /// Channels of the rows that are written.
    fn outer(&self) -> usize {
        if self.transposed { self.inputs.1 } else { self.cout }
    }
}

/// What the products are added to, and what becomes of the sums.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Start<'a> {
    /// Added to every row: `[outer]`.
    pub(crate) bias: Option<&'a [f32]>,
    /// Added row by row: `[n_target, outer]`.
    pub(crate) residual: Option<&'a [f32]>,
    /// Replace negative sums by 0 at the end.
    pub(crate) relu: bool,
}

impl Start<'_> {
    /// Sets columns `first..` of row `row` of a result of `outer` columns.
    fn set(&self, row: usize, outer: usize, first: usize, out: &mut [f32]) {
        match self.bias {
            None => out.fill(0.0),
            Some(bias) => out.copy_from_slice(&bias[first..first + out.len()]),
        }
        if let Some(residual) = self.residual {
            out.iter_mut().zip(&residual[row * outer + first..]).for_each(|(o, r)| *o += r);
        }
    }

    /// Finishes a row, or a part of one, whose sums are complete.
    fn finish(&self, out: &mut [f32]) {
        if self.relu {
            out.iter_mut().for_each(|o| *o = relu1(*o));
        }
    }
}

/// A weight in the order in which a path reads it.
#[derive(Debug, Clone)]
pub(crate) struct Prepared<'a> {
    simd: Simd,
    packed: Packed<'a>,
}

impl<'a> Prepared<'a> {
    /// Brings a weight into the order that `simd` reads; a copy only where it does not lie so already.
    pub(crate) fn new(simd: Simd, weight: Weight<'a>) -> Self {
        let columns = weight.outer();
        let packed = match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => avx512::PRODUCT.pack(weight),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => avx2::PRODUCT.pack(weight),
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => neon::PRODUCT.pack(weight),
            Simd::Plain => Packed::new(weight, Panels::new(columns, 1, columns.max(1)), plain::transpose),
        };
        Self { simd, packed }
    }

    /// The same with elements of its own.
    pub(crate) fn into_owned(self) -> Prepared<'static> {
        Prepared { simd: self.simd, packed: self.packed.into_owned() }
    }

    /// `out[t] = start + Σ x[s] · weight[k]` over the pairs `(k, s, t)`, where `x` is the sides side by side, and its
    /// positive part where `start` says so: `[n_target, outer]`.
    pub(crate) fn gather_product(&self, lists: &PairLists, sides: &[Side<'_>], start: Start<'_>) -> Vec<f32> {
        let packed = self.checked(lists, sides);
        assert!(start.bias.is_none_or(|b| b.len() == packed.outer()));
        assert!(start.residual.is_none_or(|r| r.len() == lists.n_target * packed.outer()));
        match self.simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => product::run(&avx512::PRODUCT, lists, sides, packed, start),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => product::run(&avx2::PRODUCT, lists, sides, packed, start),
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => product::run(&neon::PRODUCT, lists, sides, packed, start),
            Simd::Plain => plain::gather_product(lists, sides, packed, start),
        }
    }

    /// `out[t] += Σ x[s] · weight[k]` over the pairs `(k, s, t)`; `out` is `[n_target, outer]`.
    pub(crate) fn add_product(&self, lists: &PairLists, sides: &[Side<'_>], out: &mut [f32]) {
        let packed = self.checked(lists, sides);
        assert_eq!(out.len(), lists.n_target * packed.outer());
        match self.simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 => product::add(&avx512::PRODUCT, lists, sides, packed, out),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx2 => product::add(&avx2::PRODUCT, lists, sides, packed, out),
            #[cfg(target_arch = "aarch64")]
            Simd::Neon => product::add(&neon::PRODUCT, lists, sides, packed, out),
            Simd::Plain => plain::add_product(lists, sides, packed, out),
        }
    }

    /// The weight, where pairs and sides are such as it can be multiplied with.
    fn checked(&self, lists: &PairLists, sides: &[Side<'_>]) -> &Packed<'a> {
        let packed = &self.packed;
        assert!(sides.iter().all(|s| s.data.len() == lists.n_source * s.channels));
        assert_eq!(sides.iter().map(|s| s.channels).sum::<usize>(), packed.inner());
        assert!(packed.volume() == lists.volume || packed.inner() * packed.outer() == 0);
        packed
    }
}

/// `out[t] = Σ x[s] · weight[k]` over the pairs `(k, s, t)`: `[n_target, outer]`.
pub(crate) fn gather_product(
    simd: Simd,
    lists: &PairLists,
    sides: &[Side<'_>],
    weight: Weight<'_>,
) -> Vec<f32> {
    Prepared::new(simd, weight).gather_product(lists, sides, Start::default())
}

/// `dw[k] = Σ x[s]ᵀ · grad[t]` over the pairs `(k, s, t)`, where `x` is the sides side by side: `[K, cin, cout]`.
pub(crate) fn weight_gradient(
    simd: Simd,
    lists: &PairLists,
    sides: &[Side<'_>],
    grad: &[f32],
    cout: usize,
) -> Vec<f32> {
    assert!(sides.iter().all(|s| s.data.len() == lists.n_source * s.channels));
    assert_eq!(grad.len(), lists.n_target * cout);
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => wgrad::run(&avx512::WGRAD, lists, sides, grad, cout),
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => wgrad::run(&avx2::WGRAD, lists, sides, grad, cout),
        #[cfg(target_arch = "aarch64")]
        Simd::Neon => wgrad::run(&neon::WGRAD, lists, sides, grad, cout),
        Simd::Plain => plain::weight_gradient(lists, sides, grad, cout),
    }
}
