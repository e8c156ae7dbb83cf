//! Gradients of a tape, from the last unit to the first.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::record::{Node, Record};
use super::spans::{TapeStep, timed};
use crate::conv::with_slices;
use crate::element::Element;
use crate::kernels::{Side, Weight};
use crate::norm_inplace::Mask;

/// Gradients of all parameters that have one, in the order of [`Record::parameters`], and of the input.
pub(super) struct Gradients {
    pub(super) parameters: Vec<Option<Tensor>>,
    pub(super) input: Option<Vec<f32>>,
}

impl<E: Element> Record<E> {
    /// Parameters that have a gradient: unit by unit, in each kernel, bias, γ, β. The same tensor may occur again.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Tensor> {
        self.nodes.iter().flat_map(Node::<E>::parameters).filter(|p| p.track_op())
    }

    /// Goes back through the units, and frees what each has kept. `grad` is the gradient of the value at the end.
    pub(super) fn backward(mut self, grad: &[f32]) -> Result<Gradients> {
        let mut of_values: Vec<Option<Cow<'_, [E]>>> = vec![None; self.nodes.len() + 1];
        of_values[self.end] = Some(E::from_f32(grad));
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
        let input =
            if self.input_needs { of_values[0].take().map(|dx| E::into_f32(dx.into_owned())) } else { None };
        Ok(Gradients { parameters, input })
    }

    /// One unit: gradients of its parameters, in their order; those of the values that it reads are added to
    /// `of_values`.
    fn unit<'a>(
        &mut self,
        id: usize,
        grad: Cow<'a, [E]>,
        of_values: &mut [Option<Cow<'a, [E]>>],
    ) -> Result<Vec<Option<Tensor>>> {
        let (dz, of_norm) = self.norm(id, grad, of_values)?;
        let mut gradients = Vec::new();
        let node = &self.nodes[id - 1];
        let (kernel, channels) = (node.kernel.clone(), node.channels);
        let dims = kernel.dims();
        if kernel.track_op() {
            let map = node.map.clone();
            let lists = node.direction.lists(&map);
            let inputs = self.inputs(id)?;
            let sides: Vec<Side<'_, E>> =
                inputs.iter().map(|(data, channels)| Side { data, channels: *channels }).collect();
            let dw = timed(id, TapeStep::WeightGradient, || {
                E::weight_gradient(self.path, lists, &sides, &dz, channels)
            });
            gradients.push(Some(Tensor::from_vec(dw, dims, &Device::Cpu)?));
        }
        self.free_all_but(id - 1);
        let node = &self.nodes[id - 1];
        if let Some(bias) = node.bias.as_ref().filter(|b| b.track_op()) {
            let rows = node.direction.lists(&node.map).n_target;
            let sums = timed(id, TapeStep::BiasGradient, || E::column_sums(&dz, rows, channels));
            gradients.push(Some(Tensor::from_vec(sums, bias.shape(), &Device::Cpu)?));
        }
        gradients.extend(of_norm);

        let cin = dims[dims.len() - 2];
        // In a symmetric map the pairs under `k` are those under `K - 1 - k` the other way round: no second list.
        let mirrored = node.map.spec().is_symmetric();
        let direction = if mirrored { node.direction } else { node.direction.back() };
        let lists = direction.lists(&node.map);
        let side = [Side { data: &dz, channels }];
        let mut first = 0;
        for &(input, width) in &node.inputs {
            if self.needs(input) {
                let mut add = |w: &[f32]| {
                    let weight = Weight::backward(w, (cin, channels), (first, width), mirrored);
                    match &mut of_values[input] {
                        Some(known) => E::add_product(self.path, lists, &side, weight, known.to_mut()),
                        none => *none = Some(E::product(self.path, lists, &side, weight, None).into()),
                    }
                };
                with_slices([&kernel], |[w]| timed(id, TapeStep::FeatureGradient, || add(w)))?;
            }
            first += width;
        }
        Ok(gradients)
    }

    /// The gradient of the convolution's result, and those of γ and β; the residual's is added to `of_values`.
    #[expect(clippy::type_complexity, reason = "a row of gradients beside the parameters'")]
    fn norm<'a>(
        &mut self,
        id: usize,
        grad: Cow<'a, [E]>,
        of_values: &mut [Option<Cow<'a, [E]>>],
    ) -> Result<(Cow<'a, [E]>, Vec<Option<Tensor>>)> {
        if self.nodes[id - 1].norm.is_none() {
            return Ok((grad, Vec::new()));
        }
        let residual = self.nodes[id - 1].residual;
        let y: Option<Arc<Vec<E>>> = residual.map(|_| self.rows(id)).transpose()?;
        self.find_z(id)?;
        let node = &mut self.nodes[id - 1];
        let (Some(mut z), Some(norm)) = (node.z.take(), &node.norm) else {
            candle_core::bail!("a tape has lost a value");
        };
        let mask = match &y {
            _ if !node.relu => Mask::All,
            Some(y) => Mask::Positive(y),
            None => Mask::OfNorm(&norm.beta),
        };
        let mut g = grad.into_owned();
        let (dgamma, dbeta) = timed(id, TapeStep::NormGradient, || {
            E::norm_backward(&mut z, &mut g, mask, &norm.moments, &norm.gamma, norm.of_batch)
        });
        let mut gradients = Vec::new();
        for (parameter, gradient) in norm.parameters.iter().zip([dgamma, dbeta]) {
            if parameter.track_op() {
                gradients.push(Some(Tensor::from_vec(gradient, parameter.shape(), &Device::Cpu)?));
            }
        }
        (node.y, node.keeps_y) = (None, false);
        if let Some(residual) = residual.filter(|&r| self.needs(r)) {
            match &mut of_values[residual] {
                Some(known) => {
                    timed(id, TapeStep::ResidualGradient, || E::add_in_place(known.to_mut(), &g));
                }
                none => *none = Some(g.into()),
            }
        }
        Ok((z.into(), gradients))
    }
}
