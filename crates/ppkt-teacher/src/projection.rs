//! The upsampling projection: from the teacher's coarse map to embeddings at single pixels.
//!
//! B = images, h w = cells of the map, C = channels of the teacher, D = channels of an embedding, M = pixels.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use rayon::prelude::*;

use crate::error::TeacherError;
use crate::images::FeatureMap;

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
        let tokens_nc = map.tokens.reshape((b * h * w, c))?;
        let weight_dc = self.weight.reshape((d, self.weight.dim(1)?))?;
        let projected = if tokens_nc.track_op() || !matches!(tokens_nc.device(), Device::Cpu) {
            tokens_nc.matmul(&weight_dc.t()?)?.broadcast_add(&self.bias)?
        } else {
            let value = tokens_nc.matmul(&weight_dc.detach().t()?)?.broadcast_add(&self.bias.detach())?;
            let op = FixedInputLinear { input_nc: tokens_nc, value: Mutex::new(Some(value)) };
            weight_dc.apply_op2(&self.bias, op)?
        };
        Ok(projected.reshape((b, h, w, d))?)
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
        Ok(Taps(Arc::new(taps)))
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

/// `x · Wᵀ + b` for an `x` that needs no gradient: candle's own product would compute and keep one, as large as the
/// teacher's map, in every step.
struct FixedInputLinear {
    input_nc: Tensor,
    /// Made by candle's product before the operation is applied, and taken by it.
    value: Mutex<Option<Tensor>>,
}

impl CustomOp2 for FixedInputLinear {
    fn name(&self) -> &'static str {
        "fixed-input-linear"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(value) = value else { candle_core::bail!("{}: applied twice", self.name()) };
        Ok((CpuStorage::F32(value.flatten_all()?.to_vec1()?), value.shape().clone()))
    }

    fn bwd(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad_nd: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let grad_nd = grad_nd.contiguous()?;
        let by_weight = || grad_nd.t()?.matmul(&self.input_nc);
        // A product with ones: candle's sum over rows takes nine times as long.
        let ones = || Tensor::ones((1, grad_nd.dim(0)?), grad_nd.dtype(), grad_nd.device());
        let by_bias = || ones()?.matmul(&grad_nd)?.squeeze(0);
        Ok((weight.track_op().then(by_weight).transpose()?, bias.track_op().then(by_bias).transpose()?))
    }
}

/// Bilinear reading at fixed places: for each pixel four cells of the flattened map, with their weights.
struct Taps(Arc<Vec<[(u32, f32); 4]>>);

/// Pixels or cells that one task takes.
const ROWS: usize = 64;

impl CustomOp1 for Taps {
    fn name(&self) -> &'static str {
        "bilinear-taps"
    }

    /// `[B, h, w, D]` to `[M, D]`.
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((from, to)) = layout.contiguous_offsets() else {
            candle_core::bail!("{}: a contiguous map is expected", self.name());
        };
        let map = &storage.as_slice::<f32>()?[from..to];
        let d = layout.dims().last().copied().unwrap_or(0);
        let mut out = vec![0f32; self.0.len() * d];
        if d > 0 {
            out.par_chunks_mut(ROWS * d).zip(self.0.par_chunks(ROWS)).for_each(|(out, taps)| {
                for (out, taps) in out.chunks_exact_mut(d).zip(taps) {
                    for &(cell, weight) in taps {
                        add_scaled(out, &map[cell as usize * d..][..d], weight);
                    }
                }
            });
        }
        Ok((CpuStorage::F32(out), Shape::from((self.0.len(), d))))
    }

    /// Each cell collects from the pixels that read it, in the order of the pixels: the same bits for any number of
    /// threads.
    fn bwd(&self, map: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let d = map.dims().last().copied().unwrap_or(0);
        let grad_md: Vec<f32> = grad.flatten_all()?.to_vec1()?;
        let n_cells = map.elem_count() / d.max(1);

        // Cell i is read by readers[starts[i]..starts[i + 1]].
        let mut starts = vec![0usize; n_cells + 1];
        for &(cell, _) in self.0.iter().flatten() {
            starts[cell as usize + 1] += 1;
        }
        for i in 0..n_cells {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut readers = vec![(0u32, 0f32); self.0.len() * 4];
        for (pixel, taps) in self.0.iter().enumerate() {
            for &(cell, weight) in taps {
                readers[next[cell as usize]] = (pixel as u32, weight);
                next[cell as usize] += 1;
            }
        }

        let mut out = vec![0f32; n_cells * d];
        if d > 0 {
            out.par_chunks_mut(ROWS * d).enumerate().for_each(|(task, out)| {
                for (i, out) in out.chunks_exact_mut(d).enumerate() {
                    let cell = task * ROWS + i;
                    for &(pixel, weight) in &readers[starts[cell]..starts[cell + 1]] {
                        add_scaled(out, &grad_md[pixel as usize * d..][..d], weight);
                    }
                }
            });
        }
        Tensor::from_vec(out, map.shape(), map.device()).map(Some)
    }
}

fn add_scaled(out: &mut [f32], row: &[f32], weight: f32) {
    for (o, x) in out.iter_mut().zip(row) {
        *o += weight * x;
    }
}
