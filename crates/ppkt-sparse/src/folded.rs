//! Convolutions for inference, with the norm that follows, a residual and ReLU in the same pass.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::conv::{Direction, downwards, upwards};
use crate::kernels::{Prepared, Side, Simd, Start, Weight};
use crate::rows::cpu_view;
use crate::{BatchNorm, ConvSpec, SparseError, SparseTensor};

/// A convolution and, folded into its weight and bias, the batch norm that follows it in evaluation:
/// `scale · (x ∗ w) + shift = x ∗ (scale · w) + shift`.
///
/// A snapshot: the weight is copied once, in the order in which the kernels read it, and later changes of the layers
/// that it was made from do not reach it. Nothing is recorded for a gradient. Made by
/// [`SparseConv3d::folded`](crate::SparseConv3d::folded) and its like.
#[derive(Debug, Clone)]
pub struct FoldedConv {
    weight: Prepared<'static>,
    bias: Vec<f32>,
    cin: usize,
    spec: ConvSpec,
    direction: Direction,
    relu: bool,
}

impl FoldedConv {
    /// `kernel` is `[K, Cin, Cout]` or `[Cin, Cout]`, `bias` has `Cout` elements.
    pub(crate) fn new(
        kernel: &Tensor,
        bias: Option<&Tensor>,
        (spec, direction): (ConvSpec, Direction),
        norm: Option<&BatchNorm>,
        relu: bool,
    ) -> Result<Self, SparseError> {
        let dims = kernel.dims();
        let (cin, cout) = (dims[dims.len() - 2], dims[dims.len() - 1]);
        let affine = match norm {
            Some(norm) => norm.affine()?,
            None => vec![(1.0, 0.0); cout],
        };
        if affine.len() != cout {
            let expected = format!("[{cout}]");
            return Err(SparseError::Shape {
                op: "fold",
                what: "the norm",
                expected,
                got: vec![affine.len()],
            });
        }
        let mut weight: Vec<f32> = kernel.flatten_all()?.to_vec1()?;
        for row in weight.chunks_exact_mut(cout.max(1)) {
            row.iter_mut().zip(&affine).for_each(|(w, (scale, _))| *w = (f64::from(*w) * scale) as f32);
        }
        let own: Vec<f32> = match bias {
            Some(bias) => bias.flatten_all()?.to_vec1()?,
            None => vec![0.0; cout],
        };
        let shifted = |(b, (scale, shift)): (&f32, &(f64, f64))| (f64::from(*b) * scale + shift) as f32;
        let bias = own.iter().zip(&affine).map(shifted).collect();
        let weight = Prepared::new(Simd::selected()?, Weight::forward(&weight, cin, cout)).into_owned();
        Ok(Self { weight, bias, cin, spec, direction, relu })
    }

    /// The convolution and norm of `inputs` side by side, plus `residual`, and its positive part where the layer was
    /// made with ReLU.
    ///
    /// # Shapes
    /// - `inputs`: one or more, `[N, C₁]`, `[N, C₂]`, … with `C₁ + C₂ + … = Cin`
    /// - `residual`: `[M, Cout]`, on the voxels of the result
    /// - result: `[M, Cout]`
    ///
    /// # Errors
    /// As [`conv`](crate::conv()) and [`conv_transpose`](crate::conv_transpose());
    /// [`SparseError::DifferentCoordinates`].
    pub fn forward(
        &self,
        inputs: &[&SparseTensor],
        residual: Option<&SparseTensor>,
    ) -> Result<SparseTensor, SparseError> {
        const OP: &str = "folded convolution";
        let cin: usize = inputs.iter().map(|x| x.channels()).sum();
        let Some(x) = inputs.first().filter(|_| cin == self.cin) else {
            let (expected, got) =
                (format!("[N, {}]", self.cin), vec![inputs.first().map_or(0, |x| x.len()), cin]);
            return Err(SparseError::Shape { op: OP, what: "the input", expected, got });
        };
        inputs.iter().try_for_each(|other| x.check_same_coords(other, OP))?;
        let (map, stride) = match self.direction {
            Direction::ToCoarse => downwards(x.manager(), x.stride(), self.spec)?,
            Direction::ToFine => upwards(x.manager(), x.stride(), self.spec)?,
        };
        let lists = self.direction.lists(&map);
        let (rows, cout) = (lists.n_target, self.bias.len());
        if let Some(residual) = residual {
            if !Arc::ptr_eq(residual.coordinate_set(), &x.manager().coarser(stride, 1)?) {
                let (right, right_rows) = (residual.stride(), residual.len());
                let left_rows = rows;
                return Err(SparseError::DifferentCoordinates {
                    op: OP,
                    left: stride,
                    right,
                    left_rows,
                    right_rows,
                });
            }
            if residual.channels() != cout {
                let (expected, got) = (format!("[{rows}, {cout}]"), residual.features().dims().to_vec());
                return Err(SparseError::Shape { op: OP, what: "the residual", expected, got });
            }
        }
        let contiguous = |x: &&SparseTensor| x.features().contiguous();
        let features = inputs.iter().map(contiguous).collect::<candle_core::Result<Vec<_>>>()?;
        let views = features.iter().map(|f| cpu_view(OP, f)).collect::<candle_core::Result<Vec<_>>>()?;
        let side = |(x, data): (&&SparseTensor, _)| Side { data, channels: x.channels() };
        let sides: Vec<Side<'_>> = inputs.iter().zip(views.iter().map(|v| &**v)).map(side).collect();
        let residual = residual.as_ref().map(contiguous).transpose()?;
        let residual = residual.as_ref().map(|r| cpu_view(OP, r)).transpose()?;
        let start = Start { bias: Some(&self.bias), residual: residual.as_deref(), relu: self.relu };
        let out = self.weight.gather_product(lists, &sides, start);
        SparseTensor::on(x.manager(), stride, Tensor::from_vec(out, (rows, cout), &Device::Cpu)?)
    }
}
