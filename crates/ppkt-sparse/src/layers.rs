//! Convolutions and linear maps with their parameters, under MinkowskiEngine's names.

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;

use crate::conv::{Direction, conv_bias};
use crate::init::{ConvInit, uniform};
use crate::{
    BatchNorm, ConvSpec, FoldedConv, SparseError, SparseTensor, cat, conv, conv_cat, conv_transpose,
};

/// The tensors of a convolution, and where it leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// `[K, Cin, Cout]`, or `[Cin, Cout]`.
    pub(crate) kernel: &'a Tensor,
    /// `Cout` elements.
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) spec: ConvSpec,
    pub(crate) direction: Direction,
}

/// Sparse convolution.
///
/// # Parameters
/// - `kernel`: `[K, Cin, Cout]`, x fastest; `[Cin, Cout]` for kernel 1 with stride 1
/// - `bias`: `[1, Cout]`, where it has one
#[derive(Debug, Clone)]
pub struct SparseConv3d {
    kernel: Tensor,
    bias: Option<Tensor>,
    spec: ConvSpec,
}

impl SparseConv3d {
    /// Without a bias, which a norm that follows would take out again.
    ///
    /// # Errors
    /// candle's: a missing tensor, or one of another shape.
    pub fn new(cin: usize, cout: usize, spec: ConvSpec, vb: VarBuilder) -> Result<Self, SparseError> {
        Self::with_init(cin, cout, spec, ConvInit::default(), vb)
    }

    /// As [`Self::new`], with a choice of initial values.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_init(
        cin: usize,
        cout: usize,
        spec: ConvSpec,
        init: ConvInit,
        vb: VarBuilder,
    ) -> Result<Self, SparseError> {
        let hint = init.hint(cin, cout, spec.volume(), false);
        let kernel = if spec.is_pointwise() {
            vb.get_with_hints((cin, cout), "kernel", hint)?
        } else {
            vb.get_with_hints((spec.volume(), cin, cout), "kernel", hint)?
        };
        Ok(Self { kernel, bias: None, spec })
    }

    /// With a bias.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_bias(cin: usize, cout: usize, spec: ConvSpec, vb: VarBuilder) -> Result<Self, SparseError> {
        let bias = Some(vb.get_with_hints((1, cout), "bias", uniform(cin * spec.volume()))?);
        Ok(Self { bias, ..Self::new(cin, cout, spec, vb)? })
    }

    /// What a tape multiplies with.
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            kernel: &self.kernel,
            bias: self.bias.as_ref(),
            spec: self.spec,
            direction: Direction::ToCoarse,
        }
    }

    /// Kernel size, stride and dilation.
    pub fn spec(&self) -> ConvSpec {
        self.spec
    }

    /// Where the weights lie.
    pub fn device(&self) -> &Device {
        self.kernel.device()
    }

    /// `[N, Cin]` to `[M, Cout]`; `M` is `N` for stride 1.
    ///
    /// # Errors
    /// As [`conv`](crate::conv()).
    pub fn forward(&self, x: &SparseTensor) -> Result<SparseTensor, SparseError> {
        match &self.bias {
            None => conv(x, &self.kernel, self.spec),
            Some(bias) => conv_bias(x, &self.kernel, bias, self.spec),
        }
    }

    /// [`Self::forward`] of `left` and `right` side by side, without putting them together; the same bits.
    ///
    /// # Shapes
    /// `[N, C₁]` and `[N, C₂]` with `C₁ + C₂ = Cin`, to `[M, Cout]`.
    ///
    /// # Errors
    /// As [`conv_cat`](crate::conv_cat()).
    pub fn forward_cat(
        &self,
        left: &SparseTensor,
        right: &SparseTensor,
    ) -> Result<SparseTensor, SparseError> {
        match &self.bias {
            None => conv_cat(left, right, &self.kernel, self.spec),
            Some(_) => self.forward(&cat(&[left, right])?),
        }
    }

    /// The layer for inference, with the evaluation form of the norm that follows folded in, and with ReLU at the end
    /// where asked: a snapshot of the present weights and statistics.
    ///
    /// # Errors
    /// [`SparseError::Shape`], where the norm has other channels; [`SparseError::Simd`].
    pub fn folded(&self, norm: Option<&BatchNorm>, relu: bool) -> Result<FoldedConv, SparseError> {
        FoldedConv::new(&self.kernel, self.bias.as_ref(), (self.spec, Direction::ToCoarse), norm, relu)
    }
}

/// Transposed convolution onto the finer voxels from which a strided one came.
///
/// # Parameters
/// - `kernel`: `[K, Cin, Cout]`, x fastest
#[derive(Debug, Clone)]
pub struct SparseConvTranspose3d {
    kernel: Tensor,
    spec: ConvSpec,
}

