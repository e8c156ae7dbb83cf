//! The arithmetic of sparse convolution on bf16: products of pairs of bf16 numbers, summed in f32.
//!
//! bf16 is the upper half of an f32: the same range, 8 bits of precision. A processor with `avx512_bf16` multiplies two
//! pairs of them and adds both products to an f32 sum in one instruction (`vdpbf16ps`), so half the instructions do the
//! work of f32, and half the bytes move.
//!
//! # Algorithm
//!
//! As in [`crate::kernels`], output-stationary over blocks of rows, with two differences. The inner dimension goes in
//! *pairs*: those of the rows that are read lie side by side already, those of a weight are laid so once
//! ([`Pairs`]). And sums stay in f32 in a buffer of the thread's own until all kernel voxels have been added, so that
//! every element is rounded to bf16 once.
//!
//! For the weight gradient the inner dimension is the list of pairs of rows: rows of some pairs are gathered into two
//! buffers, two rows side by side element by element, which are then multiplied as dense matrices.
//!
//! # Determinism
//!
//! As for f32: an element is summed in an order that depends on the pairs alone. Numbers below 1.2·10⁻³⁸ count as 0.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod number;
mod pack;
mod plain;
mod product;
#[cfg(test)]
mod tests;
mod wgrad;

pub(crate) use number::{narrow, narrow1, wide1, widen};

use half::bf16;

use super::{Side, Simd, Weight};
use crate::SparseError;
use crate::kernel_map::PairLists;
use pack::Pairs;

/// How products of bf16 are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// `vdpbf16ps` on 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Plain Rust: readable, and slower than f32.
    Plain,
}

impl Path {
    /// Whether this processor has it.
    #[cfg(any(test, target_arch = "x86_64"))]
    fn is_there(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512bf16")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            }
            Self::Plain => true,
        }
    }

    /// All that this processor has, best first.
    #[cfg(test)]
    fn available() -> Vec<Self> {
        let all = [
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
            Self::Plain,
        ];
        all.into_iter().filter(|path| path.is_there()).collect()
    }

    /// The one to use: the fast one; the plain one only where the environment asks for it.
    ///
    /// # Errors
    /// [`SparseError::Bf16`], where the processor lacks the instruction, or the environment asks for a path without
    /// it; [`SparseError::Simd`].
    pub(crate) fn selected() -> Result<Self, SparseError> {
        Self::of(Simd::selected()?)
    }

    /// The path beside an instruction set.
    fn of(simd: Simd) -> Result<Self, SparseError> {
        match simd {
            Simd::Plain if std::env::var_os(super::simd::VARIABLE).is_some() => Ok(Self::Plain),
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512 if Self::Avx512.is_there() => Ok(Self::Avx512),
            _ => Err(SparseError::Bf16 { simd: simd.name() }),
        }
    }

    #[cfg(test)]
    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512_bf16",
            Self::Plain => "plain",
        }
    }
}

/// A weight, rounded and in the order in which a path reads it.
#[derive(Debug)]
pub(crate) struct Prepared {
    path: Path,
    pairs: Pairs,
}

impl Prepared {
    /// Rounds a weight; `parts` are the channels of the sides that it will be multiplied with.
    pub(crate) fn new(path: Path, weight: Weight<'_>, parts: &[usize]) -> Self {
        assert_eq!(parts.iter().sum::<usize>(), weight.inner());
        Self { path, pairs: Pairs::new(path, weight, parts) }
    }

    /// `out[t] = bias + Σ x[s] · weight[k]` over the pairs `(k, s, t)`, where `x` is the sides side by side:
    /// `[n_target, outer]`, each element rounded once.
    pub(crate) fn gather_product(
        &self,
        lists: &PairLists,
        sides: &[Side<'_, bf16>],
        bias: Option<&[f32]>,
    ) -> Vec<bf16> {
        self.check(lists, sides);
        product::rounded(self.path, lists, sides, &self.pairs, bias)
    }

    /// As [`Self::gather_product`], not rounded.
    pub(crate) fn gather_product_exact(
        &self,
        lists: &PairLists,
        sides: &[Side<'_, bf16>],
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        self.check(lists, sides);
        product::exact(self.path, lists, sides, &self.pairs, bias)
    }

    /// `out[t] += Σ x[s] · weight[k]` over the pairs `(k, s, t)`; `out` is `[n_target, outer]`.
    pub(crate) fn add_product(&self, lists: &PairLists, sides: &[Side<'_, bf16>], out: &mut [bf16]) {
        self.check(lists, sides);
        product::add(self.path, lists, sides, &self.pairs, out);
    }

    fn check(&self, lists: &PairLists, sides: &[Side<'_, bf16>]) {
        assert!(sides.iter().all(|s| s.data.len() == lists.n_source * s.channels));
        assert!(sides.iter().map(|s| s.channels).eq(self.pairs.parts().iter().copied()));
        assert!(self.pairs.volume() == lists.volume || self.pairs.is_empty());
    }
}

/// `dw[k] = Σ x[s]ᵀ · grad[t]` over the pairs `(k, s, t)`, where `x` is the sides side by side: `[K, cin, cout]`, in
/// f32.
pub(crate) fn weight_gradient(
    path: Path,
    lists: &PairLists,
    sides: &[Side<'_, bf16>],
    grad: &[bf16],
    cout: usize,
) -> Vec<f32> {
    assert!(sides.iter().all(|s| s.data.len() == lists.n_source * s.channels));
    assert_eq!(grad.len(), lists.n_target * cout);
    wgrad::run(path, lists, sides, grad, cout)
}
