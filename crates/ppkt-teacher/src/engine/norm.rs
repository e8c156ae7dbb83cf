//! Layer norms over the channels of each pixel or token.

use rayon::prelude::*;

use super::isa::Isa;
use super::map::{Buffers, Map};
use super::math::layer_norm;

/// Pixels that a task normalises.
const PIXELS_PER_TASK: usize = 32;

/// A layer norm over channels.
pub(crate) struct LayerNorm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    /// What is added to the variance.
    pub(crate) eps: f32,
}

impl LayerNorm {
    /// Every pixel to zero mean and unit variance over its channels, then scaled and shifted.
    ///
    /// # Panics
    /// If the map has other channels.
    pub(crate) fn forward(&self, x: &Map, isa: Isa, buffers: &Buffers) -> Map {
        assert_eq!(x.channels, self.weight.len(), "channels");
        let mut out = Map::take(buffers, [x.n, x.height, x.width, x.channels]);
        let step = PIXELS_PER_TASK * x.channels;
        out.data.par_chunks_mut(step).zip(x.data.par_chunks(step)).for_each(|(out, x)| {
            layer_norm(isa, x, &self.weight, &self.bias, self.eps, out);
        });
        out
    }
}