impl SparseConvTranspose3d {
    /// Without a bias.
    ///
    /// # Errors
    /// candle's: a missing tensor, or one of another shape.
    pub fn new(cin: usize, cout: usize, spec: ConvSpec, vb: VarBuilder) -> Result<Self, SparseError> {
        Self::with_init(cin, cout, spec, ConvInit::default(), vb)
    }

    /// As [`Self::new`], with a choice of initial values.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_init(
        cin: usize,
        cout: usize,
        spec: ConvSpec,
        init: ConvInit,
        vb: VarBuilder,
    ) -> Result<Self, SparseError> {
        let hint = init.hint(cin, cout, spec.volume(), true);
        Ok(Self { kernel: vb.get_with_hints((spec.volume(), cin, cout), "kernel", hint)?, spec })
    }

    /// What a tape multiplies with.
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts { kernel: &self.kernel, bias: None, spec: self.spec, direction: Direction::ToFine }
    }

    /// `[N, Cin]` to `[M, Cout]`, on the finer voxels.
    ///
    /// # Errors
    /// As [`conv_transpose`](crate::conv_transpose()).
    pub fn forward(&self, x: &SparseTensor) -> Result<SparseTensor, SparseError> {
        conv_transpose(x, &self.kernel, self.spec)
    }

    /// The layer for inference, with the evaluation form of the norm that follows folded in, and with ReLU at the end
    /// where asked: a snapshot of the present weights and statistics.
    ///
    /// # Errors
    /// [`SparseError::Shape`], where the norm has other channels; [`SparseError::Simd`].
    pub fn folded(&self, norm: Option<&BatchNorm>, relu: bool) -> Result<FoldedConv, SparseError> {
        FoldedConv::new(&self.kernel, None, (self.spec, Direction::ToFine), norm, relu)
    }
}

const ROW_BY_ROW: ConvSpec = ConvSpec::new(1, 1);

/// A linear map of each voxel's channels: MinkowskiEngine's convolution of kernel 1.
///
/// # Parameters
/// - `kernel`: `[Cin, Cout]` (two axes, not three)
/// - `bias`: `[1, Cout]`, where it has one
#[derive(Debug, Clone)]
pub struct Pointwise {
    kernel: Tensor,
    bias: Option<Tensor>,
}

impl Pointwise {
    /// With a bias.
    ///
    /// # Errors
    /// candle's: a missing tensor, or one of another shape.
    pub fn new(cin: usize, cout: usize, vb: VarBuilder) -> Result<Self, SparseError> {
        let bias = Some(vb.get_with_hints((1, cout), "bias", uniform(cin))?);
        Ok(Self { kernel: vb.get_with_hints((cin, cout), "kernel", uniform(cin))?, bias })
    }

    /// Without a bias.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn without_bias(
        cin: usize,
        cout: usize,
        init: ConvInit,
        vb: VarBuilder,
    ) -> Result<Self, SparseError> {
        let hint = init.hint(cin, cout, 1, false);
        Ok(Self { kernel: vb.get_with_hints((cin, cout), "kernel", hint)?, bias: None })
    }

    /// What a tape multiplies with.
    pub(crate) fn parts(&self) -> Parts<'_> {
        let (kernel, bias) = (&self.kernel, self.bias.as_ref());
        Parts { kernel, bias, spec: ROW_BY_ROW, direction: Direction::ToCoarse }
    }

    /// `[N, Cin]` to `[N, Cout]`.
    ///
    /// # Errors
    /// [`SparseError::Shape`], where the channels differ.
    pub fn forward(&self, x: &SparseTensor) -> Result<SparseTensor, SparseError> {
        match &self.bias {
            None => conv(x, &self.kernel, ROW_BY_ROW),
            Some(bias) => conv_bias(x, &self.kernel, bias, ROW_BY_ROW),
        }
    }

    /// [`Self::forward`] of `left` and `right` side by side, without putting them together; the same bits.
    ///
    /// # Shapes
    /// `[N, C₁]` and `[N, C₂]` with `C₁ + C₂ = Cin`, to `[N, Cout]`.
    ///
    /// # Errors
    /// As [`conv_cat`](crate::conv_cat()).
    pub fn forward_cat(
        &self,
        left: &SparseTensor,
        right: &SparseTensor,
    ) -> Result<SparseTensor, SparseError> {
        match &self.bias {
            None => conv_cat(left, right, &self.kernel, ROW_BY_ROW),
            Some(_) => self.forward(&cat(&[left, right])?),
        }
    }

    /// The layer for inference, with the evaluation form of the norm that follows folded in, and with ReLU at the end
    /// where asked: a snapshot of the present weights and statistics.
    ///
    /// # Errors
    /// [`SparseError::Shape`], where the norm has other channels; [`SparseError::Simd`].
    pub fn folded(&self, norm: Option<&BatchNorm>, relu: bool) -> Result<FoldedConv, SparseError> {
        FoldedConv::new(&self.kernel, self.bias.as_ref(), (ROW_BY_ROW, Direction::ToCoarse), norm, relu)
    }
}
