//! Networks on a GPU, by candle's operations: matrix products, convolutions, softmax, layer norms. What candle has not,
//! convolutions in groups, is an operation of our own.
//!
//! Weights are copied to the device once; of a batch its bytes alone are, and the features stay there. Sums are made in
//! f32, in another order than by the engine on the CPU, so that the two differ in the last digits. It runs on candle's CPU
//! device too, which is how it is tested where there is no GPU.

mod attention;
mod conv;
mod grouped;
mod map;
#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::layer_norm;

use super::{Backend, PIXELS_AT_ONCE, Pixels};
use crate::engine::{Activation, ConvGeometry};
use crate::images::Images;
use crate::preprocess::Normaliser;
use attention::{Angles, attend};
use conv::{Conv, Depthwise};
use map::Map;

#[cfg(any(feature = "cuda", feature = "metal", test))]
pub(crate) use grouped::GroupedSizes;
#[cfg(test)]
pub(crate) use grouped::grouped_on_cpu;

/// Images that run through a network at a time, however small they are.
const MOST_IMAGES: usize = 4;

/// candle's operations on a device.
pub(crate) struct Tensors {
    device: Device,
}

/// What makes numbers of bytes: `[3]` factors, and `[3]` to add.
pub(crate) struct ScaleShift {
    scale: Tensor,
    shift: Tensor,
}

/// A layer norm over channels.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Tensors {
    pub(crate) fn new(device: &Device) -> Self {
        Self { device: device.clone() }
    }

    /// `(x / 255 - mean) / std` of some images, `[n, H, W, 3]`, with zeros right and below.
    fn image(&self, pixels: &Pixels<'_, Self>) -> Result<Tensor> {
        let Pixels { normaliser: ScaleShift { scale, shift }, images, range, multiple } = pixels;
        let (height, width) = (images.height, images.width);
        let bytes = &images.rgb[range.start * height * width * 3..range.end * height * width * 3];
        let bytes = Tensor::from_slice(bytes, (range.len(), height, width, 3), &Device::Cpu)?;
        let bytes = ppkt_device::send(&bytes, &self.device)?;
        let image = bytes.to_dtype(DType::F32)?.broadcast_mul(scale)?.broadcast_add(shift)?;
        let beyond = |side: usize| side.next_multiple_of(*multiple) - side;
        image.pad_with_zeros(1, 0, beyond(height))?.pad_with_zeros(2, 0, beyond(width))
    }
}

impl Backend for Tensors {
    type Map = Map;
    type Normaliser = ScaleShift;
    type Conv = Conv;
    type Depthwise = Depthwise;
    type LayerNorm = LayerNorm;
    type Constant = Tensor;
    type Angles = Angles;

    fn normaliser(&self, Normaliser { mean, std, .. }: Normaliser) -> Result<ScaleShift> {
        let scale: [f32; 3] = std::array::from_fn(|c| 1.0 / (255.0 * std[c]));
        let shift: [f32; 3] = std::array::from_fn(|c| -mean[c] / std[c]);
        Ok(ScaleShift {
            scale: Tensor::new(&scale, &self.device)?,
            shift: Tensor::new(&shift, &self.device)?,
        })
    }

    fn conv(
        &self,
        weight: &[f32],
        bias: &[f32],
        channels: [usize; 2],
        geometry: ConvGeometry,
    ) -> Result<Conv> {
        Conv::new(&self.device, weight, bias, channels, geometry)
    }

    fn depthwise(&self, weight: &[f32], bias: &[f32]) -> Result<Depthwise> {
        Depthwise::new(&self.device, weight, bias)
    }

