//! Gradients of a tape, from the last unit to the first.

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};

use super::arithmetic::{Arithmetic, Held, InGraph, NormGradients};
use super::record::{Node, Record, parts};
use super::spans::{TapeStep, timed};
use crate::norm_tensor::Through;

/// Gradients of all parameters that have one, in the order of [`Record::parameters`], and of the input.
pub(super) struct Gradients<A: Arithmetic> {
    pub(super) parameters: Vec<Option<A::Gradient>>,
    pub(super) input: Option<A::Rows>,
}

/// The gradients of a unit's parameters, in their order, of those that have one.
type OfParameters<A> = Vec<Option<<A as Arithmetic>::Gradient>>;

impl<A: Arithmetic> Record<A> {
    /// Parameters that have a gradient: unit by unit, in each kernel, bias, γ, β. The same tensor may occur again.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        self.nodes.iter().flat_map(Node::<A>::parameters).filter(|p| p.track_op())
    }

    /// Goes back through the units, and frees what each has kept. `grad` is the gradient of the value at the end.
    pub(super) fn backward(mut self, grad: Held<'_, A>) -> Result<Gradients<A>> {
        let mut of_values: Vec<Option<Held<'_, A>>> = (0..=self.nodes.len()).map(|_| None).collect();
        of_values[self.end] = Some(grad);
        let mut parameters = Vec::new();
        for id in (1..=self.nodes.len()).rev() {
            let mut own = match of_values[id].take() {
                Some(grad) if self.nodes[id - 1].needs => self.unit(id, grad, &mut of_values)?,
                // No part in the result, or nothing to find a gradient for.
                _ => self.nodes[id - 1].parameters().filter(|p| p.track_op()).map(|_| None).collect(),
            };
            let node = &mut self.nodes[id - 1];
            (node.z, node.y, node.keeps_y) = (None, None, false);
            own.reverse();
            parameters.append(&mut own);
        }
        parameters.reverse();
        let input = of_values[0].take().filter(|_| self.input_needs);
        let input = input.map(|dx| dx.into_own(&self.arithmetic)).transpose()?;
        Ok(Gradients { parameters, input })
    }

    /// One unit: gradients of its parameters, in their order; those of the values that it reads are added to
    /// `of_values`.
    fn unit<'a>(
        &mut self,
        id: usize,
        grad: Held<'a, A>,
        of_values: &mut [Option<Held<'a, A>>],
    ) -> Result<OfParameters<A>> {
        let (dz, of_norm) = self.norm(id, grad, of_values)?;
        let mut gradients = Vec::new();
        if self.nodes[id - 1].conv.kernel.track_op() {
            let inputs = self.inputs(id)?;
            let conv = &self.nodes[id - 1].conv;
            gradients.push(Some(timed(id, TapeStep::WeightGradient, || {
                self.arithmetic.weight_gradient(conv, &parts(&inputs), dz.view())
            })?));
        }
        self.free_all_but(id - 1);
        let node = &self.nodes[id - 1];
        if let Some(bias) = node.conv.bias.as_ref().filter(|b| b.track_op()) {
            gradients.push(Some(timed(id, TapeStep::BiasGradient, || {
                self.arithmetic.bias_gradient(&node.conv, bias, dz.view())
            })?));
        }
        gradients.extend(of_norm);

        let mut first = 0;
        for &(input, width) in &node.inputs {
            if self.needs(input) {
                let known = of_values[input].take().map(|g| g.into_own(&self.arithmetic)).transpose()?;
                let gradient = timed(id, TapeStep::FeatureGradient, || {
                    self.arithmetic.feature_gradient(&node.conv, dz.view(), (first, width), known)
                })?;
                of_values[input] = Some(Held::Own(gradient));
            }
            first += width;
        }
        Ok(gradients)
    }

    /// The gradient of the convolution's result, and those of γ and β; the residual's is added to `of_values`.
    fn norm<'a>(
        &mut self,
        id: usize,
        grad: Held<'a, A>,
        of_values: &mut [Option<Held<'a, A>>],
    ) -> Result<(Held<'a, A>, OfParameters<A>)> {
        if self.nodes[id - 1].norm.is_none() {
            return Ok((grad, Vec::new()));
        }
        let residual = self.nodes[id - 1].residual;
        let y: Option<Arc<A::Rows>> = residual.map(|_| self.rows(id)).transpose()?;
        self.find_z(id)?;
        let Self { arithmetic, nodes, .. } = self;
        let node = &mut nodes[id - 1];
        let (Some(z), Some(norm)) = (node.z.take(), &node.norm) else {
            candle_core::bail!("a tape has lost a value");
        };
        let through = match &y {
            _ if !node.relu => Through::All,
            Some(y) => Through::Positive(A::view(y)),
            None => Through::OfNorm,
        };
        let grad = grad.into_own(arithmetic)?;
        let NormGradients { dz, residual: g, affine } =
            timed(id, TapeStep::NormGradient, || arithmetic.norm_backward(z, grad, through, norm))?;
        let tracked = norm.parameters.iter().zip(affine).filter(|(parameter, _)| parameter.track_op());
        let gradients = tracked.map(|(_, gradient)| Some(gradient)).collect();
        (node.y, node.keeps_y) = (None, false);
        if let Some(residual) = residual.filter(|&r| self.needs(r)) {
            let sum = match of_values[residual].take() {
                Some(known) => {
                    let known = known.into_own(&self.arithmetic)?;
                    timed(id, TapeStep::ResidualGradient, || self.arithmetic.add(known, A::view(&g)))?
                }
                None => g,
            };
            of_values[residual] = Some(Held::Own(sum));
        }
        Ok((Held::Own(dz), gradients))
    }
}

impl<A: InGraph> Record<A> {
    /// As [`Self::backward`], of tensors: the gradient of the input, of shape `shape`, and those of the parameters.
    pub(super) fn backward_from(
        self,
        grad: &Tensor,
        shape: &Shape,
    ) -> Result<(Option<Tensor>, Vec<Option<Tensor>>)> {
        let arithmetic = self.arithmetic.clone();
        let Gradients { parameters, input } = arithmetic.with_gradient(grad, |grad| self.backward(grad))?;
        let input = input.map(|rows| arithmetic.input_gradient(rows, shape)).transpose()?;
        Ok((input, parameters))
    }
}
