//! The two kinds of numbers that a tape computes with.

use std::borrow::Cow;
use std::fmt::Debug;

use half::bf16;

use crate::kernel_map::PairLists;
use crate::kernels::bf16::{self as kernels_bf16, narrow, widen};
use crate::kernels::{self, Prepared, Side, Simd, Start, Weight};
use crate::norm_inplace::Mask;
use crate::norm_kernel::Moments;
use crate::{SparseError, dense, norm_bf16, norm_inplace, norm_kernel};

/// Numbers of the features on a tape and of their gradients. Parameters and their gradients are f32 always, and so is
/// every sum.
///
/// Shapes: features are `[rows, channels]`; `gamma` and `beta` are `[channels]`.
pub(crate) trait Element: Copy + Debug + Send + Sync + 'static {
    /// How convolutions are computed.
    type Path: Copy + Debug + Send + Sync;

    /// The path for this machine.
    fn path() -> Result<Self::Path, SparseError>;

    /// Rounds.
    fn from_f32(rows: &[f32]) -> Cow<'_, [Self]>;

    /// The same numbers.
    fn into_f32(rows: Vec<Self>) -> Vec<f32>;

    /// `bias + x ∗ weight`, see [`Prepared::gather_product`].
    fn product(
        path: Self::Path,
        lists: &PairLists,
        sides: &[Side<'_, Self>],
        weight: Weight<'_>,
        bias: Option<&[f32]>,
    ) -> Vec<Self>;

    /// As [`Self::product`], and the same before it was rounded, where it was.
    fn product_and_exact(
        path: Self::Path,
        lists: &PairLists,
        sides: &[Side<'_, Self>],
        weight: Weight<'_>,
        bias: Option<&[f32]>,
    ) -> (Vec<Self>, Option<Vec<f32>>);

    /// `out += x ∗ weight`, see [`Prepared::add_product`].
    fn add_product(
        path: Self::Path,
        lists: &PairLists,
        sides: &[Side<'_, Self>],
        weight: Weight<'_>,
        out: &mut [Self],
    );

    /// See [`kernels::weight_gradient`].
    fn weight_gradient(
        path: Self::Path,
        lists: &PairLists,
        sides: &[Side<'_, Self>],
        grad: &[Self],
        cout: usize,
    ) -> Vec<f32>;

    /// See [`dense::column_sums`].
    fn column_sums(rows: &[Self], n: usize, c: usize) -> Vec<f32>;

    /// See [`norm_kernel::batch_moments`].
    fn batch_moments(x: &[Self], c: usize, eps: f64) -> Moments;

    /// See [`norm_kernel::normalise`].
    fn normalise(
        x: &[Self],
        m: &Moments,
        gamma: &[f32],
        beta: &[f32],
        residual: Option<&[Self]>,
        relu: bool,
    ) -> Vec<Self>;

    /// See [`norm_inplace::normalise_in_place`].
    fn normalise_in_place(
        x: &mut [Self],
        m: &Moments,
        gamma: &[f32],
        beta: &[f32],
        residual: Option<&[Self]>,
        relu: bool,
    );

    /// See [`norm_inplace::normalise_onto`].
    fn normalise_onto(r: &mut [Self], x: &[Self], m: &Moments, gamma: &[f32], beta: &[f32]);

    /// See [`norm_inplace::backward_in_place`].
    fn norm_backward(
        x: &mut [Self],
        g: &mut [Self],
        mask: Mask<'_, Self>,
        moments: &Moments,
        gamma: &[f32],
        batch_statistics: bool,
    ) -> (Vec<f32>, Vec<f32>);

    /// `a ← a + b`.
    fn add_in_place(a: &mut [Self], b: &[Self]);
}

impl Element for f32 {
    type Path = Simd;

    fn path() -> Result<Simd, SparseError> {
        Simd::selected()
    }

    fn from_f32(rows: &[f32]) -> Cow<'_, [f32]> {
        rows.into()
    }

    fn into_f32(rows: Vec<f32>) -> Vec<f32> {
        rows
    }

    fn product(
        simd: Simd,
        lists: &PairLists,
        sides: &[Side<'_>],
        weight: Weight<'_>,
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        Prepared::new(simd, weight).gather_product(lists, sides, Start { bias, ..Start::default() })
    }

    fn product_and_exact(
        simd: Simd,
        lists: &PairLists,
        sides: &[Side<'_>],
        weight: Weight<'_>,
        bias: Option<&[f32]>,
    ) -> (Vec<f32>, Option<Vec<f32>>) {
        (Self::product(simd, lists, sides, weight, bias), None)
    }

    fn add_product(simd: Simd, lists: &PairLists, sides: &[Side<'_>], weight: Weight<'_>, out: &mut [f32]) {
        Prepared::new(simd, weight).add_product(lists, sides, out);
    }

    fn weight_gradient(
        simd: Simd,
        lists: &PairLists,
        sides: &[Side<'_>],
        grad: &[f32],
        cout: usize,
    ) -> Vec<f32> {
        kernels::weight_gradient(simd, lists, sides, grad, cout)
    }

    fn column_sums(rows: &[f32], n: usize, c: usize) -> Vec<f32> {
        dense::column_sums(rows, n, c)
    }

    fn batch_moments(x: &[f32], c: usize, eps: f64) -> Moments {
        norm_kernel::batch_moments(x, c, eps)
    }

    fn normalise(
        x: &[f32],
        m: &Moments,
        gamma: &[f32],
        beta: &[f32],
        residual: Option<&[f32]>,
        relu: bool,
    ) -> Vec<f32> {
        norm_kernel::normalise(x, m, gamma, beta, residual, relu)
    }

    fn normalise_in_place(
        x: &mut [f32],
        m: &Moments,
        gamma: &[f32],
        beta: &[f32],
        residual: Option<&[f32]>,
        relu: bool,
    ) {
        norm_inplace::normalise_in_place(x, m, gamma, beta, residual, relu);
    }

    fn normalise_onto(r: &mut [f32], x: &[f32], m: &Moments, gamma: &[f32], beta: &[f32]) {
        norm_inplace::normalise_onto(r, x, m, gamma, beta);
    }

    fn norm_backward(
        x: &mut [f32],
        g: &mut [f32],
        mask: Mask<'_>,
        moments: &Moments,
        gamma: &[f32],
        batch_statistics: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        norm_inplace::backward_in_place(x, g, mask, moments, gamma, batch_statistics)
    }

    fn add_in_place(a: &mut [f32], b: &[f32]) {
        norm_inplace::add_in_place(a, b);
    }
}

/// Channels of each side.
fn parts(sides: &[Side<'_, bf16>]) -> Vec<usize> {
    sides.iter().map(|s| s.channels).collect()
}

impl Element for bf16 {
    type Path = kernels_bf16::Path;

    fn path() -> Result<Self::Path, SparseError> {
        kernels_bf16::Path::selected()
    }

    fn from_f32(rows: &[f32]) -> Cow<'_, [bf16]> {
        narrow(rows).into()
    }

    fn into_f32(rows: Vec<bf16>) -> Vec<f32> {
        widen(&rows)
    }

    fn product(
        path: Self::Path,
        lists: &PairLists,
        sides: &[Side<'_, bf16>],
        weight: Weight<'_>,
        bias: Option<&[f32]>,
    ) -> Vec<bf16> {
        kernels_bf16::Prepared::new(path, weight, &parts(sides)).gather_product(lists, sides, bias)
    }

    fn product_and_exact(
        path: Self::Path,
        lists: &PairLists,
        sides: &[Side<'_, bf16>],
        weight: Weight<'_>,
        bias: Option<&[f32]>,
    ) -> (Vec<bf16>, Option<Vec<f32>>) {
        let weight = kernels_bf16::Prepared::new(path, weight, &parts(sides));
        let exact = weight.gather_product_exact(lists, sides, bias);
        (narrow(&exact), Some(exact))
    }

    fn add_product(
        path: Self::Path,
        lists: &PairLists,
        sides: &[Side<'_, bf16>],
        weight: Weight<'_>,
        out: &mut [bf16],
    ) {
        kernels_bf16::Prepared::new(path, weight, &parts(sides)).add_product(lists, sides, out);
    }

    fn weight_gradient(
        path: Self::Path,
        lists: &PairLists,
        sides: &[Side<'_, bf16>],
        grad: &[bf16],
        cout: usize,
    ) -> Vec<f32> {
        kernels_bf16::weight_gradient(path, lists, sides, grad, cout)
    }

    fn column_sums(rows: &[bf16], n: usize, c: usize) -> Vec<f32> {
        norm_bf16::column_sums(rows, n, c)
    }

    fn batch_moments(x: &[bf16], c: usize, eps: f64) -> Moments {
        norm_bf16::batch_moments(x, c, eps)
    }

    fn normalise(
        x: &[bf16],
        m: &Moments,
        gamma: &[f32],
        beta: &[f32],
        residual: Option<&[bf16]>,
        relu: bool,
    ) -> Vec<bf16> {
        norm_bf16::normalise(x, m, gamma, beta, residual, relu)
    }

    fn normalise_in_place(
        x: &mut [bf16],
        m: &Moments,
        gamma: &[f32],
        beta: &[f32],
        residual: Option<&[bf16]>,
        relu: bool,
    ) {
        norm_bf16::normalise_in_place(x, m, gamma, beta, residual, relu);
    }

    fn normalise_onto(r: &mut [bf16], x: &[bf16], m: &Moments, gamma: &[f32], beta: &[f32]) {
        norm_bf16::normalise_onto(r, x, m, gamma, beta);
    }

    fn norm_backward(
        x: &mut [bf16],
        g: &mut [bf16],
        mask: Mask<'_, bf16>,
        moments: &Moments,
        gamma: &[f32],
        batch_statistics: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        norm_bf16::backward_in_place(x, g, mask, moments, gamma, batch_statistics)
    }

    fn add_in_place(a: &mut [bf16], b: &[bf16]) {
        norm_bf16::add_in_place(a, b);
    }
}