    fn layer_norm(&self, weight: Vec<f32>, bias: Vec<f32>, eps: f32) -> Result<LayerNorm> {
        let channels = weight.len();
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, channels, &self.device);
        Ok(LayerNorm { weight: tensor(weight)?, bias: tensor(bias)?, eps })
    }

    fn constant(&self, values: Vec<f32>, channels: usize) -> Result<Tensor> {
        let rows = values.len() / channels;
        Tensor::from_vec(values, (rows, channels), &self.device)
    }

    fn angles(&self, cos: Vec<f32>, sin: Vec<f32>, half: usize, n_prefix: usize) -> Result<Angles> {
        Angles::new(&self.device, cos, sin, half, n_prefix)
    }

    fn stem(&self, conv: &Conv, pixels: &Pixels<'_, Self>, activation: Activation) -> Result<Map> {
        conv.forward(&Map::Pixels(self.image(pixels)?), None, activation)
    }

    fn convolve(&self, conv: &Conv, x: &Map, residual: Option<&Map>, activation: Activation) -> Result<Map> {
        conv.forward(x, residual, activation)
    }

    fn convolve_depthwise(&self, conv: &Depthwise, x: &Map) -> Result<Map> {
        conv.forward(x)
    }

    fn normalise(&self, norm: &LayerNorm, x: &Map) -> Result<Map> {
        let x = x.pixels()?;
        // candle takes the variance as a difference of squares, which is exact enough about a mean of zero alone.
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        layer_norm(&centred, &norm.weight, &norm.bias, norm.eps).map(Map::Pixels)
    }

    fn max_pool(&self, x: &Map) -> Result<Map> {
        // The values at the edge once more: they are in the window anyway, so they win where they would have won.
        let bordered = x.planes()?.pad_with_same(2, 1, 1)?.pad_with_same(3, 1, 1)?;
        bordered.max_pool2d_with_stride(3, 2).map(Map::Planes)
    }

    fn attend(&self, qkv: Map, heads: usize, angles: Option<&Angles>) -> Result<Map> {
        attend(&qkv.pixels()?, heads, angles).map(Map::Pixels)
    }

    fn multiply(&self, x: Map, by: &Map) -> Result<Map> {
        (x.pixels()? * by.pixels()?).map(Map::Pixels)
    }

    fn tokens(&self, patches: &Map, prefix: Option<&Tensor>, positions: Option<&Tensor>) -> Result<Map> {
        let patches = patches.pixels()?;
        let (n, h, w, channels) = patches.dims4()?;
        let mut tokens = patches.reshape((n, h * w, channels))?;
        if let Some(positions) = positions {
            tokens = tokens.broadcast_add(positions)?;
        }
        if let Some(prefix) = prefix {
            let prefix = prefix.broadcast_as((n, prefix.dims()[0], channels))?.contiguous()?;
            tokens = Tensor::cat(&[&prefix, &tokens], 1)?;
        }
        tokens.unsqueeze(1).map(Map::Pixels)
    }

    fn patches(&self, tokens: &Map, n_prefix: usize, [height, width]: [usize; 2]) -> Result<Map> {
        let tokens = tokens.pixels()?;
        let (n, _, _, channels) = tokens.dims4()?;
        let patches = tokens.narrow(2, n_prefix, height * width)?.contiguous()?;
        patches.reshape((n, height, width, channels)).map(Map::Pixels)
    }

    fn side_by_side(&self, maps: &[(Map, usize)]) -> Result<Map> {
        let Some((finest, stride)) = maps.iter().min_by_key(|(_, stride)| *stride) else {
            candle_core::bail!("no maps");
        };
        let [height, width] = finest.size();
        let on_grid = |(map, coarse): &(Map, usize)| {
            if coarse == stride {
                return map.pixels();
            }
            let factor = (coarse / stride) as f64;
            let fine = map.planes()?.upsample_bilinear2d_with_scale(factor, factor, false)?;
            let fine = fine.narrow(2, 0, height)?.narrow(3, 0, width)?;
            fine.permute((0, 2, 3, 1))?.contiguous()
        };
        let maps = maps.iter().map(on_grid).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&maps, 3).map(Map::Pixels)
    }

    fn cut(&self, map: Map, [height, width]: [usize; 2]) -> Result<Map> {
        if map.size() == [height, width] {
            return Ok(map);
        }
        map.pixels()?.narrow(1, 0, height)?.narrow(2, 0, width)?.contiguous().map(Map::Pixels)
    }

    fn unit_length(&self, map: Map) -> Result<Map> {
        let x = map.pixels()?;
        let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        // One for a pixel of zeros and nothing for any other, without a number that would have to go to the device.
        let of_zeros = length.affine(-1e38, 0.0)?.exp()?;
        x.broadcast_div(&(length + of_zeros)?).map(Map::Pixels)
    }

    fn copy(&self, map: &Map) -> Result<Map> {
        Ok(map.clone())
    }

    fn size(&self, map: &Map) -> [usize; 2] {
        map.size()
    }

    fn map(&self, values: &Tensor) -> Result<Map> {
        values.contiguous().map(Map::Pixels)
    }

    fn tensor(&self, map: &Map) -> Result<Tensor> {
        map.pixels()
    }

    /// Always the same number of images of a size at a time, so that what an image gives does not depend on its batch: a
    /// library may choose another kernel, which sums in another order, for another number of rows. What is missing is
    /// filled up with images that are there, and what those give is left out.
    fn features(
        &self,
        images: &Images,
        forward: impl Fn(&Images, Range<usize>) -> Result<Map>,
    ) -> Result<Tensor> {
        let per_image = images.height * images.width;
        let at_once = (PIXELS_AT_ONCE / per_image).clamp(1, MOST_IMAGES);
        let filled;
        let all = if images.n < at_once {
            let rgb = images.rgb.iter().copied().cycle().take(at_once * per_image * 3).collect();
            filled = Images { n: at_once, rgb, ..*images };
            &filled
        } else {
            images
        };
        let mut pieces = Vec::new();
        for first in (0..images.n).step_by(at_once) {
            // The last piece begins earlier where it would be short.
            let start = first.min(all.n - at_once);
            let map = forward(all, start..start + at_once)?.pixels()?;
            let (from, to) = (first - start, at_once.min(images.n - start));
            pieces.push(map.narrow(0, from, to - from)?);
        }
        Tensor::cat(&pieces, 0)?.contiguous()
    }
}
