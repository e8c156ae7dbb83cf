//! What all networks share: running a batch piece by piece, and collecting what comes out.

use std::ops::Range;

use candle_core::{Device, Tensor};

use crate::engine::Map;
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
