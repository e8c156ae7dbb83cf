//! A tape of tensors, on any device: each step an operation outside of candle's graph.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::arithmetic::{Arithmetic, Convolution, Held, InGraph, Norm, NormGradients, Output, Part};
use super::{OP, pairs_by_size};
use crate::conv::Conv;
use crate::dense::cat_rows;
use crate::norm_op::normalise_with;
use crate::norm_tensor::{Backward, Gradients, Through, Used};
use crate::{BatchNorm, Precision, SparseError, conv_grad};

/// The same numbers in another type. For nothing candle asks a GPU for no threads at all, which its driver refuses.
fn of_type(rows: &Tensor, dtype: DType) -> Result<Tensor> {
    if rows.elem_count() == 0 {
        return Tensor::zeros(rows.shape(), dtype, rows.device());
    }
    rows.to_dtype(dtype)
}

/// Tensors of one kind of numbers.
#[derive(Debug)]
pub(super) struct OnDevice {
    numbers: DType,
}

impl OnDevice {
    /// # Errors
    /// As [`Precision::check_on`].
    pub(super) fn new(precision: Precision, device: &Device) -> std::result::Result<Self, SparseError> {
        precision.check_on(device)?;
        Ok(Self { numbers: precision.dtype() })
    }

    /// The convolution, and what it reads: two tensors at most, and one where there is a bias.
    fn convolution(conv: &Convolution, x: &[Part<'_, Self>]) -> Result<(Conv, Vec<Tensor>)> {
        let mut inputs: Vec<Tensor> = x.iter().map(|part| part.rows.clone()).collect();
        while inputs.len() > 2 || (inputs.len() == 2 && conv.bias.is_some()) {
            let (right, left) = (inputs.pop(), inputs.pop());
            if let (Some(left), Some(right)) = (left, right) {
                inputs.push(cat_rows(&left, &right)?);
            }
        }
        Ok((Conv::new(conv.map.clone(), conv.direction).map_err(candle_core::Error::wrap)?, inputs))
    }

    fn run(conv: &Convolution, x: &[Part<'_, Self>], exact: bool) -> Result<Tensor> {
        let (op, inputs) = Self::convolution(conv, x)?;
        let op = if exact { op.exact() } else { op };
        op.without_graph(&inputs.iter().collect::<Vec<_>>(), &conv.kernel, conv.bias.as_ref())
    }
}

impl Arithmetic for OnDevice {
    type Rows = Tensor;
    type View<'a> = &'a Tensor;
    type Exact = Tensor;
    type Moments = Used;
    /// `[2 C]`
    type Affine = Tensor;
    type Gradient = Tensor;

    fn view(rows: &Tensor) -> &Tensor {
        rows
    }

    fn shorten<'short, 'long: 'short>(view: &'long Tensor) -> &'short Tensor {
        view
    }

    fn copy(&self, rows: &Tensor) -> Result<Tensor> {
        // Nothing here writes over a tensor.
        Ok(rows.clone())
    }

    fn features(&self, x: &Tensor) -> Result<Tensor> {
        of_type(&x.detach(), self.numbers)?.contiguous()
    }

    fn pairs(&self, conv: &Convolution) -> usize {
        pairs_by_size(conv)
    }

    fn product(&self, conv: &Convolution, x: &[Part<'_, Self>]) -> Result<Tensor> {
        Self::run(conv, x, false)
    }

    fn product_and_exact(
        &self,
        conv: &Convolution,
        x: &[Part<'_, Self>],
    ) -> Result<(Tensor, Option<Tensor>)> {
        if self.numbers == DType::F32 {
            return Ok((self.product(conv, x)?, None));
        }
        let exact = Self::run(conv, x, true)?;
        Ok((of_type(&exact, self.numbers)?, Some(exact)))
    }

    fn feature_gradient(
        &self,
        conv: &Convolution,
        grad: &Tensor,
        (first, channels): (usize, usize),
        known: Option<Tensor>,
    ) -> Result<Tensor> {
        let op = Conv::new(conv.map.clone(), conv.direction).map_err(candle_core::Error::wrap)?;
        let gradient = conv_grad::of_features(&op, (first, channels), &conv.kernel, grad)?;
        match known {
            Some(known) => known + gradient,
            None => Ok(gradient),
        }
    }

    fn weight_gradient(&self, conv: &Convolution, x: &[Part<'_, Self>], grad: &Tensor) -> Result<Tensor> {
        let (op, inputs) = Self::convolution(conv, x)?;
        conv_grad::of_weight(&op, &inputs.iter().collect::<Vec<_>>(), &conv.kernel, grad)
    }

    fn bias_gradient(&self, _: &Convolution, bias: &Tensor, grad: &Tensor) -> Result<Tensor> {
        conv_grad::of_bias(bias, grad)
    }

    fn affine(&self, norm: &BatchNorm) -> Result<Tensor> {
        let (gamma, beta) = norm.gamma_beta();
        Tensor::cat(&[gamma.detach(), beta.detach()], 0)
    }

    fn moments(
        &self,
        norm: &BatchNorm,
        z: &Tensor,
        (_, stride): (usize, u32),
        train: bool,
    ) -> std::result::Result<Used, SparseError> {
        norm.moments_of(z, stride, train)
    }

    fn normalise(
        &self,
        z: &Tensor,
        norm: &Norm<Self>,
        residual: Option<&Tensor>,
        relu: bool,
    ) -> Result<Tensor> {
        normalise_with(z, &norm.moments, &norm.affine, residual, relu)
    }

    fn normalise_in_place(
        &self,
        z: Tensor,
        norm: &Norm<Self>,
        residual: Option<&Tensor>,
        relu: bool,
    ) -> Result<Tensor> {
        self.normalise(&z, norm, residual, relu)
    }

    fn normalise_onto(&self, residual: Tensor, z: &Tensor, norm: &Norm<Self>) -> Result<Tensor> {
        self.normalise(z, norm, Some(&residual), true)
    }

    fn norm_backward(
        &self,
        z: Tensor,
        grad: Tensor,
        through: Through<&Tensor>,
        norm: &Norm<Self>,
    ) -> Result<NormGradients<Self>> {
        let backward = Backward {
            x: &z,
            affine: &norm.affine,
            moments: &norm.moments,
            grad: &grad,
            through,
            of_batch: norm.of_batch,
            want_dx: true,
            want_dresidual: true,
        };
        let Gradients { dx: Some(dz), daffine, dresidual: Some(residual) } = backward.run()? else {
            candle_core::bail!("{OP}: a norm gave no gradients");
        };
        let channels = daffine.elem_count() / 2;
        let affine = [daffine.narrow(0, 0, channels)?, daffine.narrow(0, channels, channels)?];
        Ok(NormGradients { dz, residual, affine })
    }

    fn add(&self, a: Tensor, b: &Tensor) -> Result<Tensor> {
        a + b
    }
}

impl InGraph for OnDevice {
    fn output(rows: Arc<Tensor>, exact: Option<Arc<Tensor>>, _: &Shape) -> Result<Output> {
        let rows = exact.unwrap_or(rows);
        Ok(Output::Device(of_type(&rows, DType::F32)?))
    }

    fn with_gradient<T>(&self, grad: &Tensor, f: impl FnOnce(Held<'_, Self>) -> Result<T>) -> Result<T> {
        f(Held::Own(of_type(&grad.detach(), self.numbers)?))
    }

    fn input_gradient(&self, rows: Tensor, shape: &Shape) -> Result<Tensor> {
        of_type(&rows, DType::F32)?.reshape(shape)
    }
}
