//! Linear layers between the file and what runs them.

use crate::backend::Backend;
use crate::engine::ConvGeometry;
use crate::error::TeacherError;
use crate::weights::Weights;

/// A linear layer before it is packed.
pub(super) struct Linear {
    inner: usize,
    outer: usize,
    /// `[outer, inner]`
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    pub(super) fn read(
        weights: &mut Weights,
        name: &str,
        inner: usize,
        outer: usize,
    ) -> Result<Self, TeacherError> {
        let weight =
            weights.take_shaped(&format!("{name}.weight"), &[outer, inner], "it is a linear layer's")?;
        // Some networks have projections without bias.
        let bias = match weights.has(&format!("{name}.bias")) {
            true => weights.take_shaped(&format!("{name}.bias"), &[outer], "it is a linear layer's")?,
            false => vec![0.0; outer],
        };
        Ok(Self { inner, outer, weight, bias })
    }

    /// A layer without bias, from its `[outer, inner]` weights.
    pub(super) fn without_bias(inner: usize, outer: usize, weight: Vec<f32>) -> Self {
        assert_eq!(weight.len(), inner * outer, "weights are [outer, inner]");
        Self { inner, outer, weight, bias: vec![0.0; outer] }
    }

    /// Queries, keys and values, which are one tensor or three.
    pub(super) fn qkv(weights: &mut Weights, block: &str, channels: usize) -> Result<Self, TeacherError> {
        let name = format!("{block}.attn");
        if !weights.has(&format!("{name}.qkv.weight")) && weights.has(&format!("{name}.q.weight")) {
            let mut joined =
                Self { inner: channels, outer: 3 * channels, weight: Vec::new(), bias: Vec::new() };
            for part in ["q", "k", "v"] {
                let Self { weight, bias, .. } =
                    Self::read(weights, &format!("{name}.{part}"), channels, channels)?;
                joined.weight.extend(weight);
                joined.bias.extend(bias);
            }
            return Ok(joined);
        }
        let mut joined = Self::read(weights, &format!("{name}.qkv"), channels, 3 * channels)?;
        // DINOv3 keeps a bias for keys that is never used, and a mask that says so.
        let mask = format!("{name}.qkv.bias_mask");
        if weights.has(&mask) {
            let mask = weights.take_shaped(&mask, &[3 * channels], "it goes with the bias")?;
            joined.bias.iter_mut().zip(mask).for_each(|(bias, mask)| *bias *= mask);
        }
        // timm has no bias for keys, and those of queries and values apart.
        for (third, leaf) in [(0, "q_bias"), (2, "v_bias")] {
            let leaf = format!("{name}.{leaf}");
            if weights.has(&leaf) {
                let bias = weights.take_shaped(&leaf, &[channels], "it is a bias")?;
                joined.bias[third * channels..][..channels].copy_from_slice(&bias);
            }
        }
        Ok(joined)
    }

    /// Folds in a factor for each output channel, if there is one.
    pub(super) fn scaled(mut self, weights: &mut Weights, name: &str) -> Result<Self, TeacherError> {
        if weights.has(name) {
            let gamma = weights.take_shaped(name, &[self.outer], "it is a layer scale")?;
            for ((row, bias), g) in self.weight.chunks_exact_mut(self.inner).zip(&mut self.bias).zip(gamma) {
                row.iter_mut().for_each(|w| *w *= g);
                *bias *= g;
            }
        }
        Ok(self)
    }

    /// Outputs from `first` on.
    pub(super) fn split_off(&mut self, first: usize) -> Self {
        let weight = self.weight.split_off(first * self.inner);
        let bias = self.bias.split_off(first);
        let outer = self.outer - first;
        self.outer = first;
        Self { inner: self.inner, outer, weight, bias }
    }

    /// First and second half of the outputs.
    pub(super) fn halves(mut self) -> (Self, Self) {
        let second = self.split_off(self.outer / 2);
        (self, second)
    }

    pub(super) fn pack<B: Backend>(self, backend: &B) -> Result<B::Conv, TeacherError> {
        let channels = [self.inner, self.outer];
        Ok(backend.conv(&self.weight, &self.bias, channels, ConvGeometry::POINTWISE)?)
    }
}
