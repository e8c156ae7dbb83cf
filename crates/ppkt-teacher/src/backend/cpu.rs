//! Networks on the CPU, by the engine of this crate.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::{Backend, PIXELS_AT_ONCE, Pixels};
use crate::engine::{
    Activation, Angles, Buffers, Conv, ConvGeometry, Depthwise7, Isa, LayerNorm, Map, attention,
    max_pool_3x3_s2, side_by_side,
};
use crate::images::Images;
use crate::preprocess::Normaliser;

/// The engine, for the instructions of this processor.
pub(crate) struct Cpu {
    isa: Isa,
    buffers: Buffers,
}

impl Cpu {
    pub(crate) fn new() -> Self {
        Self { isa: Isa::detect(), buffers: Buffers::default() }
    }
}

impl Backend for Cpu {
    type Map = Map;
    type Normaliser = Normaliser;
    type Conv = Conv;
    type Depthwise = Depthwise7;
    type LayerNorm = LayerNorm;
    type Constant = Vec<f32>;
    type Angles = Angles;

    fn normaliser(&self, normaliser: Normaliser) -> Result<Normaliser> {
        Ok(normaliser)
    }

    fn conv(
        &self,
        weight: &[f32],
        bias: &[f32],
        [inner, outer]: [usize; 2],
        geometry: ConvGeometry,
    ) -> Result<Conv> {
        Ok(Conv::new(self.isa, weight, bias, inner, outer, geometry))
    }

    fn depthwise(&self, weight: &[f32], bias: &[f32]) -> Result<Depthwise7> {
        Ok(Depthwise7::new(self.isa, weight, bias))
    }

    fn layer_norm(&self, weight: Vec<f32>, bias: Vec<f32>, eps: f32) -> Result<LayerNorm> {
        Ok(LayerNorm { weight, bias, eps })
    }

    fn constant(&self, values: Vec<f32>, _: usize) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn angles(&self, cos: Vec<f32>, sin: Vec<f32>, half: usize, n_prefix: usize) -> Result<Angles> {
        Ok(Angles { cos, sin, half, n_prefix })
    }

    fn stem(&self, conv: &Conv, pixels: &Pixels<'_, Self>, activation: Activation) -> Result<Map> {
        let Pixels { normaliser, images, range, multiple } = pixels;
        let image = normaliser.bordered(images, range.clone(), conv.padding(), *multiple, &self.buffers);
        Ok(conv.forward_bordered(&image, activation, &self.buffers))
    }

    fn convolve(&self, conv: &Conv, x: &Map, residual: Option<&Map>, activation: Activation) -> Result<Map> {
        Ok(conv.forward(x, residual, activation, &self.buffers))
    }

    fn convolve_depthwise(&self, conv: &Depthwise7, x: &Map) -> Result<Map> {
        Ok(conv.forward(x, &self.buffers))
    }

    fn normalise(&self, norm: &LayerNorm, x: &Map) -> Result<Map> {
        Ok(norm.forward(x, self.isa, &self.buffers))
    }

    fn max_pool(&self, x: &Map) -> Result<Map> {
        Ok(max_pool_3x3_s2(x, &self.buffers))
    }

    fn attend(&self, mut qkv: Map, heads: usize, angles: Option<&Angles>) -> Result<Map> {
        if let Some(angles) = angles {
            angles.turn(&mut qkv);
        }
        Ok(attention(self.isa, &qkv, heads, &self.buffers))
    }

    fn multiply(&self, mut x: Map, by: &Map) -> Result<Map> {
        x.multiply(by);
        Ok(x)
    }

    fn tokens(&self, patches: &Map, prefix: Option<&Vec<f32>>, positions: Option<&Vec<f32>>) -> Result<Map> {
        let (area, channels) = (patches.height * patches.width, patches.channels);
        let prefix = prefix.map_or(&[][..], |prefix| prefix);
        let n_tokens = prefix.len() / channels + area;
        let mut x = Map::take(&self.buffers, [patches.n, 1, n_tokens, channels]);
        let of_image = patches.data.chunks_exact(area * channels);
        for (x, patches) in x.data.chunks_exact_mut(n_tokens * channels).zip(of_image) {
            let (first, rest) = x.split_at_mut(prefix.len());
            first.copy_from_slice(prefix);
            match positions {
                None => rest.copy_from_slice(patches),
                Some(positions) => {
                    for ((x, p), position) in rest.iter_mut().zip(patches).zip(positions) {
                        *x = p + position;
                    }
                }
            }
        }
        Ok(x)
    }

    fn patches(&self, tokens: &Map, n_prefix: usize, [height, width]: [usize; 2]) -> Result<Map> {
        let channels = tokens.channels;
        let mut map = Map::take(&self.buffers, [tokens.n, height, width, channels]);
        let of_image = tokens.data.chunks_exact(tokens.width * channels);
        for (map, tokens) in map.data.chunks_exact_mut(height * width * channels).zip(of_image) {
            map.copy_from_slice(&tokens[n_prefix * channels..]);
        }
        Ok(map)
    }

    fn side_by_side(&self, maps: &[(Map, usize)]) -> Result<Map> {
        Ok(side_by_side(maps, &self.buffers))
    }

    fn cut(&self, map: Map, [height, width]: [usize; 2]) -> Result<Map> {
        Ok(map.cut(height, width, &self.buffers))
    }

    fn unit_length(&self, mut map: Map) -> Result<Map> {
        let channels = map.channels;
        for cell in map.data.chunks_exact_mut(channels) {
            let length = cell.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            let factor = if length > 0.0 { (1.0 / length) as f32 } else { 1.0 };
            cell.iter_mut().for_each(|v| *v *= factor);
        }
        Ok(map)
    }

    fn copy(&self, map: &Map) -> Result<Map> {
        Ok(map.copied(&self.buffers))
    }

    fn size(&self, map: &Map) -> [usize; 2] {
        [map.height, map.width]
    }

    fn map(&self, values: &Tensor) -> Result<Map> {
        let (n, height, width, channels) = values.dims4()?;
        let mut map = Map::take(&self.buffers, [n, height, width, channels]);
        map.data.copy_from_slice(&values.flatten_all()?.to_vec1::<f32>()?);
        Ok(map)
    }

    fn tensor(&self, map: &Map) -> Result<Tensor> {
        Tensor::from_slice(&map.data, (map.n, map.height, map.width, map.channels), &Device::Cpu)
    }

    /// The pieces change no bit of the result.
    fn features(
        &self,
        images: &Images,
        forward: impl Fn(&Images, Range<usize>) -> Result<Map>,
    ) -> Result<Tensor> {
        let (mut values, mut size) = (Vec::new(), (0, 0, 0));
        let step = (PIXELS_AT_ONCE / (images.height * images.width)).max(1);
        for first in (0..images.n).step_by(step) {
            let piece = first..(first + step).min(images.n);
            let map = forward(images, piece.clone())?;
            if values.is_empty() {
                values.reserve_exact(map.data.len() / piece.len() * images.n);
            }
            values.extend_from_slice(&map.data);
            size = (map.height, map.width, map.channels);
        }
        Tensor::from_vec(values, (images.n, size.0, size.1, size.2), &Device::Cpu)
    }
}
