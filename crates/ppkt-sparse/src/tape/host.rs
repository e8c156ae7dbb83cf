//! A tape on the processor, in f32 or in bf16.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{Device, Result, Shape, Tensor};

use super::OP;
use super::arithmetic::{Arithmetic, Convolution, Held, InGraph, Norm, NormGradients, Output, Part};
use crate::conv::with_slices;
use crate::element::Element;
use crate::kernels::{Side, Weight};
use crate::norm_inplace::Mask;
use crate::norm_kernel::Moments;
use crate::norm_tensor::Through;
use crate::rows::cpu_view;
use crate::{BatchNorm, SparseError};

/// Arrays of one kind of numbers, and the kernels for them.
#[derive(Debug)]
pub(super) struct Host<E: Element>(E::Path);

impl<E: Element> Host<E> {
    /// # Errors
    /// As [`Precision::check_on`](crate::Precision::check_on).
    pub(super) fn new() -> std::result::Result<Self, SparseError> {
        Ok(Self(E::path()?))
    }

    fn with_weight<T>(conv: &Convolution, f: impl FnOnce(Weight<'_>, Option<&[f32]>) -> T) -> Result<T> {
        let bias: Option<Vec<f32>> =
            conv.bias.as_ref().map(|bias| bias.flatten_all()?.to_vec1()).transpose()?;
        with_slices(OP, [&conv.kernel], |[w]| {
            f(Weight::forward(w, conv.cin(), conv.channels), bias.as_deref())
        })
    }
}

fn sides<'a, E: Element>(parts: &[Part<'a, Host<E>>]) -> Vec<Side<'a, E>> {
    parts.iter().map(|part| Side { data: part.rows, channels: part.channels }).collect()
}

impl<E: Element> Arithmetic for Host<E> {
    type Rows = Vec<E>;
    type View<'a> = &'a [E];
    type Exact = Vec<f32>;
    type Moments = Moments;
    type Affine = [Vec<f32>; 2];
    type Gradient = Tensor;

    fn view(rows: &Vec<E>) -> &[E] {
        rows
    }

