//! What all networks share: running a batch piece by piece, and collecting what comes out.

use std::ops::Range;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::engine::{Buffers, Map};
use crate::error::TeacherError;
use crate::images::{FeatureMap, Images};

/// Pixels that run through a network at a time: enough rows for every thread, few enough for the maps of a layer to
/// stay in the caches. It changes no bit of the result.
const PIXELS_AT_ONCE: usize = 640 * 480;

/// Values of some layer, for inspection and tests.
#[derive(Debug, Clone)]
pub struct Activation {
    /// `stem`, `pool`, `layer1`, … or `block0`, …, `norm`.
    pub name: String,
    /// `[B, h, w, C]` (ResNet) or `[B, tokens, C]` (transformers, special tokens first), f32.
    pub values: Tensor,
}

/// Cuts a batch into pieces.
pub(crate) fn pieces(images: &Images) -> impl Iterator<Item = Range<usize>> {
    let n = images.n;
    let step = (PIXELS_AT_ONCE / (images.height * images.width)).max(1);
    (0..n).step_by(step).map(move |first| first..(first + step).min(n))
}

/// Runs every piece and joins the maps.
pub(crate) fn feature_map(
    images: &Images,
    stride: usize,
    forward: impl Fn(Range<usize>) -> Map,
) -> Result<FeatureMap, TeacherError> {
    images.check()?;
    let (mut values, mut size) = (Vec::new(), (0, 0, 0));
    for piece in pieces(images) {
        let map = forward(piece.clone());
        if values.is_empty() {
            values.reserve_exact(map.data.len() / piece.len() * images.n);
        }
        values.extend_from_slice(&map.data);
        size = (map.height, map.width, map.channels);
    }
    let tokens = Tensor::from_vec(values, (images.n, size.0, size.1, size.2), &Device::Cpu)?;
    Ok(FeatureMap { tokens, image_size: (images.height, images.width), stride })
}

/// Several maps of the same images side by side, each given with its stride, on the grid of the finest one.
///
/// A cell of stride `s` stands for `s` × `s` pixels and its value for their centre; between centres of a coarser map
/// values are bilinear, beyond the outermost ones constant. So no feature moves, and where all strides are equal nothing
/// is computed. It is PyTorch's `interpolate(mode="bilinear", align_corners=False)` with a `scale_factor`, cut to size.
///
/// # Panics
/// If there is no map, or a stride is no multiple of the finest one.
pub(crate) fn side_by_side(maps: &[(Map, usize)], buffers: &Buffers) -> Map {
    let Some((finest, stride)) = maps.iter().min_by_key(|(_, stride)| *stride) else {
        panic!("no maps");
    };
    let all = maps.iter().map(|(map, _)| map.channels).sum();
    let (height, width) = (finest.height, finest.width);
    let mut out = Map::take(buffers, [finest.n, height, width, all]);
    let mut first = 0;
    for (map, coarse) in maps {
        assert_eq!(coarse % stride, 0, "strides");
        let factor = coarse / stride;
        let columns: Vec<_> = (0..width).map(|x| between(x, factor, map.width)).collect();
        let c = map.channels;
        out.data.par_chunks_exact_mut(width * all).enumerate().for_each(|(row, out)| {
            let (image, (y0, y1, fy)) = (row / height, between(row % height, factor, map.height));
            let pixel = |y: usize, x: usize| &map.data[((image * map.height + y) * map.width + x) * c..][..c];
            for (out, &(x0, x1, fx)) in out.chunks_exact_mut(all).zip(&columns) {
                let out = &mut out[first..first + c];
                if factor == 1 {
                    out.copy_from_slice(pixel(y0, x0));
                    continue;
                }
                let corners = pixel(y0, x0).iter().zip(pixel(y0, x1)).zip(pixel(y1, x0)).zip(pixel(y1, x1));
                for (out, (((a, b), c), d)) in out.iter_mut().zip(corners) {
                    let (upper, lower) = (a + fx * (b - a), c + fx * (d - c));
                    *out = upper + fy * (lower - upper);
                }
            }
        });
        first += c;
    }
    out
}

/// The two of `n` coarse cells beside the centre of a finer one, and the weight of the second.
fn between(cell: usize, factor: usize, n: usize) -> (usize, usize, f32) {
    let place = ((cell as f64 + 0.5) / factor as f64 - 0.5).clamp(0.0, n as f64 - 1.0);
    let first = place as usize;
    (first, (first + 1).min(n - 1), (place - first as f64) as f32)
}

/// Keeps what each layer gives, for all images in one piece.
#[derive(Default)]
pub(crate) struct Recorder {
    layers: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Recorder {
    /// Keeps a layer.
    pub(crate) fn keep(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.layers.push((name.to_owned(), shape.to_vec(), values.to_vec()));
    }

    /// All that was kept, as tensors.
    pub(crate) fn finish(self) -> Result<Vec<Activation>, TeacherError> {
        let layer = |(name, shape, values)| {
            Ok(Activation { name, values: Tensor::from_vec(values, shape, &Device::Cpu)? })
        };
        self.layers.into_iter().map(layer).collect()
    }
}
