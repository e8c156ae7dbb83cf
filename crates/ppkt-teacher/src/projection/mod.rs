//! The upsampling projection: from the teacher's coarse map to embeddings at single pixels.
//!
//! B = images, h w = cells of the map, C = channels of the teacher, D = channels of an embedding, M = pixels.

mod linear;
mod taps;

use std::sync::Mutex;

use candle_core::Tensor;
use candle_nn::{Init, VarBuilder};

use crate::error::TeacherError;
use crate::images::FeatureMap;
use linear::FixedInputLinear;
use taps::Taps;

#[cfg(any(feature = "cuda", feature = "metal", test))]
pub(crate) use taps::{Readers, Tap};
#[cfg(test)]
pub(crate) use taps::{read_cells, read_pixels};

/// How cells of the coarse map lie under the pixels of the image, named as in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlignCorners {
    /// The centre of the first cell lies on the centre of the first pixel, that of the last cell on the last pixel's:
    /// what PPKT's re-implementations use.
    True,
    /// Every cell covers `stride` × `stride` pixels, and its centre is theirs.
    False,
}

/// A place in one of the images, in continuous pixels: the centre of the first pixel is (0.5, 0.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelRef {
    /// Which image of the batch.
    pub view: u32,
    /// To the right, from 0 to the width.
    pub u: f32,
    /// Downwards, from 0 to the height.
    pub v: f32,
}

/// The paper's trainable layer on top of the frozen teacher: a 1×1 convolution to the embedding, then bilinear
/// upsampling to the size of the image (Liu et al. 2021, arXiv 2104.04687).
///
/// Both steps are linear, the first in the channels alone and the second in the places alone, so picking M pixels of
/// the upsampled map equals projecting the *small* map and reading four of its cells for each of the M pixels. That
/// is what happens here: the upsampled map is never made, and value and gradient are the same.
///
/// A map may stay on the CPU, where a cache reads it, while the parameters are on a GPU: then the four cells of each pixel
/// are read on the CPU and projected on the GPU, which is linear too, so that M features cross over and not the map.
///
/// Parameters, named as SLidR names them: `decoder.0.weight` `[D, C, 1, 1]` and `decoder.0.bias` `[D]`.
#[derive(Debug, Clone)]
pub struct UpsampleProjection {
    weight: Tensor,
    bias: Tensor,
    align_corners: AlignCorners,
}

