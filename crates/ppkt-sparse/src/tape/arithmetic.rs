//! What a tape computes with: where features lie, and the operations on them.

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};

use crate::conv::Direction;
use crate::kernel_map::KernelMap;
use crate::norm_tensor::Through;
use crate::{BatchNorm, SparseError};

/// The operations of a tape, on one kind of device and of numbers. Parameters are f32 always, and so are their gradients
/// and every sum.
///
/// Features and their gradients are `[rows, channels]`. What takes rows by value may write over them.
pub(super) trait Arithmetic: Debug + Send + Sync + Sized + 'static {
    /// Features, or gradients of them.
    type Rows: Debug + Send + Sync + 'static;
    /// Rows that are read.
    type View<'a>: Copy;
    /// Rows of f32, of numbers that are narrower on the tape.
    type Exact: Debug + Send + Sync + 'static;
    /// What the rows of a norm are normalised with.
    type Moments: Debug + Send + Sync;
    /// γ and β.
    type Affine: Debug + Send + Sync;
    /// The gradient of a parameter.
    type Gradient;

    /// All of the rows.
    fn view(rows: &Self::Rows) -> Self::View<'_>;

    /// The same for a shorter time.
    fn shorten<'short, 'long: 'short>(view: Self::View<'long>) -> Self::View<'short>;

    /// A copy of the rows.
    fn copy(&self, rows: Self::View<'_>) -> Result<Self::Rows>;

    /// The features that a tape begins with, rounded.
    fn features(&self, x: &Tensor) -> Result<Self::Rows>;

    /// How many pairs of rows a convolution multiplies, or about how many where counting them is work.
    fn pairs(&self, conv: &Convolution) -> usize;

    /// `bias + x ∗ weight`.
    fn product(&self, conv: &Convolution, x: &[Part<'_, Self>]) -> Result<Self::Rows>;

    /// As [`Self::product`], and the same before it was rounded, where it was.
    fn product_and_exact(
        &self,
        conv: &Convolution,
        x: &[Part<'_, Self>],
    ) -> Result<(Self::Rows, Option<Self::Exact>)>;

    /// The gradient of the convolution's input channels of `part`, from the first on so many, added to what is known of it.
    fn feature_gradient(
        &self,
        conv: &Convolution,
        grad: Self::View<'_>,
        part: (usize, usize),
        known: Option<Self::Rows>,
    ) -> Result<Self::Rows>;

    /// The gradient of the weight.
    fn weight_gradient(
        &self,
        conv: &Convolution,
        x: &[Part<'_, Self>],
        grad: Self::View<'_>,
    ) -> Result<Self::Gradient>;

    /// The gradient of the bias.
    fn bias_gradient(
        &self,
        conv: &Convolution,
        bias: &Tensor,
        grad: Self::View<'_>,
    ) -> Result<Self::Gradient>;

    /// γ and β of a norm.
    fn affine(&self, norm: &BatchNorm) -> Result<Self::Affine>;

    /// What normalises so many rows on voxels of such a stride; moves the running statistics in training.
    fn moments(
        &self,
        norm: &BatchNorm,
        z: Self::View<'_>,
        rows_and_stride: (usize, u32),
        train: bool,
    ) -> std::result::Result<Self::Moments, SparseError>;

    /// The norm of `z`, then `+ residual`, then ReLU, as asked; a residual comes with a ReLU.
    fn normalise(
        &self,
        z: Self::View<'_>,
        norm: &Norm<Self>,
        residual: Option<Self::View<'_>>,
        relu: bool,
    ) -> Result<Self::Rows>;

    /// As [`Self::normalise`], of rows that are not needed after.
    fn normalise_in_place(
        &self,
        z: Self::Rows,
        norm: &Norm<Self>,
        residual: Option<Self::View<'_>>,
        relu: bool,
    ) -> Result<Self::Rows>;

    /// As [`Self::normalise`] with a residual that is not needed after.
    fn normalise_onto(
        &self,
        residual: Self::Rows,
        z: Self::View<'_>,
        norm: &Norm<Self>,
    ) -> Result<Self::Rows>;

    /// The way back through ReLU, residual and norm.
    fn norm_backward(
        &self,
        z: Self::Rows,
        grad: Self::Rows,
        through: Through<Self::View<'_>>,
        norm: &Norm<Self>,
    ) -> Result<NormGradients<Self>>;

    /// `a + b`.
    fn add(&self, a: Self::Rows, b: Self::View<'_>) -> Result<Self::Rows>;
}

/// Arithmetic whose results can be tensors of candle's graph.
pub(super) trait InGraph: Arithmetic<Gradient = Tensor> {
    /// The rows that a tape ends with, in f32.
    fn output(rows: Arc<Self::Rows>, exact: Option<Arc<Self::Exact>>, shape: &Shape) -> Result<Output>;

    /// Runs `f` with the gradient of the rows that a tape ends with.
    fn with_gradient<T>(&self, grad: &Tensor, f: impl FnOnce(Held<'_, Self>) -> Result<T>) -> Result<T>;

    /// The gradient of the features that a tape begins with, in f32.
    fn input_gradient(&self, rows: Self::Rows, shape: &Shape) -> Result<Tensor>;
}

/// What a tape ends with.
#[derive(Debug)]
pub(super) enum Output {
    /// On the processor.
    Host(Vec<f32>),
    /// On another device.
    Device(Tensor),
}

/// The convolution of a unit.
#[derive(Debug)]
pub(super) struct Convolution {
    pub(super) kernel: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) map: Arc<KernelMap>,
    pub(super) direction: Direction,
    /// Channels of the result.
    pub(super) channels: usize,
}

impl Convolution {
    /// Channels that are read.
    pub(super) fn cin(&self) -> usize {
        let dims = self.kernel.dims();
        dims[dims.len() - 2]
    }

    /// Rows of the result.
    pub(super) fn rows(&self) -> usize {
        match self.direction {
            Direction::ToCoarse => self.map.n_coarse(),
            Direction::ToFine => self.map.n_fine(),
        }
    }
}

/// About how many pairs a convolution has, by sizes alone: on a GPU the lists of pairs are made there, and nobody waits
/// for their lengths. Voxels of a surface have about `K^(2/3)` of `K` neighbours.
pub(super) fn pairs_by_size(conv: &Convolution) -> usize {
    let spec = conv.map.spec();
    match conv.direction {
        _ if spec.kernel == spec.stride => conv.map.n_fine(),
        Direction::ToCoarse => conv.rows() * spec.kernel * spec.kernel,
        Direction::ToFine => conv.map.n_coarse() * spec.kernel * spec.kernel,
    }
}

/// Rows that a convolution reads, several of them side by side.
pub(super) struct Part<'a, A: Arithmetic> {
    pub(super) rows: A::View<'a>,
    pub(super) channels: usize,
}

/// The norm of a unit, as it was in the forward pass.
#[derive(Debug)]
pub(super) struct Norm<A: Arithmetic> {
    pub(super) moments: A::Moments,
    pub(super) affine: A::Affine,
    /// γ and β as they are in the graph.
    pub(super) parameters: [Tensor; 2],
    /// Whether the moments are functions of the rows.
    pub(super) of_batch: bool,
}

/// Gradients of a normalisation.
pub(super) struct NormGradients<A: Arithmetic> {
    /// Of the norm's input.
    pub(super) dz: A::Rows,
    /// In front of the ReLU, which is the residual's.
    pub(super) residual: A::Rows,
    /// Of γ and β.
    pub(super) affine: [A::Gradient; 2],
}

/// Rows of one's own, or another's.
pub(super) enum Held<'a, A: Arithmetic> {
    Lent(A::View<'a>),
    Own(A::Rows),
}

impl<A: Arithmetic> Held<'_, A> {
    pub(super) fn view(&self) -> A::View<'_> {
        match self {
            Self::Lent(view) => A::shorten(*view),
            Self::Own(rows) => A::view(rows),
        }
    }

    pub(super) fn into_own(self, arithmetic: &A) -> Result<A::Rows> {
        match self {
            Self::Lent(view) => arithmetic.copy(view),
            Self::Own(rows) => Ok(rows),
        }
    }
}