    fn shorten<'short, 'long: 'short>(view: &'long [E]) -> &'short [E] {
        view
    }

    fn copy(&self, rows: &[E]) -> Result<Vec<E>> {
        Ok(rows.to_vec())
    }

    fn features(&self, x: &Tensor) -> Result<Vec<E>> {
        with_slices(OP, [x], |[rows]| E::from_f32(rows).into_owned())
    }

    fn pairs(&self, conv: &Convolution) -> usize {
        conv.map.n_pairs()
    }

    fn product(&self, conv: &Convolution, x: &[Part<'_, Self>]) -> Result<Vec<E>> {
        let (lists, sides) = (conv.direction.lists(&conv.map), sides(x));
        Self::with_weight(conv, |weight, bias| E::product(self.0, lists, &sides, weight, bias))
    }

    fn product_and_exact(
        &self,
        conv: &Convolution,
        x: &[Part<'_, Self>],
    ) -> Result<(Vec<E>, Option<Vec<f32>>)> {
        let (lists, sides) = (conv.direction.lists(&conv.map), sides(x));
        Self::with_weight(conv, |weight, bias| E::product_and_exact(self.0, lists, &sides, weight, bias))
    }

    fn feature_gradient(
        &self,
        conv: &Convolution,
        grad: &[E],
        part: (usize, usize),
        known: Option<Vec<E>>,
    ) -> Result<Vec<E>> {
        let (cin, channels) = (conv.cin(), conv.channels);
        // In a symmetric map the pairs under `k` are those under `K - 1 - k` the other way round: no second list.
        let mirrored = conv.map.spec().is_symmetric();
        let direction = if mirrored { conv.direction } else { conv.direction.back() };
        let lists = direction.lists(&conv.map);
        let side = [Side { data: grad, channels }];
        with_slices(OP, [&conv.kernel], |[w]| {
            let weight = Weight::backward(w, (cin, channels), part, mirrored);
            match known {
                Some(mut known) => {
                    E::add_product(self.0, lists, &side, weight, &mut known);
                    known
                }
                None => E::product(self.0, lists, &side, weight, None),
            }
        })
    }

    fn weight_gradient(&self, conv: &Convolution, x: &[Part<'_, Self>], grad: &[E]) -> Result<Tensor> {
        let lists = conv.direction.lists(&conv.map);
        let dw = E::weight_gradient(self.0, lists, &sides(x), grad, conv.channels);
        Tensor::from_vec(dw, conv.kernel.dims(), &Device::Cpu)
    }

    fn bias_gradient(&self, conv: &Convolution, bias: &Tensor, grad: &[E]) -> Result<Tensor> {
        let sums = E::column_sums(grad, conv.rows(), conv.channels);
        Tensor::from_vec(sums, bias.shape(), &Device::Cpu)
    }

    fn affine(&self, norm: &BatchNorm) -> Result<[Vec<f32>; 2]> {
        let (gamma, beta) = norm.gamma_beta();
        Ok([gamma.to_vec1()?, beta.to_vec1()?])
    }

    fn moments(
        &self,
        norm: &BatchNorm,
        z: &[E],
        (rows, stride): (usize, u32),
        train: bool,
    ) -> std::result::Result<Moments, SparseError> {
        norm.host_moments(rows, stride, train, |channels, eps| E::batch_moments(z, channels, eps))
    }

    fn normalise(&self, z: &[E], norm: &Norm<Self>, residual: Option<&[E]>, relu: bool) -> Result<Vec<E>> {
        let [gamma, beta] = &norm.affine;
        Ok(E::normalise(z, &norm.moments, gamma, beta, residual, relu))
    }

    fn normalise_in_place(
        &self,
        mut z: Vec<E>,
        norm: &Norm<Self>,
        residual: Option<&[E]>,
        relu: bool,
    ) -> Result<Vec<E>> {
        let [gamma, beta] = &norm.affine;
        E::normalise_in_place(&mut z, &norm.moments, gamma, beta, residual, relu);
        Ok(z)
    }

    fn normalise_onto(&self, mut residual: Vec<E>, z: &[E], norm: &Norm<Self>) -> Result<Vec<E>> {
        let [gamma, beta] = &norm.affine;
        E::normalise_onto(&mut residual, z, &norm.moments, gamma, beta);
        Ok(residual)
    }

    fn norm_backward(
        &self,
        mut z: Vec<E>,
        mut grad: Vec<E>,
        through: Through<&[E]>,
        norm: &Norm<Self>,
    ) -> Result<NormGradients<Self>> {
        let [gamma, beta] = &norm.affine;
        let mask = match through {
            Through::All => Mask::All,
            Through::Positive(y) => Mask::Positive(y),
            Through::OfNorm => Mask::OfNorm(beta),
        };
        let (dgamma, dbeta) = E::norm_backward(&mut z, &mut grad, mask, &norm.moments, gamma, norm.of_batch);
        let [of_gamma, of_beta] = &norm.parameters;
        let affine = [
            Tensor::from_vec(dgamma, of_gamma.shape(), &Device::Cpu)?,
            Tensor::from_vec(dbeta, of_beta.shape(), &Device::Cpu)?,
        ];
        Ok(NormGradients { dz: z, residual: grad, affine })
    }

    fn add(&self, mut a: Vec<E>, b: &[E]) -> Result<Vec<E>> {
        E::add_in_place(&mut a, b);
        Ok(a)
    }
}

impl<E: Element> InGraph for Host<E> {
    fn output(rows: Arc<Vec<E>>, exact: Option<Arc<Vec<f32>>>, _: &Shape) -> Result<Output> {
        Ok(Output::Host(match exact {
            Some(exact) => Arc::unwrap_or_clone(exact),
            None => E::into_f32(Arc::unwrap_or_clone(rows)),
        }))
    }

    fn with_gradient<T>(&self, grad: &Tensor, f: impl FnOnce(Held<'_, Self>) -> Result<T>) -> Result<T> {
        let grad = cpu_view(OP, grad)?;
        match E::from_f32(&grad) {
            Cow::Borrowed(rows) => f(Held::Lent(rows)),
            Cow::Owned(rows) => f(Held::Own(rows)),
        }
    }

    fn input_gradient(&self, rows: Vec<E>, shape: &Shape) -> Result<Tensor> {
        Tensor::from_vec(E::into_f32(rows), shape, &Device::Cpu)
    }
}