impl UpsampleProjection {
    /// Takes the parameters from `vb`, or makes them there: uniform within ± 1/√C, as PyTorch's convolution.
    ///
    /// # Errors
    /// If `vb` holds tensors of these names with other shapes.
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        align_corners: AlignCorners,
        vb: VarBuilder<'_>,
    ) -> Result<Self, TeacherError> {
        let vb = vb.pp("decoder").pp("0");
        let bound = 1.0 / (in_channels.max(1) as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        let weight = vb.get_with_hints((out_channels, in_channels, 1, 1), "weight", init)?;
        let bias = vb.get_with_hints(out_channels, "bias", init)?;
        Ok(Self { weight, bias, align_corners })
    }

    /// Embeddings at single pixels, differentiable by weight and bias, and by the map if that is tracked.
    ///
    /// At the centre of a pixel the value is exactly that of the upsampled map there, between centres the map's
    /// bilinear value at that place.
    ///
    /// # Shapes
    /// `map.tokens` `[B, h, w, C]`; the result `[M, D]`, not normalised.
    ///
    /// # Errors
    /// [`TeacherError::Pixel`] if a pixel lies in no image, [`TeacherError::Tensor`] if the map has other channels.
    pub fn forward(&self, map: &FeatureMap, pixels: &[PixelRef]) -> Result<Tensor, TeacherError> {
        let taps = self.taps(map, pixels)?;
        let device = self.bias.device();
        let (b, h, w, _) = map.tokens.dims4()?;
        if !map.tokens.device().same_device(device) && pixels.len() < b * h * w {
            return self.project(self.beside(map.tokens.contiguous()?.apply_op1(taps)?)?);
        }
        let projected = self.project_map(map)?.contiguous()?;
        Ok(projected.apply_op1(taps)?)
    }

    /// The projection alone, for pictures of the whole map.
    ///
    /// # Shapes
    /// `[B, h, w, C]` to `[B, h, w, D]`, not normalised.
    ///
    /// # Errors
    /// [`TeacherError::Tensor`] if the map has other channels.
    pub fn project_map(&self, map: &FeatureMap) -> Result<Tensor, TeacherError> {
        let (b, h, w, c) = map.tokens.dims4()?;
        let d = self.bias.dim(0)?;
        let tokens_nc = self.beside(map.tokens.reshape((b * h * w, c))?)?;
        Ok(self.project(tokens_nc)?.reshape((b, h, w, d))?)
    }

    /// Features on the device of the parameters. Those of a map that is trained keep their graph, and wait.
    fn beside(&self, features: Tensor) -> Result<Tensor, TeacherError> {
        let device = self.bias.device();
        Ok(match features.track_op() {
            true => features.to_device(device)?,
            false => ppkt_device::send(&features, device)?,
        })
    }

    /// `[N, C]` to `[N, D]`.
    fn project(&self, features_nc: Tensor) -> Result<Tensor, TeacherError> {
        let weight_dc = self.weight.reshape((self.bias.dim(0)?, self.weight.dim(1)?))?;
        if features_nc.track_op() {
            return Ok(features_nc.matmul(&weight_dc.t()?)?.broadcast_add(&self.bias)?);
        }
        let value = features_nc.matmul(&weight_dc.detach().t()?)?.broadcast_add(&self.bias.detach())?;
        let op = FixedInputLinear { input_nc: features_nc, value: Mutex::new(Some(value)) };
        Ok(weight_dc.apply_op2(&self.bias, op)?)
    }

    /// Which cells each pixel reads.
    fn taps(&self, map: &FeatureMap, pixels: &[PixelRef]) -> Result<Taps, TeacherError> {
        let (b, h, w, _) = map.tokens.dims4()?;
        let (height, width) = map.image_size;
        let mut taps = Vec::with_capacity(pixels.len());
        for (index, pixel) in pixels.iter().enumerate() {
            let PixelRef { view, u, v } = *pixel;
            let inside = |x: f32, size: usize| x >= 0.0 && x <= size as f32;
            if view as usize >= b || !inside(u, width) || !inside(v, height) {
                return Err(TeacherError::Pixel { index, pixel: *pixel, n_views: b, width, height });
            }
            let (x0, x1, fx) = self.along(f64::from(u), w, map.stride);
            let (y0, y1, fy) = self.along(f64::from(v), h, map.stride);
            let cell = |y: usize, x: usize| ((view as usize * h + y) * w + x) as u32;
            let weight = |wy: f64, wx: f64| (wy * wx) as f32;
            taps.push([
                (cell(y0, x0), weight(1.0 - fy, 1.0 - fx)),
                (cell(y0, x1), weight(1.0 - fy, fx)),
                (cell(y1, x0), weight(fy, 1.0 - fx)),
                (cell(y1, x1), weight(fy, fx)),
            ]);
        }
        Ok(Taps::new(taps))
    }

    /// The two cells beside place `u` along one axis, and the weight of the second.
    ///
    /// The image counts as `n_cells · stride` pixels long: where the stride does not divide it, the last cell reaches
    /// beyond its edge.
    fn along(&self, u: f64, n_cells: usize, stride: usize) -> (usize, usize, f64) {
        let last = (n_cells - 1) as f64;
        let place = match self.align_corners {
            AlignCorners::False => u / stride as f64 - 0.5,
            AlignCorners::True => {
                let n_pixels = n_cells * stride;
                if n_pixels > 1 { (u - 0.5) * last / (n_pixels - 1) as f64 } else { 0.0 }
            }
        };
        let place = place.clamp(0.0, last);
        let first = place.floor();
        (first as usize, (first as usize + 1).min(n_cells - 1), place - first)
    }
}
